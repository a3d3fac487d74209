"""Words of the queue LOAD: from DRAM to the memories on chip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from intarsia_backends.overlay.machine.config import OverlayConfig
from intarsia_backends.overlay.machine.isa.encoding import (
    WORD_BYTES,
    Instruction,
    Memory,
    Queue,
    Reads,
    Registers,
    Run,
    Segment,
    bits,
    positive,
    read,
)
from intarsia_backends.overlay.machine.isa.rectangles import Access, Rectangle
from intarsia_backends.overlay.machine.isa.transfers import chip_rectangle, dram_rectangle, estimate_transfer_cycles
from intarsia_backends.overlay.machine.isa.windows import Axis


@dataclass(frozen=True)
class LoadShape(Instruction):
    """Setup for Load: what is copied, and the pitches on both sides, in words of 16 bytes."""

    queue = Queue.LOAD
    kind = 1

    blocks: int = positive(10)
    rows: int = positive(14)
    columns: int = positive(14)
    row_pitch: int = bits(14)
    block_pitch: int = bits(16)
    dram_row_pitch: int = bits(16)
    dram_block_pitch: int = bits(26)


@dataclass(frozen=True)
class Load(Run):
    """Copy words from DRAM to ACT.

    For b in blocks, y in rows, x in columns (LoadShape):
        ACT[base + b * block_pitch + y * row_pitch + x] =
            DRAM[segment][offset + b * dram_block_pitch + (y >> upsample) * dram_row_pitch + (x >> upsample)]
    With upsample = 1 the copy enlarges to twice the size by repeating pixels; rows and columns count the target's.
    """

    queue = Queue.LOAD
    kind = 2
    setups: ClassVar = (Reads(LoadShape),)

    segment: int = bits(2)
    offset: int = bits(28)
    base: int = bits(16)
    upsample: int = bits(1)

    def transfer(self, registers: Registers) -> tuple[Rectangle, Rectangle]:
        """What it reads in DRAM, and what it writes in ACT."""
        shape = read(registers, LoadShape)
        return dram_rectangle(shape, self.segment, self.offset, self.upsample), chip_rectangle(shape, self.base)

    def accesses(self, registers: Registers) -> list[Access]:
        """The copy's two sides."""
        dram, chip = self.transfer(registers)
        return [Access("read", dram), Access("write", chip)]

    def estimate_cycles(self, registers: Registers, config: OverlayConfig) -> int:
        """Those of DRAM."""
        return estimate_transfer_cycles(self.transfer(registers)[0].words * WORD_BYTES, config)


@dataclass(frozen=True)
class LoadPatchShape(Instruction):
    """Setup for LoadPatch: an image in DRAM in the form "pixels", and the window that patches are cut with.

    height, width  of the image in pixels
    channels       1 to 4 bytes a pixel, packed tight
    pitch          words of 16 bytes from a row of the image to the next
    fill           what stands outside of the image (the input's zero point)

    The configuration's patch_bytes bounds kernel_height image rows, each in whole words of 16 bytes.
    """

    queue = Queue.LOAD
    kind = 3

    height: int = positive(14)
    width: int = positive(14)
    channels: int = bits(3, least=1, most=4)
    pitch: int = bits(12)
    kernel_height: int = positive(6)
    kernel_width: int = positive(6)
    stride_y: int = positive(4)
    stride_x: int = positive(4)
    fill: int = bits(8, signed=True)


@dataclass(frozen=True)
class LoadPatchTarget(Instruction):
    """Setup for LoadPatch: the rectangle of patches, and where they go.

    pad_top, pad_left  the window of patch (0, 0) begins at image row -pad_top, column -pad_left; negative values
                       begin inside of the image
    """

    queue = Queue.LOAD
    kind = 4

    rows: int = positive(14)
    columns: int = positive(14)
    row_pitch: int = bits(14)
    block_pitch: int = bits(16)
    pad_top: int = bits(16, signed=True)
    pad_left: int = bits(16, signed=True)


@dataclass(frozen=True)
class LoadPatch(Run):
    """Cut an image into patches (im2col): kernel_height * kernel_width * channels bytes in a row for each output pixel.

    Byte k of the patch at (y, x), k = (ky * kernel_width + kx) * channels + c, is the image's byte
        (y * stride_y + ky - pad_top, x * stride_x + kx - pad_left, c), or `fill` where that is outside of the image.
    It goes to lane k % 16 of ACT[base + (k // 16) * block_pitch + y * row_pitch + x]; lanes past the last k get 0.
    A convolution with this kernel is then one with kernel 1 on ceil(K / 16) channel blocks.
    The image begins at DRAM[segment][offset]. Only the image rows from the first to the last that windows touch are
    read, each once. Patches are made row by row; a row of a window takes a cycle for each 16 bytes.
    """

    queue = Queue.LOAD
    kind = 5
    setups: ClassVar = (Reads(LoadPatchShape), Reads(LoadPatchTarget))

    segment: int = bits(2)
    offset: int = bits(28)
    base: int = bits(16)

    def windows(self, registers: Registers) -> tuple[Axis, Axis]:
        """The windows over the image, vertical and horizontal."""
        shape, target = read(registers, LoadPatchShape), read(registers, LoadPatchTarget)
        return (
            Axis(target.rows, shape.kernel_height, shape.stride_y, 1, target.pad_top, shape.height),
            Axis(target.columns, shape.kernel_width, shape.stride_x, 1, target.pad_left, shape.width),
        )

    def image_rectangle(self, registers: Registers) -> Rectangle | None:
        """The words of DRAM that it reads: rows from the first to the last needed; None where it needs none."""
        shape = read(registers, LoadPatchShape)
        top, bottom = self.windows(registers)[0].inside
        if top == bottom:
            return None
        offset = self.offset + top * shape.pitch
        row_words = -(-shape.width * shape.channels // WORD_BYTES)
        return Rectangle(Segment(self.segment).name, offset, 1, bottom - top, row_words, 0, shape.pitch)

    def target_rectangle(self, registers: Registers) -> Rectangle:
        """What it writes."""
        shape, target = read(registers, LoadPatchShape), read(registers, LoadPatchTarget)
        blocks = -(-shape.kernel_height * shape.kernel_width * shape.channels // WORD_BYTES)
        return Rectangle("ACT", self.base, blocks, target.rows, target.columns, target.block_pitch, target.row_pitch)

    def accesses(self, registers: Registers) -> list[Access]:
        """The rows of the image, and the patches."""
        image = self.image_rectangle(registers)
        found = [] if image is None else [Access("read", image)]
        return [*found, Access("write", self.target_rectangle(registers))]

    def estimate_cycles(self, registers: Registers, config: OverlayConfig) -> int:
        """A word a cycle, or those of DRAM."""
        image, pitch = self.image_rectangle(registers), read(registers, LoadPatchShape).pitch
        bytes_moved = 0 if image is None else image.rows * pitch * WORD_BYTES
        return max(self.target_rectangle(registers).words, estimate_transfer_cycles(bytes_moved, config))


@dataclass(frozen=True)
class LoadConstants(Run):
    """Copy `count` entries from DRAM[segment][offset] on to a constant memory, from entry `at` on.

    memory  0 WGT, rows of 64 bytes; 1 PAR, groups of 128 bytes; 2 TAB, tables of 256 bytes
    """

    queue = Queue.LOAD
    kind = 6

    memory: int = bits(2, most=max(Memory))
    segment: int = bits(2)
    offset: int = bits(28)
    at: int = bits(16)
    count: int = positive(16)

    def transfer(self, registers: Registers) -> tuple[Rectangle, Rectangle]:
        """What it reads in DRAM, and what it writes on chip."""
        memory = Memory(self.memory)
        words = self.count * memory.entry_bytes // WORD_BYTES
        return (
            Rectangle(Segment(self.segment).name, self.offset, columns=words),
            Rectangle(memory.place, self.at, columns=self.count),
        )

    def accesses(self, registers: Registers) -> list[Access]:
        """The copy's two sides."""
        dram, chip = self.transfer(registers)
        return [Access("read", dram), Access("write", chip)]

    def estimate_cycles(self, registers: Registers, config: OverlayConfig) -> int:
        """Those of DRAM."""
        return estimate_transfer_cycles(self.transfer(registers)[0].words * WORD_BYTES, config)
