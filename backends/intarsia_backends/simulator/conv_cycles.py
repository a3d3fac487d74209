"""Cycles of a Conv: what the sequencers of the array and the epilogue do, tile by tile.

A tile's sums take what its steps take. Its epilogue begins when the last of them are in the accumulators. There are two
buffers of accumulators; a tile's sums may begin a little before the tile before the last one has been read out of its
buffer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from intarsia_backends.overlay.machine import isa
from intarsia_backends.overlay.machine.config import OverlayConfig
from intarsia_backends.simulator.decoded import Operation

WEIGHT_BLOCK_CYCLES = isa.WEIGHT_BLOCK_ROWS
"""A row of a weight block a cycle; it loads into shadow registers while the block before is at work."""

SUM_DEPTH_CYCLES = 18
"""From the end of a tile's steps to its first word read by the epilogue: memory, array, adders, accumulators."""

RELEASE_CYCLES = 19
"""A buffer takes new sums so long before its last word is read."""

EPILOGUE_DEPTH_CYCLES = 17
"""From an accumulator that is read to the end of the word: bias, multiply, round, clamp, write."""

RESIDUAL_DEPTH_CYCLES = 16
"""More of them with a residual, which also halves the rate."""

PARAMETER_CYCLES = 14
"""From one block of output channels to the next in the epilogue, at least: its parameters are eight reads."""

PLAN_CYCLES = 10
"""Depthwise: before the first pass, and from one to the next at least."""


@dataclass(frozen=True)
class Pass:
    """What the array does at a stretch: the steps of a tile, or in depthwise mode one sub-window over it.

    cycles   of it
    lead     from its begin to its first sum: only those before need no buffer
    outputs  pixels that the epilogue takes when it ends; 0 where more of the tile's sums are to come
    """

    cycles: int
    outputs: int
    lead: int = 0


def conv_cycles(operation: Operation, config: OverlayConfig) -> tuple[int, int]:
    """(cycles from the begin of a Conv to its end, how many of them the array is free for the next Conv)."""
    word, shape = operation.word, operation.setup(isa.ConvWindow)
    assert isinstance(word, isa.Conv)
    if word.depthwise:
        passes: Iterable[Pass] = list(_depthwise_passes(operation, word, config))
        array = WEIGHT_BLOCK_CYCLES + PLAN_CYCLES
    else:
        passes = list(_dense_passes(operation, config))
        array = WEIGHT_BLOCK_CYCLES
    each = 2 if word.residual and word.finish else 1
    released, drained, parameters, before = [0, 0], 0, 0, 0
    buffer, begins = 0, True
    for _ in range(shape.output_blocks):
        block_begins = True
        for item in passes:
            begin = max(array, before + PLAN_CYCLES) if word.depthwise else array
            if begins:
                begin = max(begin, released[buffer] - item.lead)
            before, array, begins = begin, begin + item.cycles, item.outputs > 0
            if item.outputs == 0 or not word.finish:
                continue
            drain = max(drained, array + SUM_DEPTH_CYCLES)
            if block_begins:
                drain = max(drain, parameters)
                parameters, block_begins = drain + PARAMETER_CYCLES, False
            drained = drain + item.outputs * each
            released[buffer] = max(drain, drained - RELEASE_CYCLES)
            buffer = 1 - buffer
    if not word.finish:
        return array + SUM_DEPTH_CYCLES + EPILOGUE_DEPTH_CYCLES, SUM_DEPTH_CYCLES + EPILOGUE_DEPTH_CYCLES
    end = drained - each + EPILOGUE_DEPTH_CYCLES + (RESIDUAL_DEPTH_CYCLES if each == 2 else 0)
    return end, end - array


def _dense_passes(operation: Operation, config: OverlayConfig) -> Iterator[Pass]:
    """Tiles of one block of output channels."""
    shape = operation.setup(isa.ConvWindow)
    steps = shape.kernel_height * shape.kernel_width * shape.input_blocks
    left = shape.rows * shape.columns
    while left:
        outputs = min(left, config.tile_pixels)
        yield Pass(steps * max(-(-outputs // config.pixels), WEIGHT_BLOCK_CYCLES), outputs)
        left -= outputs


def _depthwise_passes(operation: Operation, word: isa.Conv, config: OverlayConfig) -> Iterator[Pass]:
    """Passes over one block of channels: for strips of rows, tiles of columns, sub-windows of 3x3 taps.

    Two rows of outputs are made at once where their windows overlap. A column of the source takes a cycle for each pair
    of its rows that is read, and two at least; then the window shifts by one column. Columns that exist but for the
    padding take those two cycles as well.
    """
    shape = operation.setup(isa.ConvWindow)
    window = word.source_window(operation.registers)
    vertical = window.vertical
    pairs = shape.stride_y <= 2 and shape.dilation_y == 1
    known: dict[tuple[int, tuple[bool, ...]], list[Pass]] = {}
    row = 0
    while row < shape.rows:
        rows = min(2, shape.rows - row) if pairs else 1
        first = row * shape.stride_y - vertical.pad
        reach = (rows - 1) * shape.stride_y + (shape.kernel_height - 1) * shape.dilation_y + 1
        exist = tuple(0 <= first + y < vertical.size for y in range(reach))
        if (rows, exist) not in known:
            known[rows, exist] = list(_strip_passes(shape, window.horizontal, config, rows, exist))
        yield from known[rows, exist]
        row += rows


def _strip_passes(
    shape: isa.ConvWindow, horizontal: isa.Axis, config: OverlayConfig, rows: int, exist: tuple[bool, ...]
) -> Iterator[Pass]:
    """Passes over one strip of `rows` rows of outputs.

    exist  of the rows of the source from the strip's first on, which there are
    """
    stride, dilation, width = shape.stride_x, shape.dilation_x, shape.kernel_width
    slides = dilation == 1 and stride <= 2
    follows = slides and width == 3 and shape.kernel_height <= 3
    column = 0
    while column < shape.columns:
        count = min(config.tile_groups // rows, shape.columns - column)
        for down in range(0, shape.kernel_height, 3):
            taps = min(3, shape.kernel_height - down)
            # Two rows of outputs have no dilation.
            needed = [(down + y) * shape.dilation_y for y in range(taps + (rows - 1) * shape.stride_y)]
            there = [exist[y] for y in needed]
            reads = len({y // 2 for y, found in enumerate(there) if found})
            for across in range(0, width, 3):
                taps_across = min(3, width - across)
                goes_on = follows and column > 0
                cycles = list(
                    _column_cycles(
                        [
                            0 <= x < horizontal.size and asked
                            for x, asked in _columns(
                                (column * stride) + across * dilation - horizontal.pad,
                                count,
                                stride,
                                dilation,
                                taps_across,
                                slides,
                                goes_on,
                            )
                        ],
                        reads,
                        not all(there) and not goes_on,
                    )
                )
                last = down + 3 >= shape.kernel_height and across + 3 >= width
                lead = sum(cycles[: stride if goes_on else 3])
                yield Pass(sum(cycles), count * rows if last else 0, lead)
        column += count


def _columns(
    first: int, count: int, stride: int, dilation: int, taps: int, slides: bool, goes_on: bool
) -> Iterator[tuple[int, bool]]:
    """Columns of the source that a pass moves into the window, and whether some output asks for them."""
    if not slides:
        for x in range(count):
            for tap in range(3):
                yield first + x * stride + tap * dilation, tap < taps
        return
    ends = first + (count - 1) * stride
    for x in range(first + (3 - stride if goes_on else 0), ends + 3):
        yield x, x < ends + taps


def _column_cycles(exist: list[bool], reads: int, partial: bool) -> Iterator[int]:
    """Cycles of each column of a pass. Missing rows are filled once, before the first column that is read."""
    for number, found in enumerate(exist):
        yield max(2, reads + (partial and number == 0)) if found and reads else 2
