"""Pictures of bytes: resizing them by two passes of integer sums, and tables of what a model takes for each byte."""

from __future__ import annotations

import math

import numpy as np

from intarsia.dtypes import Array
from intarsia.ir.graph import Node
from intarsia.ir.ops.pixels import resampling_of
from intarsia.resampling import WEIGHT_BITS, Taps
from intarsia_backends.lowering.access import Access, row_major
from intarsia_backends.lowering.builder import Builder
from intarsia_backends.lowering.expressions import (
    Accumulator,
    Cast,
    Constant,
    Expression,
    Gather,
    Input,
    maximum,
    minimum,
)
from intarsia_backends.lowering.fusion import map_values
from intarsia_backends.lowering.kernels import nest
from intarsia_backends.lowering.ops.table import Lowering, elements
from intarsia_backends.lowering.program import Buffer
from intarsia_backends.lowering.views import View

_HALF = Constant("int32", 1 << (WEIGHT_BITS - 1))


def _lower_resample(builder: Builder, node: Node) -> None:
    x, output = node.input(0), node.output
    how = resampling_of(node, x.shape[1:3])
    passes = [(2, how.columns), (1, how.rows)]
    if how.height_first:
        passes.reverse()
    source, shape = builder.read(x), list(x.shape)
    for number, (axis, taps) in enumerate(passes):
        made = list(shape)
        made[axis] = output.shape[axis]
        last = number == len(passes) - 1
        target = builder.result(output) if last else builder.scratch(math.prod(made), "uint8")
        if taps is None:
            _cut(builder, source, shape, axis, how.window[axis - 1], made[axis], target)
        else:
            _sum(builder, source, shape, axis, taps, target)
        source, shape = target, made


def _cut(builder: Builder, source: Buffer, shape: list[int], axis: int, first: int, count: int, target: Buffer) -> None:
    """Part of an axis, as it is."""
    size, inner = shape[axis], math.prod(shape[axis + 1 :])
    extents = math.prod(shape[:axis]), count * inner
    reads = Access("uint8", (size * inner, 1), first * inner)
    builder.call(nest(extents, [reads], Access("uint8", row_major(extents)), Input(0)), [source], target)


def _sum(builder: Builder, source: Buffer, shape: list[int], axis: int, taps: Taps, target: Buffer) -> None:
    """One pass of `intarsia.resampling`."""
    size, inner = shape[axis], math.prod(shape[axis + 1 :])
    starts, weights = _inside(taps, size)
    count, width = weights.shape
    extents = math.prod(shape[:axis]), count, inner
    accesses = [
        Access("uint8", (size * inner, 0, 1, inner)),
        Access("int32", (0, 1, 0, 0)),
        Access("int32", (0, width, 0, 1)),
    ]
    body = Cast("int32", Gather(0, Input(1))) * Input(2)
    total: Expression = Accumulator() >> Constant("int32", WEIGHT_BITS)
    kernel = nest(
        extents,
        accesses,
        Access("uint8", row_major(extents)),
        body,
        reduced=(width,),
        combine="add",
        initial=_HALF,
        epilogue=Cast("uint8", minimum(maximum(total, Constant("int32", 0)), Constant("int32", 255))),
    )
    builder.call(kernel, [source, builder.weight(starts * inner), builder.weight(weights)], target)


def _inside(taps: Taps, size: int) -> tuple[Array, Array]:
    """The same sums, of inputs that all lie within the axis: weights of 0 move to the front where it ends."""
    width = taps.weights.shape[1]
    starts = np.minimum(taps.starts, size - width).astype(np.int32)
    weights = np.stack([np.roll(row, by) for row, by in zip(taps.weights, taps.starts - starts)])
    return starts, np.ascontiguousarray(weights)


def _lower_pixels(builder: Builder, node: Node) -> None:
    numbers = Cast("float32", Input(0)) - Input(1)
    map_values(builder, [node.input(index) for index in range(3)], node.output, numbers * Input(2))


def _lower_pixel_lookup(builder: Builder, node: Node) -> None:
    x, y = node.input(0), node.output
    channels = np.arange(x.shape[3], dtype=np.int32) * 256
    table = View(builder.weight(elements(node.input(1))), "int8", (0,) * 4)
    rows = View(builder.weight(channels), "int32", (0, 0, 0, 1))
    map_values(builder, [x], y, Gather(1, Input(2) + Cast("int32", Input(0))), [table, rows])


LOWERINGS = {
    "resample": Lowering(_lower_resample, dtypes=("uint8",)),
    "pixels": Lowering(_lower_pixels, dtypes=("uint8", "float32")),
    "pixel_lookup": Lowering(_lower_pixel_lookup, dtypes=("uint8", "int8"), constants=(1,)),
}
