"""Nests as matrix products: which loops are rows and which columns is read off the walks of the factors, so that one
emitter serves whatever lowering spells as a nest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tvm import tirx

from intarsia_backends.lowering.expressions import Apply, Cast, Expression, Input
from intarsia_backends.lowering.kernels import Nest
from intarsia_backends.tir.expressions import Term


@dataclass(frozen=True)
class Product:
    """A nest as a matrix product.

    batches   numbers of the kept loops that both factors walk along, or none
    rows      of those along which only `left` does; the output's neighbours are not among them
    columns   of the others
    left, right  which operands the factors are
    """

    batches: tuple[int, ...]
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    left: int
    right: int

    def sizes(self, kernel: Nest) -> tuple[int, int, int, int]:
        """Steps along batches, rows, columns and the sum."""
        batches, rows, columns = (size(kernel, loops) for loops in (self.batches, self.rows, self.columns))
        return batches, rows, columns, math.prod(kernel.reduced)


def product_of(kernel: Nest) -> Product | None:
    """The nest as a matrix product, perhaps of a single row or column; None where it is none."""
    factors = _factors(kernel.body) if kernel.combine == "add" else None
    if factors is None or 0 in kernel.kept or 0 in kernel.reduced or not kernel.reduced:
        return None
    one, other = (kernel.operands[factor].strides for factor in factors)
    loops = range(len(kernel.kept))
    both = tuple(loop for loop in loops if one[loop] and other[loop])
    ones = tuple(loop for loop in loops if one[loop] and not other[loop])
    others = tuple(loop for loop in loops if not one[loop] and other[loop])
    rest = tuple(loop for loop in loops if not one[loop] and not other[loop])
    left, right = factors
    # Neighbours in memory are made by neighbouring threads, which go along the columns.
    nearest = min((*ones, *others), key=lambda loop: abs(kernel.output.strides[loop]), default=None)
    if nearest in ones:
        (ones, others), (left, right) = (others, ones), (right, left)
    return Product(both + rest, ones, others, left, right)


def size(kernel: Nest, loops: Sequence[int]) -> int:
    """Steps of some of the kept loops."""
    return math.prod(kernel.kept[loop] for loop in loops)


def unravelled(number: Term, extents: Sequence[int]) -> list[Term]:
    """The indices of loops of which all steps are numbered; the last loop goes fastest."""
    indices, rest = [], math.prod(extents)
    for position, extent in enumerate(extents):
        rest //= extent
        index = tirx.floordiv(number, rest) if rest > 1 else number
        indices.append(tirx.floormod(index, extent) if position else index)
    return indices


def within(index: Term, size: int, tile: int) -> Term:
    """The index, or the last one where tiles reach further."""
    return tirx.min(index, size - 1) if size % tile else index


def _factors(body: Expression) -> tuple[int, int] | None:
    """The operands that a body multiplies."""
    match body:
        case Apply("mul", (left, right)):
            inner = [_converted(part) for part in (left, right)]
            if all(isinstance(part, Input) for part in inner):
                first, second = (part.operand for part in inner if isinstance(part, Input))
                return (first, second) if first != second else None
    return None


def _converted(part: Expression) -> Expression:
    match part:
        case Cast(_, value) | Apply("from_half", (value,)):
            return value
    return part
