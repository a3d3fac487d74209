"""A matrix product that is to be called, and plain loops for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from intarsia.dtypes import Array
from intarsia_backends.lowering.access import Access
from intarsia_backends.lowering.expressions import Cast, Constant, Expression, Input
from intarsia_backends.lowering.kernels import Nest, nest
from intarsia_backends.lowering.program import Buffer, Operand
from intarsia_backends.lowering.views import View

INTEGERS = "int16"
"""`products` of int16 numbers, whose sums are int32."""


@dataclass(frozen=True)
class Multiplication:
    """epilogue(bias + x times w) over the axes (batch.., rows, columns).

    extents   of these axes
    depth     steps of the sum
    products  how numbers are multiplied: "float32", "int16", or a kind of the target's own, for which it laid out x
    x         walk over (batch.., rows, depth)
    w         walk over (batch.., depth, columns), or weights [depth, columns] known at compile time
    bias      numbers [columns] that the sums begin with, with such weights
    further   walks over the axes of what else `epilogue` reads
    y         walk over the axes
    epilogue  expression over `Accumulator()` and `Input(k)`, k counting `further`; gives the element of y
    """

    extents: tuple[int, ...]
    depth: int
    products: str
    x: View
    w: View | Array
    bias: Array | None
    further: tuple[View, ...]
    y: View
    epilogue: Expression

    def as_nest(self, weight: Callable[[Array], Buffer]) -> tuple[Nest, list[Operand]]:
        """A nest in which each sum goes along the depth, and its operands without the output.

        weight  gives constant memory
        """
        x, w, still = self.x, self.w, (0,) * (len(self.extents) - 1)
        if not isinstance(w, View):
            w = View(weight(w.astype(x.dtype)), x.dtype, (*still[1:], self.extents[-1], 1))
        accesses = [
            Access(x.dtype, (*x.strides[:-1], 0, x.strides[-1]), x.offset),
            Access(w.dtype, (*w.strides[:-2], 0, w.strides[-1], w.strides[-2]), w.offset),
        ]
        operands: list[Operand] = [x.buffer, w.buffer]
        accumulator = "int32" if self.products == INTEGERS else "float32"
        initial: Expression = Constant(accumulator, 0 if self.products == INTEGERS else 0.0)
        if self.bias is not None:
            initial = Input(len(operands))
            accesses.append(Access(accumulator, (*still, 1, 0)))
            operands.append(weight(self.bias.astype(accumulator)))
        factors: Sequence[Expression] = [Input(0), Input(1)]
        if self.products == INTEGERS:
            factors = [Cast("int32", factor) for factor in factors]
        kernel = nest(
            self.extents,
            [*accesses, *(Access(view.dtype, (*view.strides, 0), view.offset) for view in self.further)],
            self.y.access,
            factors[0] * factors[1],
            reduced=(self.depth,),
            combine="add",
            initial=initial,
            epilogue=self.epilogue.shifted(len(operands)),
        )
        return kernel, [*operands, *(view.buffer for view in self.further)]
