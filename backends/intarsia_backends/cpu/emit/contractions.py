"""TIR for `Contraction`: sums of products held in registers.

A tile of positions times a few vectors of output channels stays in registers while the reduction runs; each step
loads the weights of the channels once and broadcasts one number of x for every position. The finished tile goes
through a small buffer on the stack where y does not hold its channels side by side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from intarsia_backends.cpu.emit.expressions import Term, term
from intarsia_backends.cpu.emit.functions import function, parameter
from intarsia_backends.cpu.emit.nests import loops
from intarsia_backends.cpu.kernels import Contraction

_UNROLL_TAPS = 4

_MULTIPLY_ADD_PAIRS = {4: "llvm.x86.sse2.pmadd.wd", 8: "llvm.x86.avx2.pmadd.wd", 16: "llvm.x86.avx512.pmaddw.d.512"}


def emit_contraction(kernel: Contraction) -> Any:
    """The PrimFunc of a contraction."""
    block = kernel.vectors * kernel.lanes
    steps = math.prod(kernel.reduction)
    x_extents = (kernel.batch, kernel.groups, *kernel.positions, *kernel.reduction)
    x_strides = (kernel.x_batch, kernel.x_group, *kernel.x_positions, *kernel.x_reduction)
    y_extents = (kernel.batch, kernel.groups, kernel.outputs, *kernel.positions)
    y_strides = (kernel.y_batch, kernel.y_group, kernel.y_channel, *kernel.y_positions)
    channels = kernel.groups * kernel.blocks * block
    pairs = 2 if kernel.products == "pairs" else 1
    x_dtype = {"float32": "float32", "pairs": "int32", "int16": "int16"}[kernel.products]
    weight_dtype = "float32" if kernel.products == "float32" else "int16"
    accumulator_dtype = "float32" if kernel.products == "float32" else "int32"

    def body() -> None:
        x = parameter("x", _reach(x_extents, x_strides), x_dtype)
        weights = parameter("w", channels * steps * pairs, weight_dtype)
        bias = parameter("b", channels, accumulator_dtype)
        factors = parameter("f", channels, kernel.factors) if kernel.factors else None
        y = parameter("y", _reach(y_extents, y_strides), kernel.y_dtype)
        _Tiles(kernel, x, weights, bias, factors, y, accumulator_dtype).emit()

    return function(body)


def _reach(extents: Sequence[int], strides: Sequence[int]) -> int:
    return 1 + sum(stride * (extent - 1) for extent, stride in zip(extents, strides))


class _Tiles:
    def __init__(
        self, kernel: Contraction, x: Any, weights: Any, bias: Any, factors: Any, y: Any, accumulator_dtype: str
    ) -> None:
        self.kernel, self.x, self.weights, self.bias, self.factors, self.y = kernel, x, weights, bias, factors, y
        self.accumulator_dtype = accumulator_dtype
        self.block = kernel.vectors * kernel.lanes

    def emit(self) -> None:
        kernel = self.kernel
        row, tile = kernel.positions[-1], kernel.tile
        outer = (kernel.batch, kernel.groups, kernel.blocks, *kernel.positions[:-1])
        with ExitStack() as stack:
            batch, group, block, *places = loops(stack, outer, kernel.work)
            if row // tile:
                with T.serial(0, row // tile) as index:
                    self.emit_tile(batch, group, block, [*places, index * tile], tile)
            if row % tile:
                self.emit_tile(batch, group, block, [*places, tirx.const(row // tile * tile, "int32")], row % tile)

    def emit_tile(self, batch: Term, group: Term, block: Term, places: Sequence[Term], tile: int) -> None:
        kernel = self.kernel
        lanes, vectors = kernel.lanes, kernel.vectors
        channel = (group * kernel.blocks + block) * self.block
        accumulators = [[T.alloc_buffer((lanes,), self.accumulator_dtype) for _ in range(vectors)] for _ in range(tile)]
        for row in accumulators:
            for index, accumulator in enumerate(row):
                _store_vector(accumulator, 0, _load(self.bias, channel + index * lanes, lanes), lanes)
        x_start = batch * kernel.x_batch + group * kernel.x_group
        for stride, place in zip(kernel.x_positions, places):
            x_start = x_start + place * stride
        self.emit_reduction(x_start, channel * math.prod(kernel.reduction), accumulators)
        self.emit_finish(batch, group, block, places, accumulators, channel)

    def emit_reduction(self, x_start: Term, weight_start: Term, accumulators: Sequence[Sequence[Any]]) -> None:
        kernel = self.kernel
        taps = kernel.reduction[-1]
        unroll = len(kernel.reduction) > 1 and taps <= _UNROLL_TAPS
        serial = kernel.reduction[:-1] if unroll else kernel.reduction
        with ExitStack() as stack:
            indices = [stack.enter_context(T.serial(0, extent)) if extent > 1 else 0 for extent in serial]
            step: Term = tirx.const(0, "int32")
            x_place = x_start
            for extent, stride, index in zip(serial, kernel.x_reduction, indices):
                step = step * extent + index
                x_place = x_place + index * stride
            for tap in range(taps if unroll else 1):
                weight_step = step * taps + tap if unroll else step
                x_tap = x_place + tap * kernel.x_reduction[-1] if unroll else x_place
                self.emit_step(x_tap, weight_start + weight_step * self.block, accumulators)

    def emit_step(self, x_place: Term, weight_place: Term, accumulators: Sequence[Sequence[Any]]) -> None:
        kernel, lanes = self.kernel, self.kernel.lanes
        size = 2 if kernel.products == "pairs" else 1
        weights = [
            _load(self.weights, (weight_place + index * lanes) * size, lanes * size) for index in range(kernel.vectors)
        ]
        for position, row in enumerate(accumulators):
            number = tirx.BufferLoad(self.x, [x_place + position * kernel.x_positions[-1]])
            for accumulator, weight in zip(row, weights):
                product = self.product(number, weight)
                _store_vector(accumulator, 0, _load(accumulator, 0, lanes) + product, lanes)

    def product(self, number: Term, weight: Term) -> Term:
        lanes = self.kernel.lanes
        if self.kernel.products == "float32":
            return tirx.Broadcast(number, lanes) * weight
        if self.kernel.products == "int16":
            return tirx.Broadcast(tirx.Cast("int32", number), lanes) * tirx.Cast(f"int32x{lanes}", weight)
        pairs = tirx.call_intrin(f"int16x{2 * lanes}", "tirx.reinterpret", tirx.Broadcast(number, lanes))
        return tirx.call_llvm_pure_intrin(f"int32x{lanes}", _MULTIPLY_ADD_PAIRS[lanes], pairs, weight)

    def emit_finish(
        self,
        batch: Term,
        group: Term,
        block: Term,
        places: Sequence[Term],
        accumulators: Sequence[Sequence[Any]],
        channel: Term,
    ) -> None:
        kernel, lanes = self.kernel, self.kernel.lanes
        start = batch * kernel.y_batch + group * kernel.y_group + block * (self.block * kernel.y_channel)
        for stride, place in zip(kernel.y_positions, places):
            start = start + place * stride
        whole = kernel.outputs % self.block == 0
        direct = kernel.y_channel == 1 and whole
        tile = len(accumulators)
        if not direct:
            rows = [T.alloc_buffer((self.block,), kernel.y_dtype) for _ in range(tile)]
        for position, row in enumerate(accumulators):
            for index, accumulator in enumerate(row):
                with T.vectorized(0, lanes) as lane:
                    element = self.finished(accumulator[lane], channel + index * lanes + lane)
                    if direct:
                        place = start + position * kernel.y_positions[-1] + index * lanes + lane
                        T.buffer_store(self.y, element, [place])
                    else:
                        T.buffer_store(rows[position], element, [index * lanes + lane])
        if direct:
            return
        left = kernel.outputs - block * self.block
        with T.serial(0, self.block if whole else tirx.min(left, self.block)) as output:
            for position in range(tile):
                place = start + output * kernel.y_channel + position * kernel.y_positions[-1]
                T.buffer_store(self.y, rows[position][output], [place])

    def finished(self, total: Term, channel: Term) -> Term:
        return term(self.kernel.finish, lambda index, further: self.factors[channel], total)


def _load(buffer: Any, place: Term | int, lanes: int) -> Term:
    return tirx.BufferLoad(buffer, [tirx.Ramp(place, 1, lanes)])


def _store_vector(buffer: Any, place: int, value: Term, lanes: int) -> None:
    T.buffer_store(buffer, value, [tirx.Ramp(tirx.const(place, "int32"), 1, lanes)])
