"""Matrix products: `dense`, Gemm, MatMul and the integer `qmatmul`."""

from __future__ import annotations

import numpy as np

from intarsia.dtypes import Array
from intarsia.ir.graph import Node, Value
from intarsia.targets import YES, Support
from intarsia_backends.cpu.lower.convolution import centred, channel_factors, requantized
from intarsia_backends.cpu.lower.quads import OFFSET, quads_bias, takes_quads
from intarsia_backends.cpu.lower.tiles import products_for
from intarsia_backends.lowering.access import Access, Expression, row_major
from intarsia_backends.lowering.builder import Builder, element
from intarsia_backends.lowering.kernels import SHARES, nest
from intarsia_backends.lowering.ops.activations import activated, knows_activation
from intarsia_backends.lowering.ops.products import Product
from intarsia_backends.lowering.ops.table import Lowering, attribute, elements, refused
from intarsia_backends.lowering.program import Buffer
from intarsia_backends.lowering.views import View


def _dense(builder: Builder, node: Node, weights: Array, bias: Array | None) -> None:
    """Rows of x times constant weights [depth, columns]; bias holds one number, or one for each column."""
    depth, columns = weights.shape
    shape = node.output.shape
    if bias is not None:
        bias = np.broadcast_to(bias.reshape(-1), (columns,)).astype(np.float32)
    x = builder.view(node.input(0))
    product = Product(builder, shape, depth, "float32", x, weights, bias, tuple(range(len(shape))))
    product.defer(node.output, activated(node, ("acc",)))


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
        _dense(builder, node, matrix * np.float32(alpha), bias)
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
    product = Product(builder, (*batch, rows, columns), depth, "float32", x, w, None, tuple(axes))
    finish: Expression = ("acc",)
    if alpha != 1.0:
        finish = ("mul", finish, ("const", "float32", alpha))
    operands: list[View] = []
    if addend is not None:
        operands.append(builder.view(addend).broadcast(addend.shape, shape))
        term = element(operands[0], 0)
        finish = ("add", finish, term if beta == 1.0 else ("mul", term, ("const", "float32", beta)))
    product.defer(node.output, activated(node, finish), operands)


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


def _lower_qmatmul(builder: Builder, node: Node) -> None:
    weights = elements(node.input(1))
    depth = weights.shape[0]
    rows = node.input(0).type.elements // depth
    shape = node.output.shape
    lead = row_major(shape[:-1])
    zero = int(attribute(node, "input_zero_point", 0))
    bias = elements(node.input(2))
    products = products_for(builder.machine)
    if takes_quads(builder.machine, weights.T, bias):
        products, bias = "quads", quads_bias(weights.T, bias, zero)
    steps = -(-depth // SHARES[products])
    x = _multiplicands(builder, node.input(0), rows, depth, zero, products)
    numbers, form = channel_factors(node, builder.machine, weights.T)
    factors = View(builder.weight(numbers), form, (*(0 for _ in shape[1:]), 1))
    x_view = View(x, "int16" if products == "int16" else "int32", (*(step * steps for step in lead), 1))
    product = Product(builder, shape, steps, products, x_view, weights, bias, tuple(range(len(shape))))
    product.defer(node.output, requantized(("acc",), ("in", 0), node, form), [factors])


def _multiplicands(builder: Builder, value: Value, rows: int, depth: int, zero: int, products: str) -> Buffer:
    """int8 [rows, depth] as a product reads them: int16 without the zero point, side by side or two in an int32, or
    uint8, four in an int32."""
    steps = -(-depth // SHARES[products])
    x = builder.scratch(rows * steps, "int16" if products == "int16" else "int32")
    source = builder.read(value)
    if products == "quads":
        # What stands behind a row's end meets weights of zero.
        element: Expression = ("cast", "uint8", ("add", ("cast", "int32", ("in", 0)), ("const", "int32", OFFSET)))
        target = Access("uint8", (SHARES[products] * steps, 1))
        builder.call(nest((rows, depth), [Access("int8", (depth, 1))], target, element), [source], x)
    elif products == "pairs":
        low: Expression = ("bit_and", centred(zero), ("const", "int32", 0xFFFF))
        odd: Expression = ("sub", ("cast", "int32", ("in", 1)), ("const", "int32", zero))
        both: Expression = ("bit_or", low, ("shift_left", odd, ("const", "int32", 16)))
        if depth >= 2:
            accesses = [Access("int8", (depth, 2)), Access("int8", (depth, 2), 1)]
            kernel = nest((rows, depth // 2), accesses, Access("int32", (steps, 1)), both)
            builder.call(kernel, [source, source], x)
        if depth % 2:
            kernel = nest((rows,), [Access("int8", (depth,), depth - 1)], Access("int32", (steps,), steps - 1), low)
            builder.call(kernel, [source], x)
    else:
        element = ("cast", "int16", centred(zero))
        builder.call(nest((rows * depth,), [Access("int8", (1,))], Access("int16", (1,)), element), [source], x)
    return x


def _check(node: Node) -> Support:
    if not knows_activation(node):
        return refused("activation", f"no code is made for {node.attributes['activation']}")
    return YES


LOWERINGS = {
    "dense": Lowering(_lower_dense, constants=(1, 2), check=_check),
    "Gemm": Lowering(_lower_gemm, check=_check),
    "MatMul": Lowering(_lower_matmul, check=_check),
    "qmatmul": Lowering(_lower_qmatmul, dtypes=("int8",), constants=(1, 2, 3, 4)),
}
