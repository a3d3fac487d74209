"""Words of the queue LOAD: from DRAM to the memories on chip."""

from __future__ import annotations

from dataclasses import dataclass

from intarsia_backends.overlay.machine.isa.encoding import Instruction, Memory, Queue, Run, bits, positive


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

    segment: int = bits(2)
    offset: int = bits(28)
    base: int = bits(16)
    upsample: int = bits(1)


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
    """Cut an image into patches, one vector of kernel_height * kernel_width * channels bytes for each output pixel.

    Byte k of the patch at (y, x), k = (ky * kernel_width + kx) * channels + c, is the image's byte
        (y * stride_y + ky - pad_top, x * stride_x + kx - pad_left, c), or `fill` where that is outside of the image.
    It goes to lane k % 16 of ACT[base + (k // 16) * block_pitch + y * row_pitch + x]; lanes past the last k get 0.
    A convolution with this kernel is then one with kernel 1 on ceil(K / 16) channel blocks.
    The image begins at DRAM[segment][offset]. Only the image rows from the first to the last that windows touch are
    read, each once. Patches are made row by row; a row of a window takes a cycle for each 16 bytes.
    """

    queue = Queue.LOAD
    kind = 5

    segment: int = bits(2)
    offset: int = bits(28)
    base: int = bits(16)


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
