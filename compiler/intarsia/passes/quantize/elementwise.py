"""Ops that work on each element: sums and products of two tensors, clamps, tables, softmax."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from intarsia.dtypes import Array
from intarsia.ir.evaluate import evaluate_node
from intarsia.ir.graph import Node, Value
from intarsia.ir.integer import INT8_RANGE, quantize_linear
from intarsia.ir.ops.reduction import normalized_axis
from intarsia.ir.types import Quantization
from intarsia.passes.base import Refused, refuse
from intarsia.passes.fuse.affine import Affine
from intarsia.passes.quantize.constants import constant_of, data_inputs, is_constant, operand_of
from intarsia.passes.quantize.emitter import Emitter, all_int8, clamps, quantization
from intarsia.passes.quantize.scales import clamp_of, ratio, ratio_pair
from intarsia.passes.quantize.sums import channels_of, emit_channels

SOFTMAX_OUTPUT = Quantization(1.0 / 256.0, -128)
"""The scale that qsoftmax always gives: TFLite's convention."""

TABLED = (
    *(
        "Abs",
        "Ceil",
        "Celu",
        "Cos",
        "Elu",
        "Erf",
        "Exp",
        "Floor",
        "Gelu",
        "HardSigmoid",
        "HardSwish",
        "LeakyRelu",
    ),
    *("Log", "Max", "Min", "Mish", "Neg", "Pow", "Reciprocal", "Round", "Selu", "Sigmoid", "Sign", "Sin", "Softplus"),
    *("Softsign", "Sqrt", "Swish", "Tan", "Tanh", "ThresholdedRelu"),
)
"""Ops that a table of 256 entries holds when all of their inputs but one are single numbers."""


# ---- two tensors


def check_binary(node: Node) -> Refused | None:
    """Add, Sub, Mul: at least one operand is an activation, and constants are finite."""
    if not data_inputs(node):
        return refuse("all of its inputs are constants")
    for value in node.inputs:
        data = None if value is None else constant_of(value)
        if data is not None and not np.isfinite(data).all():
            return refuse("its constant holds NaN or infinity")
    return None


def _operands(emitter: Emitter, node: Node, sources: Sequence[Value]) -> list[Value]:
    """Both operands as int8; a constant one gets a scale of its own."""
    remaining = list(sources)
    operands = []
    for index, value in enumerate(node.inputs):
        assert value is not None
        if index in data_inputs(node):
            operands.append(remaining.pop(0))
        else:
            operands.append(emitter.constant(f"{node.name}_operand", *operand_of(value)))
    return operands


def is_unary(node: Node) -> bool:
    """One activation and, where there is a second input, a single number."""
    data = data_inputs(node)
    others = [value for index, value in enumerate(node.inputs) if value is not None and index not in data]
    return len(data) == 1 and all(
        is_constant(value) and value.type.is_static and value.type.elements == 1 for value in others
    )


def emit_add(emitter: Emitter, node: Node, sources: Sequence[Value], target: Quantization) -> list[Value] | Refused:
    """A table where one operand is a single number, a qconv where it is one for each channel, else qadd."""
    if is_unary(node):
        return emit_table(emitter, node, sources, target)
    affine = channels_of(node)
    if affine is not None:
        return emit_channels(emitter, node, sources[0], affine, target)
    first, second = _operands(emitter, node, sources)
    return _sum(emitter, node, first, second, target)


def emit_sub(emitter: Emitter, node: Node, sources: Sequence[Value], target: Quantization) -> list[Value] | Refused:
    """Like `emit_add`, with the second operand negated, which loses nothing."""
    if is_unary(node):
        return emit_table(emitter, node, sources, target)
    affine = channels_of(node)
    if affine is not None:
        return emit_channels(emitter, node, sources[0], affine, target)
    first, second = _operands(emitter, node, sources)
    return _sum(emitter, node, first, _negated(emitter, node, second), target)


def _negated(emitter: Emitter, node: Node, value: Value) -> Value:
    """-x without loss: the integer -1 - v at the zero point -1 - z."""
    of = quantization(value)
    mirrored = Quantization(of.scale, -1 - of.zero_point)
    if value.data is not None:
        return emitter.constant(f"{node.name}_operand", -1 - value.data, mirrored)
    return emitter.looked_up(value, -1 - np.arange(-128, 128, dtype=np.int8), mirrored, node)


def _sum(emitter: Emitter, node: Node, first: Value, second: Value, target: Quantization) -> list[Value] | Refused:
    a, b = quantization(first), quantization(second)
    factors = ratio_pair(a.scale / target.scale, b.scale / target.scale)
    if isinstance(factors, Refused):
        return factors
    attributes = {"a_multiplier": factors[0], "b_multiplier": factors[1], "shift": factors[2]}
    return [_binary(emitter, "qadd", node, first, second, target, attributes)]


def emit_mul(emitter: Emitter, node: Node, sources: Sequence[Value], target: Quantization) -> list[Value] | Refused:
    """A table where one operand is a single number, a qconv where it is one for each channel, else qmul."""
    if is_unary(node):
        return emit_table(emitter, node, sources, target)
    affine = channels_of(node)
    if affine is not None:
        return emit_channels(emitter, node, sources[0], affine, target)
    first, second = _operands(emitter, node, sources)
    factor = ratio(quantization(first).scale * quantization(second).scale / target.scale)
    if isinstance(factor, Refused):
        return factor
    attributes = {"multiplier": factor[0], "shift": factor[1]}
    return [_binary(emitter, "qmul", node, first, second, target, attributes)]


def check_div(node: Node) -> Refused | None:
    """Div: by a constant for each channel, or by or of a single number."""
    return None if channels_of(node) is not None else check_table(node)


def emit_div(emitter: Emitter, node: Node, sources: Sequence[Value], target: Quantization) -> list[Value] | Refused:
    """A qconv where the divisor is one number for each channel, else a table."""
    affine = channels_of(node)
    if affine is not None:
        return emit_channels(emitter, node, sources[0], affine, target)
    return emit_table(emitter, node, sources, target)


def _binary(
    emitter: Emitter,
    op: str,
    node: Node,
    first: Value,
    second: Value,
    target: Quantization,
    attributes: dict[str, int],
) -> Value:
    zero_points = {
        "a_zero_point": quantization(first).zero_point,
        "b_zero_point": quantization(second).zero_point,
        "output_zero_point": target.zero_point,
    }
    attributes = {**attributes, **zero_points, **clamps(fused_clamp(node, target))}
    return emitter.add(op, [first, second], node.output.shape, target, attributes, node)


def fused_clamp(node: Node, target: Quantization) -> tuple[int, int]:
    """The clamp of a node's fused activation."""
    return clamp_of(node.attributes.get("activation", ""), node.attributes.get("activation_arguments", ()), target)


# ---- clamps


def clip_bounds(node: Node) -> tuple[float, float] | None:
    """The bounds of a Clip node, or None where they are computed at run time, or no numbers."""
    bounds = [-np.inf, np.inf]
    for index in (1, 2):
        value = node.optional_input(index)
        if value is not None:
            data = constant_of(value)
            if data is None or data.size != 1 or np.isnan(data.reshape(-1)[0]):
                return None
            bounds[index - 1] = float(data.reshape(-1)[0])
    return bounds[0], bounds[1]


def check_clamp(node: Node) -> Refused | None:
    """Relu and Clip: the bounds are constants."""
    if node.op == "Clip" and clip_bounds(node) is None:
        return refuse("its bounds are computed at run time, or NaN")
    return None


def emit_clamp(emitter: Emitter, node: Node, sources: Sequence[Value], target: Quantization) -> list[Value] | Refused:
    """A requantize that clamps."""
    bounds = (0.0, np.inf) if node.op == "Relu" else clip_bounds(node)
    assert bounds is not None
    result = emitter.requantized(sources[0], target, node, clamp_of("Clip", bounds, target))
    return result if isinstance(result, Refused) else [result]


# ---- tables


def check_table(node: Node) -> Refused | None:
    """Every input but one activation is a single number, so that 256 entries hold the whole function."""
    if not is_unary(node):
        return refuse("it combines tensors in a way that no integer op does")
    return None


def emit_table(emitter: Emitter, node: Node, sources: Sequence[Value], target: Quantization) -> list[Value] | Refused:
    """A lookup in the op's float meaning on all 256 integers, int8 [256]."""
    return [emitter.looked_up(sources[0], _tabulated(node, quantization(sources[0]), target), target, node)]


def _tabulated(node: Node, source: Quantization, target: Quantization) -> Array:
    """The op's float meaning for all 256 integers, as int8 [256] in the order -128 to 127."""
    return quantize_linear(meaning_on(node, all_int8(source)), target.scale, target.zero_point)


def meaning_on(node: Node, x: Array) -> Array:
    """What a node of one activation and single numbers makes of float32 [N]."""
    data = data_inputs(node)
    inputs = [
        x if index in data else None if value is None else constant_of(value) for index, value in enumerate(node.inputs)
    ]
    with np.errstate(all="ignore"):
        return evaluate_node(node, inputs)[0].reshape(-1)


def useful_range(node: Node, low: float, high: float, step: float) -> tuple[float, float]:
    """The part of an input's range in which a tabled op does not yet lie flat.

    step     of the output's scale: beyond the part the output changes by less than a quarter of it
    returns  the range without flat ends, as of a Sigmoid far from 0: its steps can be finer
    """
    x = np.linspace(low, high, 1025, dtype=np.float32)
    y = meaning_on(node, x)
    if not np.isfinite(y).all():
        return low, high
    with np.errstate(over="ignore"):
        from_left, from_right = np.abs(y - y[0]) > step / 4, np.abs(y - y[-1]) > step / 4
    if not (from_left.any() and from_right.any()):
        return low, high
    first = max(int(from_left.argmax()) - 1, 0)
    last = len(x) - max(int(from_right[::-1].argmax()), 1)
    return float(x[first]), float(x[last])


def prelu_slope(node: Node) -> float | None:
    """The one slope of a PRelu; None where it differs from channel to channel or is computed at run time."""
    slope = constant_of(node.input(1))
    return None if slope is None or not slope.size or np.ptp(slope) != 0.0 else float(slope.reshape(-1)[0])


def _slopes(node: Node) -> Array | Refused:
    """The constant slopes of a PRelu: float32 [1] for all channels, or [C]."""
    slope, shape = constant_of(node.input(1)), node.output.shape
    if slope is None:
        return refuse("its slope is computed at run time")
    if not np.isfinite(slope).all():
        return refuse("its slope holds NaN or infinity")
    if not slope.size or np.ptp(slope) == 0.0:
        return slope.reshape(-1)[:1]
    sizes = (1,) * (len(shape) - slope.ndim) + slope.shape
    if any(size != 1 for axis, size in enumerate(sizes) if axis != 1):
        return refuse("its slope differs from place to place")
    if len(shape) < 3:
        return refuse("its slope differs from channel to channel, and it has no spatial axis")
    return slope.reshape(-1)


def check_prelu(node: Node) -> Refused | None:
    """PRelu: one constant slope, or one for each channel of an image."""
    slopes = _slopes(node)
    return slopes if isinstance(slopes, Refused) else None


def emit_prelu(emitter: Emitter, node: Node, sources: Sequence[Value], target: Quantization) -> list[Value] | Refused:
    """A lookup, int8 [256]; where slopes differ, a lookup of what is above 0 plus a qconv of what is below.

    Both stand at the output's scale, and one of them is always 0: their sum rounds nothing.
    """
    source, slopes = sources[0], _slopes(node)
    assert not isinstance(slopes, Refused)
    of = quantization(source)
    x = all_int8(of)
    if len(slopes) == 1:
        table = quantize_linear(np.where(x < 0, x * slopes[0], x), target.scale, target.zero_point)
        return [emitter.looked_up(source, table, target, node)]
    above = emitter.looked_up(source, quantize_linear(np.maximum(x, 0), target.scale, target.zero_point), target, node)
    clamp = INT8_RANGE
    if (slopes >= 0).all():
        clamp = (INT8_RANGE[0], target.zero_point)
    else:  # what is above 0 would not stay on its side
        integers = np.arange(-128, 128)
        source = emitter.looked_up(source, np.minimum(integers, of.zero_point).astype(np.int8), of, node)
    affine = Affine(node.input(0), slopes.astype(np.float64), np.zeros(len(slopes)))
    below = emit_channels(emitter, node, source, affine, target, clamp)
    return below if isinstance(below, Refused) else _sum(emitter, node, above, below[0], target)


# ---- softmax


def _softmax_axis(node: Node) -> int | None:
    """The one axis that a Softmax works along, or None for the old form that flattens several axes to one."""
    rank, shape = node.input(0).type.rank, node.input(0).shape
    axis = normalized_axis(node, rank)
    if node.opset >= 13 or axis == rank - 1 or all(size == 1 for size in shape[axis + 1 :]):
        return axis
    return None


def check_softmax(node: Node) -> Refused | None:
    """Softmax: along one axis."""
    if _softmax_axis(node) is None:
        return refuse("it runs along several axes at once, the meaning before opset 13")
    return None


def emit_softmax(emitter: Emitter, node: Node, sources: Sequence[Value], target: Quantization) -> list[Value] | Refused:
    """qsoftmax with a table of exponentials, int32 [256]; a requantize unless the scale is SOFTMAX_OUTPUT."""
    source = sources[0]
    distances = np.arange(256, dtype=np.float64)
    table = np.rint(2.0**23 * np.exp(-distances * quantization(source).scale)).astype(np.int32)
    constant = emitter.constant(f"{node.name}_table", table)
    attributes = {"axis": _softmax_axis(node)}
    result = emitter.add("qsoftmax", [source, constant], node.output.shape, SOFTMAX_OUTPUT, attributes, node)
    if target == SOFTMAX_OUTPUT:
        return [result]
    scaled = emitter.requantized(result, target, node, INT8_RANGE)
    return scaled if isinstance(scaled, Refused) else [scaled]
