"""The calls of `intarsia_backends.gpu.source.intrinsics`, as statements of the function at hand."""

from __future__ import annotations

from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from intarsia_backends.tir.expressions import Term


def _call(name: str, *arguments: Term | int) -> None:
    T.evaluate(tirx.call_extern("int32", name, *arguments))


def at(buffer: Any, index: Term | int) -> Term:
    """Where an element stands."""
    return tirx.address_of(buffer[index])


def copy(size_bytes: int, memory: Any, place: Term, source: Term, inside: Term) -> None:
    """So many bytes to shared memory, from a byte on; zeros where they are not inside."""
    _call(f"COPY_{size_bytes}", at(memory, 0), place, source, inside)


def commit() -> None:
    """End a group of copies."""
    _call("COPY_COMMIT")


def wait(groups: int) -> None:
    """Until all groups but the last few have come."""
    _call("COPY_WAIT", groups)


def put(size_bytes: int, memory: Any, place: Term, value: Term) -> None:
    """A number to shared memory, from a byte on."""
    _call(f"PUT_{size_bytes}", at(memory, 0), place, value)


def load_matrices(count: int, fragments: Any, first: int, memory: Any, place: Term) -> None:
    """Matrices of 8 rows of 16 bytes, to fragments from the first on."""
    _call(f"LOAD_MATRIX_{count}", at(fragments, first), at(memory, 0), place)


def multiply(dtype: str, sums: Any, start: int, first: Any, first_start: int, second: Any, second_start: int) -> None:
    """Add the products of 16 and 8 lines."""
    _call(f"MULTIPLY_{dtype.upper()}", at(sums, start), at(first, first_start), at(second, second_start))


def fetch(target: Any, source: Any, index: Term) -> None:
    """Four elements to registers."""
    _call("FETCH_4", at(target, 0), at(source, index))


def store(target: Any, index: Term, source: Any) -> None:
    """Four elements from registers."""
    _call("STORE_4", at(target, index), at(source, 0))
