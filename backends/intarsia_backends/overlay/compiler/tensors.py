"""Tensors of a region as the compiler sees them: channel blocks of 16, a place in ACT or DRAM, rectangles of pixels."""

from __future__ import annotations

from dataclasses import dataclass, replace

from intarsia_backends.overlay.machine.config import LANES
from intarsia_backends.overlay.machine.isa import Segment


def ceil_div(value: int, by: int) -> int:
    """The quotient of whole numbers, rounded up."""
    return -(-value // by)


@dataclass(frozen=True)
class Rect:
    """Pixels of rows y0 to y1 - 1 and columns x0 to x1 - 1."""

    y0: int
    y1: int
    x0: int
    x1: int

    @property
    def rows(self) -> int:
        """How many rows; 0 where it is empty."""
        return max(self.y1 - self.y0, 0)

    @property
    def columns(self) -> int:
        """How many columns; 0 where it is empty."""
        return max(self.x1 - self.x0, 0)

    @property
    def pixels(self) -> int:
        """How many pixels."""
        return self.rows * self.columns


@dataclass(frozen=True)
class Dram:
    """A place in DRAM: words of 16 bytes from the base of a segment."""

    segment: Segment
    offset: int


@dataclass(frozen=True)
class Resident:
    """A place in ACT for the whole tensor: its first word."""

    base: int


class Tensor:
    """A value of the region, or a run of channel blocks inside of another tensor.

    parent        the tensor that holds this one, from its block `block_offset` on; None for a tensor of its own
    place         where a tensor without parent stands; set by the planner
    image         True for a region input in the form "pixels", which only the patch builder reads
    """

    def __init__(self, name: str, channels: int, height: int, width: int, *, image: bool = False) -> None:
        self.name = name
        self.channels = channels
        self.height = height
        self.width = width
        self.image = image
        self.parent: Tensor | None = None
        self.block_offset = 0
        self.place: Dram | Resident | None = None

    @property
    def blocks(self) -> int:
        """Channel blocks of 16, the last perhaps in part."""
        return ceil_div(self.channels, LANES)

    @property
    def words(self) -> int:
        """Words of all blocks."""
        return self.blocks * self.height * self.width

    @property
    def rect(self) -> Rect:
        """All of its pixels."""
        return Rect(0, self.height, 0, self.width)

    @property
    def root(self) -> Tensor:
        """The tensor that has the place."""
        return self if self.parent is None else self.parent.root

    @property
    def root_block(self) -> int:
        """Block of the root at which this tensor begins."""
        return 0 if self.parent is None else self.block_offset + self.parent.root_block

    @property
    def resident(self) -> bool:
        """Whether it stands in ACT as a whole."""
        return isinstance(self.root.place, Resident)

    def __repr__(self) -> str:
        return f"{self.name}[{self.channels},{self.height},{self.width}]"


@dataclass(frozen=True)
class View:
    """Words of ACT that hold a rectangle of some channel blocks.

    base                     the word of pixel (rect.y0, rect.x0) of block `block0`
    block0                   block of the tensor that the view begins with
    blocks                   how many blocks it holds
    """

    base: int
    row_pitch: int
    block_pitch: int
    rect: Rect
    block0: int
    blocks: int

    def part(self, rect: Rect, block0: int, blocks: int) -> View:
        """A rectangle and some blocks of it, in the tensor's coordinates."""
        assert self.block0 <= block0 and block0 + blocks <= self.block0 + self.blocks, (self, block0, blocks)
        base = (
            self.base
            + (block0 - self.block0) * self.block_pitch
            + (rect.y0 - self.rect.y0) * self.row_pitch
            + (rect.x0 - self.rect.x0)
        )
        return replace(self, base=base, rect=rect, block0=block0, blocks=blocks)

    @property
    def span(self) -> tuple[int, int]:
        """First word, and one past the last."""
        if not self.rect.pixels:
            return self.base, self.base
        last = (self.blocks - 1) * self.block_pitch + (self.rect.rows - 1) * self.row_pitch + self.rect.columns
        return self.base, self.base + last


def resident_view(tensor: Tensor) -> View:
    """The whole of a resident tensor."""
    place = tensor.root.place
    assert isinstance(place, Resident)
    pitch = tensor.height * tensor.width
    base = place.base + tensor.root_block * pitch
    return View(base, tensor.width, pitch, tensor.rect, 0, tensor.blocks)


def tile_view(base: int, rect: Rect, block0: int, blocks: int) -> View:
    """A tile packed tight from `base` on."""
    return View(base, rect.columns, rect.rows * rect.columns, rect, block0, blocks)


@dataclass(frozen=True)
class Window:
    """How output pixels reach input pixels: kernel, strides, dilations, pads before, for both axes (y, x)."""

    kernel: tuple[int, int] = (1, 1)
    strides: tuple[int, int] = (1, 1)
    dilations: tuple[int, int] = (1, 1)
    pads: tuple[int, int] = (0, 0)

    @property
    def taps(self) -> int:
        """Pixels of the kernel."""
        return self.kernel[0] * self.kernel[1]

    def needs(self, out: Rect, height: int, width: int) -> Rect:
        """Pixels of an input of that size which a rectangle of outputs reads (may be empty)."""
        y0, y1 = self._axis(0, out.y0, out.y1, height)
        x0, x1 = self._axis(1, out.x0, out.x1, width)
        return Rect(y0, y1, x0, x1)

    def _axis(self, axis: int, first: int, last: int, size: int) -> tuple[int, int]:
        start = first * self.strides[axis] - self.pads[axis]
        stop = (last - 1) * self.strides[axis] - self.pads[axis] + self.dilations[axis] * (self.kernel[axis] - 1) + 1
        start = min(max(start, 0), size)
        return start, max(min(stop, size), start)

    def reach(self, rows: int, columns: int, height: int, width: int) -> int:
        """The most input pixels that a rectangle of that size reads, wherever it lies."""
        y = min((rows - 1) * self.strides[0] + self.dilations[0] * (self.kernel[0] - 1) + 1, height)
        x = min((columns - 1) * self.strides[1] + self.dilations[1] * (self.kernel[1] - 1) + 1, width)
        return y * x


POINT = Window()
