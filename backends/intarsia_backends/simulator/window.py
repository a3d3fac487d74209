"""Sliding windows over an operand in activation memory: which pixels exist, which are fill."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import as_strided

from intarsia.dtypes import Array
from intarsia_backends.overlay.machine import isa
from intarsia_backends.simulator.rectangles import Rectangle

Read = Callable[[], Array]


@dataclass(frozen=True)
class Axis:
    """Positions of a window along one axis.

    count     output positions
    kernel, stride, dilation, pad  as the instructions have them; pad before position 0
    size      positions of the source that exist
    """

    count: int
    kernel: int
    stride: int
    dilation: int
    pad: int
    size: int

    @property
    def first(self) -> int:
        """The lowest position that a window asks for; may be below 0."""
        return -self.pad

    @property
    def span(self) -> int:
        """Positions from the lowest to the highest that windows ask for."""
        return (self.count - 1) * self.stride + (self.kernel - 1) * self.dilation + 1

    @property
    def inside(self) -> tuple[int, int]:
        """Start and stop of the positions asked for that exist."""
        start = min(max(self.first, 0), self.size)
        return start, max(min(self.first + self.span, self.size), start)


@dataclass(frozen=True)
class Window:
    """Windows over blocks of an operand. Everything outside of the source reads as `fill`."""

    source: isa.ConvSource | isa.VecSource
    blocks: int
    vertical: Axis
    horizontal: Axis

    @property
    def rectangle(self) -> Rectangle | None:
        """The words that exist and are asked for, or None where there are none."""
        (top, bottom), (left, right) = self.vertical.inside, self.horizontal.inside
        if top == bottom or left == right:
            return None
        source = self.source
        base = source.base + top * source.row_pitch + left
        return Rectangle("ACT", base, self.blocks, bottom - top, right - left, source.block_pitch, source.row_pitch)

    @property
    def is_padded(self) -> bool:
        """True where some window asks for a pixel that does not exist."""
        return any(
            stop - start != axis.span for axis in (self.vertical, self.horizontal) for start, stop in [axis.inside]
        )

    def bind(self, memory: Array) -> Read:
        """A function that returns the windows of a memory as they are now.

        memory   int8 [words, 16]
        returns  int8 view [rows, columns, kernel_height, kernel_width, blocks, 16], good until the next call
        """
        rectangle, vertical, horizontal = self.rectangle, self.vertical, self.horizontal
        if rectangle is not None and not self.is_padded:
            direct = self._strided(rectangle.view(memory).transpose(1, 2, 0, 3))
            return lambda: direct
        padded = np.full((vertical.span, horizontal.span, self.blocks, isa.WORD_BYTES), self.source.fill, np.int8)
        window = self._strided(padded)
        if rectangle is None:
            return lambda: window
        top, left = vertical.inside[0] - vertical.first, horizontal.inside[0] - horizontal.first
        inner = padded[top : top + rectangle.rows, left : left + rectangle.columns]
        source = rectangle.view(memory).transpose(1, 2, 0, 3)

        def read() -> Array:
            inner[...] = source
            return window

        return read

    def _strided(self, plane: Array) -> Array:
        """[rows, columns, blocks, 16] of all positions asked for, cut into windows."""
        vertical, horizontal = self.vertical, self.horizontal
        down, right, block, lane = plane.strides
        return as_strided(
            plane,
            (vertical.count, horizontal.count, vertical.kernel, horizontal.kernel, self.blocks, isa.WORD_BYTES),
            (
                vertical.stride * down,
                horizontal.stride * right,
                vertical.dilation * down,
                horizontal.dilation * right,
                block,
                lane,
            ),
        )
