"""How the elements of a value lie in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from intarsia_backends.lowering.access import Access, row_major
from intarsia_backends.lowering.program import Buffer, Operand, Part


@dataclass(frozen=True)
class View:
    """A walk over the elements of a value.

    buffer   where they lie
    dtype    as stored
    strides  elements from one step of each axis to the next
    offset   elements from the start of the buffer to the first
    zero     what has been taken off an int8 that is stored as an int16 or, -128, as a uint8; None for numbers stored as
             they are
    """

    buffer: Buffer
    dtype: str
    strides: tuple[int, ...]
    offset: int = 0
    zero: int | None = None

    @property
    def access(self) -> Access:
        return Access(self.dtype, self.strides, self.offset)

    @property
    def start(self) -> Operand:
        """The buffer from the first element on."""
        return self.at(0)

    def at(self, elements: int) -> Operand:
        """The buffer from so many elements after the first."""
        place = (self.offset + elements) * np.dtype(self.dtype).itemsize
        return Part(self.buffer, place) if place else self.buffer

    def is_plain(self, shape: Sequence[int]) -> bool:
        """Whether the elements lie as NumPy's C order has them, from the start of the buffer."""
        steps = row_major(shape)
        same = all(extent == 1 or mine == step for extent, mine, step in zip(shape, self.strides, steps))
        return same and self.offset == 0 and self.zero is None

    def broadcast(self, shape: Sequence[int], to: Sequence[int]) -> View:
        """The view of a value of `shape` as NumPy broadcasts it to the shape `to`."""
        strides = [0 if extent == 1 else stride for extent, stride in zip(shape, self.strides)]
        return View(self.buffer, self.dtype, (*(0,) * (len(to) - len(shape)), *strides), self.offset, self.zero)


@dataclass(frozen=True)
class Halo:
    """Rows and positions around the images of a value, which hold what stands for 0 there."""

    top: int = 0
    left: int = 0
    bottom: int = 0
    right: int = 0

    def covers(self, other: Halo) -> bool:
        return self.joined(other) == self

    def joined(self, other: Halo) -> Halo:
        return Halo(
            max(self.top, other.top),
            max(self.left, other.left),
            max(self.bottom, other.bottom),
            max(self.right, other.right),
        )


@dataclass(frozen=True)
class Images:
    """Channels-last memory of a value [batch, channels, height, width], with a halo.

    pitch  elements from one position to the next: the channels, rounded up
    fill   what the halo holds
    """

    batch: int
    channels: int
    height: int
    width: int
    pitch: int
    halo: Halo
    fill: int = 0

    @property
    def row(self) -> int:
        """Elements from one row to the next."""
        return (self.halo.left + self.width + self.halo.right) * self.pitch

    @property
    def image(self) -> int:
        """Elements from one image to the next."""
        return (self.halo.top + self.height + self.halo.bottom) * self.row

    @property
    def elements(self) -> int:
        return self.batch * self.image

    def view(self, buffer: Buffer, dtype: str, zero: int | None) -> View:
        """The walk over [batch, channels, height, width]."""
        offset = self.halo.top * self.row + self.halo.left * self.pitch
        return View(buffer, dtype, (self.image, 1, self.row, self.pitch), offset, zero)
