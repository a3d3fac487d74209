"""Matrix products: `dense`, Gemm, MatMul and the integer `qmatmul`."""

from __future__ import annotations

import math

import numpy as np

from intarsia.dtypes import Array
from intarsia.ir.graph import Node, Value
from intarsia.targets import YES, Support
from intarsia_backends.cpu.builder import Builder
from intarsia_backends.cpu.kernels import Access, Contraction, Expression, broadcast, nest, row_major
from intarsia_backends.cpu.lower.activations import activated, knows_activation
from intarsia_backends.cpu.lower.convolution import centred, channel_factors, products_for, requantized
from intarsia_backends.cpu.lower.packing import channel_weight, pack
from intarsia_backends.cpu.lower.table import Lowering, attribute, elements, refused
from intarsia_backends.cpu.lower.tiles import choose_tile
from intarsia_backends.cpu.program import Buffer


def _rows(
    builder: Builder,
    products: str,
    rows: int,
    depth: int,
    x: Buffer,
    weights: Array,
    bias: Array,
    factors: Array | None,
    y: Buffer,
    y_dtype: str,
    finish: Expression,
) -> None:
    """y [rows, M] = x [rows, depth] times weights [K, M]; `depth` counts pairs where products come in pairs."""
    outputs, lanes = weights.shape[1], builder.machine.lanes
    tile, vectors, _ = choose_tile(builder.machine, outputs, rows)
    kernel = Contraction(
        products,
        1,
        1,
        outputs,
        (rows,),
        (depth,),
        0,
        0,
        (depth,),
        (1,),
        y_dtype,
        0,
        0,
        1,
        (outputs,),
        tile,
        False,
        vectors,
        lanes,
        () if factors is None else (Access(str(factors.dtype), (0, 1, 0)),),
        False,
        False,
        False,
        finish,
    )
    packed = pack(np.ascontiguousarray(weights.T)[None], vectors, lanes, products)
    operands = [x, builder.weight(packed), builder.weight(np.pad(bias, (0, -outputs % lanes)))]
    if factors is not None:
        operands.append(channel_weight(builder, factors))
    builder.call(kernel, operands, y)


def _dense(builder: Builder, node: Node, weights: Array, bias: Array | None) -> None:
    depth, outputs = weights.shape
    rows = node.input(0).type.elements // depth
    bias = np.zeros(outputs, np.float32) if bias is None else np.broadcast_to(bias.reshape(-1), (outputs,))
    x, y = builder.read(node.input(0)), builder.result(node.output)
    finish = activated(node, ("acc",))
    _rows(builder, "float32", rows, depth, x, weights, bias.astype(np.float32), None, y, "float32", finish)


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
    """Both sides made at run time, in any batch: a plain nest of loops."""
    a, b = list(node.input(0).shape), list(node.input(1).shape)
    shape = node.output.shape
    batch = shape[: max(len(a), len(b)) - 2]
    depth = a[-2] if left and len(a) > 1 else a[-1]
    a_row, a_step = (0, 1) if len(a) == 1 else ((1, a[-1]) if left else (a[-1], 1))
    b_column, b_step = (0, 1) if len(b) == 1 else ((b[-1], 1) if right else (1, b[-1]))
    rows = 1 if len(a) == 1 else a[-1 if left else -2]
    columns = 1 if len(b) == 1 else b[-2 if right else -1]
    kept = (*batch, rows, columns)
    a_batch = _batch_strides(a, batch)
    b_batch = _batch_strides(b, batch)
    accesses = [
        Access("float32", (*a_batch, a_row, 0, a_step)),
        Access("float32", (*b_batch, 0, b_column, b_step)),
    ]
    operands = [builder.read(node.input(0)), builder.read(node.input(1))]
    finish: Expression = ("acc",)
    if alpha != 1.0:
        finish = ("mul", finish, ("const", "float32", alpha))
    if addend is not None:
        accesses.append(Access("float32", (*broadcast(addend.shape, kept), 0)))
        operands.append(builder.read(addend))
        term: Expression = ("in", 2)
        finish = ("add", finish, term if beta == 1.0 else ("mul", term, ("const", "float32", beta)))
    kernel = nest(
        kept,
        accesses,
        Access("float32", row_major(kept)),
        ("mul", ("in", 0), ("in", 1)),
        reduced=(depth,),
        combine="add",
        initial=("const", "float32", 0.0),
        finish=activated(node, finish),
    )
    builder.call(kernel, operands, builder.result(node.output))


def _batch_strides(shape: list[int], batch: tuple[int, ...]) -> tuple[int, ...]:
    lead = shape[:-2]
    matrix = math.prod(shape[-2:])
    return tuple(stride * matrix for stride in broadcast(lead, batch))


def _lower_qmatmul(builder: Builder, node: Node) -> None:
    weights = elements(node.input(1))
    depth, outputs = weights.shape
    rows = node.input(0).type.elements // depth
    zero = int(attribute(node, "input_zero_point", 0))
    products = products_for(builder.machine)
    steps = -(-depth // 2) if products == "pairs" else depth
    x = builder.scratch(rows * steps, "int32" if products == "pairs" else "int16")
    source = builder.read(node.input(0))
    if products == "pairs":
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
        element: Expression = ("cast", "int16", centred(zero))
        builder.call(nest((rows * depth,), [Access("int8", (1,))], Access("int16", (1,)), element), [source], x)
    factors = channel_factors(node, 3, (outputs,))
    finish = requantized(("acc",), ("in", 0), node)
    y = builder.result(node.output)
    _rows(builder, products, rows, steps, x, weights, elements(node.input(2)), factors, y, "int8", finish)


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
