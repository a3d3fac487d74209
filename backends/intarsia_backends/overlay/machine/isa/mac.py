"""Words of the queue MAC: convolutions on the array."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from intarsia_backends.overlay.machine.config import OverlayConfig
from intarsia_backends.overlay.machine.isa.encoding import (
    ISSUE_CYCLES,
    MULTIPLIER_BITS,
    Instruction,
    Queue,
    Reads,
    Registers,
    Run,
    bits,
    positive,
    read,
)
from intarsia_backends.overlay.machine.isa.rectangles import Access, Rectangle
from intarsia_backends.overlay.machine.isa.windows import Axis, Window

SUB_WINDOW = 3
"""Rows and columns of the kernel's parts in depthwise mode; each is so many rows of WGT."""

WEIGHT_BLOCK_ROWS = 4
"""Rows of WGT in a weight block of 16 x 16; so many cycles it takes to load, and a step of a tile at least."""


def weight_rows(kernel_height: int, kernel_width: int, input_blocks: int, *, depthwise: bool) -> int:
    """Rows of WGT that one block of output channels takes."""
    if depthwise:
        return -(-kernel_height // SUB_WINDOW) * -(-kernel_width // SUB_WINDOW) * SUB_WINDOW
    return kernel_height * kernel_width * input_blocks * WEIGHT_BLOCK_ROWS


@dataclass(frozen=True)
class ConvSource(Instruction):
    """Setup for Conv: the input in ACT.

    height, width      the rows and columns that exist; all others read as `fill` in every lane
    pad_top, pad_left  the window of output (0, 0) begins at row -pad_top, column -pad_left; negative: inside
    """

    queue = Queue.MAC
    kind = 1

    base: int = bits(16)
    row_pitch: int = bits(14)
    block_pitch: int = bits(16)
    height: int = bits(14)
    width: int = bits(14)
    pad_top: int = bits(12, signed=True)
    pad_left: int = bits(12, signed=True)
    fill: int = bits(8, signed=True)


@dataclass(frozen=True)
class ConvWindow(Instruction):
    """Setup for Conv: kernel, strides, dilations, and how much is computed.

    input_blocks   channel blocks of 16 that are summed over (1 in depthwise mode)
    output_blocks  channel blocks of 16 that are made
    rows, columns  output pixels
    """

    queue = Queue.MAC
    kind = 2

    kernel_height: int = positive(6)
    kernel_width: int = positive(6)
    stride_y: int = positive(4)
    stride_x: int = positive(4)
    dilation_y: int = positive(6)
    dilation_x: int = positive(6)
    input_blocks: int = positive(12)
    output_blocks: int = positive(12)
    rows: int = positive(14)
    columns: int = positive(14)


@dataclass(frozen=True)
class ConvTarget(Instruction):
    """Setup for Conv: the output in ACT, and the end of the epilogue's first step."""

    queue = Queue.MAC
    kind = 3

    base: int = bits(16)
    row_pitch: int = bits(14)
    block_pitch: int = bits(16)
    zero_point: int = bits(8, signed=True)
    clamp_min: int = bits(8, signed=True)
    clamp_max: int = bits(8, signed=True)


@dataclass(frozen=True)
class ConvResidual(Instruction):
    """Setup for Conv with residual = 1: the second operand in ACT, of the output's shape."""

    queue = Queue.MAC
    kind = 4

    base: int = bits(16)
    row_pitch: int = bits(14)
    block_pitch: int = bits(16)


@dataclass(frozen=True)
class ConvAdd(Instruction):
    """Setup for Conv with residual = 1: the epilogue's second step, with v from the first and r from ConvResidual:

    clamp(scale((v - zero_point) * multiplier + (r - residual_zero_point) * residual_multiplier, 1, shift)
          + output_zero_point)
    """

    queue = Queue.MAC
    kind = 5

    zero_point: int = bits(8, signed=True)
    multiplier: int = bits(MULTIPLIER_BITS)
    residual_zero_point: int = bits(8, signed=True)
    residual_multiplier: int = bits(MULTIPLIER_BITS)
    shift: int = bits(6)
    output_zero_point: int = bits(8, signed=True)
    clamp_min: int = bits(8, signed=True)
    clamp_max: int = bits(8, signed=True)


@dataclass(frozen=True)
class Conv(Run):
    """Convolve a rectangle of pixels for `output_blocks` blocks of 16 output channels.

    For ob in output_blocks, pixels (y, x) in rows x columns, output lane o:
        a = sum over ky, kx, ib, lane i of weight(ob, ky, kx, ib)[o][i] * X(ib, y', x')[i]
        with y' = y * stride_y + ky * dilation_y - pad_top, x' = x * stride_x + kx * dilation_x - pad_left,
        X(ib, y', x') the word of ConvSource, or `fill` in every lane where (y', x') is outside of height x width
    The 16x16 weight block of a step is 4 rows of WGT, byte i * 16 + o. Steps stand in the order of the loops
        for ob: for ky: for kx: for ib
    from weight_row on, without gaps.

    depthwise = 1: output block ob reads input block ob of the source alone, lane o times lane o:
        a = sum over ky, kx of weight(ob, ky, kx)[o] * X(ob, y', x')[o]
    The kernel is cut into sub-windows of 3x3 taps, at kernel rows 0, 3, 6, ... and in each at columns 0, 3, 6, ... A
    sub-window is 3 rows of WGT: row r holds its taps (r, 0), (r, 1), (r, 2) of 16 bytes and 16 bytes of zeros. Taps
    outside of the kernel are zeros. Sub-windows stand in the order
        for ob: for rows of sub-windows: for columns of them
    from weight_row on, without gaps. input_blocks is 1. A sub-window of the 16 channels of one pixel is taken in a
    cycle.

    Epilogue, with PAR group parameter_group + ob, 16 channels of one pixel a cycle:
        v = clamp(scale(a + bias, multiplier, shift) + ConvTarget.zero_point)
        residual = 1: v = the second step of ConvAdd
        the word of ConvTarget at (ob, y, x) = v in all 16 lanes
    The residual word of a pixel is read before its output word is written, so both may be the same word.

    Long sums: start = 0 adds on to the accumulators that the Conv before left, finish = 0 leaves them there and writes
    nothing. Either needs output_blocks = 1 and rows * columns <= pixels * tile_groups, the same rectangle in all Convs
    of the sum, which follow one another in the queue; not in depthwise mode.

    How it is done: pixels of the rectangle in raster order are cut into tiles of pixels * tile_groups; for ob, for
    tile, for step the array works ceil(tile pixels / pixels) cycles, at least 4 (the time a weight block takes to load
    into the shadow registers). Accumulators are double-buffered, so a tile's epilogue runs beside the next tile.

    skip, skip_row  reserved for a list of weight blocks that are zero: must be 0
    """

    queue = Queue.MAC
    kind = 6
    setups: ClassVar = (
        Reads(ConvSource),
        Reads(ConvWindow),
        Reads(ConvTarget, "finish", (1,)),
        Reads(ConvResidual, "residual", (1,)),
        Reads(ConvAdd, "residual", (1,)),
    )

    weight_row: int = bits(16)
    parameter_group: int = bits(12)
    depthwise: int = bits(1)
    start: int = bits(1, default=1)
    finish: int = bits(1, default=1)
    residual: int = bits(1)
    skip: int = bits(1, most=0)
    skip_row: int = bits(16, most=0)

    def source_window(self, registers: Registers) -> Window:
        """The windows that it reads."""
        source, shape = read(registers, ConvSource), read(registers, ConvWindow)
        return Window(
            source,
            shape.output_blocks if self.depthwise else shape.input_blocks,
            Axis(shape.rows, shape.kernel_height, shape.stride_y, shape.dilation_y, source.pad_top, source.height),
            Axis(shape.columns, shape.kernel_width, shape.stride_x, shape.dilation_x, source.pad_left, source.width),
        )

    def target_rectangle(self, registers: Registers) -> Rectangle:
        """What it writes, where finish = 1."""
        target = read(registers, ConvTarget)
        return _outputs(registers, target.base, target.block_pitch, target.row_pitch)

    def residual_rectangle(self, registers: Registers) -> Rectangle:
        """Its second operand, where residual = 1."""
        residual = read(registers, ConvResidual)
        return _outputs(registers, residual.base, residual.block_pitch, residual.row_pitch)

    def weight_rows(self, registers: Registers) -> int:
        """Rows of WGT that it reads."""
        shape = read(registers, ConvWindow)
        each = weight_rows(shape.kernel_height, shape.kernel_width, shape.input_blocks, depthwise=bool(self.depthwise))
        return shape.output_blocks * each

    def accesses(self, registers: Registers) -> list[Access]:
        """Weights and source; where it ends its sums, parameters, residual and target."""
        found = [Access("read", Rectangle("WGT", self.weight_row, columns=self.weight_rows(registers)))]
        source = self.source_window(registers).rectangle
        if source is not None:
            found.append(Access("source", source))
        if self.finish:
            blocks = read(registers, ConvWindow).output_blocks
            found.append(Access("read", Rectangle("PAR", self.parameter_group, columns=blocks)))
            if self.residual:
                found.append(Access("read", self.residual_rectangle(registers)))
            found.append(Access("write", self.target_rectangle(registers)))
        return found

    def estimate_cycles(self, registers: Registers, config: OverlayConfig) -> int:
        """Those of the array, or of the epilogue where it takes longer."""
        return estimate_conv_cycles(read(registers, ConvWindow), config, depthwise=bool(self.depthwise))


def _outputs(registers: Registers, base: int, block_pitch: int, row_pitch: int) -> Rectangle:
    """An operand with a word for each output pixel and block."""
    shape = read(registers, ConvWindow)
    return Rectangle("ACT", base, shape.output_blocks, shape.rows, shape.columns, block_pitch, row_pitch)


def estimate_conv_cycles(shape: ConvWindow, config: OverlayConfig, *, depthwise: bool) -> int:
    """Roughly how long a Conv takes, without a residual, which halves the epilogue's rate.

    Whole layers are asked for too: their counts may be more than the fields hold.
    """
    pixels = shape.rows * shape.columns
    if depthwise:
        strides, dilations = (shape.stride_y, shape.stride_x), (shape.dilation_y, shape.dilation_x)
        sub_windows = -(-shape.kernel_height // SUB_WINDOW) * -(-shape.kernel_width // SUB_WINDOW)
        slides = max(strides) <= 2 and max(dilations) == 1
        each = 1 if max(*strides, *dilations) == 1 else 3 if slides else 6
        return shape.output_blocks * pixels * sub_windows * each + ISSUE_CYCLES
    full, rest = divmod(pixels, config.tile_pixels)
    groups = full * config.tile_groups + (max(-(-rest // config.pixels), WEIGHT_BLOCK_ROWS) if rest else 0)
    steps = shape.kernel_height * shape.kernel_width * shape.input_blocks
    return shape.output_blocks * max(groups * steps, pixels) + ISSUE_CYCLES
