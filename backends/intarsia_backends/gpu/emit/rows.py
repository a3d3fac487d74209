"""TIR for kernels that go over a row more than once, a block for each row: softmax and normalization.

Short rows, and those whose elements do not lie side by side, are a thread each, as `intarsia_backends.tir.rows` has
them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from intarsia_backends.gpu.emit.shared import join, only, synchronize
from intarsia_backends.lowering.kernels import IntegerSoftmax, Normalize, Softmax
from intarsia_backends.tir import rows
from intarsia_backends.tir.expressions import Term, constant, decay
from intarsia_backends.tir.functions import function, parameter
from intarsia_backends.tir.schedule import Schedule

_THREADS = 128
_LONG = 64
"""Elements from which on a row is worth a block."""


class _Row:
    """A row of neighbouring elements and the thread of its block.

    start  its first element
    """

    def __init__(self, length: int, block: Term, thread: Term) -> None:
        self.length, self.number, self.thread, self.start = length, block, thread, block * length

    @contextmanager
    def places(self) -> Iterator[Term]:
        """A loop over the thread's own elements; gives their numbers in the row."""
        with T.serial(0, -(-self.length // _THREADS)) as turn:
            place = turn * _THREADS + self.thread
            with only(place < self.length if self.length % _THREADS else None):
                yield place

    def reduced(
        self, initial: Term, joined: Callable[[Term, Term], Term], element: Callable[[Term], Term], dtype: str
    ) -> Term:
        """All elements, joined; every thread gets it."""
        own, all_of_block = T.alloc_buffer((1,), dtype), T.alloc_buffer((_THREADS,), dtype, scope="shared")
        T.buffer_store(own, initial, [0])
        with self.places() as place:
            T.buffer_store(own, joined(own[0], element(place)), [0])
        T.buffer_store(all_of_block, own[0], [self.thread])
        join(all_of_block, self.thread, _THREADS, 1, joined)
        synchronize()
        T.buffer_store(own, all_of_block[0], [0])
        return own[0]

    def sum(self, element: Callable[[Term], Term]) -> Term:
        """The sum of float32 elements."""
        return self.reduced(constant("float32", 0), lambda left, right: left + right, element, "float32")


@contextmanager
def _rows(count: int, length: int) -> Iterator[_Row]:
    with T.thread_binding(0, count, "blockIdx.x") as block, T.thread_binding(0, _THREADS, "threadIdx.x") as thread:
        yield _Row(length, block, thread)


def emit_softmax(kernel: Softmax, schedule: Schedule) -> Any:
    """exp(x - max) over its sum; NaN anywhere in a row makes the row NaN, by way of the sum."""
    if kernel.inner != 1 or kernel.axis < _LONG or not kernel.outer:
        return rows.emit_softmax(kernel, schedule)
    size = kernel.outer * kernel.axis

    def body() -> None:
        x, y = (parameter(name, size, "float32") for name in "xy")
        with _rows(kernel.outer, kernel.axis) as row:
            lowest = constant("float32", -float("inf"))
            top = row.reduced(lowest, tirx.max, lambda place: x[row.start + place], "float32")

            def weight(place: Term) -> Term:
                found = decay(x[row.start + place] - top)
                if not kernel.log:
                    T.buffer_store(y, found, [row.start + place])
                return found

            total = row.sum(weight)
            end = T.alloc_buffer((1,), "float32")
            T.buffer_store(end, tirx.log(total) if kernel.log else constant("float32", 1) / total, [0])
            with row.places() as place:
                at = row.start + place
                # Each thread reads again what it wrote itself.
                T.buffer_store(y, x[at] - top - end[0] if kernel.log else y[at] * end[0], [at])

    return function(body)


def emit_integer_softmax(kernel: IntegerSoftmax, schedule: Schedule) -> Any:
    """The integer softmax of `intarsia.ir.ops.quantized`, in 64 bits."""
    if kernel.inner != 1 or kernel.axis < _LONG or not kernel.outer:
        return rows.emit_integer_softmax(kernel, schedule)
    size = kernel.outer * kernel.axis

    def body() -> None:
        x, table, y = parameter("x", size, "int8"), parameter("table", 256, "int32"), parameter("y", size, "int8")
        with _rows(kernel.outer, kernel.axis) as row:

            def element(place: Term) -> Term:
                return tirx.Cast("int32", x[row.start + place])

            def weight(place: Term) -> Term:
                return tirx.Cast("int64", table[top - element(place)])

            top = row.reduced(tirx.const(-128, "int32"), tirx.max, element, "int32")
            total = row.reduced(_wide(0), lambda left, right: left + right, weight, "int64")
            with row.places() as place:
                share = tirx.truncdiv(weight(place) * _wide(512) + total, total * _wide(2))
                result = tirx.min(share - _wide(128), _wide(127))
                T.buffer_store(y, tirx.Cast("int8", result), [row.start + place])

    return function(body)


def emit_normalize(kernel: Normalize, schedule: Schedule) -> Any:
    """Mean, then variance around it, then the scaled row, all in float32."""
    if kernel.axis < _LONG or not kernel.outer:
        return rows.emit_normalize(kernel, schedule)
    size, parameters = kernel.outer * kernel.axis, kernel.period or kernel.axis

    def body() -> None:
        x = parameter("x", size, "float32")
        scale, shift = (parameter(name, parameters, "float32") for name in ("scale", "shift"))
        y = parameter("y", size, "float32")
        with _rows(kernel.outer, kernel.axis) as row:
            mean, factor = (T.alloc_buffer((1,), "float32") for _ in range(2))
            length = constant("float32", kernel.axis)
            T.buffer_store(mean, constant("float32", 0), [0])
            if kernel.centre:
                T.buffer_store(mean, row.sum(lambda place: x[row.start + place]) / length, [0])

            def distance(place: Term) -> Term:
                aside = T.alloc_buffer((1,), "float32")
                T.buffer_store(aside, x[row.start + place] - mean[0], [0])
                return aside[0]

            def square(place: Term) -> Term:
                value = distance(place)
                return value * value

            spread = tirx.sqrt(row.sum(square) / length + constant("float32", kernel.epsilon))
            T.buffer_store(factor, constant("float32", 1) / spread, [0])
            with row.places() as place:
                which = tirx.floormod(row.number, kernel.period) if kernel.period else place
                T.buffer_store(y, distance(place) * factor[0] * scale[which] + shift[which], [row.start + place])

    return function(body)


def _wide(number: int) -> Term:
    return tirx.const(number, "int64")
