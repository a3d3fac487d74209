"""Matrix products: `dense`, Gemm, MatMul and the integer `qmatmul`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from intarsia.dtypes import Array
from intarsia.ir.graph import Node, Value
from intarsia.targets import YES, Support
from intarsia_backends.lowering.access import Access, row_major
from intarsia_backends.lowering.builder import Builder, element
from intarsia_backends.lowering.expressions import Accumulator, Cast, Constant, Expression, Input
from intarsia_backends.lowering.kernels import nest
from intarsia_backends.lowering.multiplication import INTEGERS
from intarsia_backends.lowering.ops.activations import activated, knows_activation
from intarsia_backends.lowering.ops.products import Product
from intarsia_backends.lowering.ops.scaling import centred, channel_factors, requantized
from intarsia_backends.lowering.ops.table import Lowering, attribute, elements, refused
from intarsia_backends.lowering.views import View


def _dense(builder: Builder, node: Node, weights: Array, bias: Array | None) -> None:
    """Rows of x times constant weights [depth, columns]; bias holds one number, or one for each column."""
    depth, columns = weights.shape
    shape = node.output.shape
    if bias is not None:
        bias = np.broadcast_to(bias.reshape(-1), (columns,)).astype(np.float32)
    x, extents, axes = _rows(builder.view(node.input(0)), shape)
    product = Product(
        builder=builder,
        extents=extents,
        depth=depth,
        products="float32",
        x=x,
        w=weights,
        bias=bias,
        axes=axes,
    )
    product.defer(node.output, activated(node, Accumulator()))


def _rows(x: View, shape: tuple[int, ...]) -> tuple[View, tuple[int, ...], tuple[int, ...]]:
    """x over (batch.., rows, depth); extents and axes of a product that makes a value of a shape. A vector is a row,
    which the value lacks."""
    if len(shape) > 1:
        return x, shape, tuple(range(len(shape)))
    return replace(x, strides=(0, *x.strides)), (1, *shape), (1,)


def _lower_dense(builder: Builder, node: Node) -> None:
    bias = node.optional_input(2)
    _dense(builder, node, elements(node.input(1)), None if bias is None else elements(bias))


def _lower_matmul(builder: Builder, node: Node) -> None:
    right = node.input(1)
    if right.data is not None and right.type.rank == 2:
        _dense(builder, node, right.data, None)
        return
    _general(builder, node, None, 1.0, 0.0, False, False)


def _lower_gemm(builder: Builder, node: Node) -> None:
    alpha, beta = float(attribute(node, "alpha", 1.0)), float(attribute(node, "beta", 1.0))
    left, right = bool(attribute(node, "transA", 0)), bool(attribute(node, "transB", 0))
    weights, addend = node.input(1), node.optional_input(2)
    simple = addend is None or (addend.data is not None and addend.type.elements in (1, node.output.shape[1]))
    per_column = addend is None or addend.type.rank < 2 or addend.shape[0] == 1
    if weights.data is not None and not left and simple and per_column:
        matrix = weights.data.T if right else weights.data
        bias = None if addend is None else elements(addend) * np.float32(beta)
        _dense(builder, node, matrix if alpha == 1 else matrix * np.float32(alpha), bias)
        return
    _general(builder, node, addend, alpha, beta, left, right)


def _general(
    builder: Builder, node: Node, addend: Value | None, alpha: float, beta: float, left: bool, right: bool
) -> None:
    """Both sides made at run time, in any batch. A side of one axis is a row, or a column, that the result lacks."""
    a, b, shape = node.input(0), node.input(1), node.output.shape
    lead = max(a.type.rank, b.type.rank, 2) - 2
    x, x_shape = _matrix(builder.view(a), a.shape, left, row=True)
    w, w_shape = _matrix(builder.view(b), b.shape, right, row=False)
    batch, (rows, depth), columns = shape[:lead], x_shape[-2:], w_shape[-1]
    x = x.broadcast(x_shape, (*batch, rows, depth))
    w = w.broadcast(w_shape, (*batch, depth, columns))
    axes = [*range(lead), *([lead] if a.type.rank > 1 else []), *([lead + 1] if b.type.rank > 1 else [])]
    product = Product(
        builder=builder,
        extents=(*batch, rows, columns),
        depth=depth,
        products="float32",
        x=x,
        w=w,
        bias=None,
        axes=tuple(axes),
    )
    epilogue: Expression = Accumulator()
    if alpha != 1.0:
        epilogue = epilogue * Constant("float32", alpha)
    operands: list[View] = []
    if addend is not None:
        operands.append(builder.view(addend).broadcast(addend.shape, shape))
        term = element(operands[0], 0)
        epilogue = epilogue + (term if beta == 1.0 else (term * Constant("float32", beta)))
    product.defer(node.output, activated(node, epilogue), operands)


def _matrix(view: View, shape: tuple[int, ...], turned: bool, row: bool) -> tuple[View, tuple[int, ...]]:
    """A side of a product as a walk over (batch.., rows, columns), and these extents."""
    *lead, last = view.strides
    if len(shape) == 1:
        steps, extents = ((0, last), (1, *shape)) if row else ((last, 0), (*shape, 1))
        return View(view.buffer, view.dtype, steps, view.offset), extents
    if turned:
        view = View(view.buffer, view.dtype, (*lead[:-1], last, lead[-1]), view.offset)
        shape = (*shape[:-2], shape[-1], shape[-2])
    return view, shape


def lower_qmatmul(builder: Builder, node: Node) -> None:
    """`qmatmul`: exact sums of int16 products, requantized."""
    x, weights, shape = node.input(0), elements(node.input(1)), node.output.shape
    depth = weights.shape[0]
    numbers = builder.scratch(x.type.elements, "int16")
    element: Expression = Cast("int16", centred(int(attribute(node, "input_zero_point", 0))))
    kernel = nest((x.type.elements,), [Access("int8", (1,))], Access("int16", (1,)), element)
    builder.call(kernel, [builder.read(x)], numbers)
    view = View(numbers, "int16", (*(step * depth for step in row_major(shape[:-1])), 1))
    scaled_product(builder, node, INTEGERS, depth, view, elements(node.input(2)))


def scaled_product(builder: Builder, node: Node, products: str, steps: int, x: View, bias: Array) -> None:
    """A `qmatmul` of what was laid out as one of the kinds of `Multiplication`.

    steps  of the sum
    x      walk over (batch.., rows, steps)
    bias   int32 [columns]
    """
    weights, shape = elements(node.input(1)), node.output.shape
    numbers, form = channel_factors(node, builder.machine, weights.T)
    factors = View(builder.weight(numbers), form, (*(0 for _ in shape[1:]), 1))
    x, extents, axes = _rows(x, shape)
    product = Product(
        builder=builder,
        extents=extents,
        depth=steps,
        products=products,
        x=x,
        w=weights,
        bias=bias,
        axes=axes,
    )
    product.defer(node.output, requantized(Accumulator(), Input(0), node, form), [factors])


def _check(node: Node) -> Support:
    if not knows_activation(node):
        return refused("activation", f"no code is made for {node.attributes['activation']}")
    return YES


LOWERINGS = {
    "dense": Lowering(_lower_dense, constants=(1, 2), check=_check),
    "Gemm": Lowering(_lower_gemm, check=_check),
    "MatMul": Lowering(_lower_matmul, check=_check),
    "qmatmul": Lowering(lower_qmatmul, dtypes=("int8",), constants=(1, 2, 3, 4)),
}
