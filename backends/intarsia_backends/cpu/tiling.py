"""How work is cut into parts that registers and caches hold."""

from __future__ import annotations

from dataclasses import dataclass

PARALLEL_WORK = 250_000
"""Elementary operations (some 5 microseconds of them) from which on a job for several threads pays: those that spin
take it up within a microsecond or two."""


@dataclass(frozen=True)
class ProductTiling:
    """How a matrix product is cut up so that every level of memory holds what is read again.

    lanes        columns in a vector
    wide         vectors in a wide panel; narrow ones have one less
    wide_panels  panels that are wide: they come first
    panels       panels of all kinds
    tiles        rows held in registers at once, for a wide and for a narrow panel
    depth_block  steps of the sum for which a panel stays in the nearest cache
    row_blocks   parts of the rows; a part of x, one depth block deep, stays in the second cache
    chunks       parts of the panels, each with as many but the last, which may have fewer
    """

    lanes: int
    wide: int
    wide_panels: int
    panels: int
    tiles: tuple[int, int]
    depth_block: int
    row_blocks: int
    chunks: int

    @property
    def vectors(self) -> int:
        """Vectors in a row of all panels."""
        return self.panels * (self.wide - 1) + self.wide_panels


def split_evenly(total: int, largest: int) -> tuple[int, int, int]:
    """Parts of at most `largest`: how many, the size of the first ones, and how many have it; others have 1 less."""
    parts = -(-total // largest)
    size = -(-total // parts)
    return parts, size, total - parts * (size - 1)


def sum_chains(tile: int, vectors: int) -> int:
    """Parts of each sum that are added up side by side, so that there are sums enough to cover the latency."""
    sums = tile * vectors
    return max(1, min(-(-8 // sums), 12 // sums))


_SEGMENT = 4
"""int32 numbers in the 128 bits within which x86 interleaves."""


def interleaving_order(lanes: int) -> tuple[list[int], list[int]]:
    """Channels, of 2 * lanes, that stand in the lower and in the upper vector where x86 interleaves two,
    and where it packs two vectors of int32 into one of int16 that shall have the channels' own order."""
    lower = [
        segment * 2 * _SEGMENT + place for segment in range(max(1, lanes // _SEGMENT)) for place in range(_SEGMENT)
    ]
    return lower, [channel + _SEGMENT for channel in lower]
