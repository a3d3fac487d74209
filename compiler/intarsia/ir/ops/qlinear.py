"""ONNX's products of integers: QLinearConv, QLinearMatMul, ConvInteger, MatMulInteger.

Sums are exact int32; the QLinear ops then scale by float32 factors, as ONNX says. Our own fixed-point ops are in
`ir.ops.quantized`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from intarsia.dtypes import FLOATING, Array
from intarsia.ir.graph import Node
from intarsia.ir.integer import exact_type, integer_matmul, wrap_int32
from intarsia.ir.op import Known, Op, refuse
from intarsia.ir.ops.convolution import along_channels, check_conv, conv_macs, sum_windows
from intarsia.ir.ops.geometry import window_of
from intarsia.ir.ops.linear import matmul_macs, matmul_shape
from intarsia.ir.ops.rules import BAD_MODEL, Types, fitting, given, given_or_none, optional, same_dtype, tensor
from intarsia.ir.ops.windows import pad_spatial
from intarsia.ir.types import TensorType

_BYTES = ("int8", "uint8")
_WINDOW = {"kernel_shape": (), "strides": (), "pads": (), "dilations": (), "auto_pad": "NOTSET", "group": 1}


def _sum_conv(node: Node, x: Array, x_zero: Array | None, w: Array, w_zero: Array | None) -> Array:
    """int32 [N, M, *positions]: the convolution of centred integers."""
    window = window_of(node, x.ndim - 2, w.shape[2:])
    centre = 0 if x_zero is None else int(x_zero.reshape(()))
    weight = w.astype(np.int32)
    if w_zero is not None:
        weight = weight - w_zero.astype(np.int32).reshape((-1,) + (1,) * (w.ndim - 1))
    kind = exact_type(weight.reshape(w.shape[0], -1), axis=1)
    padded = pad_spatial(x, window.pads_for(x.shape[2:]), centre).astype(kind) - kind(centre)
    total = sum_windows(padded, weight.astype(kind), window.strides, window.dilations, node.attributes.get("group", 1))
    return wrap_int32(total)


def _scaled(total: Array, factor: Array, zero: Array) -> Array:
    """float32 requantization of ONNX: rint(total * factor) + zero, saturated to zero's type."""
    limits = np.iinfo(zero.dtype)
    steps = np.rint(total.astype(np.float32) * factor).astype(np.float64) + zero.reshape(()).astype(np.float64)
    return np.clip(steps, limits.min, limits.max).astype(zero.dtype)


# ---- convolutions


def _infer_conv_integer(node: Node, types: Types, known: Known) -> list[TensorType]:
    x, w = tensor(node, types, 0, _BYTES), tensor(node, types, 1, _BYTES)
    found = check_conv(node, x, w, None, node.attributes.get("group", 1))
    return [TensorType("int32", None if found is None else found[1])]


def _evaluate_conv_integer(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    return [_sum_conv(node, given(inputs, 0), given_or_none(inputs, 2), given(inputs, 1), given_or_none(inputs, 3))]


CONV_INTEGER = Op("ConvInteger", _infer_conv_integer, _evaluate_conv_integer, _WINDOW, macs=conv_macs(weight=1))


def _check_quantized(node: Node, types: Types, data: int, channels: int | None) -> TensorType:
    """An integer input with its scale and zero point, which follow it: one for all, or one a channel."""
    x, scale, zero = tensor(node, types, data, _BYTES), tensor(node, types, data + 1, FLOATING), data + 2
    same_dtype(node, x, tensor(node, types, zero))
    if scale.shape not in (None, (), (1,)) and not fitting(scale.shape[0], channels):
        raise refuse(node, f"scale {scale} is neither one nor one for each of {channels} channels", BAD_MODEL)
    return x


def _infer_qlinear_conv(node: Node, types: Types, known: Known) -> list[TensorType]:
    w = tensor(node, types, 3, _BYTES)
    channels = None if w.shape is None else w.shape[0]
    x = _check_quantized(node, types, 0, 1)
    _check_quantized(node, types, 3, channels)
    bias = optional(types, 8)
    if bias is not None:
        tensor(node, types, 8, ("int32",))
    found = check_conv(node, x, w, bias, node.attributes.get("group", 1))
    return [TensorType(tensor(node, types, 7, _BYTES).dtype, None if found is None else found[1])]


def _evaluate_qlinear_conv(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero = (given(inputs, index) for index in range(8))
    total, bias = _sum_conv(node, x, x_zero, w, w_zero), given_or_none(inputs, 8)
    if bias is not None:
        total = wrap_int32(total.astype(np.int64) + along_channels(bias, x.ndim))
    factor = x_scale.reshape(()) * along_channels(w_scale.reshape(-1), x.ndim) / y_scale.reshape(())
    return [_scaled(total, factor, y_zero)]


QLINEAR_CONV = Op("QLinearConv", _infer_qlinear_conv, _evaluate_qlinear_conv, _WINDOW, macs=conv_macs(weight=3))


# ---- matrix products


def _rows(parameter: Array | None, rank: int) -> Array | None:
    """A parameter of the left operand: one for all, or one a row."""
    if parameter is None:
        return None
    return parameter.reshape(-1, 1) if parameter.ndim == 1 and parameter.size > 1 and rank > 1 else parameter


def _sum_matmul(a: Array, a_zero: Array | None, b: Array, b_zero: Array | None) -> Array:
    """int32: the product of centred integers; zero points for all, or one a row of a and one a column of b."""
    left, right = a.astype(np.int32), b.astype(np.int32)
    if a_zero is not None:
        rows = _rows(a_zero, a.ndim)
        assert rows is not None
        left = left - rows.astype(np.int32)
    if b_zero is not None:
        right = right - b_zero.astype(np.int32)
    if right.ndim == 1:
        return wrap_int32(integer_matmul(left, right[:, np.newaxis])[..., 0])
    return wrap_int32(integer_matmul(left, right))


def _infer_matmul_integer(node: Node, types: Types, known: Known) -> list[TensorType]:
    a, b = tensor(node, types, 0, _BYTES), tensor(node, types, 1, _BYTES)
    return [TensorType("int32", matmul_shape(node, a, b))]


def _evaluate_matmul_integer(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    return [_sum_matmul(given(inputs, 0), given_or_none(inputs, 2), given(inputs, 1), given_or_none(inputs, 3))]


MATMUL_INTEGER = Op("MatMulInteger", _infer_matmul_integer, _evaluate_matmul_integer, macs=matmul_macs)


def _infer_qlinear_matmul(node: Node, types: Types, known: Known) -> list[TensorType]:
    a, b = tensor(node, types, 0, _BYTES), tensor(node, types, 3, _BYTES)
    same_dtype(node, a, tensor(node, types, 2))
    same_dtype(node, b, tensor(node, types, 5))
    return [TensorType(tensor(node, types, 7, _BYTES).dtype, matmul_shape(node, a, b))]


def _evaluate_qlinear_matmul(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = (given(inputs, index) for index in range(8))
    rows = _rows(a_scale.astype(np.float32), a.ndim)
    assert rows is not None
    factor = rows * b_scale.astype(np.float32) / y_scale.astype(np.float32)
    return [_scaled(_sum_matmul(a, a_zero, b, b_zero), np.asarray(factor), y_zero)]


QLINEAR_MATMUL = Op("QLinearMatMul", _infer_qlinear_matmul, _evaluate_qlinear_matmul, macs=matmul_macs)


OPS = (CONV_INTEGER, QLINEAR_CONV, MATMUL_INTEGER, QLINEAR_MATMUL)
