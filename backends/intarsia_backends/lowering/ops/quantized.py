"""Integer ops that are no sums of products, and the borders between float and integer, ONNX's own included."""

from __future__ import annotations

import math

import numpy as np

from intarsia.ir.graph import Node, Value
from intarsia.targets import YES, Support
from intarsia_backends.lowering.access import broadcast
from intarsia_backends.lowering.builder import Builder
from intarsia_backends.lowering.expressions import Cast, Constant, Expression, Gather, Input, apply
from intarsia_backends.lowering.fusion import map_values
from intarsia_backends.lowering.kernels import IntegerSoftmax
from intarsia_backends.lowering.ops.scaling import centred, requantized
from intarsia_backends.lowering.ops.table import Lowering, attribute, axis_of, refused
from intarsia_backends.lowering.requantize import single_factor, sum_ties
from intarsia_backends.lowering.views import View


def _centred(index: int, zero_point: int) -> Expression:
    return Cast("int32", Input(index)) - Constant("int32", zero_point)


def _number(node: Node, name: str) -> int:
    return int(node.attributes[name])


def _lower_qadd(builder: Builder, node: Node) -> None:
    multipliers = _number(node, "a_multiplier"), _number(node, "b_multiplier")
    zeros = _number(node, "a_zero_point"), _number(node, "b_zero_point")
    left, right = (
        _centred(index, zero) * Constant("int32", multiplier)
        for index, (zero, multiplier) in enumerate(zip(zeros, multipliers))
    )
    largest, shift = 255 * sum(map(abs, multipliers)), _number(node, "shift")
    body = _scaled(
        builder,
        node,
        left + right,
        largest=largest,
        multiplier=1,
        shift=shift,
        ties=sum_ties(multipliers, zeros, shift),
    )
    map_values(builder, [node.input(0), node.input(1)], node.output, body)


def _scaled(
    builder: Builder,
    node: Node,
    total: Expression,
    *,
    largest: int,
    multiplier: int,
    shift: int,
    ties: bool = True,
) -> Expression:
    """The total, of at most `largest`, times multiplier / 2**shift, with the zero point and the clamp of the node."""
    zero = int(attribute(node, "output_zero_point", 0))
    form, factor = single_factor(builder.machine, largest, multiplier, shift, zero, ties=ties)
    return requantized(total, factor, node, form)


def _lower_qmul(builder: Builder, node: Node) -> None:
    left, right = (_centred(index, _number(node, f"{side}_zero_point")) for index, side in enumerate("ab"))
    body = _scaled(
        builder,
        node,
        left * right,
        largest=255 * 255,
        multiplier=_number(node, "multiplier"),
        shift=_number(node, "shift"),
    )
    map_values(builder, [node.input(0), node.input(1)], node.output, body)


def _lower_requantize(builder: Builder, node: Node) -> None:
    total = centred(_number(node, "input_zero_point"))
    body = _scaled(
        builder, node, total, largest=255, multiplier=_number(node, "multiplier"), shift=_number(node, "shift")
    )
    map_values(builder, [node.input(0)], node.output, body)


def _lower_lookup(builder: Builder, node: Node) -> None:
    x, table, y = node.input(0), node.input(1), node.output
    # The number is taken as its eight bits, whatever its type.
    place = Cast("int32", Input(0)) & Constant("int32", 0xFF)
    walk = View(builder.read(table), y.dtype, (0,) * y.type.rank)
    map_values(builder, [x], y, Gather(1, place), [walk])


def _lower_qsoftmax(builder: Builder, node: Node) -> None:
    x = node.input(0)
    axis = axis_of(node, x.type.rank, -1)
    kernel = IntegerSoftmax(math.prod(x.shape[:axis]), x.shape[axis], math.prod(x.shape[axis + 1 :]))
    builder.call(kernel, [builder.read(x), builder.read(node.input(1))], builder.result(node.output))


# ---- float to integer and back


def _quantized(x: Expression, scale: Expression, zero: Expression, dtype: str) -> Expression:
    """rint(x / scale) + zero_point, saturated; NaN gives the zero point. `scale` is read from memory: a division by a
    constant would become a multiplication."""
    return saturated(apply("no_nan", apply("rint", x / scale)), zero, dtype)


def saturated(steps: Expression, zero: Expression, dtype: str) -> Expression:
    """steps + zero in an integer type; `steps` is a whole float32, `zero` int32."""
    low, high = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    # The clamp goes first, at the limits less the zero point: then the sum is small and exact.
    floor = Cast("float32", Constant("int32", low) - zero)
    ceiling = Cast("float32", Constant("int32", high) - zero)
    bounded = apply("ceil_at", apply("floor_at", steps, floor), ceiling)
    return Cast(dtype, Cast("int32", bounded) + zero)


def _lower_quantize(builder: Builder, node: Node) -> None:
    x = node.input(0)
    scale = View(builder.weight(np.asarray([node.attributes["scale"]], np.float32)), "float32", (0,) * x.type.rank)
    zero = Constant("int32", _number(node, "zero_point"))
    map_values(builder, [x], node.output, _quantized(Input(0), Input(1), zero, "int8"), [scale])


def _lower_dequantize(builder: Builder, node: Node) -> None:
    x = node.input(0)
    scale = Constant("float32", float(np.float32(node.attributes["scale"])))
    body = Cast("float32", centred(_number(node, "zero_point"))) * scale
    map_values(builder, [x], node.output, body)


def _along_axis(node: Node, value: Value) -> tuple[int, ...]:
    """Strides of a scale or zero point over the input: one number for all, or one for each step of the axis."""
    x = node.input(0)
    if value.type.elements == 1:
        return (0,) * x.type.rank
    axis = axis_of(node, x.type.rank, 1)
    shape = tuple(size if index == axis else 1 for index, size in enumerate(x.shape))
    return broadcast(shape, x.shape)


def _scale_operands(builder: Builder, node: Node) -> tuple[list[View], Expression, Expression]:
    scale, zero = node.input(1), node.optional_input(2)
    tables = [View(builder.read(scale), "float32", _along_axis(node, scale))]
    offset: Expression = Constant("int32", 0)
    if zero is not None:
        tables.append(View(builder.read(zero), zero.dtype, _along_axis(node, zero)))
        offset = Cast("int32", Input(2))
    return tables, Input(1), offset


def _lower_quantize_linear(builder: Builder, node: Node) -> None:
    tables, scale, zero = _scale_operands(builder, node)
    map_values(builder, [node.input(0)], node.output, _quantized(Input(0), scale, zero, node.output.dtype), tables)


def _lower_dequantize_linear(builder: Builder, node: Node) -> None:
    tables, scale, zero = _scale_operands(builder, node)
    steps = Cast("int32", Input(0)) - zero
    body = Cast("float32", steps) * scale
    map_values(builder, [node.input(0)], node.output, body, tables)


def _check_linear(node: Node) -> Support:
    wide = node.output if node.op == "DequantizeLinear" else node.input(0)
    narrow = node.input(0) if node.op == "DequantizeLinear" else node.output
    if wide.dtype != "float32" or narrow.dtype not in ("int8", "uint8", "int16", "uint16", "int32"):
        return refused("element-type", f"from {node.input(0).dtype} to {node.output.dtype}")
    if node.op == "QuantizeLinear" and narrow.dtype == "int32":
        return refused("element-type", "to int32")
    if node.input(1).dtype != "float32":
        return refused("element-type", f"the scale is {node.input(1).dtype}")
    if attribute(node, "block_size", 0):
        return refused("blocks", "scales go by blocks")
    return YES


_BYTES = ("float32", "int8", "uint8", "int16", "uint16", "int32")

LOWERINGS = {
    "qadd": Lowering(_lower_qadd, dtypes=("int8",)),
    "qmul": Lowering(_lower_qmul, dtypes=("int8",)),
    "requantize": Lowering(_lower_requantize, dtypes=("int8",)),
    "lookup": Lowering(_lower_lookup, dtypes=("int8", "uint8"), constants=(1,)),
    "qsoftmax": Lowering(_lower_qsoftmax, dtypes=("int8",), constants=(1,)),
    "quantize": Lowering(_lower_quantize, dtypes=("float32", "int8")),
    "dequantize": Lowering(_lower_dequantize, dtypes=("float32", "int8")),
    "QuantizeLinear": Lowering(_lower_quantize_linear, dtypes=_BYTES, check=_check_linear),
    "DequantizeLinear": Lowering(_lower_dequantize_linear, dtypes=_BYTES, check=_check_linear),
}
