"""TIR for kernels that go over a row more than once: softmax and normalization.

Rows of neighbouring elements go in vectors along the row, with several partial results; where the axis is not the
last one, several rows that lie side by side go at once, one in each lane.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from intarsia_backends.lowering.expressions import Expression, Input, apply
from intarsia_backends.lowering.kernels import IntegerSoftmax, Normalize, Softmax
from intarsia_backends.tir.expressions import Term, constant, over_lanes, term
from intarsia_backends.tir.functions import function, parameter
from intarsia_backends.tir.schedule import Schedule
from intarsia_backends.tir.vectors import folded, load, spread, store

_PARTS = 4
"""Vectors of partial results, so that additions need not wait for each other."""

_BLOCK_VECTORS = 256
"""Vectors that are added up before their sums are added: keeps long sums in float32 accurate."""


def emit_softmax(kernel: Softmax, schedule: Schedule) -> Any:
    """exp(x - max) over its sum; NaN anywhere in a row makes the row NaN, by way of the sum."""
    size = kernel.outer * kernel.axis * kernel.inner

    def body() -> None:
        x, y = (parameter(name, size, "float32") for name in "xy")
        if kernel.inner == 1:
            _softmax_along(kernel, x, y, schedule)
        else:
            _softmax_across(kernel, x, y, schedule)

    return function(body)


_WEIGHT = apply("decay", Input(0) - Input(1))


def _work(target: Any, place: Term | int, width: int, expression: Expression, *readers: Callable[[Term], Term]) -> None:
    """Store an expression of each lane; `Input(k)` is what reader k gives for the lane."""
    with over_lanes(width) as lane:
        T.buffer_store(target, term(expression, lambda index, further: readers[index](lane)), [place + lane])


def _softmax_along(kernel: Softmax, x: Any, y: Any, schedule: Schedule) -> None:
    with ExitStack() as stack:
        (outer,) = schedule.loops(stack, (kernel.outer,), kernel.work)
        row = _Row(outer * kernel.axis, kernel.axis, schedule.lanes)
        top = row.reduced("max", lambda place, width: load(x, place, width), -float("inf"))

        def weight(place: Term, width: int) -> Term:
            aside = T.alloc_buffer((width,), "float32")
            _work(aside, 0, width, _WEIGHT, lambda lane: x[place + lane], lambda lane: top[0])
            if not kernel.log:
                store(y, place, load(aside, 0, width), width)
            return load(aside, 0, width)

        total = row.reduced("add", weight, 0.0)
        end = T.alloc_buffer((1,), "float32")
        T.buffer_store(end, tirx.log(total[0]) if kernel.log else constant("float32", 1) / total[0], [0])

        def finish(place: Term, width: int) -> None:
            last = spread(end[0], width)
            if kernel.log:
                store(y, place, load(x, place, width) - spread(top[0], width) - last, width)
            else:
                store(y, place, load(y, place, width) * last, width)

        row.over(finish)


def _softmax_across(kernel: Softmax, x: Any, y: Any, schedule: Schedule) -> None:
    def columns(start: Term, width: int) -> None:
        top, total, end = (T.alloc_buffer((width,), "float32") for _ in range(3))

        def element(place: Term) -> Term:
            return load(x, start + place * kernel.inner, width)

        store(top, 0, spread(constant("float32", -float("inf")), width), width)
        store(total, 0, spread(constant("float32", 0), width), width)
        with T.serial(0, kernel.axis) as place:
            store(top, 0, tirx.max(load(top, 0, width), element(place)), width)
        with T.serial(0, kernel.axis) as place:
            aside = T.alloc_buffer((width,), "float32")
            at = start + place * kernel.inner
            _work(aside, 0, width, _WEIGHT, lambda lane: x[at + lane], lambda lane: top[lane])
            if not kernel.log:
                store(y, start + place * kernel.inner, load(aside, 0, width), width)
            store(total, 0, load(total, 0, width) + load(aside, 0, width), width)
        one = spread(constant("float32", 1), width)
        store(end, 0, tirx.log(load(total, 0, width)) if kernel.log else one / load(total, 0, width), width)
        with T.serial(0, kernel.axis) as place:
            target = start + place * kernel.inner
            if kernel.log:
                value = element(place) - load(top, 0, width) - load(end, 0, width)
            else:
                value = load(y, target, width) * load(end, 0, width)
            store(y, target, value, width)

    lanes = schedule.lanes
    whole, rest = divmod(kernel.inner, lanes)
    for first, count, width in ((0, whole, lanes), (whole * lanes, 1, rest)):
        if not count or not width:
            continue
        with ExitStack() as stack:
            outer, chunk = schedule.loops(stack, (kernel.outer, count), kernel.work, 2)
            columns(outer * (kernel.axis * kernel.inner) + first + chunk * width, width)


class _Row:
    """Neighbouring elements, in vectors: several at once, then single ones, then what is left as a narrow one."""

    def __init__(self, start: Term, length: int, lanes: int) -> None:
        self.start, self.length, self.lanes = start, length, lanes
        self.vectors, self.rest = divmod(length, lanes)

    def over(self, step: Callable[[Term, int], None]) -> None:
        """Call `step` with the place and the width of every vector."""
        if self.vectors:
            with T.serial(0, self.vectors) as vector:
                step(self.start + vector * self.lanes, self.lanes)
        if self.rest:
            step(self.start + self.vectors * self.lanes, self.rest)

    def reduced(self, combine: str, element: Callable[[Term, int], Term], initial: float) -> Any:
        """A buffer that holds all elements, joined: "add" or "max" (which passes over NaN)."""
        lanes = self.lanes
        result = T.alloc_buffer((1,), "float32")
        T.buffer_store(result, constant("float32", initial), [0])
        if self.vectors:
            count = min(_PARTS, self.vectors)
            parts = [self.filled(lanes, initial) for _ in range(count)]
            if combine == "add" and self.vectors > _BLOCK_VECTORS:
                self.add_blocks(parts, element)
            else:
                self.add_vectors(parts, combine, element, tirx.const(0, "int32"), self.vectors)
            while len(parts) > 1:
                half = -(-len(parts) // 2)
                for index in range(len(parts) - half):
                    joined = _joined(combine, load(parts[index], 0, lanes), load(parts[index + half], 0, lanes))
                    store(parts[index], 0, joined, lanes)
                parts = parts[:half]
            T.buffer_store(result, folded(parts[0], lanes, lambda a, b: _joined(combine, a, b)), [0])
        if self.rest:
            last = T.alloc_buffer((self.rest,), "float32")
            store(last, 0, element(self.start + self.vectors * lanes, self.rest), self.rest)
            for lane in range(self.rest):
                T.buffer_store(result, _joined(combine, result[0], last[lane]), [0])
        return result

    def filled(self, width: int, number: float) -> Any:
        buffer = T.alloc_buffer((width,), "float32")
        store(buffer, 0, spread(constant("float32", number), width), width)
        return buffer

    def add_vectors(
        self, parts: list[Any], combine: str, element: Callable[[Term, int], Term], first: Term, vectors: int
    ) -> None:
        lanes, count = self.lanes, len(parts)

        def add(part: Any, vector: Term) -> None:
            value = element(self.start + vector * lanes, lanes)
            store(part, 0, _joined(combine, load(part, 0, lanes), value), lanes)

        if vectors // count:
            with T.serial(0, vectors // count) as step:
                for index, part in enumerate(parts):
                    add(part, first + step * count + index)
        for index in range(vectors % count):
            add(parts[index], first + (vectors // count * count + index))

    def add_blocks(self, totals: list[Any], element: Callable[[Term, int], Term]) -> None:
        lanes = self.lanes

        def block(first: Term, vectors: int) -> None:
            parts = [self.filled(lanes, 0.0) for _ in totals]
            self.add_vectors(parts, "add", element, first, vectors)
            for total, part in zip(totals, parts):
                store(total, 0, load(total, 0, lanes) + load(part, 0, lanes), lanes)

        with T.serial(0, self.vectors // _BLOCK_VECTORS) as index:
            block(index * _BLOCK_VECTORS, _BLOCK_VECTORS)
        if self.vectors % _BLOCK_VECTORS:
            first = self.vectors // _BLOCK_VECTORS * _BLOCK_VECTORS
            block(tirx.const(first, "int32"), self.vectors % _BLOCK_VECTORS)


def _joined(combine: str, a: Term, b: Term) -> Term:
    return a + b if combine == "add" else tirx.max(a, b)


def emit_integer_softmax(kernel: IntegerSoftmax, schedule: Schedule) -> Any:
    """The integer softmax of `intarsia.ir.ops.quantized`, in 64 bits."""
    size = kernel.outer * kernel.axis * kernel.inner

    def body() -> None:
        x = parameter("x", size, "int8")
        table = parameter("table", 256, "int32")
        y = parameter("y", size, "int8")
        with ExitStack() as stack:
            outer, inner = schedule.loops(stack, (kernel.outer, kernel.inner), kernel.work)
            start, step = outer * (kernel.axis * kernel.inner) + inner, kernel.inner
            top, total = T.alloc_buffer((1,), "int32"), T.alloc_buffer((1,), "int64")

            def element(place: Term) -> Term:
                return tirx.Cast("int32", x[start + place * step])

            def weight(place: Term) -> Term:
                return tirx.Cast("int64", table[top[0] - element(place)])

            T.buffer_store(top, tirx.const(-128, "int32"), [0])
            with T.serial(0, kernel.axis) as place:
                T.buffer_store(top, tirx.max(top[0], element(place)), [0])
            T.buffer_store(total, _wide(0), [0])
            with T.serial(0, kernel.axis) as place:
                T.buffer_store(total, total[0] + weight(place), [0])
            with T.serial(0, kernel.axis) as place:
                share = tirx.truncdiv(weight(place) * _wide(512) + total[0], total[0] * _wide(2))
                result = tirx.min(share - _wide(128), _wide(127))
                T.buffer_store(y, tirx.Cast("int8", result), [start + place * step])

    return function(body)


def emit_normalize(kernel: Normalize, schedule: Schedule) -> Any:
    """Mean, then variance around it, then the scaled row, all in float32."""
    size = kernel.outer * kernel.axis
    parameters = kernel.period or kernel.axis

    def body() -> None:
        x = parameter("x", size, "float32")
        scale, shift = (parameter(name, parameters, "float32") for name in ("scale", "shift"))
        y = parameter("y", size, "float32")
        with ExitStack() as stack:
            (outer,) = schedule.loops(stack, (kernel.outer,), kernel.work)
            row = _Row(outer * kernel.axis, kernel.axis, schedule.lanes)
            mean, factor = (T.alloc_buffer((1,), "float32") for _ in range(2))
            length = constant("float32", kernel.axis)
            T.buffer_store(mean, constant("float32", 0), [0])
            if kernel.centre:
                total = row.reduced("add", lambda place, width: load(x, place, width), 0.0)
                T.buffer_store(mean, total[0] / length, [0])

            def distance(place: Term, width: int) -> Term:
                aside = T.alloc_buffer((width,), "float32")
                store(aside, 0, load(x, place, width) - spread(mean[0], width), width)
                return load(aside, 0, width)

            def squared(place: Term, width: int) -> Term:
                value = distance(place, width)
                return value * value

            squares = row.reduced("add", squared, 0.0)
            spread_of_row = tirx.sqrt(squares[0] / length + constant("float32", kernel.epsilon))
            T.buffer_store(factor, constant("float32", 1) / spread_of_row, [0])

            def finish(place: Term, width: int) -> None:
                if kernel.period:
                    index = tirx.floormod(outer, kernel.period)
                    ends = [spread(table[index], width) for table in (scale, shift)]
                else:
                    ends = [load(table, place - outer * kernel.axis, width) for table in (scale, shift)]
                unit = distance(place, width) * spread(factor[0], width)
                store(y, place, unit * ends[0] + ends[1], width)

            row.over(finish)

    return function(body)


def _wide(number: int) -> Term:
    return tirx.const(number, "int64")
