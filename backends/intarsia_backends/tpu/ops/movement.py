"""Ops that move elements and change none."""

from __future__ import annotations

from typing import Literal

import numpy as np

from intarsia.dtypes import Array
from intarsia.ir.graph import Node
from intarsia.ir.ops.resize import is_rare, moved_positions, rounded, taps
from intarsia.targets import YES, Support
from intarsia_backends.lowering.ops.table import axis_of, elements, integers, known, refused, sequence, text
from intarsia_backends.tpu.body import Body, emitter
from intarsia_backends.tpu.ops.elementwise import ALL, NUMBERS
from intarsia_backends.tpu.stablehlo import Tensor


def _reshape(body: Body, node: Node) -> Tensor:
    return body.reshape(body.read(node.input(0)), node.output.shape)


def _transpose(body: Body, node: Node) -> Tensor:
    x = body.read(node.input(0))
    return body.transpose(x, sequence(node, "perm", tuple(reversed(range(x.rank)))))


def _concat(body: Body, node: Node) -> Tensor:
    parts = [body.read(value) for value in node.inputs if value is not None and value.type.elements]
    return body.concatenate(parts, axis_of(node, node.output.type.rank, 0))


def _split(body: Body, node: Node) -> list[Tensor]:
    x, start, parts = body.read(node.input(0)), 0, []
    axis = axis_of(node, x.rank, 0)
    for value in node.outputs:
        assert value is not None
        starts, ends = [0] * x.rank, list(x.shape)
        starts[axis], ends[axis] = start, start + value.shape[axis]
        parts.append(body.cut(x, starts, ends))
        start = ends[axis]
    return parts


def _check_split(node: Node) -> Support:
    return refused("outputs", "an output in the middle is left out") if None in node.outputs else YES


def _slice(body: Body, node: Node) -> Tensor:
    x = body.read(node.input(0))
    begins, stops = integers(node.input(1)), integers(node.input(2))
    assert begins is not None and stops is not None
    axes = integers(node.optional_input(3)) or tuple(range(len(begins)))
    strides = integers(node.optional_input(4)) or (1,) * len(begins)
    starts, ends, steps, turned = [0] * x.rank, list(x.shape), [1] * x.rank, []
    for begin, stop, axis, stride in zip(begins, stops, axes, strides):
        axis %= x.rank
        # A stop far below 0 ends in front of the first element, which Python spells as None.
        last = None if stride < 0 and stop < -x.shape[axis] else stop
        places = range(x.shape[axis])[slice(begin, last, stride)]
        places = places if stride > 0 else places[::-1]
        starts[axis], ends[axis], steps[axis] = places.start, places[-1] + 1, abs(stride)
        turned += [axis] if stride < 0 else []
    result = body.cut(x, starts, ends, steps)
    return body.reverse(result, turned) if turned else result


def _check_slice(node: Node) -> Support:
    return YES if len(node.inputs) > 2 else refused("opset", "its bounds are attributes")


def _expand(body: Body, node: Node) -> Tensor:
    return body.spread(body.read(node.input(0)), node.output.shape)


def _tile(body: Body, node: Node) -> Tensor:
    x, repeats = body.read(node.input(0)), integers(node.input(1))
    assert repeats is not None
    pairs = [size for pair in zip(repeats, x.shape) for size in pair]
    wide = body.broadcast(x, pairs, range(1, 2 * x.rank, 2))
    return body.reshape(wide, node.output.shape)


def _depth_to_space(body: Body, node: Node) -> Tensor:
    x, block = body.read(node.input(0)), int(node.attributes["blocksize"])
    batch, channels, height, width = x.shape
    deep = channels // block**2
    if text(node, "mode", "DCR") == "DCR":
        split = body.transpose(body.reshape(x, (batch, block, block, deep, height, width)), (0, 3, 4, 1, 5, 2))
    else:
        split = body.transpose(body.reshape(x, (batch, deep, block, block, height, width)), (0, 1, 4, 2, 5, 3))
    return body.reshape(split, node.output.shape)


def _space_to_depth(body: Body, node: Node) -> Tensor:
    x, block = body.read(node.input(0)), int(node.attributes["blocksize"])
    batch, channels, height, width = x.shape
    split = body.reshape(x, (batch, channels, height // block, block, width // block, block))
    order = (0, 3, 5, 1, 2, 4) if text(node, "mode", "DCR") == "DCR" else (0, 1, 3, 5, 2, 4)
    return body.reshape(body.transpose(split, order), node.output.shape)


# ---- Pad

_MODES: dict[str, Literal["reflect", "edge", "wrap"]] = {"reflect": "reflect", "edge": "edge", "wrap": "wrap"}


def _pads(node: Node) -> tuple[list[int], list[int]]:
    rank, amounts, axes = node.input(0).type.rank, integers(node.input(1)), integers(node.optional_input(3))
    assert amounts is not None
    axes = tuple(range(rank)) if axes is None else axes
    before, after = [0] * rank, [0] * rank
    for index, axis in enumerate(axes):
        before[axis], after[axis] = amounts[index], amounts[len(axes) + index]
    return before, after


def _pad(body: Body, node: Node) -> Tensor:
    x, (before, after), mode = body.read(node.input(0)), _pads(node), text(node, "mode", "constant")
    if mode == "constant":
        fill = node.optional_input(2)
        return body.pad(x, 0 if fill is None else elements(fill).reshape(-1)[0], before, after)
    for axis, (low, high) in enumerate(zip(before, after)):
        if low or high:
            places = np.pad(np.arange(x.shape[axis], dtype=np.int32), (low, high), mode=_MODES[mode])
            x = body.take(x, body.constant(places), axis)
    return x


def _check_pad(node: Node) -> Support:
    if len(node.inputs) < 2:
        return refused("opset", "its pads are attributes")
    mode = text(node, "mode", "constant")
    if mode != "constant" and mode not in _MODES:
        return refused("mode", f"mode {mode}")
    before, after = _pads(node)
    if mode != "constant" and min(*before, *after) < 0:
        return refused("padding", "pads are negative")
    return YES


# ---- Gather


def _gather(body: Body, node: Node) -> Tensor:
    x, indices = node.input(0), node.input(1)
    axis = axis_of(node, x.type.rank, 0)
    size = x.shape[axis]
    if indices.data is not None:
        places = np.asarray(indices.data)
        return body.take(
            body.read(x), body.constant(np.where(places < 0, places + size, places).astype(np.int32)), axis
        )
    raw = body.read(indices)
    body.guard(raw, size, f"{node.where}: '{indices.name}'")
    short = body.convert(raw, "int32")
    behind = body.compare("LT", short, body.like(0, short))
    return body.take(body.read(x), body.select(behind, body.with_number("add", short, size), short), axis)


# ---- Resize


def _positions(node: Node) -> dict[int, Array]:
    return moved_positions(node, node.input(0).shape, [None if value is None else value.data for value in node.inputs])


def _resize(body: Body, node: Node) -> Tensor:
    x = body.read(node.input(0))
    for axis, position in _positions(node).items():
        size = x.shape[axis]
        if text(node, "mode", "nearest") == "nearest":
            places = np.clip(rounded(text(node, "nearest_mode", "round_prefer_floor"), position), 0, size - 1)
            x = _picked(body, x, places, axis)
            continue
        indices, weights = taps(node, size, position)
        matrix = np.zeros((size, len(position)), np.float32)
        for tap in range(indices.shape[1]):
            np.add.at(matrix, (indices[:, tap], np.arange(len(position))), weights[:, tap].astype(np.float32))
        summed = body.dot(x, body.constant(matrix), (axis, 0))
        order = [*range(axis), x.rank - 1, *range(axis, x.rank - 1)]
        x = body.transpose(summed, order)
    return x


def _picked(body: Body, x: Tensor, places: Array, axis: int) -> Tensor:
    """x at places of an axis; where each element is taken equally often, in order, by repeating it."""
    size = x.shape[axis]
    factor = len(places) // size
    if factor and np.array_equal(places, np.repeat(np.arange(size), factor)):
        wide = (*x.shape[: axis + 1], factor, *x.shape[axis + 1 :])
        axes = [other if other <= axis else other + 1 for other in range(x.rank)]
        return body.reshape(body.broadcast(x, wide, axes), (*x.shape[:axis], len(places), *x.shape[axis + 1 :]))
    return body.take(x, body.constant(places.astype(np.int32)), axis)


def _check_resize(node: Node) -> Support:
    if is_rare(node):
        return refused("resize", "a form of Resize that onnx.reference alone gives")
    if text(node, "mode", "nearest") != "nearest" and node.input(0).dtype != "float32":
        return refused("element-type", f"{node.input(0).dtype} is interpolated; taken: float32")
    if not any(known(node.optional_input(index)) for index in (2, 3)):
        return refused("constant-input", "neither scales nor sizes are known at compile time")
    return YES


EMITTERS = {
    **{
        name: emitter(_reshape, dtypes=ALL, constants=(1,))
        for name in ("Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity")
    },
    "Transpose": emitter(_transpose, dtypes=ALL),
    "Concat": emitter(_concat, dtypes=ALL),
    "Split": emitter(_split, dtypes=ALL, constants=(1,), outputs=1 << 16, check=_check_split),
    "Slice": emitter(_slice, dtypes=ALL, constants=(1, 2, 3, 4), check=_check_slice),
    "Expand": emitter(_expand, dtypes=ALL, constants=(1,)),
    "Tile": emitter(_tile, dtypes=ALL, constants=(1,)),
    "DepthToSpace": emitter(_depth_to_space, dtypes=ALL),
    "SpaceToDepth": emitter(_space_to_depth, dtypes=ALL),
    "Pad": emitter(_pad, dtypes=ALL, constants=(1, 2, 3), check=_check_pad),
    "Gather": emitter(_gather, dtypes=ALL, places=(1,)),
    "Resize": emitter(_resize, dtypes=NUMBERS, constants=(1, 2, 3), unread=(1,), check=_check_resize),
}
