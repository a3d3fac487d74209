"""Ops that move elements, for values whose channels lie last: parts of them are views, and what is joined along the
channels is made in place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from intarsia.dtypes import Array
from intarsia.ir.graph import Node, Value
from intarsia.ir.ops.resize import rounded, taps
from intarsia_backends.gpu.lower.builder import GpuBuilder, joins_channels
from intarsia_backends.lowering.access import Access
from intarsia_backends.lowering.expressions import Expression, Gather, Input
from intarsia_backends.lowering.kernels import nest
from intarsia_backends.lowering.ops import indexing, movement, resize
from intarsia_backends.lowering.ops.table import axis_of, integers, text
from intarsia_backends.lowering.views import View

_CHANNELS = 1


def _copy(builder: GpuBuilder, source: View, target: View, shape: Sequence[int]) -> None:
    if 0 not in shape:
        builder.call(nest(shape, [source.access], target.access, Input(0)), [source.buffer], target.buffer)


def _lower_concat(builder: GpuBuilder, node: Node) -> None:
    values = [node.input(index) for index in range(len(node.inputs))]
    for value in values:
        builder.view(value)
    beside = any(builder.images(value) for value in values) or builder.is_convolved(node.output)
    if not joins_channels(node) or builder.only_leaves(node.output) or not beside:
        movement.LOWERINGS["Concat"].lower(builder, node)
        return
    for index, value in enumerate(values):
        target, _ = builder.part(node, index)
        if all(view != target for view, _ in builder.images(value)):
            _copy(builder, builder.walk(value), target, value.shape)


def _part(builder: GpuBuilder, x: Value, output: Value, axis: int, first: int, step: int = 1) -> None:
    """`output` is every `step`th element of an axis of x from `first` on: another walk over the same memory."""
    if output.type.elements == 0:
        builder.result(output)
        return
    view = builder.view(x)
    builder.lie(output, _moved(view, axis, first, step))
    if axis == _CHANNELS and step == 1 and len(x.shape) == 4:
        for place, images in builder.images(x):
            builder.place(output, _moved(place, axis, first, 1), replace(images, channels=output.shape[axis]))


def _moved(view: View, axis: int, first: int, step: int) -> View:
    strides = tuple(stride * step if index == axis else stride for index, stride in enumerate(view.strides))
    return replace(view, strides=strides, offset=view.offset + first * view.strides[axis])


def _lower_split(builder: GpuBuilder, node: Node) -> None:
    x, first = node.input(0), 0
    axis = axis_of(node, x.type.rank, 0)
    for output in node.outputs:
        if output is not None:
            _part(builder, x, output, axis, first)
            first += output.shape[axis]


def _lower_slice(builder: GpuBuilder, node: Node) -> None:
    x = node.input(0)
    starts, ends = integers(node.input(1)), integers(node.input(2))
    assert starts is not None and ends is not None
    axes = integers(node.optional_input(3)) or tuple(range(len(starts)))
    steps = integers(node.optional_input(4)) or (1,) * len(starts)
    cuts = []
    for start, end, axis, step in zip(starts, ends, axes, steps):
        picked = range(x.shape[axis])[slice(start, end, step)]
        if len(picked) != x.shape[axis] or step != 1:
            cuts.append((axis % x.type.rank, picked.start, step))
    if len(cuts) == 1:
        _part(builder, x, node.output, *cuts[0])
        return
    view = builder.view(x)
    for cut in cuts:
        view = _moved(view, *cut)
    builder.lie(node.output, view)


def _lower_gather(builder: GpuBuilder, node: Node) -> None:
    """Evenly spaced indices are a slice, and a single one takes the axis away."""
    x, data = node.input(0), node.input(1).data
    axis = axis_of(node, x.type.rank, 0)
    if data is None or data.ndim > 1 or data.size == 0:
        indexing.LOWERINGS["Gather"].lower(builder, node)
        return
    indices = data.astype(np.int64) % x.shape[axis]
    steps = set(np.diff(indices.reshape(-1)).tolist()) or {1}
    if len(steps) > 1 and builder.lies_last(x):
        _pick(builder, builder.walk(x), node.output, {axis: indices})
    elif len(steps) > 1:
        movement.lower_constant_gather(builder, node)
    elif data.ndim == 1:
        _part(builder, x, node.output, axis, int(indices[0]), steps.pop())
    else:
        view = _moved(builder.view(x), axis, int(indices), 1)
        builder.lie(node.output, replace(view, strides=view.strides[:axis] + view.strides[axis + 1 :]))


def _lower_blocks(builder: GpuBuilder, node: Node) -> None:
    """Channels of the deeper side are the positions of blocks of the other."""
    source = builder.walk(node.input(0))
    target = builder.made_beside(node.output, node.input(0))
    to_space = node.op == "DepthToSpace"
    deep, wide = (source, target) if to_space else (target, source)
    shape, block = (node.input(0) if to_space else node.output).shape, int(node.attributes["blocksize"])
    batch, channels, height, width = shape
    depth = channels // (block * block)
    image, channel, row, position = deep.strides
    if text(node, "mode", "DCR") == "CRD":
        c, i, j = block * block, block, 1
    else:
        c, i, j = 1, block * depth, depth
    extents = (batch, depth, height, block, width, block)
    deep_steps = (image, c * channel, row, i * channel, position, j * channel)
    image, channel, row, position = wide.strides
    wide_steps = (image, channel, block * row, row, block * position, position)
    reads, writes = (deep_steps, wide_steps) if to_space else (wide_steps, deep_steps)
    kernel = nest(
        extents,
        [Access(source.dtype, reads, source.offset)],
        Access(target.dtype, writes, target.offset),
        Input(0),
    )
    builder.call(kernel, [source.buffer], target.buffer)


def _lower_resize(builder: GpuBuilder, node: Node) -> None:
    x, positions = node.input(0), resize.positions_of(node)
    if not builder.lies_last(x) or not positions or not set(positions) <= {2, 3}:
        resize.LOWERINGS["Resize"].lower(builder, node)
        return
    if text(node, "mode", "nearest") == "nearest":
        mode = text(node, "nearest_mode", "round_prefer_floor")
        picked = {axis: np.clip(rounded(mode, position), 0, x.shape[axis] - 1) for axis, position in positions.items()}
        _pick(builder, builder.walk(x), node.output, picked)
        return
    _interpolate(builder, node, positions)


def _pick(builder: GpuBuilder, source: View, output: Value, picked: dict[int, Array]) -> None:
    """The output has, along these axes, elements of the source at tables of indices."""
    strides = tuple(0 if axis in picked else stride for axis, stride in enumerate(source.strides))
    accesses, operands = [Access(source.dtype, strides, source.offset)], [source.buffer]
    place: Expression | None = None
    for axis, indices in picked.items():
        term = Input(len(accesses))
        place = term if place is None else place + term
        accesses.append(Access("int32", _along(axis)))
        operands.append(builder.weight((np.asarray(indices, np.int64) * source.strides[axis]).astype(np.int32)))
    assert place is not None
    target = builder.made(output)
    builder.call(nest(output.shape, accesses, target.access, Gather(0, place)), operands, target.buffer)


def _along(axis: int) -> tuple[int, ...]:
    return tuple(1 if other == axis else 0 for other in range(4))


def _interpolate(builder: GpuBuilder, node: Node, positions: dict[int, Array]) -> None:
    """Weighted sums of a few elements, one axis after the other."""
    x, output = node.input(0), node.output
    source, shape = builder.walk(x), list(x.shape)
    for axis, position in positions.items():
        indices, weights = taps(node, shape[axis], position)
        shape[axis] = output.shape[axis]
        strides = tuple(0 if other == axis else stride for other, stride in enumerate(source.strides))
        accesses, operands = [Access(source.dtype, strides, source.offset)], [source.buffer]
        body: Expression | None = None
        for tap in range(indices.shape[1]):
            accesses += [Access("int32", _along(axis)), Access("float32", _along(axis))]
            operands.append(builder.weight((indices[:, tap] * source.strides[axis]).astype(np.int32)))
            operands.append(builder.weight(weights[:, tap].astype(np.float32)))
            part = Gather(0, Input(2 * tap + 1)) * Input(2 * tap + 2)
            body = part if body is None else body + part
        assert body is not None
        last = axis == list(positions)[-1]
        target = builder.made(output) if last else _between(builder, shape)
        builder.call(nest(shape, accesses, target.access, body), operands, target.buffer)
        source = target


def _between(builder: GpuBuilder, shape: Sequence[int]) -> View:
    """Memory, channels last, between two kernels."""
    batch, channels, height, width = shape
    buffer = builder.scratch(batch * channels * height * width, "float32")
    return View(buffer, "float32", (height * width * channels, 1, width * channels, channels))


LOWERINGS = {
    "Concat": movement.LOWERINGS["Concat"].made_by(_lower_concat),
    "Split": movement.LOWERINGS["Split"].made_by(_lower_split),
    "Slice": movement.LOWERINGS["Slice"].made_by(_lower_slice),
    "Gather": indexing.LOWERINGS["Gather"].made_by(_lower_gather),
    "DepthToSpace": movement.LOWERINGS["DepthToSpace"].made_by(_lower_blocks),
    "SpaceToDepth": movement.LOWERINGS["SpaceToDepth"].made_by(_lower_blocks),
    "Resize": resize.LOWERINGS["Resize"].made_by(_lower_resize),
}
