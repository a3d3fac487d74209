"""TIR for recurrent layers: a block for each sequence, whose threads share the units of every step.

What the units show each other, their state and their gates, is in shared memory, where that is large enough; else one
thread does all of it, as `intarsia_backends.tir` writes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from tvm.script.ir_builder import tirx as T

from intarsia_backends.gpu.emit.shared import only, synchronize
from intarsia_backends.lowering.kernels import Recurrent
from intarsia_backends.tir import recurrent
from intarsia_backends.tir.expressions import Term
from intarsia_backends.tir.functions import function
from intarsia_backends.tir.recurrent import Step, recurrent_parameters
from intarsia_backends.tir.schedule import Schedule

_THREADS = 256
_SHARED_BYTES = 32 << 10
"""What every device gives a block."""


def emit_recurrent(kernel: Recurrent, schedule: Schedule) -> Any:
    """The PrimFunc of a direction."""
    wide = kernel.gates * kernel.hidden
    shared_numbers = wide + 2 * kernel.hidden
    if 4 * shared_numbers > _SHARED_BYTES or not kernel.hidden or not kernel.batch:
        return recurrent.emit_recurrent(kernel, schedule)
    threads = min(_THREADS, -(-wide // 32) * 32)

    def body() -> None:
        buffers = recurrent_parameters(kernel)
        with (
            T.thread_binding(0, kernel.batch, "blockIdx.x") as batch,
            T.thread_binding(0, threads, "threadIdx.x") as thread,
        ):
            buffers["total"] = T.alloc_buffer((wide + kernel.hidden,), "float32", scope="shared")
            states = T.alloc_buffer((kernel.hidden,), "float32", scope="shared")
            begun = _SharedStep(kernel, buffers, 0, batch, thread, threads, states)
            with begun.each(kernel.hidden) as unit:
                begun.show(unit, begun.h[batch * kernel.hidden + unit])
            synchronize()
            with T.serial(0, kernel.steps) as time:
                _SharedStep(kernel, buffers, time, batch, thread, threads, states).emit()

    return function(body)


class _SharedStep(Step):
    """One step of the sequence of a block. A unit, and each of its gates, is always the same thread's.

    states  of all units, for the others
    """

    def __init__(
        self,
        kernel: Recurrent,
        buffers: dict[str, Any],
        time: Term,
        batch: Term,
        thread: Term,
        threads: int,
        states: Any,
    ) -> None:
        self.thread, self.threads, self.states = thread, threads, states
        super().__init__(kernel, buffers, time, batch, 1)

    def each(self, count: int) -> AbstractContextManager[Term]:
        return self._shared(count)

    @contextmanager
    def _shared(self, count: int) -> Iterator[Term]:
        with T.serial(0, -(-count // self.threads)) as turn:
            place = turn * self.threads + self.thread
            with only(place < count if count % self.threads else None):
                yield place

    def meet(self) -> None:
        synchronize()

    def old(self, unit: Term) -> Term:
        return self.states[unit]

    def show(self, unit: Term, state: Term) -> None:
        T.buffer_store(self.states, state, [unit])

    def add_recurrent(self, place: int, count: int, gate: int, number: Callable[[Term], Term]) -> None:
        with self.each(count) as own:
            total = T.alloc_buffer((1,), "float32")
            T.buffer_store(total, self.total[place + own], [0])
            with T.serial(0, self.kernel.hidden) as unit:
                product = number(unit) * self.r[unit * self.wide + (gate + own)]
                T.buffer_store(total, total[0] + product, [0])
            T.buffer_store(self.total, total[0], [place + own])
