"""Sliding windows over an operand in activation memory: which pixels exist, which are fill."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from intarsia_backends.overlay.machine.isa.rectangles import Rectangle


class Source(Protocol):
    """What ConvSource and VecSource say of where an operand lies."""

    @property
    def base(self) -> int:
        """Word of its first pixel."""
        ...

    @property
    def row_pitch(self) -> int:
        """Words from a row to the next."""
        ...

    @property
    def block_pitch(self) -> int:
        """Words from a channel block to the next."""
        ...

    @property
    def fill(self) -> int:
        """What pixels that do not exist read as."""
        ...


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

    source: Source
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
