"""Matrix products that are made when their value is first read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from intarsia.dtypes import Array
from intarsia.ir.graph import Value
from intarsia_backends.lowering.access import row_major
from intarsia_backends.lowering.builder import Builder, Pending
from intarsia_backends.lowering.expressions import Expression
from intarsia_backends.lowering.fusion import anything
from intarsia_backends.lowering.multiplication import Multiplication
from intarsia_backends.lowering.views import View


@dataclass(frozen=True)
class Product:
    """A product that is still to be called: x times w over the axes (batch.., rows, columns).

    extents, depth, products, x, w, bias
            as in `Multiplication`
    axes    for each axis of the value that is made, which of these axes it is
    """

    builder: Builder
    extents: tuple[int, ...]
    depth: int
    products: str
    x: View
    w: View | Array
    bias: Array | None
    axes: tuple[int, ...]

    def defer(self, value: Value, expression: Expression, operands: Sequence[View] = ()) -> None:
        """`value` is the product, ended by `expression`; ops that follow may still become part of the end."""
        self.builder.defer(
            value,
            Pending(shape=value.shape, expression=expression, operands=tuple(operands), takes=anything, emit=self),
        )

    def transposed(self, order: Sequence[int]) -> Product:
        """The same product for a value whose axis k is axis order[k] of the value before."""
        return replace(self, axes=tuple(self.axes[axis] for axis in order))

    def __call__(self, value: Value, expression: Expression, operands: Sequence[View]) -> None:
        result = self.builder.result(value)
        multiplication = Multiplication(
            extents=self.extents,
            depth=self.depth,
            products=self.products,
            x=self.x,
            w=self.w,
            bias=self.bias,
            further=tuple(replace(view, strides=self.walk(view.strides)) for view in operands),
            y=View(result, value.dtype, self.walk(row_major(value.shape))),
            epilogue=expression,
        )
        self.builder.multiply(multiplication)

    def walk(self, strides: Sequence[int]) -> tuple[int, ...]:
        """The steps of a walk over the axes of the value as steps over the axes of the product."""
        steps = [0] * len(self.extents)
        for axis, stride in zip(self.axes, strides):
            steps[axis] = stride
        return tuple(steps)
