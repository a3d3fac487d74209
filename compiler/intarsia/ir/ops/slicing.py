"""Ops that cut, concatenate and repeat whole stretches of elements: Concat, Split, Slice, Expand, Tile, Pad."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from intarsia.dtypes import Array
from intarsia.ir.graph import Node
from intarsia.ir.op import Known, Op, attribute, refuse, required
from intarsia.ir.ops.rules import (
    BAD_MODEL,
    Types,
    axes_in,
    axis_in,
    broadcast,
    given,
    given_or_none,
    ints_of,
    known_ints,
    known_length,
    optional,
    same_dtype,
    tensor,
)
from intarsia.ir.types import Dimension, TensorType

# ---- Concat


def _infer_concat(node: Node, types: Types, known: Known) -> list[TensorType]:
    parts = [tensor(node, types, index) for index in range(max(len(types), 1))]
    dtype = same_dtype(node, *parts)
    shapes = [part.shape for part in parts if part.shape is not None]
    if not shapes:
        return [TensorType(dtype, None)]
    rank = len(shapes[0])
    axis = axis_in(node, attribute(node, CONCAT, "axis"), rank)
    mismatch = refuse(
        node,
        f"{' and '.join(str(part) for part in parts)} do not join on axis {axis}",
        "all sizes but the one on the axis must be equal",
    )
    if any(len(shape) != rank for shape in shapes):
        raise mismatch
    result: list[Dimension] = []
    for index in range(rank):
        sizes = [shape[index] for shape in shapes]
        fixed = {size for size in sizes if size is not None}
        if index == axis:
            all_known = len(shapes) == len(parts) and None not in sizes
            result.append(sum(size for size in sizes if size is not None) if all_known else None)
            continue
        if len(fixed) > 1:
            raise mismatch
        result.append(fixed.pop() if fixed else None)
    return [TensorType(dtype, tuple(result))]


def _evaluate_concat(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    parts = [part for part in inputs if part is not None]
    return [np.concatenate(parts, axis=attribute(node, CONCAT, "axis"))]


CONCAT = Op(
    "Concat", _infer_concat, _evaluate_concat, {"axis": required}, work="movement", keeps_scale=True, keeps_range=True
)


# ---- Split


def _pieces(node: Node, size: int, wish: Sequence[int] | None) -> list[int]:
    """Sizes of the pieces of an axis."""
    count = len(node.outputs) if node.outputs else int(node.attributes.get("num_outputs", 0))
    if wish is not None:
        if any(piece < 0 for piece in wish) or sum(wish) != size or len(wish) != count:
            raise refuse(node, f"pieces {list(wish)} do not make {count} outputs of size {size}", BAD_MODEL)
        return list(wish)
    each = -(-size // count)
    return [min(each, max(size - index * each, 0)) for index in range(count)]


def _split_wish(node: Node, known: Known) -> tuple[int, ...] | None:
    sizes = known_ints(known, 1)
    return sizes if sizes is not None else node.attributes.get("split")


def _infer_split(node: Node, types: Types, known: Known) -> list[TensorType]:
    x = tensor(node, types, 0)
    if x.shape is None:
        return [TensorType(x.dtype, None)] * len(node.outputs)
    axis, wish = axis_in(node, attribute(node, SPLIT, "axis"), len(x.shape)), _split_wish(node, known)
    size = x.shape[axis]
    hidden = size is None or (wish is None and optional(types, 1) is not None)
    pieces: Sequence[Dimension] = (
        (wish or (None,) * len(node.outputs)) if hidden or size is None else _pieces(node, size, wish)
    )
    return [TensorType(x.dtype, (*x.shape[:axis], piece, *x.shape[axis + 1 :])) for piece in pieces]


def _evaluate_split(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    x = given(inputs, 0)
    axis = axis_in(node, attribute(node, SPLIT, "axis"), x.ndim)
    pieces = _pieces(node, x.shape[axis], _split_wish(node, inputs))
    return list(np.split(x, np.cumsum(pieces)[:-1].tolist(), axis=axis))


SPLIT = Op("Split", _infer_split, _evaluate_split, {"axis": 0}, work="movement", keeps_scale=True, keeps_range=True)


# ---- Slice


def _slice_parts(
    node: Node, inputs: Sequence[Array | None]
) -> tuple[tuple[int, ...] | None, tuple[int, ...] | None, tuple[int, ...] | None, tuple[int, ...] | None]:
    """starts, ends, axes, steps, from inputs or, in the older form, from attributes; None where not known."""
    if "starts" in node.attributes:
        return node.attributes["starts"], node.attributes["ends"], node.attributes.get("axes"), None
    return known_ints(inputs, 1), known_ints(inputs, 2), known_ints(inputs, 3), known_ints(inputs, 4)


def _cuts(node: Node, rank: int, parts: Any) -> dict[int, tuple[int, int, int]]:
    """(start, end, step) by axis, as written."""
    starts, ends, axes, steps = parts
    axes = axes_in(node, axes if axes is not None else range(len(starts)), rank)
    steps = steps if steps is not None else (1,) * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps):
        lengths = f"{len(starts)}, {len(ends)}, {len(axes)}, {len(steps)}"
        raise refuse(node, f"starts, ends, axes and steps have {lengths} entries", BAD_MODEL)
    if 0 in steps:
        raise refuse(node, f"steps {list(steps)} hold a 0", BAD_MODEL)
    return {axis: (start, end, step) for axis, start, end, step in zip(axes, starts, ends, steps)}


def _cut(size: int, start: int, end: int, step: int) -> slice:
    """ONNX's clamping of starts and ends, as a Python slice."""
    if step > 0:
        return slice(*slice(start, end, step).indices(size))
    start = min(max(start + size if start < 0 else start, 0), size - 1)
    end = min(max(end + size if end < 0 else end, -1), size - 1)
    return slice(start, end if end >= 0 else None, step)


def _infer_slice(node: Node, types: Types, known: Known) -> list[TensorType]:
    x, parts = tensor(node, types, 0), _slice_parts(node, known)
    if x.shape is None:
        return [x]
    starts, ends, axes, steps = parts
    hidden_axes = axes is None and optional(types, 3) is not None
    if starts is None or ends is None or hidden_axes or (steps is None and optional(types, 4) is not None):
        cut = None if hidden_axes else axes
        if cut is None and not hidden_axes and known_length(types, 1) is not None:
            cut = tuple(range(known_length(types, 1) or 0))
        changed = range(len(x.shape)) if cut is None else axes_in(node, cut, len(x.shape))
        return [TensorType(x.dtype, tuple(None if axis in changed else size for axis, size in enumerate(x.shape)))]
    sizes = list(x.shape)
    for axis, (start, end, step) in _cuts(node, len(sizes), parts).items():
        size = sizes[axis]
        sizes[axis] = None if size is None else len(range(size)[_cut(size, start, end, step)])
    return [TensorType(x.dtype, tuple(sizes))]


def _evaluate_slice(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    x = given(inputs, 0)
    cuts = _cuts(node, x.ndim, _slice_parts(node, inputs))
    index = tuple(_cut(x.shape[axis], *cuts[axis]) if axis in cuts else slice(None) for axis in range(x.ndim))
    return [np.ascontiguousarray(x[index])]


SLICE = Op("Slice", _infer_slice, _evaluate_slice, work="movement", keeps_scale=True, keeps_range=True)


# ---- Expand, Tile


def _infer_expand(node: Node, types: Types, known: Known) -> list[TensorType]:
    x, wish = tensor(node, types, 0), known_ints(known, 1)
    if wish is None:
        length = known_length(types, 1)
        unknown = x.shape is None or length is None
        return [TensorType(x.dtype, None if unknown else (None,) * max(x.rank, length or 0))]
    if min(wish, default=0) < 0:
        raise refuse(node, f"the shape {list(wish)} has a size below 0", BAD_MODEL)
    return [TensorType(x.dtype, broadcast(node, x, TensorType("shape", wish)))]


def _evaluate_expand(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    x, wish = given(inputs, 0), ints_of(given(inputs, 1))
    return [np.broadcast_to(x, np.broadcast_shapes(x.shape, wish)).copy()]


EXPAND = Op("Expand", _infer_expand, _evaluate_expand, work="movement", keeps_scale=True, keeps_range=True, grows=True)


def _infer_tile(node: Node, types: Types, known: Known) -> list[TensorType]:
    x, repeats = tensor(node, types, 0), known_ints(known, 1)
    if x.shape is None or repeats is None:
        return [TensorType(x.dtype, None if x.shape is None else (None,) * len(x.shape))]
    if len(repeats) != len(x.shape) or min(repeats, default=0) < 0:
        raise refuse(node, f"repeats {list(repeats)} do not fit {x}", BAD_MODEL)
    sizes = tuple(None if size is None else size * count for size, count in zip(x.shape, repeats))
    return [TensorType(x.dtype, sizes)]


def _evaluate_tile(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    return [np.tile(given(inputs, 0), ints_of(given(inputs, 1)))]


TILE = Op("Tile", _infer_tile, _evaluate_tile, work="movement", keeps_scale=True, keeps_range=True, grows=True)


# ---- Pad


def _pad_widths(node: Node, rank: int, pads: Sequence[int], axes: Sequence[int] | None) -> list[tuple[int, int]]:
    """(before, after) for every axis; negative widths crop."""
    where = range(rank) if axes is None else axes_in(node, axes, rank)
    if len(pads) != 2 * len(where):
        raise refuse(node, f"{len(pads)} pads for {len(where)} axes", "pads hold all befores, then all afters")
    widths = [(0, 0)] * rank
    for index, axis in enumerate(where):
        widths[axis] = (pads[index], pads[len(where) + index])
    return widths


def _pads_of(node: Node, inputs: Sequence[Array | None]) -> tuple[int, ...] | None:
    pads = known_ints(inputs, 1)
    return pads if pads is not None else node.attributes.get("pads")


def _infer_pad(node: Node, types: Types, known: Known) -> list[TensorType]:
    x = tensor(node, types, 0)
    if attribute(node, PAD, "mode") not in ("constant", "reflect", "edge", "wrap"):
        raise refuse(node, f"mode {node.attributes['mode']!r} is none of ONNX's", BAD_MODEL)
    fill = optional(types, 2)
    if fill is not None:
        same_dtype(node, x, fill)
    pads, axes = _pads_of(node, known), known_ints(known, 3)
    if x.shape is None:
        return [x]
    if pads is None or (axes is None and optional(types, 3) is not None):
        return [TensorType(x.dtype, (None,) * len(x.shape))]
    sizes: list[Dimension] = []
    for axis, (before, after) in enumerate(_pad_widths(node, len(x.shape), pads, axes)):
        size = x.shape[axis]
        if size is not None and size + before + after < 0:
            raise refuse(node, f"pads {before} and {after} crop more than axis {axis} of {x} has", BAD_MODEL)
        sizes.append(None if size is None else size + before + after)
    return [TensorType(x.dtype, tuple(sizes))]


def _evaluate_pad(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    x, pads, fill = given(inputs, 0), _pads_of(node, inputs), given_or_none(inputs, 2)
    axes = known_ints(inputs, 3)
    assert pads is not None, "pads are missing"
    widths = _pad_widths(node, x.ndim, pads, axes)
    crop = tuple(slice(max(-before, 0), x.shape[a] - max(-after, 0)) for a, (before, after) in enumerate(widths))
    grow = [(max(before, 0), max(after, 0)) for before, after in widths]
    mode = attribute(node, PAD, "mode")
    if mode == "constant":
        value = x.dtype.type(node.attributes.get("value", 0)) if fill is None else fill.reshape(-1)[0]
        return [np.pad(x[crop], grow, constant_values=value)]
    return [np.pad(x[crop], grow, mode=mode)]


PAD = Op("Pad", _infer_pad, _evaluate_pad, {"mode": "constant"}, work="movement", keeps_scale=True, grows=True)


OPS = (CONCAT, SPLIT, SLICE, EXPAND, TILE, PAD)
