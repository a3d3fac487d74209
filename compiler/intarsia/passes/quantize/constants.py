"""Constants of models that bring their own scales: DequantizeLinear of integers, taken as those integers."""

from __future__ import annotations

import numpy as np

from intarsia.dtypes import Array
from intarsia.ir.evaluate import evaluate_node
from intarsia.ir.graph import Node, Value
from intarsia.ir.integer import WEIGHT_MAX
from intarsia.ir.types import Quantization
from intarsia.passes.base import Refused, refuse
from intarsia.passes.matching import quantized_constant
from intarsia.passes.quantize.scales import Weight, quantize_constant, quantize_weight

_WEIGHT_TYPES = ("int8", "uint8", "int4", "uint4", "int2", "uint2", "int16", "uint16")
_COPIES_MAX = 3
"""How many int8 weights may stand for one: 3 reach 255 steps, the most that 8 bits and a zero point do."""


def constant_of(value: Value) -> Array | None:
    """The real numbers of a value known at compile time, written as such or dequantized from integers; else None."""
    if value.data is not None:
        return value.data
    node = quantized_constant(value)
    return None if node is None else dequantized(node)


def dequantized(node: Node) -> Array:
    """The real numbers of a DequantizeLinear of constants, float32."""
    return evaluate_node(node, [None if value is None else value.data for value in node.inputs])[0]


def is_constant(value: Value) -> bool:
    """Whether `constant_of` knows it."""
    return value.is_constant or quantized_constant(value) is not None


def data_inputs(node: Node) -> tuple[int, ...]:
    """Indices of the inputs that are activations: float32 and not known at compile time."""
    return tuple(
        index
        for index, value in enumerate(node.inputs)
        if value is not None and value.dtype == "float32" and not is_constant(value)
    )


def weight_of(value: Value, axis: int) -> Weight | Refused:
    """Constant weights as int8 with a scale for each output channel, which lie on `axis`.

    Float weights are quantized here. Integers that the model brings keep their values and scales; those at -128 move to
    -127 and are counted in `clamped`. Where they lie further from their zero point the result holds int16, for `copies`
    of int8 to add up to. Refused where that takes too many, or where scales do not belong to output channels.
    """
    node = quantized_constant(value)
    if node is None:
        assert value.data is not None
        return quantize_weight(value.data, axis)
    integers = node.input(0).data
    channels = value.shape[axis]
    scales = parameter_of(node, 1, axis, channels)
    zeros = parameter_of(node, 2, axis, channels)
    assert integers is not None
    if integers.dtype.name not in _WEIGHT_TYPES:
        return refuse(f"its weights are {integers.dtype.name}; integers of up to 8 bits have an integer form")
    if scales is None or zeros is None:
        return refuse(_foreign_scales(node))
    if not np.isfinite(scales).all():
        return refuse("a scale of its weights is not a finite number")
    shape = [-1 if index == axis else 1 for index in range(integers.ndim)]
    centred = integers.astype(np.int32) - zeros.astype(np.int32).reshape(shape)
    # A BatchNormalization folded into the scales may have made some negative, or 0.
    centred *= np.sign(scales).astype(np.int32).reshape(shape)
    scales = np.where(scales == 0.0, 1.0, np.abs(scales)).astype(np.float64)
    if np.abs(centred).max(initial=0) > WEIGHT_MAX + 1:
        others = tuple(index for index in range(integers.ndim) if index != axis)
        common = np.maximum(np.gcd.reduce(centred.reshape(integers.shape), axis=others), 1)
        centred, scales = centred // common.reshape(shape), scales * common
    reach = int(np.abs(centred).max(initial=0))
    if reach > _COPIES_MAX * WEIGHT_MAX:
        return refuse(f"its weights reach {reach} steps from their zero point: quantize them to 8 bits")
    if reach > WEIGHT_MAX + 1:
        return Weight(centred.astype(np.int16), scales)
    clamped = int((np.abs(centred) > WEIGHT_MAX).sum())
    return Weight(np.clip(centred, -WEIGHT_MAX, WEIGHT_MAX).astype(np.int8), scales, clamped)


def _foreign_scales(node: Node) -> str:
    block = node.attributes.get("block_size", 0)
    if block:
        return f"its weights have a scale for each {block} of them: quantize them with one for each output channel"
    return "its weights have scales that do not belong to output channels: quantize them with one for each of these"


def parameter_of(node: Node, index: int, axis: int, channels: int) -> Array | None:
    """Scale or zero point of a DequantizeLinear for each channel [M], or None where it runs along another axis."""
    value = node.optional_input(index)
    if value is None:
        return np.zeros(channels)
    data, rank = value.data, node.output.type.rank
    assert data is not None
    block, along = int(node.attributes.get("block_size", 0)), int(node.attributes.get("axis", 1)) % max(rank, 1)
    if block:  # blocks may share their scales all the same
        whole = np.repeat(data, block, along).take(range(node.output.shape[along]), along)
        slices = np.moveaxis(whole, axis, 0).reshape(channels, -1)
        return slices[:, 0] if slices.size and (slices == slices[:, :1]).all() else None
    if data.size == 1:
        return np.broadcast_to(data.reshape(-1), (channels,))
    if along != axis or data.shape != (channels,):
        return None
    return data


def operand_of(value: Value) -> tuple[Array, Quantization]:
    """A constant operand of an Add or Mul as int8: the model's own integers where there are any."""
    node = quantized_constant(value)
    if node is not None:
        quantization = scalar_quantization(node)
        data = node.input(0).data
        if quantization is not None and data is not None and data.dtype.name in ("int8", "uint8"):
            return signed_bytes(data), quantization
    real = constant_of(value)
    assert real is not None
    return quantize_constant(real)


def signed_bytes(data: Array) -> Array:
    """int8 as it is; uint8 moved down by 128."""
    return data if data.dtype == np.int8 else (data ^ np.uint8(0x80)).view(np.int8)


def scalar_quantization(node: Node) -> Quantization | None:
    """What a QuantizeLinear or DequantizeLinear says, in terms of int8 (uint8 zero points move down by 128).

    None where it is not one constant scale and one zero point for 8-bit integers and float32, of known shapes.
    """
    integers = node.output if node.op == "QuantizeLinear" else node.input(0)
    reals = node.input(0) if node.op == "QuantizeLinear" else node.output
    if not (integers.type.is_static and reals.type.is_static):
        return None  # sizes that are made at run time
    if integers.dtype not in ("int8", "uint8") or reals.dtype != "float32" or node.attributes.get("block_size", 0):
        return None
    scale, zero = node.input(1).data, node.optional_input(2)
    if scale is None or scale.size != 1 or scale.dtype != np.float32:
        return None
    if zero is not None and (zero.data is None or zero.data.size != 1):
        return None
    factor = float(scale.reshape(()))
    offset = 0 if zero is None or zero.data is None else int(zero.data.reshape(()))
    if not (np.isfinite(factor) and factor > 0.0):
        return None
    return Quantization(factor, offset - (128 if integers.dtype == "uint8" else 0))
