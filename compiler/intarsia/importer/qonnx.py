"""Fake quantization as Brevitas, QONNX and FINN write it: Quant and Trunc of up to 8 bits, BipolarQuant."""

from __future__ import annotations

import numpy as np
import onnx

from intarsia.dtypes import Array
from intarsia.importer.workbench import Workbench

DOMAINS = ("qonnx.custom_op.general", "onnx.brevitas", "finn.custom_op.general")

_MOST_BITS = 8


def translate_quant(bench: Workbench, node: onnx.NodeProto) -> bool:
    """`Quant(x, scale, zero, bits)` -> `DequantizeLinear(QuantizeLinear(Clip(x)))`; False where it is not that.

    Clip stands where the integers have fewer than 8 bits or are narrow: at the ends of the range it is exact.
    """
    if node.op_type == "BipolarQuant":
        return _bipolar(bench, node)
    if node.op_type == "Trunc":
        return _trunc(bench, node)
    if node.op_type != "Quant" or bench.opset < 10:
        return False
    names = bench.inputs(node, 4)
    scale, zero, bits = (bench.known(name) for name in names[1:])
    if scale is None or zero is None or bits is None or bits.size != 1 or (scale <= 0).any():
        return False
    count = float(bits.reshape(-1)[0])
    if not (count.is_integer() and 1 <= count <= _MOST_BITS) or (np.rint(zero) != zero).any():
        return False
    if str(bench.attribute(node, "rounding_mode", "ROUND")).upper() != "ROUND":
        return False
    least, most = _range(int(count), bench.attribute(node, "signed", 1), bench.attribute(node, "narrow", 0))
    kind = np.dtype(np.int8 if least < 0 else np.uint8)
    if (zero < np.iinfo(kind).min).any() or (zero > np.iinfo(kind).max).any():
        return False
    data = bench.known(names[0])
    if data is not None:
        integers = np.clip(np.rint(data / scale + zero), least, most).astype(kind)
        return _constant(bench, node, integers, scale, zero)
    if scale.size != 1 or zero.size != 1:
        return False
    factor, offset = np.float32(scale.reshape(-1)[0]), float(zero.reshape(-1)[0])
    value = names[0]
    if (least, most) != (np.iinfo(kind).min, np.iinfo(kind).max):
        ends = [np.asarray((end - offset) * factor, np.float32) for end in (least, most)]
        if bench.opset < 11:
            value = bench.add("Clip", [value], None, {"min": float(ends[0]), "max": float(ends[1])})
        else:
            value = bench.add("Clip", [value, bench.constant("least", ends[0]), bench.constant("most", ends[1])])
    parameters = [bench.constant("scale", np.asarray(factor)), bench.constant("zero", np.asarray(offset, kind))]
    integers_name = bench.add("QuantizeLinear", [value, *parameters])
    bench.add("DequantizeLinear", [integers_name, *parameters], [node.output[0]])
    return True


def _range(bits: int, signed: int, narrow: int) -> tuple[int, int]:
    if signed:
        return -(1 << (bits - 1)) + bool(narrow), (1 << (bits - 1)) - 1
    return 0, (1 << bits) - 1 - bool(narrow)


def _bipolar(bench: Workbench, node: onnx.NodeProto) -> bool:
    """`BipolarQuant(x, scale)`: 1 or -1, times the scale."""
    data, scale = bench.known(node.input[0]), bench.known(node.input[1])
    if scale is None or (scale <= 0).any() or bench.opset < 10:
        return False
    if data is None:
        least = bench.add("Less", [node.input[0], bench.constant("nought", np.zeros((), np.float32))])
        ends = [bench.constant(wish, (sign * scale).astype(np.float32)) for wish, sign in (("least", -1), ("most", 1))]
        _scaled(bench, node, bench.add("Where", [least, *ends]), scale, np.zeros((), np.int8))
        return True
    integers = np.where(data >= 0, 1, -1).astype(np.int8)
    return _constant(bench, node, integers, scale, np.zeros((), np.float32))


_ROUNDINGS = {"FLOOR": "Floor", "CEIL": "Ceil", "ROUND": "Round"}


def _trunc(bench: Workbench, node: onnx.NodeProto) -> bool:
    """`Trunc(x, scale, zero, bits, fewer bits)`: the lowest bits of the integers go, their scale stays."""
    parameters = [bench.known(name) for name in bench.inputs(node, 5)[1:]]
    rounding = _ROUNDINGS.get(str(bench.attribute(node, "rounding_mode", "FLOOR")).upper())
    if len(node.input) != 5 or rounding is None or bench.opset < 11:
        return False
    scale, zero, *counts = (np.zeros(0) if data is None else data for data in parameters)
    if not scale.size or not zero.size or (scale <= 0).any() or any(count.size != 1 for count in counts):
        return False
    before, behind = (float(count.reshape(-1)[0]) for count in counts)
    if not (before.is_integer() and behind.is_integer() and 1 <= behind <= min(before, _MOST_BITS) and before <= 32):
        return False
    offset, factor = zero.astype(np.float32), bench.constant("factor", scale.astype(np.float32))
    shift = bench.constant("zero", offset)
    steps = bench.add("Round", [bench.add("Add", [bench.add("Div", [node.input[0], factor]), shift])])
    part = bench.constant("part", np.asarray(2.0 ** (behind - before), np.float32))
    kept = bench.add(rounding, [bench.add("Mul", [steps, part])])
    real = bench.add("Mul", [bench.add("Sub", [kept, shift]), factor])
    signed = bench.attribute(node, "signed", 1 if behind < _MOST_BITS else None)
    if signed is None or zero.size != 1:  # whether 8 bits have a sign is not said
        bench.add("Identity", [real], [node.output[0]])
        return True
    kind = np.int8 if signed or behind < _MOST_BITS else np.uint8
    _scaled(bench, node, real, scale, zero.astype(kind))
    return True


def _scaled(bench: Workbench, node: onnx.NodeProto, real: str, scale: Array, zero: Array) -> None:
    """The output of a node, whose numbers are whole multiples of one scale: said, where it is one."""
    if scale.size != 1:
        bench.add("Identity", [real], [node.output[0]])
        return
    factor = bench.constant("scale", scale.reshape(()).astype(np.float32))
    names = [factor, bench.constant("zero", zero.reshape(()))]
    bench.add("DequantizeLinear", [bench.add("QuantizeLinear", [real, *names]), *names], [node.output[0]])


def _constant(bench: Workbench, node: onnx.NodeProto, integers: Array, scale: Array, zero: Array) -> bool:
    """DequantizeLinear of integers, with scales for the slices of one axis or one for all."""
    shape = np.broadcast_shapes(scale.shape, zero.shape)
    if len(shape) > integers.ndim:
        return False
    aligned = (1,) * (integers.ndim - len(shape)) + shape
    wide = [axis for axis, size in enumerate(aligned) if size != 1]
    if len(wide) > 1 or (wide and (bench.opset < 13 or aligned[wide[0]] != integers.shape[wide[0]])):
        return False
    flat = (-1,) if wide else ()
    scales = np.broadcast_to(scale, shape).reshape(flat).astype(np.float32)
    zeros = np.broadcast_to(zero, shape).reshape(flat).astype(integers.dtype)
    names = [bench.constant(wish, part) for wish, part in (("integers", integers), ("scale", scales), ("zero", zeros))]
    bench.add("DequantizeLinear", names, [node.output[0]], {"axis": wide[0]} if wide else {})
    return True
