"""TIR for `Contraction`: sums of products held in registers.

A tile of positions times a few vectors of output channels stays in registers while the reduction runs; each step
loads the weights of the channels once and broadcasts one number of x for every position. The finished tile goes
through a small buffer on the stack where y does not hold its channels side by side.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import tirx
from tvm.script.ir_builder import tirx as T

from intarsia_backends.cpu.emit.dot_products import LINE_BYTES, add_dot4, broadcast_dot2, gathered, prefetch
from intarsia_backends.cpu.emit.packed_epilogues import packed_epilogue
from intarsia_backends.cpu.kernels import SHARES, WEIGHTS, Contraction
from intarsia_backends.cpu.lower.tiles import balanced_tiles
from intarsia_backends.lowering.access import row_major
from intarsia_backends.tir.expressions import Term, over_lanes
from intarsia_backends.tir.functions import function, parameter
from intarsia_backends.tir.nests import address, finished, loaded, span, stored
from intarsia_backends.tir.schedule import Schedule, ordered_loops
from intarsia_backends.tir.vectors import Register, load, store

_UNROLLED = 4
"""Steps of the innermost loop of the sum that are written one after the other, where they divide it."""

_UNROLLED_DOT2 = 2
"""The same for pairs: LLVM adds up integers of several steps first, for which there are not registers enough. A 1x1
window, whose one loop is long, has a single step."""

_UNROLLED_MAX = 8
"""An innermost loop of so few steps is written out whole."""

_ASKED_MAX = 16
"""Lines of a cache that a processor can wait for at once, about: more of them would hold up the tile."""


def emit_contraction(kernel: Contraction, schedule: Schedule) -> Any:
    """The PrimFunc of a contraction."""
    steps = math.prod(kernel.reduction)
    x_extents = (kernel.batch, kernel.groups, *kernel.positions, *kernel.reduction)
    x_strides = (kernel.x_batch, kernel.x_group, *kernel.x_positions, *kernel.x_reduction)
    y_extents = (kernel.batch, kernel.groups, kernel.outputs, *kernel.positions)
    y_strides = (kernel.y_batch, kernel.y_group, kernel.y_channel, *kernel.y_positions)
    channels = kernel.groups * kernel.group_vectors * kernel.lanes
    share = SHARES[kernel.products]
    x_dtype = {"dot2": "int32", "dot4": "int32"}.get(kernel.products, kernel.products)
    weight_dtype = WEIGHTS[kernel.products]
    accumulator_dtype = "float32" if kernel.products == "float32" else "int32"
    extents = (kernel.batch, kernel.groups * kernel.outputs, *kernel.positions)

    def body() -> None:
        x = parameter("x", _reach(x_extents, x_strides), x_dtype)
        weights = parameter("w", channels * steps * share, weight_dtype)
        bias = parameter("b", channels, accumulator_dtype)
        operands = [
            parameter(f"o{index}", span(access, extents) + kernel.lanes, stored(access.dtype))
            for index, access in enumerate(kernel.operands)
        ]
        y = parameter("y", _reach(y_extents, y_strides) + kernel.lanes, stored(kernel.y_dtype))
        _Tiles(kernel, x, weights, bias, operands, y, accumulator_dtype).emit(schedule)

    return function(body)


def _reach(extents: Sequence[int], strides: Sequence[int]) -> int:
    return 1 + sum(stride * (extent - 1) for extent, stride in zip(extents, strides))


@dataclass(frozen=True)
class _Asking:
    """Cache lines to be fetched while a tile is made.

    start  where the first lies, in `weights`
    line   elements in one
    lines  how many
    """

    weights: Any
    start: Term
    line: int
    lines: int

    def parts(self, others: int, steps: int) -> int:
        """In how many parts so many steps are done, by each of `others` that ask as well."""
        parts = 1
        while -(-self.lines // (others * parts)) > _ASKED_MAX and steps % (2 * parts) == 0:
            parts *= 2
        return parts

    def emit(self, part: Term, parts: int) -> None:
        """Ask for one of so many parts, unless that is too much."""
        each = -(-self.lines // parts)
        if each > _ASKED_MAX:
            return
        for number in range(each):
            prefetch(self.weights, self.start + (part * each + number) * self.line)


class _Tiles:
    def __init__(
        self, kernel: Contraction, x: Any, weights: Any, bias: Any, operands: Sequence[Any], y: Any, accumulator: str
    ) -> None:
        self.kernel, self.x, self.weights, self.bias, self.operands, self.y = kernel, x, weights, bias, operands, y
        self.accumulator_dtype = accumulator
        self.whole, self.rest = divmod(kernel.group_vectors, kernel.vectors)
        self.end = packed_epilogue(kernel.epilogue, kernel.operands) if kernel.interleaved else None
        self.partial: Any = None  # the sums of a block's positions between two chunks
        self.chunk: Term = tirx.const(0, "int32")

    def emit(self, schedule: Schedule) -> None:
        kernel = self.kernel
        blocks, rows = self.whole + (self.rest > 0), () if kernel.flat else kernel.positions[:-1]
        with ExitStack() as stack:
            if kernel.rows_first:
                batch, group, *places = schedule.loops(stack, (kernel.batch, kernel.groups, *rows), kernel.work)
                block = stack.enter_context(T.serial(0, blocks)) if blocks > 1 else tirx.const(0, "int32")
            else:
                inner = () if kernel.chunked else rows
                batch, group, block, *places = schedule.loops(
                    stack, (kernel.batch, kernel.groups, blocks, *inner), kernel.work
                )
            if kernel.chunked:
                width = min(kernel.vectors, kernel.group_vectors) * kernel.lanes
                self.partial = T.alloc_buffer((math.prod(kernel.positions) * width,), self.accumulator_dtype)
                self.chunk = stack.enter_context(T.serial(0, kernel.reduction[0]))
                places = ordered_loops(stack, rows)
            if self.rest and self.whole:
                with T.If(block < self.whole):
                    with T.Then():
                        self.emit_row(batch, group, block, places, kernel.vectors)
                    with T.Else():
                        self.emit_row(batch, group, block, places, self.rest)
            else:
                self.emit_row(batch, group, block, places, self.rest or kernel.vectors)

    def emit_row(self, batch: Term, group: Term, block: Term, places: Sequence[Term], vectors: int) -> None:
        """All tiles of a row, or, where tiles go on from row to row, of the whole image."""
        kernel = self.kernel
        if kernel.flat:
            every = list(itertools.product(*(range(extent) for extent in kernel.positions)))
            first = 0
            cut = balanced_tiles(len(every), kernel.tile)
            for number, size in enumerate(cut):
                ask = self.asking(group, block, tirx.const(number, "int32"), len(cut))
                places_here = [_constants(place) for place in every[first : first + size]]
                self.emit_tile(batch, group, block, places_here, vectors, ask)
                first += size
            return
        sizes = balanced_tiles(kernel.positions[-1], kernel.tile)
        done = before = 0
        row = _walked(row_major(kernel.positions[:-1]), places)
        tiles = len(sizes) * math.prod(kernel.positions[:-1])
        for size in sorted({*sizes}, reverse=True):
            with T.serial(0, sizes.count(size)) as index:
                start = done + index * size
                ask = self.asking(group, block, row * len(sizes) + before + index, tiles)
                self.emit_tile(batch, group, block, [[*places, start + step] for step in range(size)], vectors, ask)
            done += sizes.count(size) * size
            before += sizes.count(size)

    def asking(self, group: Term, block: Term, tile: Term, tiles: int) -> _Asking | None:
        """How the next block's weights, which come from far, are fetched while a tile of this block is made; None where
        they lie near.

        tile  of `tiles` that a block has
        """
        kernel = self.kernel
        if kernel.rows_first or kernel.chunked:
            return None
        line = LINE_BYTES // np.dtype(WEIGHTS[kernel.products]).itemsize
        size = kernel.vectors * kernel.lanes * math.prod(kernel.reduction) * SHARES[kernel.products]
        lines = -(-size // (line * tiles))
        start = (group * (self.whole + (self.rest > 0)) + block + 1) * size + tile * (lines * line)
        return _Asking(self.weights, start, line, lines)

    def emit_tile(
        self,
        batch: Term,
        group: Term,
        block: Term,
        tile: Sequence[Sequence[Term]],
        vectors: int,
        ask: _Asking | None,
    ) -> None:
        """The sums of some positions, each given by its place along every axis."""
        kernel, lanes = self.kernel, self.kernel.lanes
        channel = (group * kernel.group_vectors + block * kernel.vectors) * lanes  # among the padded ones
        accumulators = [[Register(lanes, self.accumulator_dtype) for _ in range(vectors)] for _ in tile]
        x_start = batch * kernel.x_batch + group * kernel.x_group
        starts = [x_start + _walked(kernel.x_positions, places) for places in tile]
        weight_start = channel * math.prod(kernel.reduction)
        if not kernel.chunked:
            self.emit_bias(channel, accumulators)
            self.emit_reduction(starts, weight_start, accumulators, ask)
            self.emit_finish(batch, group, block, tile, accumulators)
            return
        width = vectors * lanes
        numbers = [_walked(row_major(kernel.positions), places) for places in tile]
        with T.If(self.chunk == 0):
            with T.Then():
                self.emit_bias(channel, accumulators)
            with T.Else():
                for row, index, accumulator in _numbered(accumulators):
                    place = numbers[row] * width + index * lanes
                    accumulator.set(load(self.partial, place, lanes))
        chunk_steps = math.prod(kernel.reduction[1:])
        starts = [start + self.chunk * kernel.x_reduction[0] for start in starts]
        self.emit_reduction(starts, weight_start + self.chunk * (chunk_steps * width), accumulators)
        with T.If(self.chunk == kernel.reduction[0] - 1):
            with T.Then():
                self.emit_finish(batch, group, block, tile, accumulators)
            with T.Else():
                for row, index, accumulator in _numbered(accumulators):
                    store(self.partial, numbers[row] * width + index * lanes, accumulator.get(), lanes)

    def emit_bias(self, channel: Term, accumulators: Sequence[Sequence[Register]]) -> None:
        lanes = self.kernel.lanes
        for _, index, accumulator in _numbered(accumulators):
            accumulator.set(load(self.bias, channel + index * lanes, lanes))

    def emit_reduction(
        self,
        starts: Sequence[Term],
        weight_start: Term,
        accumulators: Sequence[Sequence[Register]],
        ask: _Asking | None = None,
    ) -> None:
        kernel = self.kernel
        extent, stride = kernel.reduction[-1], kernel.x_reduction[-1]
        most = _UNROLLED
        if kernel.products == "dot2":
            most = 1 if math.prod(kernel.reduction) == extent else _UNROLLED_DOT2
        unrolled = extent if extent <= _UNROLLED_MAX else most if extent % most == 0 else 1
        first = 1 if kernel.chunked else 0
        serial = (*kernel.reduction[first:-1], extent // unrolled)
        strides = (*kernel.x_reduction[first:-1], unrolled * stride)
        width = len(accumulators[0]) * kernel.lanes
        if ask is not None:
            # The innermost loop in parts, so that each asks for no more than a processor can wait for.
            parts = ask.parts(math.prod(serial[:-1]), serial[-1])
            serial = (*serial[:-1], parts, serial[-1] // parts)
            strides = (*strides[:-1], strides[-1] * serial[-1], strides[-1])
        with ExitStack() as stack:
            step: Term = tirx.const(0, "int32")
            moved: Term = tirx.const(0, "int32")
            for axis, (count, walk) in enumerate(zip(serial, strides)):
                if ask is not None and axis == len(serial) - 1:
                    ask.emit(step, math.prod(serial[:-1]))
                index: Term = stack.enter_context(T.serial(0, count)) if count > 1 else 0
                step = step * count + index
                moved = moved + index * walk
            for tap in range(unrolled):
                self.emit_step(
                    [start + moved + tap * stride for start in starts],
                    weight_start + (step * unrolled + tap) * width,
                    accumulators,
                )

    def emit_step(
        self, x_places: Sequence[Term], weight_place: Term, accumulators: Sequence[Sequence[Register]]
    ) -> None:
        kernel, lanes = self.kernel, self.kernel.lanes
        size = SHARES[kernel.products]
        weights = [
            load(self.weights, (weight_place + index * lanes) * size, lanes * size)
            for index in range(len(accumulators[0]))
        ]
        for x_place, row in zip(x_places, accumulators):
            number = tirx.BufferLoad(self.x, [x_place])
            for accumulator, weight in zip(row, weights):
                if kernel.products == "dot4":
                    accumulator.set(add_dot4(accumulator.get(), number, weight, lanes))
                else:
                    accumulator.add(self.product(number, weight))

    def product(self, number: Term, weight: Term) -> Term:
        lanes = self.kernel.lanes
        if self.kernel.products == "float32":
            return tirx.Broadcast(number, lanes) * weight
        if self.kernel.products == "int16":
            return tirx.Broadcast(tirx.Cast("int32", number), lanes) * tirx.Cast(f"int32x{lanes}", weight)
        return broadcast_dot2(number, weight, lanes)

    def emit_finish(
        self,
        batch: Term,
        group: Term,
        block: Term,
        tile: Sequence[Sequence[Term]],
        accumulators: Sequence[Sequence[Register]],
    ) -> None:
        kernel, lanes = self.kernel, self.kernel.lanes
        first = block * (kernel.vectors * lanes)  # channel of the group
        start = batch * kernel.y_batch + group * kernel.y_group + first * kernel.y_channel
        starts = [start + _walked(kernel.y_positions, places) for places in tile]
        width = len(accumulators[0]) * lanes
        whole = kernel.padded or kernel.outputs % lanes == 0
        direct = kernel.y_channel == 1 and whole
        step = 2 if kernel.interleaved else 1
        if not direct:
            rows = [T.alloc_buffer((width,), stored(kernel.y_dtype)) for _ in accumulators]
        for position, row in enumerate(accumulators):
            for index in range(0, len(row), step):
                places = [batch, group * kernel.outputs + first + index * lanes, *tile[position]]
                if direct:
                    self.store_channels(row[index : index + step], places, starts[position] + index * lanes)
                    continue
                with over_lanes(lanes) as lane:
                    element = self.finished(row[index].buffer[lane], [batch, places[1] + lane, *tile[position]])
                    T.buffer_store(rows[position], element, [index * lanes + lane])
        if direct:
            return
        left = kernel.outputs - first
        with T.serial(0, width if whole else tirx.min(left, width)) as output:
            for position in range(len(accumulators)):
                place = starts[position] + output * kernel.y_channel
                T.buffer_store(self.y, rows[position][output], [place])

    def store_channels(self, sums: Sequence[Register], places: Sequence[Term], start: Term) -> None:
        """The elements of one vector of sums, or of two that are interleaved, side by side in y."""
        kernel, lanes = self.kernel, self.kernel.lanes
        total = sums[0]
        if len(sums) == 2:
            pair = [part.get() for part in sums]
            if self.end is not None:

                def channels(operand: int) -> Term:
                    at = address(kernel.operands[operand], places)
                    return load(self.operands[operand], at, 2 * lanes)

                store(self.y, start, self.end.emit(pair, channels, lanes), 2 * lanes)
                return
            total = Register(2 * lanes, self.accumulator_dtype, gathered(pair[0], pair[1], lanes))
        for half in range(len(sums)):
            with over_lanes(lanes) as lane:
                at = half * lanes + lane
                element = self.finished(total.buffer[at], [places[0], places[1] + at, *places[2:]])
                T.buffer_store(self.y, element, [start + at])

    def finished(self, total: Term, places: Sequence[Term]) -> Term:
        def load(index: int, further: Term | None) -> Term:
            return loaded(self.operands[index], self.kernel.operands[index], places, further)

        return finished(self.kernel.epilogue, load, total, self.kernel.y_dtype)


def _constants(places: Sequence[int]) -> list[Term]:
    return [tirx.const(place, "int32") for place in places]


def _walked(strides: Sequence[int], places: Sequence[Term]) -> Term:
    """Elements from the start of a walk to a place."""
    total: Term = tirx.const(0, "int32")
    for stride, place in zip(strides, places):
        total = total + place * stride
    return total


def _numbered(accumulators: Sequence[Sequence[Register]]) -> list[tuple[int, int, Register]]:
    """Position, vector and accumulator, for each."""
    return [
        (position, index, accumulator)
        for position, row in enumerate(accumulators)
        for index, accumulator in enumerate(row)
    ]
