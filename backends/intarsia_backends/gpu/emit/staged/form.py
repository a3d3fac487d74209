"""Which nests are products in stages, and how their factors come to shared memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from intarsia_backends.gpu.emit.products import Product, product_of
from intarsia_backends.gpu.emit.staged.choice import Sizes, Tile, tensor_tiles, thread_tiles, tile_of
from intarsia_backends.gpu.machine import GpuMachine
from intarsia_backends.gpu.source.intrinsics import COPY_BYTES
from intarsia_backends.lowering.kernels import Nest
from intarsia_backends.tir.nests import stored

_SUMS = {"int8": "int32", "float16": "float32", "float32": "float32"}
"""By element type of both factors in shared memory, that of the sums."""

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

    dtype          element type of both factors in shared memory
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
        return self.tile.issued_bytes(self.sizes) // self.first.item_bytes

    @property
    def brought_bytes(self) -> int:
        """What all blocks bring to shared memory."""
        return self.tile.brought_bytes(self.sizes)

    @property
    def sizes(self) -> Sizes:
        return Sizes(self.batches, self.first.lines, self.second.lines, self.depth * self.first.item_bytes)


def form_of(kernel: Nest, alignments: Sequence[int], machine: GpuMachine) -> Form | None:
    """The nest in stages; None where it is no product, or is better off without.

    alignments  by parameter, what its place is a multiple of, in bytes
    """
    product = product_of(kernel)
    if product is None or "bool" in (access.dtype for access in kernel.operands):
        return None
    dtype = _dtype_of(kernel, product)
    batches, rows, columns, depth = product.sizes(kernel)
    if dtype is None or (batches > 1 and min(rows, columns) == 1):
        return None  # many products of vectors, as depthwise convolutions are, have nothing to share
    item_bytes = np.dtype(stored(dtype)).itemsize
    if depth * item_bytes < _LEAST_DEPTH_BYTES:
        return None
    factors = [
        Factor(operand, loops, lines, item_bytes, chunk_bytes(kernel, operand, dtype, alignments[operand]))
        for operand, loops, lines in (
            (product.left, product.rows, rows),
            (product.right, product.columns, columns),
        )
    ]
    sizes = [Sizes(batches, one, other, depth * item_bytes) for one, other in ((rows, columns), (columns, rows))]
    # Which factor comes first is the same to threads that multiply one by one.
    tile: Tile
    if dtype == "float32":
        turned, tile = tile_of(sizes[:1], thread_tiles, machine)
    else:
        turned, tile = tile_of(sizes, tensor_tiles, machine)
    first, second = factors[::-1] if turned else factors
    form = Form(product, dtype, first, second, turned, batches, depth, tile)
    return form if form.wanted >= _LEAST_USE * form.issued else None


def _dtype_of(kernel: Nest, product: Product) -> str | None:
    """As what numbers of both factors lie in shared memory; None where this form has no such products."""
    found = {kernel.operands[factor].dtype for factor in (product.left, product.right)}
    dtype = "float32" if found == {"float16", "float32"} else found.pop() if len(found) == 1 else None
    return dtype if dtype is not None and _SUMS.get(dtype) == kernel.accumulator_dtype else None


def chunk_bytes(kernel: Nest, operand: int, dtype: str, alignment: int) -> int:
    """The largest copy that brings neighbours along the sum; 0 for none, or where they are converted on the way.

    dtype  of the numbers in shared memory
    """
    access = kernel.operands[operand]
    *strides, innermost = access.strides
    if innermost != 1 or access.dtype != dtype:
        return 0
    item_bytes = np.dtype(stored(dtype)).itemsize
    steps = [alignment, access.offset * item_bytes, kernel.reduced[-1] * item_bytes]
    steps += [stride * item_bytes for stride in strides]
    return next((size for size in COPY_BYTES if all(step % size == 0 for step in steps)), 0)
