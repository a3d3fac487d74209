"""How matrix products are cut up, and weights laid out for them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from intarsia.dtypes import Array
from intarsia_backends.cpu.kernels import SHARES
from intarsia_backends.cpu.lower.tiles import DOT2_VECTORS_MAX, step_cycles
from intarsia_backends.cpu.machine import Machine
from intarsia_backends.cpu.tiling import PARALLEL_WORK, ProductTiling, split_evenly, sum_chains
from intarsia_backends.cpu.tuning_tasks import TuningTask

_LATENCY_STEPS = 4.0
"""Cycles until a multiply-add that waits for the one before it can start."""

_TILE_MAX, _VECTORS_MAX = 14, 12
_NEAR_BYTES = 33 << 10
"""What a panel and the rows that go over it may take of the nearest cache, which has 32 KiB on most processors: not all
of the rows need to be there at once."""

_FAR_BYTES = 256 << 10
"""What a block of x may take of the second cache."""

_WIDTHS_TRIED = 5

_TASKS = 16
"""Parts for the threads, where there is work for several."""


def tallest_tile(registers: int, vectors: int, *, adds: bool = False) -> int:
    """Rows whose sums fit the registers beside the operands of a step; one row reads its weights from memory.

    One register stays free: with none, LLVM puts a sum on the stack in every step, which costs more than all the rest.

    adds  whether products are added by an instruction of their own: weights are then best held in registers
    """
    for tile in range(_TILE_MAX, 1, -1):
        if tile * vectors + (vectors if adds else min(tile, vectors)) + 2 <= registers:
            return tile
    return 1


def needs_additions(machine: Machine, products: str) -> bool:
    """Whether products are added by an instruction of their own."""
    return products == "dot2" and not machine.adds_products


@dataclass(frozen=True)
class ProductTask(TuningTask):
    """How to cut up a matrix product.

    products  as in `MatrixProduct`
    batch     matrices
    packed    whether w was laid out before
    blocks    whether sums may be put aside in y between parts of the depth
    """

    machine: Machine
    products: str
    batch: int
    rows: int
    depth: int
    columns: int
    packed: bool
    blocks: bool

    @property
    def key(self) -> str:
        words = f"{', packed' if self.packed else ''}{', in blocks' if self.blocks else ''}"
        return f"product {self.products} {self.batch} of {self.rows}x{self.depth}x{self.columns}{words}"

    def heuristic(self) -> ProductTiling:
        return tile_product(
            self.machine,
            self.batch,
            self.rows,
            self.depth,
            self.columns,
            self.products,
            self._element_bytes,
            self.blocks,
        )

    @property
    def _element_bytes(self) -> int:
        """Of one step of the sum for one column."""
        return 2 if self.products == "int16" else 4

    def alternatives(self) -> list[ProductTiling]:
        """Panels of other widths, lower tiles, other parts of the depth and of the rows."""
        heuristic = self.heuristic()
        ranked = _panels(self.machine, self.rows, self.columns, self.products)
        found = []
        for panels, wide, wide_panels in [panels for _, *panels in sorted(ranked)][: _WIDTHS_TRIED + 1]:
            tiles = _tiles(self.machine, wide, self.products)
            found.append(self._tiling(panels, wide, wide_panels, tiles, self._depth_block(wide, tiles)))
        mine = (heuristic.panels, heuristic.wide, heuristic.wide_panels, heuristic.tiles)
        for depth_block in (self.depth, heuristic.depth_block * 2, -(-heuristic.depth_block // 2)):
            if self.blocks and 64 <= depth_block <= self.depth:
                found.append(self._tiling(*mine, depth_block))
        for parts in (1, heuristic.row_blocks // 2, heuristic.row_blocks * 2):
            if 1 <= parts <= max(1, self.rows // (2 * heuristic.tiles[0])):
                found.append(
                    self._tiling(*mine, heuristic.depth_block, split_evenly(self.rows, -(-self.rows // parts))[0])
                )
        if heuristic.tiles[0] > 2:
            lower = (heuristic.tiles[0] - 1, max(1, heuristic.tiles[1] - 1))
            found.append(self._tiling(*mine[:3], lower, heuristic.depth_block))
        return [tiling for tiling in dict.fromkeys(found) if tiling != heuristic]

    def _depth_block(self, wide: int, tiles: tuple[int, int]) -> int:
        return block_depth(self.machine, self.rows, self.depth, self._element_bytes, self.blocks, wide, tiles[0])

    def _tiling(
        self, panels: int, wide: int, wide_panels: int, tiles: tuple[int, int], depth_block: int, row_blocks: int = 0
    ) -> ProductTiling:
        row_blocks = row_blocks or block_rows(self.rows, depth_block, tiles[0])
        work = self.batch * self.rows * self.depth * self.columns
        chunks = share_panels(work, self.batch * row_blocks, panels)
        return ProductTiling(
            lanes=self.machine.lanes,
            wide=wide,
            wide_panels=wide_panels,
            panels=panels,
            tiles=tiles,
            depth_block=depth_block,
            row_blocks=row_blocks,
            chunks=chunks,
        )


@lru_cache(maxsize=4096)
def tile_product(
    machine: Machine, batch: int, rows: int, depth: int, columns: int, products: str, element: int, blocks: bool
) -> ProductTiling:
    """The cheapest one by a simple model: two multiply-adds and two loads a cycle, and chains that cover the latency.

    element  bytes of one step of the sum for one column
    blocks   whether sums may be put aside in y between parts of the depth
    """
    ranked = _panels(machine, rows, columns, products)
    _, panels, wide, wide_panels = min(ranked, key=lambda item: item[0])  # the narrowest among equals
    tiles = _tiles(machine, wide, products)
    depth_block = block_depth(machine, rows, depth, element, blocks, wide, tiles[0])
    row_blocks = block_rows(rows, depth_block, tiles[0])
    chunks = share_panels(batch * rows * depth * columns, batch * row_blocks, panels)
    return ProductTiling(
        lanes=machine.lanes,
        wide=wide,
        wide_panels=wide_panels,
        panels=panels,
        tiles=tiles,
        depth_block=depth_block,
        row_blocks=row_blocks,
        chunks=chunks,
    )


def _panels(machine: Machine, rows: int, columns: int, products: str) -> list[tuple[float, int, int, int]]:
    """Cycles for one step of the sum, number of panels, vectors of a wide one, wide panels; narrow ones first."""
    vectors = -(-columns // machine.lanes)
    found = []
    most = _VECTORS_MAX
    if rows > 1 and needs_additions(machine, products) and machine.registers <= 16:
        most = DOT2_VECTORS_MAX
    for largest in range(1, min(vectors, most) + 1):
        panels, wide, wide_panels = split_evenly(vectors, largest)
        tiles, adds = _tiles(machine, wide, products), needs_additions(machine, products)
        if wide * min(rows, tiles[0]) + 2 > machine.registers:
            continue
        cycles = wide_panels * _cycles(rows, tiles[0], wide, adds)
        if panels > wide_panels:
            cycles += (panels - wide_panels) * _cycles(rows, tiles[1], wide - 1, adds)
        found.append((cycles, panels, wide, wide_panels))
    return found


def block_depth(machine: Machine, rows: int, depth: int, element: int, blocks: bool, wide: int, tile: int) -> int:
    """Steps of the sum for which a panel stays in the nearest cache."""
    if not blocks or rows <= 2 * tile:
        return depth
    return split_evenly(depth, max(64, _NEAR_BYTES // (wide * machine.lanes * element + tile * 4)))[1]


def block_rows(rows: int, depth_block: int, tile: int) -> int:
    """Parts of the rows, so that each stays in the second cache."""
    return split_evenly(rows, max(2 * tile, _FAR_BYTES // (4 * depth_block)))[0]


def share_panels(work: int, others: int, panels: int) -> int:
    """Parts of the panels for the threads, beside `others` that the product has anyway."""
    if work < PARALLEL_WORK:
        return 1
    chunks = min(panels, -(-_TASKS // others))
    return -(-panels // -(-panels // chunks))  # every one has panels


def _tiles(machine: Machine, wide: int, products: str) -> tuple[int, int]:
    adds = needs_additions(machine, products)
    return (
        tallest_tile(machine.registers, wide, adds=adds),
        tallest_tile(machine.registers, max(1, wide - 1), adds=adds),
    )


def _cycles(rows: int, tile: int, vectors: int, adds: bool) -> float:
    """Cycles for one step of the sum over all rows of a panel."""
    parts, size, count = split_evenly(rows, tile)
    low = _step(size - 1, vectors, adds) if count < parts else 0.0
    return count * _step(size, vectors, adds) + (parts - count) * low


def _step(tile: int, vectors: int, adds: bool) -> float:
    loads = tile + vectors
    # Loads cost a little even where they do not limit: of two equal tiles the one with fewer loads is better.
    cycles = max(tile * vectors / 2, _LATENCY_STEPS / sum_chains(tile, vectors), loads / 2) + 0.01 * loads
    return max(cycles, step_cycles(tile, vectors, "dot2")) if adds else cycles


def arrange_panels(weights: Array, tiling: ProductTiling, products: str) -> Array:
    """Weights [depth, columns] (or a stack of them) in the order in which a MatrixProduct reads them: panel after
    panel."""
    *batch, depth, columns = weights.shape
    share = SHARES[products]
    steps = -(-depth // share)
    full = np.zeros((*batch, steps * share, tiling.vectors * tiling.lanes), weights.dtype)
    full[..., :depth, :columns] = weights
    full = full.reshape(*batch, steps, share, tiling.vectors * tiling.lanes)
    parts, start = [], 0
    for panel in range(tiling.panels):
        width = (tiling.wide if panel < tiling.wide_panels else tiling.wide - 1) * tiling.lanes
        part = np.swapaxes(full[..., start : start + width], -1, -2)
        parts.append(part.reshape(*batch, steps * width * share))
        start += width
    return np.concatenate(parts, axis=-1)


def pad_columns(numbers: Array, tiling: ProductTiling) -> Array:
    """One number for each column, with zeros for the absent ones."""
    result = np.zeros(tiling.vectors * tiling.lanes, numbers.dtype)
    result[: numbers.size] = numbers.reshape(-1)
    return result
