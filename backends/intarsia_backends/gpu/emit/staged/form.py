"""Which nests are products in stages, and how their factors come to shared memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from intarsia_backends.gpu.emit.products import Product, product_of
from intarsia_backends.gpu.emit.staged.choice import Sizes, Tile, tensor_tiles, thread_tiles, tile_of
from intarsia_backends.gpu.machine import GpuMachine
from intarsia_backends.gpu.source.intrinsics import COPY_BYTES
from intarsia_backends.lowering.access import Access
from intarsia_backends.lowering.kernels import Nest
from intarsia_backends.tir.nests import stored

_SUMS = {"int8": "int32", "float16": "float32", "float32": "float32"}
"""By element type of both factors, that of the sums."""

_LEAST_USE = 0.1
"""The share of products issued that must be wanted ones: below, other kernels do less. A single row is an eighth of
what tensor cores issue for it."""

_LEAST_DEPTH_BYTES = 16


@dataclass(frozen=True)
class Factor:
    """One factor: lines of numbers along the sum.

    operand     which one it is
    loops       kept loops that number its lines
    lines       how many there are
    item_bytes  of a number
    chunk       bytes along the sum that lie side by side and start at multiples of as many: a size of a copy, or 0
                where numbers come one by one
    """

    operand: int
    loops: tuple[int, ...]
    lines: int
    item_bytes: int
    chunk: int


@dataclass(frozen=True)
class Form:
    """A product in stages.

    dtype          element type of both factors
    first, second  the factors; of tensor cores those of which fragments hold 16 and 8 lines
    turned         whether the first are the columns
    """

    product: Product
    dtype: str
    first: Factor
    second: Factor
    turned: bool
    batches: int
    depth: int
    tile: Tile

    @property
    def wanted(self) -> int:
        """Products that the sums are made of."""
        return self.batches * self.first.lines * self.second.lines * self.depth

    @property
    def issued(self) -> int:
        """Products that are issued, with those of lines and steps that there are not."""
        sizes = Sizes(self.batches, self.first.lines, self.second.lines, self.depth * self.first.item_bytes)
        return self.tile.issued_bytes(sizes) // self.first.item_bytes


def form_of(kernel: Nest, alignments: Sequence[int], machine: GpuMachine) -> Form | None:
    """The nest in stages; None where it is no product, or is better off without.

    alignments  by parameter, what its place is a multiple of, in bytes
    """
    product = product_of(kernel)
    if product is None or "bool" in (access.dtype for access in kernel.operands):
        return None
    left, right = kernel.operands[product.left], kernel.operands[product.right]
    if left.dtype != right.dtype or _SUMS.get(left.dtype) != kernel.accumulator_dtype:
        return None
    batches, rows, columns, depth = product.sizes(kernel)
    item_bytes = np.dtype(stored(left.dtype)).itemsize
    if depth * item_bytes < _LEAST_DEPTH_BYTES:
        return None
    factors = [
        Factor(operand, loops, lines, item_bytes, chunk_bytes(kernel, access, item_bytes, alignments[operand]))
        for operand, loops, lines, access in (
            (product.left, product.rows, rows, left),
            (product.right, product.columns, columns, right),
        )
    ]
    sizes = [Sizes(batches, one, other, depth * item_bytes) for one, other in ((rows, columns), (columns, rows))]
    # Which factor comes first is the same to threads that multiply one by one.
    tile: Tile
    if left.dtype == "float32":
        turned, tile = tile_of(sizes[:1], thread_tiles, machine)
    else:
        turned, tile = tile_of(sizes, tensor_tiles, machine)
    first, second = factors[::-1] if turned else factors
    form = Form(product, left.dtype, first, second, turned, batches, depth, tile)
    return form if form.wanted >= _LEAST_USE * form.issued else None


def chunk_bytes(kernel: Nest, access: Access, item_bytes: int, alignment: int) -> int:
    """The largest copy that brings neighbours along the sum; 0 for none."""
    *strides, innermost = access.strides
    if innermost != 1:
        return 0
    steps = [alignment, access.offset * item_bytes, kernel.reduced[-1] * item_bytes]
    steps += [stride * item_bytes for stride in strides]
    return next((size for size in COPY_BYTES if all(step % size == 0 for step in steps)), 0)
