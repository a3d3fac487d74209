"""Products of one row whose region is given several images at once: the rows of all, each as it would be alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from intarsia_backends.cpu.kernels import MatrixProduct
from intarsia_backends.cpu.lower.panels import needs_additions, share_panels, tallest_tile
from intarsia_backends.cpu.machine import Machine
from intarsia_backends.cpu.tiling import split_evenly, sum_chains
from intarsia_backends.lowering.access import Access
from intarsia_backends.lowering.kernel import Kernel

MOST_IMAGES = 64
"""That one call of such a product takes."""

_LOAD_CYCLES = 0.01
"""What a load costs where loads do not limit: of two equal tiles the one with fewer is better."""


@dataclass(frozen=True)
class ImageRows(Kernel):
    """A packed product of one row, for as many images as a number says that it is called with.

    product  of the rows of MOST_IMAGES images
    rows     images that are multiplied at once, or one less: at least so many come
    vectors  of a panel that are, at most

    Called with the number, int32, and then as the product. A row's bytes are those of the product of one row: where
    sums round, their order is the same.
    """

    product: MatrixProduct
    rows: int
    vectors: int

    @property
    def least(self) -> int:
        """Images that it must be called with at least."""
        return self.rows - 1

    @property
    def work(self) -> int:
        return self.product.work


def row_chains(product: MatrixProduct, rows: int, vectors: int, panel: int) -> int:
    """Parts of each sum: for numbers that round, as many as where a row is alone.

    vectors  that are multiplied at once
    panel    vectors of the whole panel
    """
    return sum_chains(1, panel) if product.products == "float32" else sum_chains(rows, vectors)


def image_rows(
    product: MatrixProduct, machine: Machine, x_step: int, y_step: int, further_steps: Sequence[int]
) -> ImageRows | None:
    """The kernel for several images of a product; None where one image after the other is as good.

    x_step, y_step, further_steps  elements from one image's row to the next one's
    """
    tiling = product.tiling
    if product.rows != 1 or product.batch or not product.packed or tiling.depth_block != product.depth:
        return None
    rows, vectors = _tile(product, machine)
    if rows < 3:
        return None

    def walk(access: Access, step: int) -> Access:
        return replace(access, strides=(step, access.strides[-1]))

    work = MOST_IMAGES * product.depth * product.columns
    several = replace(
        product,
        rows=MOST_IMAGES,
        x=walk(product.x, x_step),
        y=walk(product.y, y_step),
        further=tuple(walk(access, step) for access, step in zip(product.further, further_steps)),
        tiling=replace(tiling, chunks=share_panels(work // 8, 1, tiling.panels)),
    )
    return ImageRows(several, rows, vectors)


def _tile(product: MatrixProduct, machine: Machine) -> tuple[int, int]:
    """Rows and vectors that are held in registers at once, so that a step of all sums is done soonest."""
    adds, tiling = needs_additions(machine, product.products), product.tiling
    wide = tiling.wide
    panels = (wide, wide - 1) if tiling.wide_panels < tiling.panels else (wide,)
    best = (1.0, 1, 1)
    for largest in range(1, wide + 1):
        parts, vectors, _ = split_evenly(wide, largest)
        # Whole numbers are added in any order: their chains only fill what registers rows leave.
        chains = max(row_chains(product, MOST_IMAGES, vectors, panel) for panel in panels)
        rows = tallest_tile(machine.registers, vectors * chains, adds=adds)
        loads = rows + vectors
        cycles = max(rows * vectors / 2, loads / 2) + _LOAD_CYCLES * loads
        best = min(best, (parts * cycles / (rows * wide), rows, vectors))
    return best[1:]
