"""Pictures of bytes, channels last: resizing them, and the numbers that a model takes in their place."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from intarsia.dtypes import Array
from intarsia.ir.graph import Node
from intarsia.ir.op import Known, Op, attribute, refuse, required
from intarsia.ir.ops.rules import Types, given, tensor
from intarsia.ir.types import TensorType
from intarsia.resampling import Resampling, resample

_BUG = "this is a fault of what prepends the reading of pictures: please report it with the model"


def _pictures(node: Node, types: Types) -> TensorType:
    x = tensor(node, types, 0)
    if x.dtype != "uint8" or x.shape is None or len(x.shape) != 4:
        raise refuse(node, f"input 0 is {x}, not uint8 [N, H, W, C]", _BUG)
    return x


# ---- resample


def resampling_of(node: Node, source: Sequence[int]) -> Resampling:
    """How a `resample` node resizes pictures of `source` rows and columns."""
    height, width = source
    size = attribute(node, RESAMPLE, "size")
    box = attribute(node, RESAMPLE, "box") or (0.0, 0.0, float(width), float(height))
    window = attribute(node, RESAMPLE, "window") or (0, 0, *size)
    return Resampling((height, width), tuple(box), tuple(size), tuple(window), attribute(node, RESAMPLE, "filter"))


def _infer_resample(node: Node, types: Types, known: Known) -> list[TensorType]:
    x = _pictures(node, types)
    batch, height, width, channels = x.shape or ()
    if height is None or width is None:
        raise refuse(node, f"input 0 is {x}, whose height and width must be known", _BUG)
    how = resampling_of(node, (height, width))
    trouble = how.trouble()
    if trouble is not None:
        raise refuse(node, trouble, _BUG)
    return [TensorType("uint8", (batch, *how.window[2:], channels))]


def _evaluate_resample(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    x = given(inputs, 0)
    return [resample(x, resampling_of(node, x.shape[1:3]))]


RESAMPLE = Op(
    "resample",
    _infer_resample,
    _evaluate_resample,
    {"size": required, "filter": "bilinear", "box": None, "window": None},
)
"""Input x uint8 [N,H,W,C]: pictures of another size, byte by byte as `intarsia.resampling` says.

size (height, width) that the box (left, top, right, bottom) is resized to, by default all of it; window (top, left,
height, width) the part of the result that is kept, by default all of it.
"""


# ---- pixels, pixel_lookup


def _infer_pixels(node: Node, types: Types, known: Known) -> list[TensorType]:
    x = _pictures(node, types)
    for index in (1, 2):
        table = tensor(node, types, index)
        if table.dtype != "float32" or table.shape != (x.shape or ())[3:]:
            raise refuse(node, f"input {index} is {table}, not float32 with a number for each channel", _BUG)
    return [TensorType("float32", x.shape)]


def _evaluate_pixels(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    x, mean, scale = (given(inputs, index) for index in range(3))
    return [(x.astype(np.float32) - mean) * scale]


PIXELS = Op("pixels", _infer_pixels, _evaluate_pixels, work="conversion")
"""Inputs x uint8 [N,H,W,C], mean and scale float32 [C]: (x - mean) * scale, in float32."""


def _infer_pixel_lookup(node: Node, types: Types, known: Known) -> list[TensorType]:
    x, table = _pictures(node, types), known[1]
    if table is None or table.dtype != np.int8 or table.shape != ((x.shape or ())[3], 256):
        raise refuse(node, "the table is not a constant int8 with 256 numbers for each channel", _BUG)
    return [TensorType("int8", x.shape)]


def _evaluate_pixel_lookup(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    x, table = given(inputs, 0), given(inputs, 1)
    return [table[np.arange(x.shape[3]), x]]


PIXEL_LOOKUP = Op("pixel_lookup", _infer_pixel_lookup, _evaluate_pixel_lookup, integer=True, work="conversion")
"""Inputs x uint8 [N,H,W,C], table int8 [C,256]: table[c, x], what `quantize` makes of `pixels` for each byte."""


OPS = (RESAMPLE, PIXELS, PIXEL_LOOKUP)
