"""GridSample, DeformConv, MaxUnpool: elements taken from, or put to, places that an input names. Shapes by onnx."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from intarsia.dtypes import Array
from intarsia.ir.graph import Node
from intarsia.ir.op import Op, attribute, required
from intarsia.ir.ops.rules import given, given_or_none, ints_of, wide

_ALPHA = -0.75
"""Of cubic convolution, as ONNX has it."""


def _evaluate_grid_sample(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    """x [N,C,*sizes] read at grid [N,*places,rank], coordinates in -1..1, the last axis first: [N,C,*places]."""
    x, grid = wide(given(inputs, 0)), given(inputs, 1)
    mode, padding = attribute(node, GRID_SAMPLE, "mode"), attribute(node, GRID_SAMPLE, "padding_mode")
    aligned = bool(attribute(node, GRID_SAMPLE, "align_corners"))
    sizes, channels_last = x.shape[2:], np.moveaxis(x, 1, -1)
    places, ends = [], []
    for axis, size in enumerate(sizes):
        at = grid[..., len(sizes) - 1 - axis].astype(x.dtype)
        at = (at + 1) / 2 * (size - 1) if aligned else ((at + 1) * size - 1) / 2
        at = at.astype(x.dtype)
        end = (0.0, size - 1.0) if aligned else (-0.5, size - 0.5)
        if mode == "nearest":
            at = np.rint(at)
        beyond = (at < end[0]) | (at > end[1])
        if padding == "border" and mode != "cubic":  # what cubic reads is brought inside tap by tap
            at = np.where(beyond, np.clip(at, 0, size - 1), at)
        elif padding == "reflection":
            at = np.where(beyond, _reflected(at, *end), at)
        places.append(np.nan_to_num(at, nan=-1e9, posinf=1e9, neginf=-1e9) if padding == "zeros" else at)
        ends.append(end)
    taps = [_taps(at, mode) for at in places]
    result = np.zeros((x.shape[0], x.shape[1], *grid.shape[1:-1]), x.dtype)
    images = np.arange(x.shape[0]).reshape(-1, *(1,) * (grid.ndim - 2))
    for chosen in itertools.product(*taps):
        inside, weight = np.ones(grid.shape[:-1], bool), np.ones(grid.shape[:-1], x.dtype)
        picked = []
        for (index, share), size, end in zip(chosen, sizes, ends):
            if padding == "zeros":
                inside &= (index >= 0) & (index < size)
            elif padding == "reflection":
                index = _reflected(index.astype(np.float64), *end).astype(np.int64)
            picked.append(np.clip(index, 0, size - 1))
            weight = weight * share
        read = np.moveaxis(channels_last[(images, *picked)], -1, 1)
        result += np.where(inside, weight, 0)[:, None] * np.where(inside[:, None], read, 0)
    return [result.astype(given(inputs, 0).dtype, copy=False)]


def _reflected(at: Array, low: float, high: float) -> Array:
    """Places brought inside by reflection at both ends, as often as it takes."""
    width = high - low
    if width <= 0:
        return np.full_like(at, low)
    under, over = at < low, at > high
    far = np.where(under, low - at, np.where(over, at - high, 0))
    turns = np.trunc(far / width)
    rest, back = far - turns * width, turns % 2 == 1
    inside = np.where(under ^ back, low + rest, high - rest)
    return np.where(under | over, inside, at)


def _taps(at: Array, mode: str) -> list[tuple[Array, Array]]:
    """Along one axis the indices that each place reads, and the weight of each."""
    if mode == "nearest":
        return [(at.astype(np.int64), np.ones_like(at))]
    first = np.floor(at)
    part, index = at - first, first.astype(np.int64)
    if mode == "linear":
        return [(index, 1 - part), (index + 1, part)]
    return [(index + step, _cubic(np.abs(part - step))) for step in (-1, 0, 1, 2)]


def _cubic(distance: Array) -> Array:
    near = ((_ALPHA + 2) * distance - (_ALPHA + 3)) * distance * distance + 1
    far = ((_ALPHA * distance - 5 * _ALPHA) * distance + 8 * _ALPHA) * distance - 4 * _ALPHA
    return np.where(distance <= 1, near, far).astype(distance.dtype)


GRID_SAMPLE = Op(
    "GridSample",
    None,
    _evaluate_grid_sample,
    {"align_corners": 0, "mode": "linear", "padding_mode": "zeros"},
)


def _evaluate_max_unpool(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    """Each element goes where its index says, flat in the image that the window implies; the rest is 0."""
    x, places, wanted = given(inputs, 0), given(inputs, 1), given_or_none(inputs, 2)
    kernel = attribute(node, MAX_UNPOOL, "kernel_shape")
    rank = len(kernel)
    strides, pads = node.attributes.get("strides", (1,) * rank), node.attributes.get("pads", (0,) * 2 * rank)
    sizes = [(x.shape[2 + a] - 1) * strides[a] - pads[a] - pads[rank + a] + kernel[a] for a in range(rank)]
    implied = (*x.shape[:2], *sizes)
    image = np.zeros(int(np.prod(implied)), x.dtype)
    image[places.reshape(-1)] = x.reshape(-1)
    image = image.reshape(implied)
    if wanted is None:
        return [image]
    result = np.zeros(ints_of(wanted), x.dtype)
    result[tuple(slice(0, size) for size in implied)] = image
    return [result]


MAX_UNPOOL = Op("MaxUnpool", None, _evaluate_max_unpool, {"kernel_shape": required})


def _evaluate_deform_conv(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    """A convolution whose taps are moved by offsets [N, groups * taps * 2, *places], y first, and weighed by a mask.

    What lies outside of the image is 0; between pixels it is interpolated linearly.
    """
    x, w, offset = wide(given(inputs, 0)), wide(given(inputs, 1)), wide(given(inputs, 2))
    bias, mask = given_or_none(inputs, 3), given_or_none(inputs, 4)
    attributes, sizes, kernel, places = node.attributes, x.shape[2:], w.shape[2:], offset.shape[2:]
    rank, taps = len(kernel), math.prod(kernel)
    strides, dilations = attributes.get("strides", (1,) * rank), attributes.get("dilations", (1,) * rank)
    pads = attributes.get("pads", (0,) * 2 * rank)
    groups, group = int(attributes.get("offset_group", 1)), int(attributes.get("group", 1))
    moved = offset.reshape(x.shape[0], groups, taps, rank, *places)
    shares = np.ones((x.shape[0], groups, taps, *places), x.dtype)
    if mask is not None:
        shares = shares * mask.reshape(shares.shape)
    parts = x.reshape(x.shape[0], groups, -1, *sizes)
    channels_last = np.moveaxis(parts, 2, -1)
    images = np.arange(x.shape[0]).reshape(-1, 1, *(1,) * rank)
    which = np.arange(groups).reshape(1, -1, *(1,) * rank)
    columns = np.zeros((x.shape[0], x.shape[1], taps, *places), x.dtype)
    for index, tap in enumerate(itertools.product(*map(range, kernel))):
        axes = []
        for axis in range(rank):
            start = np.arange(places[axis]) * strides[axis] - pads[axis] + tap[axis] * dilations[axis]
            start = start.reshape([-1 if other == axis else 1 for other in range(rank)])
            axes.append(_taps(start.astype(x.dtype) + moved[:, :, index, axis], "linear"))
        for chosen in itertools.product(*axes):
            weight, picked = shares[:, :, index], []
            for (at, share), size in zip(chosen, sizes):
                weight = np.where((at >= 0) & (at < size), weight * share, 0)
                picked.append(np.clip(at, 0, size - 1))
            read = np.moveaxis(channels_last[(images, which, *picked)], -1, 2)
            columns[:, :, index] += (weight[:, :, None] * read).reshape(columns[:, :, index].shape)
    columns = columns.reshape(x.shape[0], group, -1, math.prod(places))
    result = w.reshape(group, w.shape[0] // group, -1) @ columns
    result = result.reshape(x.shape[0], w.shape[0], *places)
    if bias is not None:
        result = result + bias.reshape(-1, *(1,) * rank)
    return [result.astype(given(inputs, 0).dtype, copy=False)]


DEFORM_CONV = Op("DeformConv", None, _evaluate_deform_conv, {"group": 1, "offset_group": 1})

OPS = (GRID_SAMPLE, MAX_UNPOOL, DEFORM_CONV)
