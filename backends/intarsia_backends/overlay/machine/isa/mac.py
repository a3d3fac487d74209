"""Words of the queue MAC: convolutions on the array."""

from __future__ import annotations

from dataclasses import dataclass

from intarsia_backends.overlay.machine.isa.encoding import MULTIPLIER_BITS, Instruction, Queue, Run, bits, positive


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

    weight_row: int = bits(16)
    parameter_group: int = bits(12)
    depthwise: int = bits(1)
    start: int = bits(1, default=1)
    finish: int = bits(1, default=1)
    residual: int = bits(1)
    skip: int = bits(1, most=0)
    skip_row: int = bits(16, most=0)
