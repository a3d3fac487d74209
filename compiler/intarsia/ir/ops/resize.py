"""Resize, axis by axis: every output position reads a few input positions with weights that sum to one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from intarsia.dtypes import NATIVE, Array
from intarsia.ir.graph import Node
from intarsia.ir.op import Known, Op, attribute, refuse
from intarsia.ir.ops.rules import (
    BAD_MODEL,
    Types,
    axes_in,
    fallback,
    given,
    known_ints,
    known_length,
    of_rank,
    optional,
    tensor,
)
from intarsia.ir.types import Dimension, TensorType

_TRANSFORMS = (
    "half_pixel",
    "half_pixel_symmetric",
    "pytorch_half_pixel",
    "align_corners",
    "asymmetric",
    "tf_half_pixel_for_nn",
    "tf_crop_and_resize",
)
_ROUNDINGS = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")


def _scales(inputs: Sequence[Array | None]) -> tuple[float, ...] | None:
    """The input `scales`, where it is given and known; an empty one stands for none."""
    data = inputs[2] if len(inputs) > 2 else None
    return None if data is None or data.size == 0 else tuple(float(item) for item in data.reshape(-1))


def _sizes(inputs: Sequence[Array | None]) -> tuple[int, ...] | None:
    sizes = known_ints(inputs, 3)
    return sizes if sizes else None


def resize_plan(
    node: Node, shape: Sequence[int], inputs: Sequence[Array | None]
) -> dict[int, tuple[int, float]] | None:
    """(output size, scale) by axis; None where neither scales nor sizes are known."""
    scales, sizes = _scales(inputs), _sizes(inputs)
    given_axes = node.attributes.get("axes")
    axes = axes_in(node, given_axes, len(shape)) if given_axes is not None else tuple(range(len(shape)))
    wish: Sequence[float] | None = scales if scales is not None else sizes
    if wish is None:
        return None
    if len(wish) != len(axes):
        raise refuse(node, f"{len(wish)} scales or sizes for {len(axes)} axes", BAD_MODEL)
    if min(wish) < 0 or (scales is not None and min(scales) == 0):
        raise refuse(node, f"the scales or sizes {list(wish)} are not all positive", BAD_MODEL)
    if scales is not None:
        return {axis: (int(np.floor(shape[axis] * scale)), scale) for axis, scale in zip(axes, scales)}
    assert sizes is not None
    ratios = [size / shape[axis] if shape[axis] else 1.0 for axis, size in zip(axes, sizes)]
    policy = attribute(node, RESIZE, "keep_aspect_ratio_policy")
    if policy == "stretch":
        return {axis: (size, ratio) for axis, size, ratio in zip(axes, sizes, ratios)}
    ratio = min(ratios) if policy == "not_larger" else max(ratios)
    return {axis: (int(np.floor(shape[axis] * ratio + 0.5)), ratio) for axis in axes}


def _infer_resize(node: Node, types: Types, known: Known) -> list[TensorType]:
    x = tensor(node, types, 0)
    of_rank(node, x, 1)
    for name, choices in (
        ("mode", ("nearest", "linear", "cubic")),
        ("coordinate_transformation_mode", _TRANSFORMS),
        ("nearest_mode", _ROUNDINGS),
        ("keep_aspect_ratio_policy", ("stretch", "not_larger", "not_smaller")),
    ):
        if attribute(node, RESIZE, name) not in choices:
            raise refuse(node, f"{name} {node.attributes[name]!r} is none of {', '.join(choices)}", BAD_MODEL)
    if known_length(types, 2) in (0, None) and optional(types, 3) is None and optional(types, 2) is None:
        raise refuse(node, "neither scales nor sizes are given", BAD_MODEL)
    if x.shape is None:
        return [x]
    sizes = [1 if size is None else size for size in x.shape]
    plan = resize_plan(node, sizes, known)
    if plan is None:
        return [TensorType(x.dtype, (None,) * len(x.shape))]
    result: list[Dimension] = list(x.shape)
    stretched = _scales(known) is None and attribute(node, RESIZE, "keep_aspect_ratio_policy") == "stretch"
    for axis, (size, _) in plan.items():
        result[axis] = size if stretched or x.shape[axis] is not None else None
    return [TensorType(x.dtype, tuple(result))]


def coordinates(mode: str, size: int, out: int, scale: float) -> Array:
    """Where each output position lies in the input, float64 [out]."""
    position = np.arange(out, dtype=np.float64)
    if mode == "align_corners":
        # ONNX counts with scale * size here, which need not be whole.
        return position * ((size - 1) / (scale * size - 1)) if out > 1 else np.zeros(out)
    if mode == "asymmetric":
        return position / scale
    if mode == "tf_half_pixel_for_nn":
        return (position + 0.5) / scale
    if mode == "pytorch_half_pixel" and out <= 1:
        return np.zeros(out)
    shift = 0.0
    if mode == "half_pixel_symmetric":
        shift = size / 2 * (1 - out / (scale * size))
    return np.asarray(shift + (position + 0.5) / scale - 0.5)


def rounded(mode: str, position: Array) -> Array:
    """The input position that `nearest_mode` takes, int64 [out]; the caller clips it to the axis."""
    if mode == "round_prefer_floor":
        position = np.ceil(position - 0.5)
    elif mode == "round_prefer_ceil":
        position = np.floor(position + 0.5)
    else:
        position = np.floor(position) if mode == "floor" else np.ceil(position)
    return position.astype(np.int64)


def taps(node: Node, size: int, position: Array) -> tuple[Array, Array]:
    """Input positions and weights of each output position: int64 and float64 [out, taps]."""
    mode, first = attribute(node, RESIZE, "mode"), np.floor(position)
    ratio = (position - first)[:, np.newaxis]
    if mode == "linear":
        weights, offsets = np.concatenate([1 - ratio, ratio], axis=1), np.arange(2)
    else:
        weights, offsets = _cubic(ratio, attribute(node, RESIZE, "cubic_coeff_a")), np.arange(-1, 3)
    indices = first.astype(np.int64)[:, np.newaxis] + offsets
    if attribute(node, RESIZE, "exclude_outside"):
        weights = np.where((indices >= 0) & (indices < size), weights, 0)
        weights = weights / weights.sum(axis=1, keepdims=True)
    return np.clip(indices, 0, size - 1), weights


def _cubic(ratio: Array, a: float) -> Array:
    """Keys' weights of the four neighbours at distances 1 + r, r, 1 - r and 2 - r: [out, 4]."""
    near, far = np.concatenate([ratio, 1 - ratio], axis=1), np.concatenate([1 + ratio, 2 - ratio], axis=1)
    inner = ((a + 2) * near - (a + 3)) * near * near + 1
    outer = ((a * far - 5 * a) * far + 8 * a) * far - 4 * a
    return np.stack([outer[:, 0], inner[:, 0], inner[:, 1], outer[:, 1]], axis=1)


def is_rare(node: Node) -> bool:
    """Whether a node asks for a form that onnx.reference alone gives."""
    crops = attribute(node, RESIZE, "coordinate_transformation_mode") == "tf_crop_and_resize"
    return crops or bool(attribute(node, RESIZE, "antialias")) or node.opset < 11


def moved_positions(node: Node, shape: Sequence[int], inputs: Sequence[Array | None]) -> dict[int, Array]:
    """Where the output positions of each axis that changes lie in the input, by axis.

    shape   of the input
    inputs  the elements of the node's inputs; its scales or sizes are known
    """
    plan = resize_plan(node, shape, inputs)
    assert plan is not None, "neither scales nor sizes are given"
    transform = attribute(node, RESIZE, "coordinate_transformation_mode")
    return {
        axis: coordinates(transform, shape[axis], out, scale)
        for axis, (out, scale) in plan.items()
        if out != shape[axis] or scale != 1
    }


def _evaluate_resize(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    x, mode = given(inputs, 0), attribute(node, RESIZE, "mode")
    if is_rare(node) or x.dtype.name not in NATIVE:
        return fallback(node, inputs)
    result = x if mode == "nearest" or x.dtype == np.float64 else x.astype(np.float32)
    for axis, position in moved_positions(node, x.shape, inputs).items():
        size = x.shape[axis]
        if mode == "nearest":
            picked = np.clip(rounded(attribute(node, RESIZE, "nearest_mode"), position), 0, size - 1)
            result = np.take(result, picked, axis=axis)
            continue
        indices, weights = taps(node, size, position)
        along = [1] * x.ndim
        along[axis] = len(position)
        parts = [
            np.take(result, indices[:, tap], axis=axis) * weights[:, tap].reshape(along).astype(result.dtype)
            for tap in range(indices.shape[1])
        ]
        result = np.add.reduce(parts)
    return [np.asarray(result).astype(x.dtype, copy=False)]


RESIZE = Op(
    "Resize",
    _infer_resize,
    _evaluate_resize,
    {
        "mode": "nearest",
        "coordinate_transformation_mode": "half_pixel",
        "nearest_mode": "round_prefer_floor",
        "keep_aspect_ratio_policy": "stretch",
        "cubic_coeff_a": -0.75,
        "exclude_outside": 0,
        "extrapolation_value": 0.0,
        "antialias": 0,
        "axes": None,
    },
    rare=lambda node: is_rare(node) or node.input(0).dtype not in NATIVE,
    work="movement",
    grows=True,
    keeps_scale=True,  # by the nearest element, the one way that integers are resized in
)


OPS = (RESIZE,)
