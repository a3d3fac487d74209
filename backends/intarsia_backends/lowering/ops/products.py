"""Matrix products as kernels: which loops are rows, which are batches, and what ends them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from intarsia.dtypes import Array
from intarsia.ir.graph import Value
from intarsia_backends.cpu.lower.panels import ProductQuestion, pack_panels, pad_columns
from intarsia_backends.cpu.tiling import Cut
from intarsia_backends.lowering.access import Access, Expression, joined_loops, row_major
from intarsia_backends.lowering.builder import Builder, Pending
from intarsia_backends.lowering.fusion import anything
from intarsia_backends.lowering.kernels import WEIGHTS, Kernel, MatrixProduct, nest
from intarsia_backends.lowering.program import Operand
from intarsia_backends.lowering.views import View

_ROWS_MIN = 4
"""Rows from which on columns that lie along the depth are worth turning."""


@dataclass(frozen=True)
class Product:
    """A product that is still to be called: x times w over the axes (batch.., rows, columns).

    extents   of these axes
    depth     steps of the sum
    products  as in `MatrixProduct`
    x         walk over (batch.., rows, depth)
    w         walk over (batch.., depth, columns), or weights [depth, columns] known at compile time
    bias      numbers for the columns, with such weights
    axes      for each axis of the value that is made, which of these axes it is
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
        self.builder.defer(value, Pending(value.shape, expression, tuple(operands), anything, self))

    def transposed(self, order: Sequence[int]) -> Product:
        """The same product for a value whose axis k is axis order[k] of the value before."""
        return replace(self, axes=tuple(self.axes[axis] for axis in order))

    def __call__(self, value: Value, expression: Expression, operands: Sequence[View]) -> None:
        result = self.builder.result(value)
        y = Access(value.dtype, self.walk(row_major(value.shape)))
        walks = [Access(view.dtype, self.walk(view.strides), view.offset) for view in operands]
        self.call(expression, [view.buffer for view in operands], walks, result, y)

    def walk(self, strides: Sequence[int]) -> tuple[int, ...]:
        """The steps of a walk over the axes of the value as steps over the axes of the product."""
        steps = [0] * len(self.extents)
        for axis, stride in zip(self.axes, strides):
            steps[axis] = stride
        return tuple(steps)

    def call(
        self, finish: Expression, buffers: Sequence[Operand], walks: Sequence[Access], result: Operand, y: Access
    ) -> None:
        """Append the kernel call; `walks` and `y` go over the axes of the product."""
        *outer, columns = self.extents
        turned = isinstance(self.w, View) and self.w.strides[-1] != 1
        rows = self.extents[-2]
        if isinstance(self.w, View) and (columns == 1 or (turned and rows < _ROWS_MIN)):
            self.call_nest(finish, buffers, walks, result, y)
            return
        w_steps = (*self.w.strides[:-2], 0) if isinstance(self.w, View) else (0,) * len(outer)
        outer_walks = [self.x.strides[:-1], w_steps, y.strides[:-1], *(walk.strides[:-1] for walk in walks)]
        extents, (x_steps, w_steps, y_steps, *steps) = joined_loops(outer, outer_walks)
        # Rows are the longest loop over which w stands still; it goes last.
        still = [index for index, step in enumerate(w_steps) if step == 0]
        row = max(still, key=lambda index: extents[index]) if still else None
        order = [index for index in range(len(extents)) if index != row]

        def ordered(numbers: Sequence[int], missing: int = 0) -> tuple[int, ...]:
            return (*(numbers[index] for index in order), missing if row is None else numbers[row])

        *batch, rows = ordered(extents, 1)
        whole = int(np.prod(batch, dtype=np.int64))
        aside = y.dtype == "float32" and y.strides[-1] == 1 and self.products == "float32"
        packed = not isinstance(self.w, View)
        question = ProductQuestion(self.builder.machine, self.products, whole, rows, self.depth, columns, packed, aside)
        if isinstance(self.w, View):
            w = Access(self.w.dtype, (*ordered(w_steps)[:-1], *self.w.strides[-2:]), self.w.offset)
        else:
            w = Access(WEIGHTS[self.products], ordered(w_steps)[:-1])

        def make(builder: Builder, cut: Cut) -> tuple[Kernel, Sequence[Operand]]:
            kernel = MatrixProduct(
                self.products,
                tuple(batch),
                rows,
                self.depth,
                columns,
                Access(self.x.dtype, (*ordered(x_steps), self.x.strides[-1]), self.x.offset),
                w,
                packed,
                self.bias is not None,
                tuple(
                    Access(walk.dtype, (*ordered(own), walk.strides[-1]), walk.offset)
                    for walk, own in zip(walks, steps)
                ),
                Access(y.dtype, (*ordered(y_steps), y.strides[-1]), y.offset),
                cut,
                finish,
            )
            return kernel, [self.x.buffer, *self._weights(builder, cut), *buffers]

        self.builder.call_blocked(question, make, result)

    def _weights(self, builder: Builder, cut: Cut) -> list[Operand]:
        """w, and the bias where there is one."""
        if isinstance(self.w, View):
            found: list[Operand] = [self.w.buffer]
        else:
            found = [builder.weight(pack_panels(self.w, cut, self.products))]
        if self.bias is not None:
            found.append(builder.weight(pad_columns(self.bias, cut)))
        return found

    def call_nest(
        self, finish: Expression, buffers: Sequence[Operand], walks: Sequence[Access], result: Operand, y: Access
    ) -> None:
        """Few sums over rows that lie along the depth: each goes along the depth in vectors."""
        assert isinstance(self.w, View)
        x, w = self.x, self.w
        accesses = [
            Access(x.dtype, (*x.strides[:-1], 0, x.strides[-1]), x.offset),
            Access(w.dtype, (*w.strides[:-2], 0, w.strides[-1], w.strides[-2]), w.offset),
            *(Access(walk.dtype, (*walk.strides, 0), walk.offset) for walk in walks),
        ]
        kernel = nest(
            self.extents,
            accesses,
            y,
            ("mul", ("in", 0), ("in", 1)),
            reduced=(self.depth,),
            combine="add",
            initial=("const", "float32", 0.0),
            finish=_moved(finish, 2),
        )
        self.builder.call(kernel, [x.buffer, w.buffer, *buffers], result)


def _moved(expression: Expression, by: int) -> Expression:
    """The expression with its operands counted from `by`."""
    if expression[0] in ("in", "gather"):
        rest = tuple(_moved(part, by) for part in expression[2:])
        return (expression[0], expression[1] + by, *rest)
    return tuple(_moved(part, by) if isinstance(part, tuple) else part for part in expression)
