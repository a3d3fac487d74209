"""Where a picture of one size stands in an input of another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from intarsia.dtypes import Array
from intarsia.images.options import ImageOptions
from intarsia.resampling import Resampling, resample

Resample = Callable[[Array, Resampling], Array]
"""`intarsia.resampling.resample`, or another that gives the same bytes for one picture [H, W, C]."""


@dataclass(frozen=True)
class Fitting:
    """How a picture of a known size becomes an input of another.

    resampling  what becomes of it
    canvas      (height, width) of the input
    place       (top, left) of what it becomes, on the canvas
    fill        what stands beside it
    """

    resampling: Resampling
    canvas: tuple[int, int]
    place: tuple[int, int]
    fill: int

    @property
    def is_whole(self) -> bool:
        """Whether it fills the canvas."""
        return self.resampling.window[2:] == self.canvas

    def back(self, points: Array) -> Array:
        """Where points of the input lie in the picture.

        points   float [..., 2]: x and y, in pixels of the input
        returns  the same in pixels of the picture, kept inside of it
        """
        left, top, right, bottom = self.resampling.box
        high, low = self.resampling.window[:2]
        height, width = self.resampling.size
        offset = np.array([low - self.place[1], high - self.place[0]], np.float64)
        factor = np.array([(right - left) / width, (bottom - top) / height], np.float64)
        found = (np.asarray(points, np.float64) + offset) * factor + (left, top)
        return np.asarray(np.clip(found, 0.0, self.resampling.source[::-1]))


def fitting(source: tuple[int, int], canvas: tuple[int, int], options: ImageOptions) -> Fitting:
    """How a picture of the size `source` (height, width) becomes an input of the size `canvas`."""
    (height, width), (rows, columns) = source, canvas
    fit, filter = options.fit, options.filter
    if fit == "crop":
        box = _largest(source, canvas, options.share)
        return Fitting(Resampling(source, box, canvas, (0, 0, *canvas), filter), canvas, (0, 0), options.fill)
    whole = (0.0, 0.0, float(width), float(height))
    if fit == "cover":
        size = _covering(source, (round(rows / options.share), round(columns / options.share)))
        window = (round((size[0] - rows) / 2), round((size[1] - columns) / 2), *canvas)
        return Fitting(Resampling(source, whole, size, window, filter), canvas, (0, 0), options.fill)
    if fit == "letterbox":
        ratio = min(rows / height, columns / width)
        size = max(1, min(rows, round(height * ratio))), max(1, min(columns, round(width * ratio)))
        place = (0, 0) if options.corner else ((rows - size[0]) // 2, (columns - size[1]) // 2)
        return Fitting(Resampling(source, whole, size, (0, 0, *size), filter), canvas, place, options.fill)
    return Fitting(Resampling.whole(source, canvas, filter), canvas, (0, 0), options.fill)


def _largest(source: tuple[int, int], canvas: tuple[int, int], share: float) -> tuple[float, float, float, float]:
    """The centre of a picture in the proportions of the canvas: as much of it as there is, less what `share` leaves."""
    (height, width), (rows, columns) = source, canvas
    wanted = columns / rows
    size = (wanted * height, float(height)) if width / height >= wanted else (float(width), width / wanted)
    across, down = size[0] * share, size[1] * share
    left, top = (width - across) * 0.5, (height - down) * 0.5
    return left, top, min(left + across, float(width)), min(top + down, float(height))


def _covering(source: tuple[int, int], least: tuple[int, int]) -> tuple[int, int]:
    """The least size in the picture's proportions with so many rows and columns; the longer side is rounded down, as
    torchvision does it."""
    (height, width), (rows, columns) = source, least
    if width * rows <= height * columns:
        return max(rows, int(columns * height / width)), columns
    return rows, max(columns, int(rows * width / height))


def fitted(pixels: Array, how: Fitting, by: Resample = resample) -> Array:
    """A picture, uint8 [H, W, C], as an input takes it: uint8 [height, width, C], C-contiguous."""
    small = by(pixels, how.resampling)
    if how.is_whole:
        return small
    made = np.full((*how.canvas, pixels.shape[2]), how.fill, np.uint8)
    top, left = how.place
    made[top : top + small.shape[0], left : left + small.shape[1]] = small
    return made
