"""Resizing of pictures with an integer meaning, the bytes of Pillow 13: two passes with weights of 22 bits.

The width is changed, numbers are rounded to bytes, then the height is changed. Each output is a sum of a few inputs
with integer weights, plus one half, shifted right by 22 bits and clamped to 0..255. Where a picture shrinks, the filter
is stretched over all inputs that an output covers. Pillow 13 changes the height first where that loses far more rows
than the width loses columns (measured: `height_first`); releases before it never did. NumPy and the standard library
only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from intarsia.dtypes import Array

WEIGHT_BITS = 22
"""An int32 holds a sum of bytes with such weights: 32 bits, less 8 of a byte, less 2 for weights that are negative."""

SIZE_LIMIT = 1 << 16
"""Rows and columns of a picture: under this."""

_KEPT = 256


def _box(x: Array) -> Array:
    return ((x > -0.5) & (x <= 0.5)).astype(np.float64)


def _bilinear(x: Array) -> Array:
    return np.maximum(1.0 - np.abs(x), 0.0)


def _bicubic(x: Array) -> Array:
    a, x = -0.5, np.abs(x)
    near, far = ((a + 2.0) * x - (a + 3.0)) * x * x + 1, (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))


def _lanczos(x: Array) -> Array:
    def sinc(x: Array) -> Array:
        angle = np.where(x == 0.0, 1.0, x * np.pi)
        return np.where(x == 0.0, 1.0, np.sin(angle) / angle)

    return np.where((x >= -3.0) & (x < 3.0), sinc(x) * sinc(x / 3), 0.0)


_FILTERS: dict[str, tuple[float, Callable[[Array], Array]]] = {
    "bilinear": (1.0, _bilinear),
    "bicubic": (2.0, _bicubic),
    "lanczos": (3.0, _lanczos),
    "box": (0.5, _box),
}
FILTERS = tuple(_FILTERS)


@dataclass(frozen=True)
class Resampling:
    """How a picture of one size becomes one of another.

    source  (height, width) of the picture
    box     (left, top, right, bottom): the part of it that is resized, in its pixels
    size    (height, width) that this part is resized to
    window  (top, left, height, width): the part of the result that is kept
    filter  one of FILTERS
    """

    source: tuple[int, int]
    box: tuple[float, float, float, float]
    size: tuple[int, int]
    window: tuple[int, int, int, int]
    filter: str = "bilinear"

    @classmethod
    def whole(cls, source: tuple[int, int], size: tuple[int, int], filter: str = "bilinear") -> Resampling:
        """All of a picture to all of the result."""
        height, width = source
        return cls(source, (0.0, 0.0, float(width), float(height)), size, (0, 0, *size), filter)

    def trouble(self) -> str | None:
        """What is wrong with it; None where nothing is."""
        (height, width), (left, top, right, bottom) = self.source, self.box
        high, low, rows, columns = self.window
        if self.filter not in _FILTERS:
            return f"the filter {self.filter!r} is none of {', '.join(FILTERS)}"
        if not all(0 < size < SIZE_LIMIT for size in (*self.source, *self.size)):
            return f"sizes {self.source} and {self.size} are not from 1 to {SIZE_LIMIT - 1}"
        if not (0 <= left < right <= width and 0 <= top < bottom <= height):
            return f"the box {self.box} is no part of a picture of {height} rows and {width} columns"
        if min(high, low) < 0 or min(rows, columns) < 1 or high + rows > self.size[0] or low + columns > self.size[1]:
            return f"the window {self.window} is no part of {self.size[0]} rows and {self.size[1]} columns"
        return None

    @property
    def height_first(self) -> bool:
        """Whether the height is changed before the width: it shrinks, by more than twice what the width loses."""
        rows, columns = (source - size for source, size in zip(self.source, self.size))
        return rows > 0 and rows > 2 * columns

    @property
    def rows(self) -> Taps | None:
        """What each row that is kept is made of; None where rows are copied as they are."""
        return self._taps(0, self.box[1], self.box[3])

    @property
    def columns(self) -> Taps | None:
        """The same of columns."""
        return self._taps(1, self.box[0], self.box[2])

    def _taps(self, axis: int, low: float, high: float) -> Taps | None:
        source, size = self.source[axis], self.size[axis]
        if size == source and low == 0.0 and high == source:
            return None
        return taps(self.filter, source, low, high, size, self.window[axis], self.window[2 + axis])


@dataclass(frozen=True)
class Taps:
    """starts int32 [out], the first input of each output; weights int32 [out, taps]; both C-contiguous.

    Behind the inputs that an output reads its weights are 0, and starts + taps may lie behind the end of the axis.
    """

    starts: Array
    weights: Array


@lru_cache(_KEPT)
def taps(filter: str, source: int, low: float, high: float, size: int, first: int, count: int) -> Taps:
    """Weights of the outputs `first` to `first + count` of an axis.

    source     inputs along the axis
    low, high  the part of them that becomes the `size` outputs
    """
    reach, shape = _FILTERS[filter]
    begin, end = np.float32(low), np.float32(high)  # as Pillow holds them, and subtracts
    low, step = float(begin), float(end - begin) / size
    stretch = max(step, 1.0)
    support = reach * stretch
    centre = low + (np.arange(first, first + count) + 0.5) * step
    starts = np.maximum((centre - support + 0.5).astype(np.int64), 0)
    ends = np.minimum((centre + support + 0.5).astype(np.int64), source)
    places = np.arange(int((ends - starts).max()))[np.newaxis]
    distance = (places + starts[:, np.newaxis] - centre[:, np.newaxis] + 0.5) * (1.0 / stretch)
    weights = np.where(places < (ends - starts)[:, np.newaxis], shape(distance), 0.0)
    total = np.add.accumulate(weights, axis=1)[:, -1:]  # in the order of the inputs, as Pillow adds
    weights = np.divide(weights, total, out=weights, where=total != 0.0) * (1 << WEIGHT_BITS)
    rounded = np.trunc(weights + np.where(weights < 0, -0.5, 0.5)).astype(np.int32)
    made = Taps(np.ascontiguousarray(starts.astype(np.int32)), np.ascontiguousarray(rounded))
    made.starts.flags.writeable = made.weights.flags.writeable = False
    return made


def resample(pictures: Array, how: Resampling) -> Array:
    """Pictures of another size.

    pictures  uint8 [..., height, width, channels], of the size `how.source`
    returns   uint8 [..., rows, columns, channels], of the window's size
    """
    top, left, height, width = how.window
    columns, rows = how.columns, how.rows

    def across(part: Array) -> Array:
        return part[..., left : left + width, :] if columns is None else _along(part, columns, -2, 0)

    if rows is None:
        return np.ascontiguousarray(across(pictures[..., top : top + height, :, :]))
    if how.height_first:
        return np.ascontiguousarray(across(_along(pictures, rows, -3, 0)))
    first, last = rows_read(rows, how.source[0])
    return _along(across(pictures[..., first:last, :, :]), rows, -3, first)


def rows_read(rows: Taps, source: int) -> tuple[int, int]:
    """The first row of a picture that is read, and the one behind the last."""
    return int(rows.starts[0]), min(int((rows.starts + rows.weights.shape[1]).max()), source)


def _along(pictures: Array, taps: Taps, axis: int, first: int) -> Array:
    """One pass; `first` is the input with which the axis begins."""
    along = (slice(None), *(np.newaxis,) * (-axis - 1))
    end = pictures.shape[axis] - 1
    total = np.full((), 1 << (WEIGHT_BITS - 1), np.int32)
    for tap in range(taps.weights.shape[1]):
        places = np.minimum(taps.starts + (tap - first), end)
        total = total + np.take(pictures, places, axis) * taps.weights[:, tap][along]
    return np.asarray(np.clip(total >> WEIGHT_BITS, 0, 255).astype(np.uint8))
