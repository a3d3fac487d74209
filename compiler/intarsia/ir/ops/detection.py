"""What detectors end with: NonMaxSuppression, and RoiAlign and MaxRoiPool over regions of an image. Shapes by onnx."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from intarsia.dtypes import Array
from intarsia.errors import RunError
from intarsia.ir.graph import Node
from intarsia.ir.op import Op, attribute, required
from intarsia.ir.ops.rules import given, given_or_none

_BLOCK = 512
"""Boxes that suppression looks at together."""

# ---- NonMaxSuppression


def _number(node: Node, inputs: Sequence[Array | None], index: int, title: str) -> Any:
    """A limit: a scalar, or as some exporters write it one element of any rank; None where it is left out."""
    value = given_or_none(inputs, index)
    if value is None or value.size == 0:
        return None
    if value.size > 1:
        raise RunError(where=node.where, what=f"its {title} has {value.size} elements, not one", help="give one number")
    return value.reshape(-1)[0]


def _evaluate_non_max_suppression(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    """Boxes [N,B,4] and scores [N,C,B] become int64 [K,3] of batch, class and box; the best box of a class first.

    Of equal scores the lower index comes first. A box goes when it overlaps one that was picked by more than the
    limit. Without a limit of scores all boxes are looked at; without a number of boxes, or with 0, none is picked.
    """
    boxes, scores = given(inputs, 0), given(inputs, 1)
    most = _number(node, inputs, 2, "number of boxes")
    overlap = _number(node, inputs, 3, "limit of overlaps")
    least = _number(node, inputs, 4, "limit of scores")
    picked: list[tuple[int, int, int]] = []
    for batch in range(scores.shape[0]):
        ends = _ends(boxes[batch], bool(attribute(node, NON_MAX_SUPPRESSION, "center_point_box")))
        for kind in range(scores.shape[1]):
            row = scores[batch, kind]
            waiting = np.argsort(-row, kind="stable")
            if least is not None:
                waiting = waiting[row[waiting] > least]
            chosen = _suppressed(ends, waiting, 0 if most is None else int(most), 0 if overlap is None else overlap)
            picked += [(batch, kind, box) for box in chosen]
    return [np.array(picked, np.int64).reshape(-1, 3)]


def _suppressed(ends: Array, order: Array, most: int, overlap: Any) -> list[int]:
    """Boxes in this order, at most so many, without those that overlap one before by more than the limit."""
    chosen: list[int] = []
    for begin in range(0, len(order), _BLOCK):  # mostly the first of the order fill the list
        waiting = order[begin : begin + _BLOCK]
        for best in chosen:
            waiting = waiting[~(_overlaps(ends[best], ends[waiting]) > overlap)]
        while len(waiting) and len(chosen) < most:
            chosen.append(int(waiting[0]))
            waiting = waiting[1:]
            waiting = waiting[~(_overlaps(ends[chosen[-1]], ends[waiting]) > overlap)]
        if len(chosen) >= most:
            break
    return chosen


def _ends(boxes: Array, centred: bool) -> Array:
    """Boxes [B,4] as lower x, lower y, upper x, upper y."""
    if centred:
        x, y, width, height = boxes.T
        return np.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], axis=1)
    y, x, other_y, other_x = boxes.T
    lower, upper = (np.minimum, np.maximum)
    return np.stack([lower(x, other_x), lower(y, other_y), upper(x, other_x), upper(y, other_y)], axis=1)


def _overlaps(box: Array, others: Array) -> Array:
    """Intersection over union of a box [4] with others [K,4]; below 0 where they do not meet, or one has no area."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    meeting = (sides > 0).all(axis=1)
    shared = sides[:, 0] * sides[:, 1]
    area = (box[2] - box[0]) * (box[3] - box[1])
    areas = (others[:, 2] - others[:, 0]) * (others[:, 3] - others[:, 1])
    union = area + areas - shared
    meeting &= (shared > 0) & (area > 0) & (areas > 0) & (union > 0)
    return np.where(meeting, shared / np.where(meeting, union, 1), -1)


NON_MAX_SUPPRESSION = Op("NonMaxSuppression", None, _evaluate_non_max_suppression, {"center_point_box": 0})


# ---- RoiAlign


def _evaluate_roi_align(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    """Images [N,C,H,W], regions [R,4] of x and y ends, and the image of each become [R,C,height,width]."""
    x, regions, images = given(inputs, 0), given(inputs, 1), given(inputs, 2)
    height, width = attribute(node, ROI_ALIGN, "output_height"), attribute(node, ROI_ALIGN, "output_width")
    halved = attribute(node, ROI_ALIGN, "coordinate_transformation_mode") == "half_pixel"
    scale, samples = attribute(node, ROI_ALIGN, "spatial_scale"), attribute(node, ROI_ALIGN, "sampling_ratio")
    result = np.zeros((len(regions), x.shape[1], height, width), x.dtype)
    for index, (region, image) in enumerate(zip(regions.astype(x.dtype), images)):
        ends = region * x.dtype.type(scale) - x.dtype.type(0.5 if halved else 0)
        sides = ends[2:] - ends[:2]
        if not halved:
            sides = np.maximum(sides, x.dtype.type(1))  # regions without area become one pixel
        rows, row_weights = _samples(ends[1], sides[1], height, x.shape[2], samples)
        columns, column_weights = _samples(ends[0], sides[0], width, x.shape[3], samples)
        if not rows.size or not columns.size:
            continue
        # [C, height, rows of a bin, 2, width, columns of a bin, 2]: four weighted pixels for each sample
        near = x[int(image)][:, rows[..., None, None, None], columns]
        near = near * row_weights[..., None, None, None] * column_weights
        near = near.transpose(0, 1, 4, 2, 5, 3, 6)
        if attribute(node, ROI_ALIGN, "mode") == "max":
            result[index] = near.max(axis=(3, 4, 5, 6))
        else:
            result[index] = near.sum(axis=(5, 6)).mean(axis=(3, 4), dtype=x.dtype)
    return [result]


def _samples(start: Any, side: Any, bins: int, size: int, samples: int) -> tuple[Array, Array]:
    """Along one axis the two pixels beside each sample, and their weights: [bins, samples of a bin, 2] each."""
    step = side / side.dtype.type(bins)
    count = samples if samples > 0 else int(np.ceil(step))
    inside = (np.arange(count, dtype=side.dtype) + side.dtype.type(0.5)) * step / side.dtype.type(max(count, 1))
    place = start + np.arange(bins, dtype=side.dtype)[:, None] * step + inside
    outside = (place < -1) | (place > size)
    place = np.maximum(place, 0)
    low = np.minimum(place.astype(np.int64), size - 1)
    high = np.minimum(low + 1, size - 1)
    part = np.where(low >= size - 1, 0, place - low).astype(side.dtype)
    weights = np.stack([1 - part, part], axis=-1)
    weights[outside] = 0
    low[outside] = high[outside] = 0
    return np.stack([low, high], axis=-1), weights.astype(side.dtype)


ROI_ALIGN = Op(
    "RoiAlign",
    None,
    _evaluate_roi_align,
    {
        "coordinate_transformation_mode": "half_pixel",
        "mode": "avg",
        "output_height": 1,
        "output_width": 1,
        "sampling_ratio": 0,
        "spatial_scale": 1.0,
    },
)


# ---- MaxRoiPool


def _evaluate_max_roi_pool(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    """Images [N,C,H,W] and regions [R,5] of image, x and y ends, both counted, become [R,C,height,width]."""
    x, regions = given(inputs, 0), given(inputs, 1)
    shape, scale = attribute(node, MAX_ROI_POOL, "pooled_shape"), attribute(node, MAX_ROI_POOL, "spatial_scale")
    result = np.zeros((len(regions), x.shape[1], *shape), x.dtype)
    for index, region in enumerate(regions):
        ends = region[1:] * x.dtype.type(scale)
        ends = np.trunc(ends + np.copysign(0.5, ends)).astype(np.int64)  # halves away from zero
        rows = _bins(ends[1], ends[3], shape[0], x.shape[2])
        columns = _bins(ends[0], ends[2], shape[1], x.shape[3])
        for row, (top, bottom) in enumerate(rows):
            for column, (left, right) in enumerate(columns):
                if top < bottom and left < right:
                    window = x[int(region[0]), :, top:bottom, left:right]
                    result[index, :, row, column] = window.max(axis=(1, 2))
    return [result]


def _bins(first: Any, last: Any, count: int, size: int) -> list[tuple[int, int]]:
    step = max(last - first + 1, 1) / count
    return [
        (int(np.clip(np.floor(k * step) + first, 0, size)), int(np.clip(np.ceil((k + 1) * step) + first, 0, size)))
        for k in range(count)
    ]


MAX_ROI_POOL = Op("MaxRoiPool", None, _evaluate_max_roi_pool, {"pooled_shape": required, "spatial_scale": 1.0})

OPS = (NON_MAX_SUPPRESSION, ROI_ALIGN, MAX_ROI_POOL)
