"""Sizes of tiles for tensor cores: few products more than wanted, no processor idle, none short of bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from intarsia_backends.gpu.machine import GpuMachine

FIRST, SECOND, SLICE_BYTES = 16, 8, 32
"""Lines of both factors, and bytes along the sum, of one instruction's product."""

_WARP = 32
_SUMS = 4
"""Sums of one instruction's product that a lane holds."""

_MOST_SUMS = 64
"""Sums that a lane holds at most: with 128 registers for a thread there is room for a quarter of the threads that a
processor takes."""

_MOST_STAGES = 3
_WASTE = 1.08
"""How many times the fewest products a tile may issue that is quicker by other measures."""

# A middle-sized card of today, in clocks of one of its processors: an A100 has 108 of them, each of which multiplies
# 4096 bytes in 2 clocks, gets some 48 bytes a clock of what other processors read too, and reads 128 bytes a clock of
# shared memory. They rank tiles, no more.
_PROCESSORS, _CLOCKS, _COMMON_BYTES, _SHARED_BYTES = 108, 2, 48, 128
_CLOCKS_A_STEP, _CLOCKS_A_BLOCK, _CLOCKS_AN_END = 60, 900, 40


@dataclass(frozen=True)
class Sizes:
    """A product: how many matrices, lines of the first and of the second factor, bytes along the sum."""

    batches: int
    first: int
    second: int
    depth_bytes: int


@dataclass(frozen=True)
class TensorTile:
    """What a block makes.

    tall, wide   of a warp: fragments of 16 lines of the first factor, and of 8 lines of the second
    warps        along the first, along the second, along the sum; the last share the sums of one tile
    stage_bytes  along the sum that a stage of shared memory holds: 32, 64 or 128
    stages       that are in shared memory, or on their way
    """

    tall: int
    wide: int
    warps: tuple[int, int, int]
    stage_bytes: int
    stages: int

    @property
    def threads(self) -> int:
        down, across, deep = self.warps
        return _WARP * down * across * deep

    @property
    def first(self) -> int:
        """Lines of the first factor."""
        return FIRST * self.tall * self.warps[0]

    @property
    def second(self) -> int:
        """Lines of the second factor."""
        return SECOND * self.wide * self.warps[1]

    @property
    def slices(self) -> int:
        """Instructions' depths of a stage that a warp multiplies."""
        return self.stage_bytes // SLICE_BYTES // self.warps[2]

    @property
    def brought_bytes(self) -> int:
        """Of the stages."""
        return self.stages * (self.first + self.second) * self.stage_bytes

    def held_sums(self, turned: bool) -> int:
        """Sums that the warps lay down in shared memory, with gaps between lines."""
        rows, columns = (self.second, self.first) if turned else (self.first, self.second)
        return self.warps[2] * rows * pitch(columns)

    def shared_bytes(self, turned: bool) -> int:
        """Shared memory: the sums stand where the stages stood."""
        return max(self.brought_bytes, 4 * self.held_sums(turned))

    def blocks(self, sizes: Sizes) -> int:
        return sizes.batches * -(-sizes.first // self.first) * -(-sizes.second // self.second)

    def steps(self, sizes: Sizes) -> int:
        """Stages that a block goes through."""
        return -(-sizes.depth_bytes // self.stage_bytes)

    def issued_bytes(self, sizes: Sizes) -> int:
        """Products of bytes that all blocks issue."""
        return self.blocks(sizes) * self.first * self.second * self.steps(sizes) * self.stage_bytes


def pitch(columns: int) -> int:
    """Numbers from one line of sums to the next: a gap keeps lanes from writing to one bank of shared memory."""
    return columns + 4


def tile_of(both: Sequence[Sizes], machine: GpuMachine) -> tuple[bool, TensorTile]:
    """The best tile for a product whose factors may change places, and whether they do.

    both  the sizes as they are, and with the factors changed
    """
    choices = [
        (turned, sizes, tile)
        for turned, sizes in ((False, both[0]), (True, both[1]))
        for tile in _tiles()
        if tile.shared_bytes(turned) <= machine.shared_bytes
    ]
    fewest = min(tile.issued_bytes(sizes) for _, sizes, tile in choices)
    turned, _, tile = min(
        (choice for choice in choices if choice[2].issued_bytes(choice[1]) <= _WASTE * fewest),
        key=lambda choice: _clocks(choice[2], choice[1]),
    )
    return turned, tile


@cache
def _tiles() -> tuple[TensorTile, ...]:
    return tuple(_all_tiles())


def _all_tiles() -> Iterator[TensorTile]:
    for tall in (1, 2, 4):
        for wide in range(1, _MOST_SUMS // _SUMS // tall + 1):
            if wide > 8:
                continue
            for warps in ((1, 1, 4), (2, 1, 2), (4, 1, 1), (2, 2, 1), (1, 4, 1), (4, 2, 1), (2, 1, 4), (4, 1, 2)):
                for stage_bytes in (32, 64, 128):
                    if stage_bytes >= SLICE_BYTES * warps[2]:
                        yield TensorTile(tall, wide, warps, stage_bytes, _MOST_STAGES)


def _clocks(tile: TensorTile, sizes: Sizes) -> float:
    """How long the card takes, about."""
    blocks, steps = tile.blocks(sizes), tile.steps(sizes)
    slices = steps * tile.stage_bytes // SLICE_BYTES
    fragments = tile.first // FIRST * (tile.second // SECOND)
    multiplied = fragments * slices * _CLOCKS
    brought = (tile.first + tile.second) * tile.stage_bytes * steps / _COMMON_BYTES
    down, across, _ = tile.warps
    loaded = (tile.first * across + tile.second * down) * SLICE_BYTES * slices / _SHARED_BYTES
    ends = tile.first * tile.second / tile.threads * _CLOCKS_AN_END
    rounds = -(-blocks // _PROCESSORS)
    # Blocks that a processor holds at a time hide what each of them waits for.
    held = max(1, min(4, 512 // tile.threads))
    waits = (steps * _CLOCKS_A_STEP + _CLOCKS_A_BLOCK + ends) * -(-rounds // held)
    return rounds * max(multiplied, brought, loaded) + waits
