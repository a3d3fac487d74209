"""ONNX's products of bytes: ConvInteger, QLinearConv, MatMulInteger, QLinearMatMul.

Bytes become centred int16 numbers first; sums are int32. Scales and zero points may be made at run time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from intarsia.ir.graph import Node, Value
from intarsia.targets import YES, Support
from intarsia_backends.lowering.access import Access, broadcast, row_major
from intarsia_backends.lowering.builder import Builder
from intarsia_backends.lowering.expressions import Accumulator, Cast, Constant, Expression, Input, apply
from intarsia_backends.lowering.kernels import nest
from intarsia_backends.lowering.ops.geometry import check_window, window_of
from intarsia_backends.lowering.ops.padding import border
from intarsia_backends.lowering.ops.quantized import saturated
from intarsia_backends.lowering.ops.table import Lowering, refused
from intarsia_backends.lowering.program import Buffer

_TYPES = ("int8", "uint8", "int32", "float32")
_PRODUCT = Cast("int32", Input(0)) * Cast("int32", Input(1))
_ZERO = Constant("int32", 0)


def _centre(
    builder: Builder,
    value: Value,
    zero: Value | None,
    shape: Sequence[int],
    zero_walk: Sequence[int],
    target: Buffer,
    walk: Sequence[int],
    offset: int = 0,
) -> None:
    """target = value - zero as int16, walked over `shape`."""
    accesses, operands = [Access(value.dtype, row_major(shape))], [builder.read(value)]
    body: Expression = Cast("int16", Input(0))
    if zero is not None:
        accesses.append(Access(zero.dtype, tuple(zero_walk)))
        operands.append(builder.read(zero))
        body = body - Cast("int16", Input(1))
    builder.call(nest(shape, accesses, Access("int16", tuple(walk), offset), body), operands, target)


def _scaled_to(total: Expression, factor: Expression, zero: Expression, dtype: str) -> Expression:
    """rint(total * factor) + zero, saturated: the requantization of ONNX in float32."""
    steps = apply("rint", Cast("float32", total) * factor)
    return saturated(steps, Cast("int32", zero), dtype)


# ---- convolutions


def _lower_conv(builder: Builder, node: Node) -> None:
    quantized = node.op == "QLinearConv"
    x, w = node.input(0), node.input(3 if quantized else 1)
    x_zero, w_zero = (node.optional_input(index) for index in ((2, 5) if quantized else (2, 3)))
    window = window_of(node, w.shape)
    groups, outputs, channels = window.groups, window.outputs, window.channels
    rows, spatial = window.batch * groups * channels, len(window.kernel)
    padded = builder.scratch(rows * math.prod(window.padded), "int16")
    border(
        builder, padded, shape=(rows, *window.padded), before=window.before, after=window.after, dtype="int16", fill=0
    )
    inner = sum(low * step for low, step in zip(window.before, row_major(window.padded)))
    still = (0,) * (1 + spatial)
    _centre(builder, x, x_zero, (rows, *window.size), still, padded, row_major((rows, *window.padded)), inner)
    weights = builder.scratch(w.type.elements, "int16")
    flat = (w.shape[0], w.type.elements // w.shape[0])
    _centre(builder, w, w_zero, flat, (int(w_zero is not None and w_zero.type.elements > 1), 0), weights, (flat[1], 1))
    kept = (window.batch, groups, outputs, *window.positions)
    reduced = (channels, *window.kernel)
    steps, area = row_major(window.padded), math.prod(window.padded)
    taps = math.prod(reduced)
    x_walk = (
        groups * channels * area,
        channels * area,
        0,
        *(step * stride for step, stride in zip(steps, window.strides)),
        area,
        *(step * dilation for step, dilation in zip(steps, window.dilations)),
    )
    flat_positions, flat_taps = (0,) * spatial, (0,) * len(reduced)
    accesses = [
        Access("int16", x_walk),
        Access("int16", (0, outputs * taps, taps, *flat_positions, *row_major(reduced))),
    ]
    operands = [padded, weights]
    epilogue: Expression = Accumulator()
    if quantized:
        channel = (0, outputs, 1, *flat_positions, *flat_taps)
        epilogue = _requantization(builder, node, accesses, operands, channel)
    kernel = nest(
        kept,
        accesses,
        Access(node.output.dtype, row_major(kept)),
        _PRODUCT,
        reduced=reduced,
        combine="add",
        initial=_ZERO,
        epilogue=epilogue,
    )
    builder.call(kernel, operands, builder.result(node.output))


def _requantization(
    builder: Builder, node: Node, accesses: list[Access], operands: list[Buffer], channel: tuple[int, ...]
) -> Expression:
    """The epilogue of a QLinearConv; appends what it reads."""

    def add(value: Value, walk: tuple[int, ...]) -> Expression:
        accesses.append(Access(value.dtype, walk if value.type.elements > 1 else (0,) * len(walk)))
        operands.append(builder.read(value))
        return Input(len(operands) - 1)

    total: Expression = Accumulator()
    bias = node.optional_input(8)
    if bias is not None:
        total = total + add(bias, channel)
    x_scale, w_scale, y_scale = (add(node.input(index), channel) for index in (1, 4, 6))
    factor = x_scale * w_scale / y_scale
    return _scaled_to(total, factor, add(node.input(7), channel), node.output.dtype)


def _check_conv(node: Node) -> Support:
    answer = check_window(node)
    if not answer.ok:
        return answer
    zero = node.optional_input(2)
    if zero is not None and zero.type.elements != 1:
        return refused("zero-point", "the input has several zero points")
    return YES


# ---- matrix products


def _lower_matmul(builder: Builder, node: Node) -> None:
    quantized = node.op == "QLinearMatMul"
    a, b = node.input(0), node.input(3 if quantized else 1)
    a_zero, b_zero = (node.optional_input(index) for index in ((2, 5) if quantized else (2, 3)))
    left = a.shape if a.type.rank > 1 else (1, *a.shape)
    right = b.shape if b.type.rank > 1 else (*b.shape, 1)
    batch = np.broadcast_shapes(left[:-2], right[:-2])
    rows, depth, columns = left[-2], left[-1], right[-1]
    centred_a, centred_b = (builder.scratch(value.type.elements, "int16") for value in (a, b))
    _centre(builder, a, a_zero, left, _row_walk(a_zero, left), centred_a, row_major(left))
    _centre(builder, b, b_zero, right, _column_walk(b_zero, right), centred_b, row_major(right))
    kept = (*batch, rows, columns)

    def batches(shape: Sequence[int]) -> tuple[int, ...]:
        return tuple(step * math.prod(shape[-2:]) for step in broadcast(shape[:-2], batch))

    accesses = [
        Access("int16", (*batches(left), depth, 0, 1)),
        Access("int16", (*batches(right), 0, 1, columns)),
    ]
    operands = [centred_a, centred_b]
    epilogue: Expression = Accumulator()
    if quantized:
        for index in (1, 4, 6, 7):
            value = node.input(index)
            walk = _row_walk(value, kept) if index == 1 else _column_walk(value, kept)
            accesses.append(Access(value.dtype, (*walk, 0)))
            operands.append(builder.read(value))
        factor: Expression = (Input(2) * Input(3)) / Input(4)
        epilogue = _scaled_to(Accumulator(), factor, Input(5), node.output.dtype)
    kernel = nest(
        kept,
        accesses,
        Access(node.output.dtype, row_major(kept)),
        _PRODUCT,
        reduced=(depth,),
        combine="add",
        initial=_ZERO,
        epilogue=epilogue,
    )
    builder.call(kernel, operands, builder.result(node.output))


def _row_walk(value: Value | None, shape: Sequence[int]) -> tuple[int, ...]:
    """How a parameter of the left side is read along [.., rows, x]: one for all, or one a row."""
    several = value is not None and value.type.elements > 1
    return (*(0 for _ in shape[:-2]), int(several), 0)


def _column_walk(value: Value | None, shape: Sequence[int]) -> tuple[int, ...]:
    """How a parameter of the right side is read along [.., x, columns]."""
    several = value is not None and value.type.elements > 1
    return (*(0 for _ in shape[:-1]), int(several))


def _check_matmul(node: Node) -> Support:
    quantized = node.op == "QLinearMatMul"
    for index in (1, 2, 4, 5, 6, 7) if quantized else (2, 3):
        value = node.optional_input(index)
        if value is None or value.type.elements == 1:
            continue
        shape = node.input(0 if index in (1, 2) else 3).shape if quantized else node.input(index - 2).shape
        wanted = shape[-2] if (index in (1, 2) if quantized else index == 2) and len(shape) > 1 else shape[-1]
        if value.type.rank != 1 or value.type.elements != wanted or len(shape) < 2 or index > 5:
            return refused("parameters", f"'{value.name}' is {value.type}, neither one nor one a row or column")
    return YES


LOWERINGS = {
    "ConvInteger": Lowering(_lower_conv, dtypes=_TYPES, check=_check_conv),
    "QLinearConv": Lowering(_lower_conv, dtypes=_TYPES, check=_check_conv),
    "MatMulInteger": Lowering(_lower_matmul, dtypes=_TYPES, check=_check_matmul),
    "QLinearMatMul": Lowering(_lower_matmul, dtypes=_TYPES, check=_check_matmul),
}
