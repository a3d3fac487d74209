"""Kernels that regions for GPUs have beside those of `intarsia_backends.lowering.kernels`."""

from __future__ import annotations

import math
from dataclasses import dataclass

from intarsia_backends.lowering.access import Access
from intarsia_backends.lowering.expressions import Expression
from intarsia_backends.lowering.kernel import Kernel


@dataclass(frozen=True)
class Narrowed(Kernel):
    """Another kernel, some of whose float32 parameters are float16 in memory: converted where they are read, rounded
    where they are written.

    halves  numbers of these parameters, in order
    """

    kernel: Kernel
    halves: tuple[int, ...]

    @property
    def work(self) -> int:
        return self.kernel.work


@dataclass(frozen=True)
class Attention(Kernel):
    """softmax of `score` of q times k, times v: no score is ever in memory.

    batch     extents of the loops outside
    rows, keys, depth, columns
              extents of a product: rows times depth, depth times keys, keys times columns
    operands  walks over (batch.., row, depth) of q, (batch.., depth, key) of k, (batch.., key, column) of v; over
              (batch.., row, key) of `read` operands that `score` reads; over (batch.., row, column) of what `end` reads
    output    walk over (batch.., row, column)
    score     of the sum of products, `Accumulator()`
    end       of the element that is stored, over `Accumulator()`
    tile      what a block makes

    Called with the operands in order, then the output.
    """

    batch: tuple[int, ...]
    rows: int
    keys: int
    depth: int
    columns: int
    operands: tuple[Access, ...]
    read: int
    output: Access
    score: Expression
    end: Expression
    tile: AttentionTile

    def __post_init__(self) -> None:
        self.expect("score", self.score, "float32", reads=self.operands, accumulator="float32")
        self.expect("end", self.end, self.output.dtype, reads=self.operands, accumulator="float32")

    @property
    def work(self) -> int:
        return math.prod(self.batch) * self.rows * self.keys * (self.depth + self.columns) * 2

    @property
    def tiled(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Rows and keys, and how many of each a tile has."""
        return (self.rows, self.tile.rows), (self.keys, self.tile.keys)


@dataclass(frozen=True)
class AttentionTile:
    """What a block of 128 threads makes of an `Attention`, and how much of k and v it has in shared memory at a time.

    rows  of q; a power of two, whose elements 128 / rows threads share
    keys  a multiple of these threads
    """

    rows: int
    keys: int

    @property
    def sharers(self) -> int:
        return ATTENTION_THREADS // self.rows

    def shared_bytes(self, depth: int, columns: int) -> int:
        """Shared memory for q, for k or v, and for scores; rows are a number longer, against conflicts of banks."""
        return 4 * (self.rows * (depth + 1) + self.keys * max(depth + 1, columns) + self.rows * (self.keys + 1))


ATTENTION_THREADS = 128
_MOST_COLUMNS = 64
"""Of v for which a thread has sums in registers."""


def attention_tile(rows: int, depth: int, columns: int, shared_bytes: int) -> AttentionTile | None:
    """The largest tile for which there is shared memory; None where that is too little, or v too wide for registers."""
    tiles = [AttentionTile(tall, wide) for tall in (32, 16, 8, 4) for wide in (32, 16)]
    for tile in tiles:
        fits = tile.shared_bytes(depth, columns) <= shared_bytes and columns <= _MOST_COLUMNS * tile.sharers
        if fits and tile.keys % tile.sharers == 0 and (tile.rows == 4 or rows > tile.rows // 2):
            return tile
    return None
