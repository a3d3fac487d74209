"""TIR for `Depthwise`: windows over single channels, with vectors along the channels.

For one unit of channels, a few rows of an output are made from the left to the right. The columns of x go by one after
the other; each is loaded once and added to all outputs that read it. The sums of the outputs that are begun and not
finished are the state of that loop, and stay in registers; the weights do, or lie on the stack. All of that is written
out tap by tap; windows of some hundred taps would take minutes to compile, and are gone over in loops instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from intarsia_backends.cpu.emit.dot_products import dot2, gathered, interleaved, widened_products
from intarsia_backends.cpu.emit.packed_epilogues import packed_epilogue
from intarsia_backends.cpu.image_kernels import Depthwise, paired_rows
from intarsia_backends.tir.expressions import Term, over_lanes
from intarsia_backends.tir.functions import function, parameter
from intarsia_backends.tir.nests import address, finished, loaded, operands, stored
from intarsia_backends.tir.schedule import Schedule
from intarsia_backends.tir.vectors import Register, broadcast, joined, load, store

_AT_ONCE = 4
"""Outputs at once where taps are gone over in loops: each weight that is loaded serves them all."""

_Sums = list[list[Register]]
"""The sums of one column of an output: by row, then by part of the unit of channels."""


def emit_depthwise(kernel: Depthwise, schedule: Schedule) -> Any:
    """The PrimFunc of a depthwise convolution."""
    number, total = ("float32", "float32") if kernel.products == "float32" else ("int16", "int32")
    rows, columns = kernel.positions
    reach = [
        (count - 1) * stride + (taps - 1) * dilation
        for count, stride, taps, dilation in zip(kernel.positions, kernel.strides, kernel.kernel, kernel.dilations)
    ]

    def size(steps: Sequence[int], height: int, width: int) -> int:
        return (kernel.batch - 1) * steps[0] + height * steps[1] + width * steps[2] + kernel.channels

    def body() -> None:
        x = parameter("x", size(kernel.x_steps, reach[0], reach[1]), number)
        weights = parameter("w", len(kernel.starts) * kernel.unit_weights, number)
        bias = parameter("b", len(kernel.starts) * kernel.unit, total)
        extents = (kernel.batch, kernel.channels, rows, columns)
        further = operands(kernel.further, extents, "f")
        y = parameter("y", size(kernel.y_steps, rows - 1, columns - 1), stored(kernel.y_dtype))
        made = _Taps if kernel.loops else _Sweep
        made(kernel, x, weights, bias, further, y, total).emit(schedule)

    return function(body)


class _Sweep:
    def __init__(
        self, kernel: Depthwise, x: Any, weights: Any, bias: Any, further: Sequence[Any], y: Any, total: str
    ) -> None:
        self.kernel, self.x, self.weights, self.bias, self.further, self.y = kernel, x, weights, bias, further, y
        self.total, self.number = total, str(x.dtype)
        self.parts = kernel.unit // kernel.lanes
        self.lag = (kernel.kernel[1] - 1) * kernel.dilations[1] // kernel.strides[1]
        """Outputs of a row that are begun and not finished."""

    def emit(self, schedule: Schedule) -> None:
        kernel = self.kernel
        rows, columns = kernel.positions
        height, width = min(kernel.rows, rows), min(kernel.columns, columns)
        left = rows % height
        assert columns % width == 0 or columns % width >= self.lag, "the last columns take what is begun before them"
        outer = (kernel.batch, -(-rows // height), -(-columns // width), len(kernel.starts))
        with ExitStack() as stack:
            batch, row, column, unit = schedule.loops(stack, outer, kernel.work)
            first = column * width
            size = width if columns % width == 0 else tirx.min(width, columns - first)
            if not left:
                self.sweep(batch, row * height, first, unit, height, size)
                return
            with T.If(row < outer[1] - 1):
                with T.Then():
                    self.sweep(batch, row * height, first, unit, height, size)
                with T.Else():
                    self.sweep(batch, row * height, first, unit, left, size)

    def sweep(self, batch: Term, row: Term, first: Term, unit: Term, height: int, width: Term | int) -> None:
        """Rows of an output, from position `first` on, for one unit of channels; `width` is known or at least `lag`."""
        kernel, lag = self.kernel, self.lag
        start = unit * kernel.unit
        if kernel.channels % kernel.unit:
            start = tirx.min(start, kernel.channels - kernel.unit)
        x_start = batch * kernel.x_steps[0] + row * (kernel.strides[0] * kernel.x_steps[1]) + start
        x_start = x_start + first * (kernel.strides[1] * kernel.x_steps[2])
        state = [
            [[Register(kernel.lanes, self.total) for _ in range(self.parts)] for _ in range(height)] for _ in range(lag)
        ]

        self.before = Register(kernel.unit, self.number)

        def step(place: Term | int, ages: Sequence[int]) -> None:
            """Begin output `place`, add to those begun `ages` before, and finish the one begun `lag` before."""
            sums = self.begun(unit, height, state, ages)
            self.add_columns(x_start + place * (kernel.strides[1] * kernel.x_steps[2]), unit, height, sums)
            for age in ages:
                if age < lag:
                    for kept, values in zip(state[age], sums[age]):
                        for register, value in zip(kept, values):
                            register.set(value.get())
                else:
                    for line in range(height):
                        self.finish(batch, start, row + line, first + (place - lag), sums[age][line])

        known = width if isinstance(width, int) else lag
        for place in range(lag):
            step(place, [age for age in range(place + 1) if place - age < known])
        if not isinstance(width, int) or width > lag:
            with T.serial(lag, width) as column:
                step(column, range(lag + 1))
        for place in range(max(known, lag), known + lag):
            step(place - known + width, [age for age in range(lag + 1) if place - age < known])

    def begun(self, unit: Term, height: int, state: Sequence[_Sums], ages: Sequence[int]) -> dict[int, _Sums]:
        """Sums to add to, by age: what the step before left, or the bias."""
        kernel, lanes = self.kernel, self.kernel.lanes
        sums: dict[int, _Sums] = {}
        for age in ages:
            sums[age] = []
            for line in range(height):
                values = [
                    state[age - 1][line][part].get()
                    if age
                    else load(self.bias, unit * kernel.unit + part * lanes, lanes)
                    for part in range(self.parts)
                ]
                sums[age].append([Register(lanes, self.total, value) for value in values])
        return sums

    def add_columns(self, place: Term, unit: Term, height: int, sums: dict[int, _Sums]) -> None:
        """Add the columns of x, as many as the stride, that come in with one step."""
        kernel = self.kernel
        stride, dilation = kernel.strides[1], kernel.dilations[1]
        add = self.add_dot2 if kernel.products == "dot2" else self.add_rows
        for column in range(stride):
            taps = {
                tap * dilation // stride: tap for tap in range(kernel.kernel[1]) if tap * dilation % stride == column
            }
            read = [(sums[age], tap) for age, tap in taps.items() if age in sums]
            if read:
                add(place + column * kernel.x_steps[2], unit, height, read)
        if kernel.pairs_columns:
            self.add_lone_row(place, unit, height, sums)

    def add_rows(self, place: Term, unit: Term, height: int, read: Sequence[tuple[_Sums, int]]) -> None:
        kernel, lanes = self.kernel, self.kernel.lanes
        rows = {row for pair in paired_rows(height, kernel) for row in pair if row >= 0}
        product = _float_products if kernel.products == "float32" else widened_products
        for row in sorted(rows):
            for part in range(self.parts):
                at = place + row * kernel.x_steps[1] + part * lanes
                number = Register(lanes, self.number, load(self.x, at, lanes))
                for line in range(height):
                    tap_row, rest = divmod(row - line * kernel.strides[0], kernel.dilations[0])
                    if rest or not 0 <= tap_row < kernel.kernel[0]:
                        continue
                    for sums, tap in read:
                        at = unit * kernel.unit_weights + (tap_row * kernel.kernel[1] + tap) * kernel.unit
                        weight = load(self.weights, at + part * lanes, lanes)
                        sums[line][part].add(product(number.get(), weight, lanes))

    def add_dot2(self, place: Term, unit: Term, height: int, read: Sequence[tuple[_Sums, int]]) -> None:
        kernel, lanes, size = self.kernel, self.kernel.lanes, self.kernel.unit
        pairs, used = kernel.row_pairs, {row for pair in paired_rows(height, kernel) for row in pair}
        for number_of_pair, pair in enumerate(pairs):
            if used.isdisjoint(pair) or (pair[1] < 0 and kernel.pairs_columns):
                continue
            x = [
                Register(size, "int16", load(self.x, place + row * kernel.x_steps[1], size)).get()
                if row >= 0 and row in used
                else broadcast(0, "int16", size)
                for row in pair
            ]
            for part, half in enumerate(interleaved(x[0], x[1], size, lanes)):
                number = Register(2 * lanes, "int16", half)
                for line in range(height):
                    if not kernel.reads(line, pair):
                        continue
                    for sums, tap in read:
                        at = ((line * len(pairs) + number_of_pair) * kernel.kernel[1] + tap) * size + part * lanes
                        weight = load(self.weights, unit * kernel.unit_weights + at * 2, 2 * lanes)
                        sums[line][part].add(dot2(number.get(), weight, lanes))

    def add_lone_row(self, place: Term, unit: Term, height: int, sums: dict[int, _Sums]) -> None:
        """Add a row that has no other beside it: two neighbouring columns at once."""
        kernel, lanes, size = self.kernel, self.kernel.lanes, self.kernel.unit
        last = len(kernel.row_pairs) - 1
        row = kernel.row_pairs[last][0]
        lines = [line for line in range(height) if kernel.reads(line, kernel.row_pairs[last])]
        taps = {age: kernel.column_pair(age) for age in sums}
        if not lines:
            return
        place = place + row * kernel.x_steps[1]
        if kernel.strides[1] == 1:
            first, now = self.before.get(), Register(size, "int16", load(self.x, place, size))
            second = now.get()
        else:
            first = load(self.x, place, size)
            present = any(pair[1] >= 0 for pair in taps.values())
            second = load(self.x, place + kernel.x_steps[2], size) if present else broadcast(0, "int16", size)
        if any(pair != (-1, -1) for pair in taps.values()):
            for part, half in enumerate(interleaved(first, second, size, lanes)):
                number = Register(2 * lanes, "int16", half)
                for age, pair in taps.items():
                    for line in lines if pair != (-1, -1) else ():
                        at = ((line * len(kernel.row_pairs) + last) * kernel.kernel[1] + age) * size + part * lanes
                        weight = load(self.weights, unit * kernel.unit_weights + at * 2, 2 * lanes)
                        sums[age][line][part].add(dot2(number.get(), weight, lanes))
        if kernel.strides[1] == 1:
            self.before.set(second)

    def finish(self, batch: Term, start: Term, row: Term, column: Term, sums: Sequence[Register]) -> None:
        kernel = self.kernel
        place = batch * kernel.y_steps[0] + row * kernel.y_steps[1] + column * kernel.y_steps[2] + start
        packed = None
        if kernel.products == "dot2" and self.parts == 2:
            packed = packed_epilogue(kernel.epilogue, kernel.further)
        if packed is not None:

            def channels(operand: int) -> Term:
                at = address(kernel.further[operand], [batch, start, row, column])
                return load(self.further[operand], at, kernel.unit)

            totals = [register.get() for register in sums]
            store(self.y, place, packed.emit(totals, channels, kernel.lanes), kernel.unit)
            return
        total = sums[0]
        if self.parts == 2:
            parts = [register.get() for register in sums]
            whole = (
                gathered(parts[0], parts[1], kernel.lanes)
                if kernel.products == "dot2"
                else joined(parts[0], parts[1], kernel.lanes)
            )
            total = Register(kernel.unit, self.total, whole)
        with over_lanes(kernel.unit) as lane:
            places = [batch, start + lane, row, column]

            def element(index: int, further: Term | None) -> Term:
                return loaded(self.further[index], kernel.further[index], places, further)

            T.buffer_store(
                self.y, finished(kernel.epilogue, element, total.buffer[lane], kernel.y_dtype), [place + lane]
            )


class _Taps(_Sweep):
    """A few outputs of a row at a time, whose sums all taps add to, in loops over the window."""

    def emit(self, schedule: Schedule) -> None:
        kernel = self.kernel
        rows, columns = kernel.positions
        width = min(kernel.columns, columns)
        outer = (kernel.batch, rows, -(-columns // width), len(kernel.starts))
        with ExitStack() as stack:
            batch, row, column, unit = schedule.loops(stack, outer, kernel.work)
            left = columns % width
            if not left:
                self.line(batch, row, column * width, unit, width)
                return
            with T.If(column < outer[2] - 1):
                with T.Then():
                    self.line(batch, row, column * width, unit, width)
                with T.Else():
                    self.line(batch, row, column * width, unit, left)

    def line(self, batch: Term, row: Term, first: Term, unit: Term, width: int) -> None:
        """A part of a row of an output, from position `first` on, for one unit of channels."""
        kernel = self.kernel
        start = unit * kernel.unit
        if kernel.channels % kernel.unit:
            start = tirx.min(start, kernel.channels - kernel.unit)
        whole, left = divmod(width, _AT_ONCE)
        if whole:
            with T.serial(0, whole) as block:
                self.outputs(batch, row, first + block * _AT_ONCE, unit, start, _AT_ONCE)
        if left:
            self.outputs(batch, row, first + whole * _AT_ONCE, unit, start, left)

    def outputs(self, batch: Term, row: Term, first: Term, unit: Term, start: Term, count: int) -> None:
        """`count` outputs, from position `first` on."""
        kernel, lanes = self.kernel, self.kernel.lanes
        sums = self.begun(unit, count, [], [0])[0]
        x_start = batch * kernel.x_steps[0] + row * (kernel.strides[0] * kernel.x_steps[1]) + start
        x_start = x_start + first * (kernel.strides[1] * kernel.x_steps[2])
        (tap_rows, tap_columns), (row_step, column_step) = kernel.kernel, kernel.dilations

        def x_at(tap_row: Term | int, tap_column: Term, output: int) -> Term:
            at = x_start + tap_row * (row_step * kernel.x_steps[1])
            return at + (tap_column * column_step + output * kernel.strides[1]) * kernel.x_steps[2]

        def add(tap_row: Term, tap_column: Term) -> None:
            product = _float_products if kernel.products == "float32" else widened_products
            at = unit * kernel.unit_weights + (tap_row * tap_columns + tap_column) * kernel.unit
            for part in range(self.parts):
                weight = Register(lanes, self.number, load(self.weights, at + part * lanes, lanes))
                for output in range(count):
                    number = load(self.x, x_at(tap_row, tap_column, output) + part * lanes, lanes)
                    sums[output][part].add(product(number, weight.get(), lanes))

        def add_pair(pair: Term | int, tap_column: Term, alone: bool = False) -> None:
            size = kernel.unit
            at = unit * kernel.unit_weights + (pair * tap_columns + tap_column) * (2 * size)
            weights = [
                Register(2 * lanes, "int16", load(self.weights, at + part * 2 * lanes, 2 * lanes))
                for part in range(self.parts)
            ]
            for output in range(count):
                numbers = [load(self.x, x_at(pair * 2 + side, tap_column, output), size) for side in range(2 - alone)]
                x = [Register(size, "int16", number).get() for number in numbers]
                second = broadcast(0, "int16", size) if alone else x[1]
                for part, half in enumerate(interleaved(x[0], second, size, lanes)):
                    sums[output][part].add(dot2(half, weights[part].get(), lanes))

        if kernel.products != "dot2":
            with T.serial(0, tap_rows) as tap_row, T.serial(0, tap_columns) as tap_column:
                add(tap_row, tap_column)
        else:
            if tap_rows > 1:
                with T.serial(0, tap_rows // 2) as pair, T.serial(0, tap_columns) as tap_column:
                    add_pair(pair, tap_column)
            if tap_rows % 2:
                with T.serial(0, tap_columns) as tap_column:
                    add_pair(tap_rows // 2, tap_column, alone=True)
        for output in range(count):
            self.finish(batch, start, row, first + output, sums[output])


def _float_products(left: Term, right: Term, _: int) -> Term:
    return left * right
