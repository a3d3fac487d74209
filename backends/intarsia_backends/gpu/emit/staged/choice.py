"""Sizes of tiles: few products more than wanted, no processor idle, none short of bytes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

from intarsia_backends.gpu.machine import GpuMachine

FIRST, SECOND, SLICE_BYTES = 16, 8, 32
"""Lines of both factors, and bytes along the sum, of one tensor core's instruction."""

WARP = 32
UNIT_BYTES = 16
"""What stays side by side in shared memory."""

TURNS = 8
"""Lines after which units of lines take the same places again: as many as fill all banks of shared memory once."""

_SUMS = 4
"""Sums of one instruction's product that a lane holds."""

_MOST_SUMS = 64
"""Sums that a thread holds at most: with 128 registers for each there is room for a quarter of the threads that a
processor takes."""

_MOST_REGISTERS = 90
"""Of a thread of `ThreadTile`, places and what compilers want for themselves aside."""

_STAGES = 3
_WASTE = 1.08
"""How many times the fewest products a tile may issue that is quicker by other measures."""

# A middle-sized card of today, in clocks of one of its processors: an A100 has 108 of them, each of which multiplies
# 4096 bytes by tensor cores in 2 clocks, gets some 48 bytes a clock of what other processors read too, and reads 128
# bytes a clock of shared memory. Of float32 numbers most others multiply 128 in one. They rank tiles, no more.
_PROCESSORS, _CLOCKS, _PRODUCTS, _COMMON_BYTES, _SHARED_BYTES = 108, 2, 128, 48, 128
_CLOCKS_A_STEP, _CLOCKS_A_BLOCK, _CLOCKS_AN_END, _BESIDE = 60, 900, 40, 0.25


Kind = TypeVar("Kind", bound="Tile")


@dataclass(frozen=True)
class Sizes:
    """A product: how many matrices, lines of the first and of the second factor, bytes along the sum."""

    batches: int
    first: int
    second: int
    depth_bytes: int


@dataclass(frozen=True)
class Tile(ABC):
    """What a block makes.

    stage_bytes  along the sum that a stage of shared memory holds, of each line: 32, 64 or 128
    stages       that are in shared memory, or on their way
    """

    stage_bytes: int
    stages: int

    @property
    @abstractmethod
    def first(self) -> int:
        """Lines of the first factor."""

    @property
    @abstractmethod
    def second(self) -> int:
        """Lines of the second factor."""

    @property
    @abstractmethod
    def threads(self) -> int:
        """Of the block."""

    @property
    @abstractmethod
    def parts(self) -> int:
        """Groups of threads that share the sums of one tile."""

    def shared_bytes(self, turned: bool) -> int:
        """Shared memory: the sums stand where the stages stood, with gaps between lines."""
        rows, columns = (self.second, self.first) if turned else (self.first, self.second)
        brought = self.stages * (self.first + self.second) * self.stage_bytes
        return max(brought, 4 * self.parts * rows * pitch(columns))

    def blocks(self, sizes: Sizes) -> int:
        """Of the product."""
        return sizes.batches * -(-sizes.first // self.first) * -(-sizes.second // self.second)

    def steps(self, sizes: Sizes) -> int:
        """Stages that a block goes through."""
        return -(-sizes.depth_bytes // self.stage_bytes)

    def issued_bytes(self, sizes: Sizes) -> int:
        """Products of bytes that all blocks issue."""
        return self.blocks(sizes) * self.first * self.second * self.steps(sizes) * self.stage_bytes

    def brought_bytes(self, sizes: Sizes) -> int:
        """What all blocks bring to shared memory."""
        return self.blocks(sizes) * (self.first + self.second) * self.steps(sizes) * self.stage_bytes

    def clocks(self, sizes: Sizes) -> float:
        """How long the card takes, about."""
        blocks, steps = self.blocks(sizes), self.steps(sizes)
        brought = (self.first + self.second) * self.stage_bytes * steps / _COMMON_BYTES
        ends = self.first * self.second / self.threads * _CLOCKS_AN_END
        rounds = -(-blocks // _PROCESSORS)
        # Blocks that a processor holds at a time hide what each of them waits for.
        held = max(1, min(4, 512 // self.threads))
        waits = (steps * _CLOCKS_A_STEP + _CLOCKS_A_BLOCK + ends) * -(-rounds // held)
        busy = self.products_clocks(steps), self.reads_bytes(steps) / _SHARED_BYTES, brought
        # They overlap, and not all the time.
        return rounds * (max(busy) + _BESIDE * sum(busy)) + waits

    @abstractmethod
    def products_clocks(self, steps: int) -> float:
        """What a processor takes for the products of a block."""

    @abstractmethod
    def reads_bytes(self, steps: int) -> float:
        """What the threads of a block read of shared memory."""


@dataclass(frozen=True)
class TensorTile(Tile):
    """A tile of warps that multiply by tensor cores.

    tall, wide   of a warp: fragments of 16 lines of the first factor, and of 8 lines of the second
    warps        along the first, along the second, along the sum
    """

    tall: int
    wide: int
    warps: tuple[int, int, int]

    @property
    def first(self) -> int:
        return FIRST * self.tall * self.warps[0]

    @property
    def second(self) -> int:
        return SECOND * self.wide * self.warps[1]

    @property
    def threads(self) -> int:
        down, across, deep = self.warps
        return WARP * down * across * deep

    @property
    def parts(self) -> int:
        return self.warps[2]

    @property
    def slices(self) -> int:
        """Instructions' depths of a stage that a warp multiplies."""
        return self.stage_bytes // SLICE_BYTES // self.parts

    def products_clocks(self, steps: int) -> float:
        slices = steps * self.stage_bytes // SLICE_BYTES
        return self.first // FIRST * (self.second // SECOND) * slices * _CLOCKS

    def reads_bytes(self, steps: int) -> float:
        down, across, _ = self.warps
        return (self.first * across + self.second * down) * self.stage_bytes * steps


@dataclass(frozen=True)
class ThreadTile(Tile):
    """A tile of threads that multiply float32 numbers one by one.

    tall, wide  lines of both factors of which a thread makes all products
    grid        threads along the first, along the second, along the sum
    """

    tall: int
    wide: int
    grid: tuple[int, int, int]

    @property
    def first(self) -> int:
        return self.tall * self.grid[0]

    @property
    def second(self) -> int:
        return self.wide * self.grid[1]

    @property
    def threads(self) -> int:
        down, across, deep = self.grid
        return down * across * deep

    @property
    def parts(self) -> int:
        return self.grid[2]

    @property
    def units(self) -> int:
        """Units of each line of a stage that a thread multiplies."""
        return self.stage_bytes // UNIT_BYTES // self.parts

    @property
    def registers(self) -> int:
        """Of a thread: sums, what it holds of both factors, and two for every chunk that it brings."""
        brought = -(-(self.first + self.second) * self.stage_bytes // UNIT_BYTES // self.threads)
        return self.tall * self.wide + UNIT_BYTES // 4 * (self.tall + 1) + 2 * brought

    def products_clocks(self, steps: int) -> float:
        return self.first * self.second * (self.stage_bytes // 4) * steps / _PRODUCTS

    def reads_bytes(self, steps: int) -> float:
        return self.threads * self.units * (self.tall + self.wide) * UNIT_BYTES * steps


def pitch(columns: int) -> int:
    """Numbers from one line of sums to the next: a gap keeps lanes from writing to one bank of shared memory."""
    return columns + 4


def tile_of(both: Sequence[Sizes], tiles: Callable[[], Sequence[Kind]], machine: GpuMachine) -> tuple[bool, Kind]:
    """The best tile for a product whose factors may change places, and whether they do.

    both  the sizes as they are and, where that may be, with the factors changed
    """
    choices = [
        (bool(turned), sizes, tile)
        for turned, sizes in enumerate(both)
        for tile in tiles()
        if tile.shared_bytes(bool(turned)) <= machine.shared_bytes
    ]
    fewest = min(tile.issued_bytes(sizes) for _, sizes, tile in choices)
    turned, _, tile = min(
        (choice for choice in choices if choice[2].issued_bytes(choice[1]) <= _WASTE * fewest),
        key=lambda choice: choice[2].clocks(choice[1]),
    )
    return turned, tile


@cache
def tensor_tiles() -> tuple[TensorTile, ...]:
    """All that there are."""
    return tuple(_tensor_tiles())


def _tensor_tiles() -> Iterator[TensorTile]:
    for tall in (1, 2, 4):
        for wide in range(1, min(8, _MOST_SUMS // _SUMS // tall) + 1):
            for warps in ((1, 1, 4), (2, 1, 2), (4, 1, 1), (2, 2, 1), (1, 4, 1), (4, 2, 1), (2, 1, 4), (4, 1, 2)):
                for stage_bytes in (32, 64, 128):
                    if stage_bytes >= SLICE_BYTES * warps[2]:
                        yield TensorTile(stage_bytes, _STAGES, tall, wide, warps)


_GRIDS = (
    (8, 16, 1), (8, 8, 2), (8, 8, 4), (4, 32, 1), (16, 16, 1), (8, 16, 2), (8, 32, 1), (1, 16, 8), (1, 8, 8), (2, 16, 4)
)  # fmt: skip
"""Threads along the first factor, along the second, along the sum: 64 to 256 of them."""


@cache
def thread_tiles() -> tuple[ThreadTile, ...]:
    """All that there are."""
    return tuple(_thread_tiles())


def _thread_tiles() -> Iterator[ThreadTile]:
    for tall in (1, 2, 3, 4, 6, 7, 8):
        for wide in (1, 2, 3, 4, 6, 8):
            for grid in _GRIDS:
                for stage_bytes in (32, 64, 128):
                    tile = ThreadTile(stage_bytes, _STAGES, tall, wide, grid)
                    if stage_bytes >= UNIT_BYTES * grid[2] and tile.registers <= _MOST_REGISTERS:
                        yield tile
