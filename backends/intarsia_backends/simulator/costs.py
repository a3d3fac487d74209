"""What each run word costs on hardware that can be built: cycles of its engine, traffic on DRAM.

All figures follow from the ports of the memories: a bank of ACT gives two words a cycle, weight memory one row of 64
bytes, an epilogue takes 16 channels of one pixel, and each engine is a pipeline whose depth shows once a word.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from intarsia_backends.overlay.machine import isa
from intarsia_backends.overlay.machine.config import LANES, OverlayConfig
from intarsia_backends.simulator.conv_cycles import EPILOGUE_DEPTH_CYCLES, SUM_DEPTH_CYCLES, conv_cycles
from intarsia_backends.simulator.decoded import Operation

VECTOR_DEPTH_CYCLES = 9
"""From taking a Vec to its first word in ACT, where that is read and written as a whole: address, memory, write."""

VECTOR_TABLE_CYCLES = 2
"""More of them for LOOKUP."""

VECTOR_SCALE_CYCLES = 10
"""More than VECTOR_DEPTH_CYCLES to the last four lanes, where results are scaled: sum, multiply, round, clamp."""

VECTOR_PRODUCT_CYCLES = 2
"""More of them for MULTIPLY: the product of its operands."""

REQUEST_DEPTH_CYCLES = 6
"""From a Load or Store that begins to the address of its first burst."""

LOAD_DEPTH_CYCLES = 4
"""From the AXI read channel through the FIFO into a memory."""

STORE_DEPTH_CYCLES = 11
"""From a Store that begins to the AXI write channel, beside the words of its first burst: these must be there."""

TABLE_WORD_CYCLES = 10
"""A word of a lookup table goes into its copies two bytes a cycle."""

PATCH_DEPTH_CYCLES = 40
"""LoadPatch: planning what is read, and the way from the line buffer into activation memory."""

PATCH_ROW_CYCLES = 3
"""LoadPatch: between two rows of patches, beside a cycle for each image row that leaves the line buffer."""


@dataclass(frozen=True)
class Cost:
    """One run word.

    cycles    of its engine, where DRAM is no obstacle; the last results land at the end of them
    tail      of those cycles the last ones, in which only the epilogue of the last tile is at work
    depth     of the tail the cycles that its words are on their way: those of a Conv that follows come without them
    read_bytes, write_bytes  DRAM traffic, bursts the number of requests it is made of
    macs      products that the array makes, those with padding included
    """

    cycles: int
    tail: int = 0
    depth: int = 0
    read_bytes: int = 0
    write_bytes: int = 0
    bursts: int = 0
    macs: int = 0


def cost_of(operation: Operation, config: OverlayConfig) -> Cost:
    """The cost of a run word; its fields have been checked."""
    word = operation.word
    if isinstance(word, (isa.Load, isa.Store)):
        return _transfer_cost(operation, word, config)
    if isinstance(word, isa.LoadConstants):
        dram = word.transfer(operation.registers)[0]
        cycles = dram.words * (TABLE_WORD_CYCLES if word.memory == isa.Memory.TABLES else 1)
        return Cost(cycles, read_bytes=dram.words * isa.WORD_BYTES, bursts=_bursts(dram, config))
    if isinstance(word, isa.LoadPatch):
        return _patch_cost(operation, word, config)
    if isinstance(word, isa.Conv):
        return conv_cost(operation, config)
    if isinstance(word, isa.Vec):
        return vector_cost(operation)
    return Cost(1)


def _transfer_cost(operation: Operation, word: isa.Load | isa.Store, config: OverlayConfig) -> Cost:
    """Load and Store: one word of ACT a cycle."""
    dram, chip = word.transfer(operation.registers)
    traffic, bursts = dram.words * isa.WORD_BYTES, _bursts(dram, config)
    if isinstance(word, isa.Store):
        return Cost(chip.words, write_bytes=traffic, bursts=bursts)
    return Cost(chip.words, read_bytes=traffic, bursts=bursts)


def _bursts(dram: isa.Rectangle, config: OverlayConfig) -> int:
    """Requests for a rectangle: a burst ends at every boundary of its size, and with its run of words.

    Runs that follow each other without a gap are one: rows when the row pitch is their length, then blocks. Segments
    begin at a boundary.
    """
    run, rows, blocks = dram.columns, dram.rows, dram.blocks
    if dram.row_pitch == run or rows == 1:
        run, rows = run * rows, 1
        if dram.block_pitch == run or blocks == 1:
            run, blocks = run * blocks, 1
    starts = dram.base + np.arange(blocks)[:, None] * dram.block_pitch + np.arange(rows) * dram.row_pitch
    words = config.dram_burst_bytes // isa.WORD_BYTES
    return int((-(-(starts % words + run) // words)).sum())


def _patch_cost(operation: Operation, word: isa.LoadPatch, config: OverlayConfig) -> Cost:
    """LoadPatch: 16 bytes of a window's row in a cycle, once the rows of the first windows have come.

    A cycle more for each pixel whose last piece ends in another word than it begins in, where the next pixel's first
    piece is a whole word.
    """
    shape, target = operation.setup(isa.LoadPatchShape), operation.setup(isa.LoadPatchTarget)
    image, vertical = word.image_rectangle(operation.registers), word.windows(operation.registers)[0]
    segment = shape.kernel_width * shape.channels
    pieces = -(-segment // isa.WORD_BYTES)
    last = segment - (pieces - 1) * isa.WORD_BYTES
    place = (shape.kernel_height * segment - last) % isa.WORD_BYTES
    pixel = shape.kernel_height * pieces + (segment >= isa.WORD_BYTES and place + last > isa.WORD_BYTES)
    row = target.columns * pixel + PATCH_ROW_CYCLES + shape.stride_y
    first = replace(vertical, count=1).inside
    cycles = PATCH_DEPTH_CYCLES + target.rows * row
    if image is None:
        return Cost(cycles)
    cycles += (first[1] - first[0]) * image.columns * isa.WORD_BYTES // config.axi_bytes
    return Cost(cycles, read_bytes=image.words * isa.WORD_BYTES, bursts=_bursts(image, config))


def conv_cost(operation: Operation, config: OverlayConfig) -> Cost:
    """Conv: the array and its epilogue; what both do is in conv_cycles.py."""
    word, shape = operation.word, operation.setup(isa.ConvWindow)
    assert isinstance(word, isa.Conv)
    products = shape.rows * shape.columns * shape.kernel_height * shape.kernel_width * LANES * shape.output_blocks
    cycles, tail = conv_cycles(operation, config)
    depth = SUM_DEPTH_CYCLES + EPILOGUE_DEPTH_CYCLES
    return Cost(cycles, tail, depth, macs=products if word.depthwise else products * shape.input_blocks * LANES)


def vector_cost(operation: Operation) -> Cost:
    """Vec: a word a cycle, a word of the window a cycle, at least four cycles a word where four lanes are made in each.

    The windows of a row begin stride_y rows below those before it: a row a cycle, the first without an extra cycle. So
    are rows stepped over, once, where the windows begin inside of the operand.
    """
    word, source, target = operation.word, operation.setup(isa.VecSource), operation.setup(isa.VecTarget)
    assert isinstance(word, isa.Vec)
    each, depth, steps = 1, VECTOR_DEPTH_CYCLES, 0
    if word.operation in isa.WINDOWED:
        window = operation.setup(isa.VecWindow)
        each = window.kernel_height * window.kernel_width
        steps = target.blocks * (target.rows - 1) * (window.stride_y - 1)
    if word.operation in (*isa.WINDOWED, isa.VecOperation.COPY):
        steps += max(0, -source.pad_top)
    if word.operation == isa.VecOperation.SUM:
        one_pass = max(window.kernel_height, window.kernel_width) <= isa.ONE_PASS_KERNEL
        if one_pass and word.start and word.finish:
            depth += VECTOR_SCALE_CYCLES + min(each, isa.PARTS) - 1
            each = max(each, isa.PARTS)
        else:
            depth += VECTOR_SCALE_CYCLES + isa.PARTS - 1
            each += isa.PARTS
    elif word.operation in isa.TWO_OPERANDS:
        each = isa.PARTS
        depth += VECTOR_SCALE_CYCLES
        if word.operation == isa.VecOperation.MULTIPLY:
            depth += VECTOR_PRODUCT_CYCLES
    elif word.operation == isa.VecOperation.LOOKUP:
        depth += VECTOR_TABLE_CYCLES
    elif word.lane_from != word.lane_to:
        each = isa.PARTS
        depth += isa.PARTS - 1 + (word.lane_from > word.lane_to)
    return Cost(target.blocks * target.rows * target.columns * each + steps + depth)


def may_follow_early(operation: Operation, before: Operation, config: OverlayConfig) -> bool:
    """Whether a Conv may start its array while the Conv before it still drains its last tile.

    It may where its source and residual lie in other banks than the residual and target of the one before: two masks
    of banks tell. The accumulators are double-buffered, and epilogues stay in order.
    """
    if not (isinstance(operation.word, isa.Conv) and isinstance(before.word, isa.Conv)):
        return False
    mine, theirs = 0, 0
    for mask, item in ((0, operation), (1, before)):
        for access in item.accesses:
            if access.place.memory != "ACT" or (access.role == ("write", "source")[mask]):
                continue
            low, high = access.place.base // config.bank_words, access.place.last // config.bank_words
            bits = (1 << high + 1) - (1 << low)
            if mask == 0:
                mine |= bits
            else:
                theirs |= bits
    return not mine & theirs
