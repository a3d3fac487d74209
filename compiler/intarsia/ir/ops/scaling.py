"""ONNX's own quantization: QuantizeLinear, DequantizeLinear and the ops that compute on such integers.

Our integer ops (`ir.ops.quantized`) are made of these by the quantizer; here they keep ONNX's float formulas.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from intarsia.dtypes import FLOATING, Array, numpy_dtype
from intarsia.ir.graph import Node
from intarsia.ir.op import Known, Op, attribute, refuse
from intarsia.ir.ops.rules import (
    BAD_MODEL,
    Types,
    axis_in,
    element_type_of,
    fallback,
    fitting,
    given,
    given_or_none,
    optional,
    same_dtype,
    tensor,
    wide,
)
from intarsia.ir.types import TensorType

BYTES = ("int8", "uint8")
_STEPS = ("int8", "uint8", "int16", "uint16")


def spread(node: Node, parameter: Array, shape: Sequence[int], axis: int, block: int) -> Array:
    """A scale or zero point shaped to broadcast against a tensor: one for all, one a slice of the axis, or blocks."""
    if parameter.size == 1 and not block:
        return parameter.reshape(())
    axis = axis_in(node, axis, len(shape))
    if block:
        repeated = np.repeat(parameter, block, axis=axis)
        return np.asarray(np.take(repeated, np.arange(shape[axis]), axis=axis))
    return parameter.reshape([-1 if index == axis else 1 for index in range(len(shape))])


def _check_parameters(node: Node, x: TensorType, op: Op, types: Types) -> None:
    """Scale and zero point: of equal shape, and one for all, one a slice of the axis, or blocks."""
    scale, zero = tensor(node, types, 1), optional(types, 2)
    if scale.shape is None or x.shape is None:
        return
    one = ((), (1,))
    ranks_differ = zero is not None and zero.shape is not None and len(zero.shape) != len(scale.shape)
    if ranks_differ and zero is not None and (zero.shape not in (*one, (None,)) or scale.shape not in (*one, (None,))):
        raise refuse(node, f"zero point {zero} and scale {scale} have different shapes", BAD_MODEL)
    block = attribute(node, op, "block_size")
    if scale.shape in one and not block:
        return
    axis = axis_in(node, attribute(node, op, "axis"), len(x.shape))
    size = x.shape[axis]
    if block:
        blocks = None if size is None else -(-size // block)
        fits = len(scale.shape) == len(x.shape) and fitting(scale.shape[axis], blocks)
    else:
        fits = len(scale.shape) == 1 and fitting(scale.shape[0], size)
    if not fits:
        raise refuse(
            node,
            f"scale {scale} does not fit axis {axis} of {x}" + (f" in blocks of {block}" if block else ""),
            "give one scale, or one for every slice of the axis",
        )


# ---- QuantizeLinear


def _output_dtype(node: Node, zero: str | None) -> str:
    number = attribute(node, QUANTIZE_LINEAR, "output_dtype")
    if zero is not None:
        return zero
    return element_type_of(node, number) if number else "uint8"


def _infer_quantize_linear(node: Node, types: Types, known: Known) -> list[TensorType]:
    x, zero = tensor(node, types, 0), optional(types, 2)
    _check_parameters(node, x, QUANTIZE_LINEAR, types)
    return [TensorType(_output_dtype(node, None if zero is None else zero.dtype), x.shape)]


def _evaluate_quantize_linear(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    x, scale, zero = given(inputs, 0), given(inputs, 1), given_or_none(inputs, 2)
    dtype = _output_dtype(node, None if zero is None else zero.dtype.name)
    if _is_rare_quantize(node, x.dtype.name, dtype):
        return fallback(node, inputs)
    axis, block = attribute(node, QUANTIZE_LINEAR, "axis"), attribute(node, QUANTIZE_LINEAR, "block_size")
    real = x.astype(np.float32) if x.dtype.kind in "iV" else x
    divisor = spread(node, scale, x.shape, axis, block).astype(real.dtype)
    offset = np.zeros((), np.int64) if zero is None else spread(node, zero, x.shape, axis, block).astype(np.int64)
    return [to_steps(real, divisor, offset, dtype)]


def _is_rare_quantize(node: Node, source: str, result: str) -> bool:
    plain = source in (*FLOATING, "int32") and result in _STEPS
    return not plain or bool(attribute(node, QUANTIZE_LINEAR, "precision"))


def _quantizes_rarely(node: Node) -> bool:
    zero = node.optional_input(2)
    return _is_rare_quantize(node, node.input(0).dtype, _output_dtype(node, None if zero is None else zero.dtype))


def to_steps(real: Array, scale: Array, zero: Array, dtype: str) -> Array:
    """rint(real / scale) + zero, saturated to an integer type; NaN becomes the zero point."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        steps = np.rint(real / scale).astype(np.float64)
    limits = np.iinfo(numpy_dtype(dtype))
    steps = np.where(np.isnan(steps), 0.0, steps) + zero
    return np.clip(steps, limits.min, limits.max).astype(numpy_dtype(dtype))


QUANTIZE_LINEAR = Op(
    "QuantizeLinear",
    _infer_quantize_linear,
    _evaluate_quantize_linear,
    {"axis": 1, "block_size": 0, "output_dtype": 0, "precision": 0, "saturate": 1},
    rare=_quantizes_rarely,
    work="conversion",
)


# ---- DequantizeLinear


def _real_dtype(node: Node, scale: str) -> str:
    number = attribute(node, DEQUANTIZE_LINEAR, "output_dtype")
    return element_type_of(node, number) if number else scale


def _infer_dequantize_linear(node: Node, types: Types, known: Known) -> list[TensorType]:
    x, zero = tensor(node, types, 0), optional(types, 2)
    _check_parameters(node, x, DEQUANTIZE_LINEAR, types)
    if zero is not None:
        same_dtype(node, x, zero)
    return [TensorType(_real_dtype(node, tensor(node, types, 1).dtype), x.shape)]


def _evaluate_dequantize_linear(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    x, scale, zero = given(inputs, 0), given(inputs, 1), given_or_none(inputs, 2)
    dtype = _real_dtype(node, scale.dtype.name)
    if _is_rare_dequantize(x.dtype.name, dtype):
        return fallback(node, inputs)
    axis, block = attribute(node, DEQUANTIZE_LINEAR, "axis"), attribute(node, DEQUANTIZE_LINEAR, "block_size")
    centred = x.astype(np.int64)
    if zero is not None:
        centred = centred - spread(node, zero, x.shape, axis, block).astype(np.int64)
    factor = wide(spread(node, scale, x.shape, axis, block))
    return [(centred.astype(factor.dtype) * factor).astype(numpy_dtype(dtype))]


def _is_rare_dequantize(source: str, result: str) -> bool:
    return source not in (*_STEPS, "int32") or result not in FLOATING


DEQUANTIZE_LINEAR = Op(
    "DequantizeLinear",
    _infer_dequantize_linear,
    _evaluate_dequantize_linear,
    {"axis": 1, "block_size": 0, "output_dtype": 0},
    rare=lambda node: _is_rare_dequantize(node.input(0).dtype, _real_dtype(node, node.input(1).dtype)),
    work="conversion",
)


# ---- DynamicQuantizeLinear


def _infer_dynamic(node: Node, types: Types, known: Known) -> list[TensorType]:
    x = tensor(node, types, 0, ("float32",))
    return [TensorType("uint8", x.shape), TensorType("float32", ()), TensorType("uint8", ())]


def _evaluate_dynamic(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    x = given(inputs, 0)
    low, high = np.float32(min(x.min(initial=0), 0)), np.float32(max(x.max(initial=0), 0))
    scale = np.float32(np.float32(high - low) / np.float32(255)) if high > low else np.float32(1)
    zero = np.uint8(np.clip(np.rint(-low / scale), 0, 255))
    steps = to_steps(x, np.asarray(scale), np.asarray(zero, np.int64), "uint8")
    return [steps, np.asarray(scale, np.float32), np.asarray(zero)]


DYNAMIC_QUANTIZE_LINEAR = Op("DynamicQuantizeLinear", _infer_dynamic, _evaluate_dynamic)


OPS = (QUANTIZE_LINEAR, DEQUANTIZE_LINEAR, DYNAMIC_QUANTIZE_LINEAR)
