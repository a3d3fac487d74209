"""Largest elements of windows that reach over the edge of images: there, a tap reads another one of its window."""

from __future__ import annotations

import numpy as np

from intarsia.dtypes import Array
from intarsia.ir.graph import Node
from intarsia_backends.gpu.lower.builder import GpuBuilder
from intarsia_backends.lowering.access import Access
from intarsia_backends.lowering.builder import ImageReader
from intarsia_backends.lowering.expressions import Accumulator, Constant, Gather, Input
from intarsia_backends.lowering.kernels import nest
from intarsia_backends.lowering.ops import pooling
from intarsia_backends.lowering.ops.activations import activated
from intarsia_backends.lowering.ops.geometry import Window


def _lower_max(builder: GpuBuilder, node: Node) -> None:
    x, window = node.input(0), pooling.pool_window(node)
    reaches = any(window.before) or any(window.after)
    tables = None
    if reaches and pooling.has_images(builder, node) and not pooling.is_positive(x):
        tables = [_places(window, axis) for axis in range(2)]
    if tables is None or any(table is None for table in tables):
        pooling.lower_max(builder, node)
        return
    view, target = builder.walk(x), builder.made(node.output)
    image, channel, *steps = view.strides
    accesses = [Access(view.dtype, (image, channel, 0, 0, 0, 0), view.offset)]
    operands = [view.buffer]
    for axis, (table, step) in enumerate(zip(tables, steps)):
        assert table is not None
        walk = [0] * 6
        walk[2 + axis], walk[4 + axis] = table.shape[1], 1
        accesses.append(Access("int32", tuple(walk)))
        operands.append(builder.weight((table * step).astype(np.int32)))
    kernel = nest(
        node.output.shape,
        accesses,
        target.access,
        Gather(0, Input(1) + Input(2)),
        reduced=window.kernel,
        combine="max",
        initial=Constant(view.dtype, pooling.LOWEST[view.dtype]),
        epilogue=activated(node, Accumulator(), view.dtype) if view.dtype == "float32" else Accumulator(),
    )
    builder.call(kernel, operands, target.buffer)


def _places(window: Window, axis: int) -> Array | None:
    """Where the taps of each position read along an axis, int64 [positions, kernel]; None where a window lies outside
    altogether."""
    first = np.arange(window.positions[axis]) * window.strides[axis] - window.before[axis]
    taps = first[:, None] + np.arange(window.kernel[axis]) * window.dilations[axis]
    inside = (taps >= 0) & (taps < window.size[axis])
    if not inside.any(axis=1).all():
        return None
    any_inside = np.take_along_axis(taps, inside.argmax(axis=1)[:, None], axis=1)
    return np.asarray(np.where(inside, taps, any_inside))


_IMAGES: ImageReader[GpuBuilder] | None = pooling.LOWERINGS["MaxPool"].image

LOWERINGS = {"MaxPool": pooling.LOWERINGS["MaxPool"].made_by(_lower_max, _IMAGES)}
