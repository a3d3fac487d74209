"""Ops that give the same elements another shape or order, and ops that read shapes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from intarsia.dtypes import Array
from intarsia.ir.graph import Node
from intarsia.ir.op import Known, Op, attribute, refuse
from intarsia.ir.ops.rules import (
    BAD_MODEL,
    WHOLE,
    Types,
    axes_in,
    axis_in,
    given,
    given_or_none,
    ints_of,
    known_ints,
    known_length,
    optional,
    product,
    tensor,
)
from intarsia.ir.types import Dimension, TensorType


def _infer_identity(node: Node, types: Types, known: Known) -> list[TensorType]:
    return [tensor(node, types, 0)]


def _evaluate_identity(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    return [given(inputs, 0)]


IDENTITY = Op("Identity", _infer_identity, _evaluate_identity, work="movement", keeps_scale=True, keeps_range=True)


# ---- Reshape, Flatten


def reshaped(node: Node, x: TensorType, wish: Sequence[int], allow_zero: bool) -> tuple[Dimension, ...]:
    """The shape that a Reshape gives: 0 copies a size (unless allow_zero), -1 takes what is left."""
    if any(size < -1 for size in wish) or list(wish).count(-1) > 1:
        raise refuse(node, f"the shape {list(wish)} is none: one -1 at most, nothing below", BAD_MODEL)
    if allow_zero and 0 in wish and -1 in wish:
        raise refuse(node, f"the shape {list(wish)} leaves -1 open beside 0 with allowzero", BAD_MODEL)
    kept = [] if allow_zero else [index for index, size in enumerate(wish) if size == 0]
    if x.shape is None:
        return tuple(None if size == -1 or index in kept else size for index, size in enumerate(wish))
    if kept and kept[-1] >= len(x.shape):
        raise refuse(node, f"the shape {list(wish)} copies size {kept[-1]}, which {x} does not have", BAD_MODEL)
    sizes = [x.shape[index] if index in kept else size for index, size in enumerate(wish)]
    # Sizes that are copied, known or not, stand on both sides: what is left must fill what is asked for.
    left = product(size for index, size in enumerate(x.shape) if index not in kept)
    asked = math.prod(size for index, size in enumerate(wish) if index not in kept and size != -1)
    if -1 in wish:
        if left is not None and (left % asked if asked else left):
            raise _cannot(node, x, wish)
        rest = None if left is None else left // asked if asked else 0
        return tuple(rest if size == -1 else size for size in sizes)
    empty = any(x.shape[index] == 0 for index in kept)
    if left is not None and left != asked and not empty:
        raise _cannot(node, x, wish)
    return tuple(sizes)


def _cannot(node: Node, x: TensorType, wish: Sequence[int]) -> Exception:
    elements = "its elements" if not x.is_static else f"{x.elements} elements"
    return refuse(
        node,
        f"{x} cannot become {list(wish)}: {elements} do not fill it",
        "a shape fixed at export may hold another batch or image size; export with the sizes you compile for",
    )


def _infer_reshape(node: Node, types: Types, known: Known) -> list[TensorType]:
    x = tensor(node, types, 0)
    tensor(node, types, 1, WHOLE)
    wish = known_ints(known, 1)
    if wish is None:
        length = known_length(types, 1)
        return [TensorType(x.dtype, None if length is None else (None,) * length)]
    return [TensorType(x.dtype, reshaped(node, x, wish, bool(attribute(node, RESHAPE, "allowzero"))))]


def _evaluate_reshape(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    x, wish = given(inputs, 0), ints_of(given(inputs, 1))
    type = TensorType(x.dtype.name, x.shape)
    sizes = reshaped(node, type, wish, bool(attribute(node, RESHAPE, "allowzero")))
    return [x.reshape([size for size in sizes if size is not None])]


RESHAPE = Op(
    "Reshape", _infer_reshape, _evaluate_reshape, {"allowzero": 0}, work="movement", keeps_scale=True, keeps_range=True
)


def _split_axis(node: Node, rank: int) -> int:
    axis = attribute(node, FLATTEN, "axis")
    return rank if axis == rank else axis_in(node, axis, max(rank, 1))


def _infer_flatten(node: Node, types: Types, known: Known) -> list[TensorType]:
    x = tensor(node, types, 0)
    if x.shape is None:
        return [TensorType(x.dtype, (None, None))]
    axis = _split_axis(node, len(x.shape))
    return [TensorType(x.dtype, (product(x.shape[:axis]), product(x.shape[axis:])))]


def _evaluate_flatten(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    x = given(inputs, 0)
    axis = _split_axis(node, x.ndim)
    return [x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))]


FLATTEN = Op(
    "Flatten", _infer_flatten, _evaluate_flatten, {"axis": 1}, work="movement", keeps_scale=True, keeps_range=True
)


# ---- Transpose


def _infer_transpose(node: Node, types: Types, known: Known) -> list[TensorType]:
    x = tensor(node, types, 0)
    order = node.attributes.get("perm")
    if x.shape is None:
        return [TensorType(x.dtype, None if order is None else (None,) * len(order))]
    if order is None:
        return [TensorType(x.dtype, x.shape[::-1])]
    if sorted(order) != list(range(len(x.shape))):
        raise refuse(node, f"perm {list(order)} is no order of the {len(x.shape)} dimensions of {x}", BAD_MODEL)
    return [TensorType(x.dtype, tuple(x.shape[axis] for axis in order))]


def _evaluate_transpose(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    return [np.ascontiguousarray(np.transpose(given(inputs, 0), node.attributes.get("perm")))]


TRANSPOSE = Op("Transpose", _infer_transpose, _evaluate_transpose, work="movement", keeps_scale=True, keeps_range=True)


# ---- Squeeze, Unsqueeze


def _given_axes(node: Node, inputs: Sequence[Array | None]) -> tuple[int, ...] | None:
    """Axes from the second input or, in the older form, from the attribute."""
    data = given_or_none(inputs, 1)
    return ints_of(data) if data is not None else node.attributes.get("axes")


def _infer_squeeze(node: Node, types: Types, known: Known) -> list[TensorType]:
    x = tensor(node, types, 0)
    axes = _given_axes(node, known)
    hidden = axes is None and optional(types, 1) is not None
    if x.shape is None or hidden or (axes is None and None in x.shape):
        return [TensorType(x.dtype, None)]
    rank = len(x.shape)
    gone = axes_in(node, axes, rank) if axes is not None else [a for a in range(rank) if x.shape[a] == 1]
    for axis in gone:
        if x.shape[axis] not in (1, None):
            raise refuse(node, f"axis {axis} of {x} has size {x.shape[axis]}, not 1", BAD_MODEL)
    return [TensorType(x.dtype, tuple(size for axis, size in enumerate(x.shape) if axis not in gone))]


def _evaluate_squeeze(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    x, axes = given(inputs, 0), _given_axes(node, inputs)
    return [np.squeeze(x, axis=None if axes is None else axes_in(node, axes, x.ndim))]


SQUEEZE = Op("Squeeze", _infer_squeeze, _evaluate_squeeze, work="movement", keeps_scale=True, keeps_range=True)


def _infer_unsqueeze(node: Node, types: Types, known: Known) -> list[TensorType]:
    x = tensor(node, types, 0)
    axes = _given_axes(node, known)
    if axes is None and optional(types, 1) is None:
        raise refuse(node, "it names no axes", BAD_MODEL)
    if x.shape is None or axes is None:
        length = known_length(types, 1)
        unknown = x.shape is None or length is None
        return [TensorType(x.dtype, None if unknown else (None,) * (x.rank + (length or 0)))]
    rank = len(x.shape) + len(axes)
    new, rest = axes_in(node, axes, rank), iter(x.shape)
    return [TensorType(x.dtype, tuple(1 if axis in new else next(rest) for axis in range(rank)))]


def _evaluate_unsqueeze(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    x, axes = given(inputs, 0), _given_axes(node, inputs)
    assert axes is not None, "axes are missing"
    return [np.expand_dims(x, axes_in(node, axes, x.ndim + len(axes)))]


UNSQUEEZE = Op("Unsqueeze", _infer_unsqueeze, _evaluate_unsqueeze, work="movement", keeps_scale=True, keeps_range=True)


# ---- blocks of pixels


def _infer_depth_to_space(node: Node, types: Types, known: Known) -> list[TensorType]:
    x, block = _blocks(node, types, DEPTH_TO_SPACE)
    if x.shape is None:
        return [TensorType(x.dtype, (None,) * 4)]
    batch, channels, height, width = x.shape
    if channels is not None and channels % block**2:
        raise refuse(node, f"{channels} channels do not divide into blocks of {block}x{block}", BAD_MODEL)
    return [TensorType(x.dtype, (batch, _over(channels, block**2), _times(height, block), _times(width, block)))]


def _times(size: Dimension, factor: int) -> Dimension:
    return None if size is None else size * factor


def _over(size: Dimension, divisor: int) -> Dimension:
    return None if size is None else size // divisor


def _blocks(node: Node, types: Types, op: Op) -> tuple[TensorType, int]:
    x, block = tensor(node, types, 0), node.attributes.get("blocksize", 0)
    if x.shape is not None and len(x.shape) != 4:
        raise refuse(node, f"input {x} is not [N,C,H,W]", BAD_MODEL)
    if block < 1:
        raise refuse(node, f"blocksize is {block}", BAD_MODEL)
    if attribute(node, op, "mode") not in ("DCR", "CRD"):
        raise refuse(node, f"mode {node.attributes['mode']!r} is not DCR or CRD", BAD_MODEL)
    return x, int(block)


def _evaluate_depth_to_space(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    x, block = given(inputs, 0), int(node.attributes["blocksize"])
    batch, channels, height, width = x.shape
    deep = channels // block**2
    if attribute(node, DEPTH_TO_SPACE, "mode") == "DCR":
        split = x.reshape(batch, block, block, deep, height, width).transpose(0, 3, 4, 1, 5, 2)
    else:
        split = x.reshape(batch, deep, block, block, height, width).transpose(0, 1, 4, 2, 5, 3)
    return [split.reshape(batch, deep, height * block, width * block)]


DEPTH_TO_SPACE = Op(
    "DepthToSpace",
    _infer_depth_to_space,
    _evaluate_depth_to_space,
    {"blocksize": 0, "mode": "DCR"},
    work="movement",
    keeps_scale=True,
    keeps_range=True,
)


def _infer_space_to_depth(node: Node, types: Types, known: Known) -> list[TensorType]:
    x, block = _blocks(node, types, SPACE_TO_DEPTH)
    if x.shape is None:
        return [TensorType(x.dtype, (None,) * 4)]
    batch, channels, height, width = x.shape
    for size in (height, width):
        if size is not None and size % block:
            raise refuse(node, f"{size} pixels of {x} do not divide into blocks of {block}", BAD_MODEL)
    return [TensorType(x.dtype, (batch, _times(channels, block**2), _over(height, block), _over(width, block)))]


def _evaluate_space_to_depth(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    x, block = given(inputs, 0), int(node.attributes["blocksize"])
    batch, channels, height, width = x.shape
    split = x.reshape(batch, channels, height // block, block, width // block, block)
    depth_first = attribute(node, SPACE_TO_DEPTH, "mode") == "DCR"
    split = split.transpose((0, 3, 5, 1, 2, 4) if depth_first else (0, 1, 3, 5, 2, 4))
    return [split.reshape(batch, channels * block**2, height // block, width // block)]


SPACE_TO_DEPTH = Op(
    "SpaceToDepth",
    _infer_space_to_depth,
    _evaluate_space_to_depth,
    {"blocksize": 0, "mode": "DCR"},
    work="movement",
    keeps_scale=True,
    keeps_range=True,
)


# ---- shapes as data


def _bounds(node: Node, rank: int) -> tuple[int, int]:
    """The cut of a shape that Shape reads, as slices count."""
    start, stop, _ = slice(attribute(node, SHAPE, "start"), attribute(node, SHAPE, "end")).indices(rank)
    return start, max(start, stop)


def _infer_shape(node: Node, types: Types, known: Known) -> list[TensorType]:
    x = tensor(node, types, 0)
    if x.shape is None:
        return [TensorType("int64", (None,))]
    start, stop = _bounds(node, len(x.shape))
    return [TensorType("int64", (stop - start,))]


def _evaluate_shape(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    x = given(inputs, 0)
    start, stop = _bounds(node, x.ndim)
    return [np.array(x.shape[start:stop], np.int64)]


SHAPE = Op("Shape", _infer_shape, _evaluate_shape, {"start": 0, "end": None})


def _infer_size(node: Node, types: Types, known: Known) -> list[TensorType]:
    tensor(node, types, 0)
    return [TensorType("int64", ())]


def _evaluate_size(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    return [np.array(given(inputs, 0).size, np.int64)]


SIZE = Op("Size", _infer_size, _evaluate_size)


OPS = (
    IDENTITY,
    RESHAPE,
    FLATTEN,
    TRANSPOSE,
    SQUEEZE,
    UNSQUEEZE,
    DEPTH_TO_SPACE,
    SPACE_TO_DEPTH,
    SHAPE,
    SIZE,
)
