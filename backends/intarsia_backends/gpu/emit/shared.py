"""What the threads of a block do together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from intarsia_backends.tir.expressions import Term


def synchronize() -> None:
    """No thread goes on before all have come here, and all see what the others wrote to shared memory. No thread of a
    block may leave it out."""
    T.evaluate(tirx.call_intrin("int32", "tirx.tvm_storage_sync", "shared"))


@contextmanager
def only(condition: Term | None) -> Iterator[None]:
    """What follows is done by the threads of which a condition holds; by all for None."""
    if condition is None:
        yield
        return
    with T.If(condition), T.Then():
        yield


def join(memory: Any, thread: Term, sharers: int, beside: int, joined: Callable[[Term, Term], Term]) -> None:
    """Join what threads have put into shared memory, at their own numbers: of the `sharers` whose numbers differ by
    multiples of `beside`, the first finds all of it at its own number.

    sharers  a power of two
    """
    half = sharers // 2
    while half:
        synchronize()
        with only(thread < half * beside):
            T.buffer_store(memory, joined(memory[thread], memory[thread + half * beside]), [thread])
        half //= 2


def placed(value: Term) -> Term:
    """A whole number, 0 or more, that says where something stands, computed here and kept."""
    return T.bind(value)


def held(value: Term) -> Term:
    """A value, computed here and kept in a register."""
    register = T.alloc_buffer((1,), str(value.ty.dtype))
    T.buffer_store(register, value, [0])
    return register[0]
