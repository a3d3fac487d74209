"""The constants of a program as they stand in DRAM, and the rings that they are loaded into on chip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from intarsia.dtypes import Array
from intarsia_backends.overlay.compiler.steps import ConvStep
from intarsia_backends.overlay.compiler.tensors import ceil_div
from intarsia_backends.overlay.machine.config import LANES, WEIGHT_ROW_BYTES
from intarsia_backends.overlay.machine.isa import MULTIPLIER_BITS, SUB_WINDOW

ALIGN_BYTES = 64


class ConstantPool:
    """Collects the DRAM image of a program's constants; equal pieces are kept once.

    held  by the identity of a step's weights: they, counted from 1, and the place of each in the image, -1 for none yet
    """

    def __init__(self) -> None:
        self.held: dict[int, tuple[Array, Array]] = {}
        self._pieces: list[bytes] = []
        self._offsets: dict[bytes, int] = {}
        self.size_bytes = 0

    def add(self, data: bytes) -> int:
        """Offset in bytes, a multiple of 64, of a piece."""
        if data not in self._offsets:
            padded = data + bytes(-len(data) % ALIGN_BYTES)
            self._offsets[data] = self.size_bytes
            self._pieces.append(padded)
            self.size_bytes += len(padded)
        return self._offsets[data]

    def add_weights(self, step: ConvStep, parts: Sequence[Part]) -> tuple[int, int]:
        """Offset and bytes of parts of a step's weights, one behind the other; it is kept in mind what lies where."""
        content = b"".join(arrange_weights(step, step.weight, part).tobytes() for part in parts)
        offset = self.add(content)
        if id(step.weight) not in self.held:
            numbers = np.arange(1, step.weight.size + 1, dtype=np.int32).reshape(step.weight.shape)
            self.held[id(step.weight)] = numbers, np.full(step.weight.size, -1, np.int32)
        numbers, places = self.held[id(step.weight)]
        flat = np.concatenate([arrange_weights(step, numbers, part).reshape(-1) for part in parts])
        at = np.flatnonzero(flat)
        places[flat[at] - 1] = at + offset
        return offset, len(content)

    def places(self, step: ConvStep) -> Array | None:
        """Where each of a step's weights lies in the image; None where not all do."""
        _, places = self.held.get(id(step.weight), (None, np.full(1, -1)))
        return None if (places < 0).any() else places

    def image(self) -> bytes:
        """All pieces, one behind the other: the bytes of the segment."""
        return b"".join(self._pieces)


class Ring:
    """Places in a memory, given out one after the other, around and around; what lay there before is overwritten.

    That a place is not overwritten while it is read is the work of semaphores.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._next = 0

    def reserve(self, count: int) -> None:
        """See to it that the next takes, `count` in all, do not overwrite one another."""
        assert count <= self.capacity
        if self._next + count > self.capacity:
            self._next = 0

    def take(self, count: int) -> int:
        """First entry of `count` in a row."""
        assert 0 < count <= self.capacity
        if self._next + count > self.capacity:
            self._next = 0
        at = self._next
        self._next += count
        return at


class Part(NamedTuple):
    """Weights of one block of 16 output channels, for some input blocks and kernel taps."""

    block: int
    block_in0: int
    blocks_in: int
    rows: slice = slice(None)
    columns: slice = slice(None)


def arrange_weights(step: ConvStep, weights: Array, part: Part) -> Array:
    """Part of the weights of a step, of any type, as WGT holds them.

    Dense: [ky][kx][input block][16 in][16 out]. Depthwise: sub-windows of 3x3 taps, [row][column][3][4][16], where the
    fourth column and what is past the kernel are zeros.
    """
    block, block_in0, blocks_in = part.block, part.block_in0, part.blocks_in
    weight = weights[block * LANES : (block + 1) * LANES, :, part.rows, part.columns]
    outputs, depth, height, width = weight.shape
    if step.depthwise:
        down, across = ceil_div(height, SUB_WINDOW), ceil_div(width, SUB_WINDOW)
        taps = np.zeros((down * SUB_WINDOW, across * SUB_WINDOW, LANES), weight.dtype)
        taps[:height, :width, :outputs] = weight[:, 0].transpose(1, 2, 0)
        packed = np.zeros((down, across, SUB_WINDOW, WEIGHT_ROW_BYTES // LANES, LANES), weight.dtype)
        packed[:, :, :, :SUB_WINDOW] = taps.reshape(down, SUB_WINDOW, across, SUB_WINDOW, LANES).transpose(
            0, 2, 1, 3, 4
        )
        return packed
    outputs_each, first = step.weight.shape[0] // step.group, block * LANES
    dense = np.zeros((LANES, blocks_in * LANES, height, width), weight.dtype)
    for lane in range(outputs):
        at = (first + lane) // outputs_each * depth - block_in0 * LANES
        low, high = max(at, 0), min(at + depth, blocks_in * LANES)
        if low < high:
            dense[lane, low:high] = weight[lane, low - at : high - at]
    split = dense.reshape(LANES, blocks_in, LANES, height, width)
    return np.ascontiguousarray(split.transpose(3, 4, 1, 2, 0))


def input_blocks(step: ConvStep, block: int) -> tuple[int, int]:
    """First input block, and one past the last, that a block of output channels reads."""
    outputs, depth = step.weight.shape[:2]
    if step.depthwise:
        return block, block + 1
    each = outputs // step.group
    first, last = block * LANES // each, (min((block + 1) * LANES, outputs) - 1) // each
    return first * depth // LANES, ceil_div((last + 1) * depth, LANES)


def pack_parameters(step: ConvStep, block0: int, blocks: int) -> bytes:
    """PAR groups of some blocks of output channels; channels past the last give the zero point."""
    entries = np.zeros((blocks * LANES, 2), np.uint32)
    entries[:, 1] = 1 << MULTIPLIER_BITS
    part = slice(block0 * LANES, (block0 + blocks) * LANES)
    bias: Array = step.bias[part]
    entries[: len(bias), 0] = bias.astype(np.int32).view(np.uint32)
    entries[: len(bias), 1] = (step.multiplier[part] | step.shift[part] << MULTIPLIER_BITS).astype(np.uint32)
    return entries.astype("<u4").tobytes()


def input_blocks_of(outputs: int, depth: int, group: int) -> int:
    """The most input blocks that any block of 16 output channels reads."""
    each, most = outputs // group, 0
    for block in range(ceil_div(outputs, LANES)):
        first, last = block * LANES // each, (min((block + 1) * LANES, outputs) - 1) // each
        most = max(most, ceil_div((last + 1) * depth, LANES) - first * depth // LANES)
    return most
