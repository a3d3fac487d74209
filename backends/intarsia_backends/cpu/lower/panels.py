"""How matrix products are cut up, and weights laid out for them."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from intarsia.dtypes import Array
from intarsia_backends.cpu.cuts import Cut, split_evenly, sum_chains
from intarsia_backends.cpu.kernels import PARALLEL_WORK, SHARES, WEIGHTS
from intarsia_backends.cpu.machine import Machine

_LATENCY_STEPS = 4.0
"""Cycles until a multiply-add that waits for the one before it can start."""

_TILE_MAX, _VECTORS_MAX = 14, 12
_NEAR_BYTES = 33 << 10
"""What a panel and the rows that go over it may take of the nearest cache, which has 32 KiB on most processors: not all
of the rows need to be there at once."""

_FAR_BYTES = 256 << 10
"""What a block of x may take of the second cache."""

_TASKS = 16
"""Parts for the threads, where there is work for several."""


def tallest_tile(registers: int, vectors: int) -> int:
    """Rows whose sums fit the registers beside the operands of a step; one row reads its weights from memory.

    One register stays free: with none, LLVM puts a sum on the stack in every step, which costs more than all the rest.
    """
    for tile in range(_TILE_MAX, 1, -1):
        if tile * vectors + min(tile, vectors) + 2 <= registers:
            return tile
    return 1


@lru_cache(maxsize=4096)
def cut_product(machine: Machine, batch: int, rows: int, depth: int, columns: int, element: int, blocks: bool) -> Cut:
    """The cheapest cut by a simple model: two multiply-adds and two loads a cycle, and chains that cover the latency.

    element  bytes of one step of the sum for one column
    blocks   whether sums may be put aside in y between parts of the depth
    """
    lanes = machine.lanes
    vectors = -(-columns // lanes)
    best: tuple[float, int, int, int] | None = None
    for largest in range(1, min(vectors, _VECTORS_MAX) + 1):
        panels, wide, wide_panels = split_evenly(vectors, largest)
        tiles = _tiles(machine, wide)
        if wide * min(rows, tiles[0]) + 2 > machine.registers:
            continue
        cycles = wide_panels * _cycles(rows, tiles[0], wide)
        if panels > wide_panels:
            cycles += (panels - wide_panels) * _cycles(rows, tiles[1], wide - 1)
        if best is None or cycles < best[0]:
            best = (cycles, panels, wide, wide_panels)
    assert best is not None
    _, panels, wide, wide_panels = best
    tiles = _tiles(machine, wide)
    depth_block = depth
    if blocks and rows > 2 * tiles[0]:
        depth_block = split_evenly(depth, max(64, _NEAR_BYTES // (wide * lanes * element + tiles[0] * 4)))[1]
    row_blocks = split_evenly(rows, max(2 * tiles[0], _FAR_BYTES // (4 * depth_block)))[0]
    chunks = 1
    if batch * rows * depth * columns >= PARALLEL_WORK:
        chunks = min(panels, -(-_TASKS // (batch * row_blocks)))
        chunks = -(-panels // -(-panels // chunks))  # every one has panels
    return Cut(lanes, wide, wide_panels, panels, tiles, depth_block, row_blocks, chunks)


def _tiles(machine: Machine, wide: int) -> tuple[int, int]:
    return tallest_tile(machine.registers, wide), tallest_tile(machine.registers, max(1, wide - 1))


def _cycles(rows: int, tile: int, vectors: int) -> float:
    """Cycles for one step of the sum over all rows of a panel."""
    parts, size, count = split_evenly(rows, tile)
    low = _step(size - 1, vectors) if count < parts else 0.0
    return count * _step(size, vectors) + (parts - count) * low


def _step(tile: int, vectors: int) -> float:
    loads = tile + vectors
    # Loads cost a little even where they do not limit: of two equal tiles the one with fewer loads is better.
    return max(tile * vectors / 2, _LATENCY_STEPS / sum_chains(tile, vectors), loads / 2) + 0.01 * loads


def pack_panels(weights: Array, cut: Cut, products: str) -> Array:
    """Weights [depth, columns] (or a stack of them) as a MatrixProduct reads them: panel after panel."""
    *batch, depth, columns = weights.shape
    pairs = SHARES[products]
    steps = -(-depth // pairs)
    full = np.zeros((*batch, steps * pairs, cut.vectors * cut.lanes), weights.dtype)
    full[..., :depth, :columns] = weights
    full = full.reshape(*batch, steps, pairs, cut.vectors * cut.lanes)
    parts, start = [], 0
    for panel in range(cut.panels):
        width = (cut.wide if panel < cut.wide_panels else cut.wide - 1) * cut.lanes
        part = np.swapaxes(full[..., start : start + width], -1, -2)
        parts.append(part.reshape(*batch, steps * width * pairs))
        start += width
    packed = np.concatenate(parts, axis=-1)
    return np.ascontiguousarray(packed.astype(WEIGHTS[products]))


def pad_columns(numbers: Array, cut: Cut) -> Array:
    """One number for each column, with zeros for the absent ones."""
    result = np.zeros(cut.vectors * cut.lanes, numbers.dtype)
    result[: numbers.size] = numbers.reshape(-1)
    return result
