"""Integer ops: what quantized networks are made of. Their NumPy meaning here is the definition for every engine.

Activations are int8, NC* like ONNX's. Accumulators are int32. Each output is scaled by `ir.integer.requantize`:
multiply by a 21-bit integer, shift right rounding half to even, add the zero point, clamp. Padding has the value of the
input's zero point (the real number 0). A fused activation is the clamp.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from intarsia.dtypes import Array
from intarsia.ir.graph import Node
from intarsia.ir.integer import (
    INT8_MAX,
    INT8_MIN,
    MULTIPLIER_BITS,
    SHIFT_MAX,
    WEIGHT_MIN,
    dequantize_linear,
    exact_type,
    integer_matmul,
    quantize_linear,
    requantize,
    wrap_int32,
)
from intarsia.ir.op import Known, Op, attribute, refuse, required
from intarsia.ir.ops.convolution import conv_macs, sum_windows
from intarsia.ir.ops.linear import matmul_macs
from intarsia.ir.ops.windows import output_size, pad_spatial, windows
from intarsia.ir.types import TensorType

Types = Sequence[TensorType | None]
_BUG = "this is a fault of the quantizer: please report it with the model"
_CLAMP = {"clamp_min": INT8_MIN, "clamp_max": INT8_MAX}


def _type(node: Node, types: Types, index: int, dtype: str) -> TensorType:
    type = types[index] if index < len(types) else None
    if type is None or type.dtype != dtype or not type.is_static:
        raise refuse(node, f"input {index} is {type}, not {dtype} of a known shape", _BUG)
    return type


def _check_scales(node: Node, known: Known, channels: int, depth: int, first: int) -> None:
    """Weights, bias, multiplier and shift: present, of one length, in range; sums that fit 32 bits."""
    for index, low, high in ((first, 0, (1 << MULTIPLIER_BITS) - 1), (first + 1, 1, SHIFT_MAX)):
        data = known[index]
        if data is None or data.shape != (channels,) or data.dtype != np.int32:
            raise refuse(node, f"input {index} is not a constant int32[{channels}]", _BUG)
        if data.size and (data.min() < low or data.max() > high):
            raise refuse(node, f"input {index} leaves {low} to {high}", _BUG)
    weight = known[1]
    if weight is None or (weight.size and weight.min() < WEIGHT_MIN):
        raise refuse(node, "the weights are not constants in [-127, 127]", _BUG)
    if depth * 255 * 127 >= 1 << 31:
        raise refuse(node, f"{depth} products in one sum can overflow 32 bits", "split the reduction in the model")


def _check_positions(node: Node, positions: Sequence[int]) -> None:
    if min(positions, default=1) < 1:
        raise refuse(node, f"the window has {list(positions)} positions", _BUG)


def _per_channel(data: Array | None, rank: int) -> Array:
    """[C] shaped to broadcast along axis 1 of a tensor of that rank."""
    assert data is not None
    return data.reshape((1, -1) + (1,) * (rank - 2))


# ---- qconv


def _infer_qconv(node: Node, types: Types, known: Known) -> list[TensorType]:
    x, w = _type(node, types, 0, "int8"), _type(node, types, 1, "int8")
    _type(node, types, 2, "int32")
    kernel, group = w.dims[2:], attribute(node, QCONV, "group")
    if x.rank != w.rank or x.dims[1] != w.dims[1] * group or w.dims[0] % group:
        raise refuse(node, f"input {x} does not fit weight {w} in {group} groups", _BUG)
    _check_scales(node, known, w.dims[0], int(np.prod(w.dims[1:])), 3)
    pads, strides = attribute(node, QCONV, "pads"), attribute(node, QCONV, "strides")
    dilations, spatial = attribute(node, QCONV, "dilations"), len(kernel)
    out = tuple(
        output_size(x.dims[2 + i], kernel[i], strides[i], dilations[i], pads[i], pads[spatial + i])
        for i in range(spatial)
    )
    _check_positions(node, out)
    return [TensorType("int8", (x.dims[0], w.dims[0], *out))]


def _evaluate_qconv(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    x, w, bias, multiplier, shift = inputs
    assert x is not None and w is not None
    zero, group = attribute(node, QCONV, "input_zero_point"), attribute(node, QCONV, "group")
    padded = pad_spatial(x, attribute(node, QCONV, "pads"), zero).astype(np.float32)
    padded -= zero
    accumulator = convolve(padded, w, attribute(node, QCONV, "strides"), attribute(node, QCONV, "dilations"), group)
    accumulator = _biased(accumulator, _per_channel(bias, x.ndim))
    return [_requantized(node, QCONV, accumulator, _per_channel(multiplier, x.ndim), _per_channel(shift, x.ndim))]


def convolve(x: Array, w: Array, strides: Sequence[int], dilations: Sequence[int], group: int) -> Array:
    """Exact integer convolution.

    x        whole numbers of any type, |x| <= 255, [N, C, *spatial], already padded
    w        int8 [M, C / group, *kernel]
    returns  float array of whole numbers [N, M, *positions]
    """
    kind = exact_type(w.reshape(w.shape[0], -1), axis=1)
    return sum_windows(x.astype(kind, copy=False), w.astype(kind), strides, dilations, group)


def _biased(accumulator: Array, bias: Array) -> Array:
    """Sum plus bias, as a 32-bit register holds it; float64 or int32."""
    total = accumulator.astype(np.float64)
    total += bias
    fits = total.size == 0 or (total.min() >= -(1 << 31) and total.max() < 1 << 31)
    return total if fits else wrap_int32(total)


def _requantized(node: Node, op: Op, accumulator: Array, multiplier: Array | int, shift: Array | int) -> Array:
    return requantize(
        accumulator,
        multiplier,
        shift,
        attribute(node, op, "output_zero_point"),
        attribute(node, op, "clamp_min"),
        attribute(node, op, "clamp_max"),
    )


QCONV = Op(
    "qconv",
    _infer_qconv,
    _evaluate_qconv,
    {
        "strides": required,
        "pads": required,
        "dilations": required,
        "group": 1,
        "input_zero_point": required,
        "output_zero_point": required,
        **_CLAMP,
    },
    integer=True,
    macs=conv_macs(weight=1),
)
"""Inputs x int8 [N,C,*S], weight int8 [M,C/group,*K], bias int32 [M], multiplier int32 [M], shift int32 [M].

accumulator = sum(weight * (x - input_zero_point)) + bias, wrapped to 32 bits, then requantized per output channel.
"""


# ---- qmatmul


def _infer_qmatmul(node: Node, types: Types, known: Known) -> list[TensorType]:
    x, w = _type(node, types, 0, "int8"), _type(node, types, 1, "int8")
    _type(node, types, 2, "int32")
    if w.rank != 2 or x.rank < 2 or x.dims[-1] != w.dims[0]:
        raise refuse(node, f"input {x} does not fit weight {w}", _BUG)
    _check_scales(node, known, w.dims[1], w.dims[0], 3)
    return [TensorType("int8", (*x.dims[:-1], w.dims[1]))]


def _evaluate_qmatmul(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    x, w, bias, multiplier, shift = inputs
    assert x is not None and w is not None and bias is not None and multiplier is not None and shift is not None
    centred = x.astype(np.float32) - np.float32(attribute(node, QMATMUL, "input_zero_point"))
    accumulator = _biased(integer_matmul(centred, w), bias)
    return [_requantized(node, QMATMUL, accumulator, multiplier, shift)]


QMATMUL = Op(
    "qmatmul",
    _infer_qmatmul,
    _evaluate_qmatmul,
    {"input_zero_point": required, "output_zero_point": required, **_CLAMP},
    integer=True,
    macs=matmul_macs,
)
"""Inputs x int8 [...,K], weight int8 [K,M], bias int32 [M], multiplier int32 [M], shift int32 [M]; like qconv."""


# ---- qadd, qmul


def _infer_binary(node: Node, types: Types, known: Known) -> list[TensorType]:
    a, b = _type(node, types, 0, "int8"), _type(node, types, 1, "int8")
    try:
        return [TensorType("int8", np.broadcast_shapes(a.dims, b.dims))]
    except ValueError:
        raise refuse(node, f"{a} and {b} do not broadcast", _BUG) from None


def _centred(node: Node, op: Op, inputs: Sequence[Array | None]) -> tuple[Array, Array]:
    a, b = inputs
    assert a is not None and b is not None
    return (
        a.astype(np.int32) - attribute(node, op, "a_zero_point"),
        b.astype(np.int32) - attribute(node, op, "b_zero_point"),
    )


def _evaluate_qadd(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    a, b = _centred(node, QADD, inputs)
    total = a * attribute(node, QADD, "a_multiplier") + b * attribute(node, QADD, "b_multiplier")
    return [_requantized(node, QADD, total, 1, attribute(node, QADD, "shift"))]


_BINARY: dict[str, Any] = {"a_zero_point": required, "b_zero_point": required, "output_zero_point": required, **_CLAMP}

QADD = Op(
    "qadd",
    _infer_binary,
    _evaluate_qadd,
    {"a_multiplier": required, "b_multiplier": required, "shift": required, **_BINARY},
    integer=True,
)
"""Inputs a, b int8, broadcast like NumPy.

out = clamp((((a - a_zero_point) * a_multiplier + (b - b_zero_point) * b_multiplier) >> shift) + output_zero_point),
the shift rounding half to even; multipliers in [0, 2**21), so the sum fits 30 bits and a sign.
"""


def _evaluate_qmul(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    a, b = _centred(node, QMUL, inputs)
    return [_requantized(node, QMUL, a * b, attribute(node, QMUL, "multiplier"), attribute(node, QMUL, "shift"))]


QMUL = Op("qmul", _infer_binary, _evaluate_qmul, {"multiplier": required, "shift": required, **_BINARY}, integer=True)
"""Inputs a, b int8, broadcast like NumPy: (a - a_zero_point) * (b - b_zero_point), requantized."""


# ---- qaveragepool


def _infer_qaveragepool(node: Node, types: Types, known: Known) -> list[TensorType]:
    x = _type(node, types, 0, "int8")
    kernel, strides = attribute(node, QAVERAGEPOOL, "kernel_shape"), attribute(node, QAVERAGEPOOL, "strides")
    pads, spatial = attribute(node, QAVERAGEPOOL, "pads"), len(kernel)
    if x.rank != spatial + 2:
        raise refuse(node, f"a window of {spatial} axes does not fit {x}", _BUG)
    out = tuple(
        output_size(x.dims[2 + i], kernel[i], strides[i], 1, pads[i], pads[spatial + i]) for i in range(spatial)
    )
    _check_positions(node, out)
    return [TensorType("int8", (*x.dims[:2], *out))]


def _evaluate_qaveragepool(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    (x,) = inputs
    assert x is not None
    kernel, zero = attribute(node, QAVERAGEPOOL, "kernel_shape"), attribute(node, QAVERAGEPOOL, "input_zero_point")
    padded = pad_spatial(x, attribute(node, QAVERAGEPOOL, "pads"), zero).astype(np.int32) - zero
    view = windows(padded, kernel, attribute(node, QAVERAGEPOOL, "strides"), (1,) * len(kernel))
    total = view.sum(axis=tuple(range(-len(kernel), 0)), dtype=np.int32)
    multiplier, shift = attribute(node, QAVERAGEPOOL, "multiplier"), attribute(node, QAVERAGEPOOL, "shift")
    return [_requantized(node, QAVERAGEPOOL, total, multiplier, shift)]


QAVERAGEPOOL = Op(
    "qaveragepool",
    _infer_qaveragepool,
    _evaluate_qaveragepool,
    {
        "kernel_shape": required,
        "strides": required,
        "pads": required,
        "input_zero_point": required,
        "output_zero_point": required,
        "multiplier": required,
        "shift": required,
        **_CLAMP,
    },
    integer=True,
)
"""Input x int8 [N,C,*S]: sum of (x - input_zero_point) over the window, requantized.

The multiplier holds 1/count: padded positions count, as real zeros. A global pool has kernel_shape = the spatial shape.
"""


# ---- requantize, lookup, quantize, dequantize


def _infer_same_int8(node: Node, types: Types, known: Known) -> list[TensorType]:
    return [_type(node, types, 0, "int8")]


def _evaluate_requantize(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    (x,) = inputs
    assert x is not None
    centred = x.astype(np.int32) - attribute(node, REQUANTIZE, "input_zero_point")
    multiplier, shift = attribute(node, REQUANTIZE, "multiplier"), attribute(node, REQUANTIZE, "shift")
    return [_requantized(node, REQUANTIZE, centred, multiplier, shift)]


REQUANTIZE = Op(
    "requantize",
    _infer_same_int8,
    _evaluate_requantize,
    {
        "input_zero_point": required,
        "output_zero_point": required,
        "multiplier": required,
        "shift": required,
        **_CLAMP,
    },
    integer=True,
)
"""Input x int8, any shape: the same real numbers at another scale and zero point."""


def _infer_lookup(node: Node, types: Types, known: Known) -> list[TensorType]:
    x, table = types[0], known[1]
    if x is None or x.dtype not in ("int8", "uint8") or not x.is_static:
        raise refuse(node, f"input 0 is {x}, not a byte", _BUG)
    if table is None or table.shape != (256,) or table.dtype not in (np.int8, np.uint8):
        raise refuse(node, "the table is not a constant of 256 bytes", _BUG)
    return [TensorType(str(table.dtype), x.shape)]


def _evaluate_lookup(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    x, table = inputs
    assert x is not None and table is not None
    return [table[x.view(np.uint8)]]


LOOKUP = Op("lookup", _infer_lookup, _evaluate_lookup, {}, integer=True)
"""Inputs x int8 or uint8 (any shape), table int8 or uint8 [256]: table[the byte of x, read as unsigned].

The entry for the int8 value v stands at index v mod 256.
"""


def _infer_quantize(node: Node, types: Types, known: Known) -> list[TensorType]:
    return [TensorType("int8", _type(node, types, 0, "float32").shape)]


def _evaluate_quantize(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    (x,) = inputs
    assert x is not None
    return [quantize_linear(x, attribute(node, QUANTIZE, "scale"), attribute(node, QUANTIZE, "zero_point"))]


QUANTIZE = Op(
    "quantize",
    _infer_quantize,
    _evaluate_quantize,
    {"scale": required, "zero_point": required},
    integer=True,
    work="conversion",
)
"""Input x float32, any shape: rint(x / scale) + zero_point, saturated to int8 (float32 division, half to even)."""


def _infer_dequantize(node: Node, types: Types, known: Known) -> list[TensorType]:
    return [TensorType("float32", _type(node, types, 0, "int8").shape)]


def _evaluate_dequantize(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    (x,) = inputs
    assert x is not None
    return [dequantize_linear(x, attribute(node, DEQUANTIZE, "scale"), attribute(node, DEQUANTIZE, "zero_point"))]


DEQUANTIZE = Op(
    "dequantize",
    _infer_dequantize,
    _evaluate_dequantize,
    {"scale": required, "zero_point": required},
    integer=True,
    work="conversion",
)
"""Input x int8, any shape: (x - zero_point) * scale in float32."""


# ---- qsoftmax


def _infer_qsoftmax(node: Node, types: Types, known: Known) -> list[TensorType]:
    x, table = _type(node, types, 0, "int8"), known[1]
    if table is None or table.shape != (256,) or table.dtype != np.int32 or table[0] < 1 or table.min() < 0:
        raise refuse(node, "the table is not a constant of 256 weights, int32, the first at least 1", _BUG)
    if not -x.rank <= attribute(node, QSOFTMAX, "axis") < x.rank:
        raise refuse(node, f"axis {attribute(node, QSOFTMAX, 'axis')} is outside {x}", _BUG)
    return [x]


def _evaluate_qsoftmax(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    x, table = inputs
    assert x is not None and table is not None
    axis = attribute(node, QSOFTMAX, "axis")
    weight = table[x.max(axis=axis, keepdims=True).astype(np.int32) - x].astype(np.int64)
    total = weight.sum(axis=axis, keepdims=True)
    return [np.minimum((weight * 512 + total) // (2 * total) - 128, INT8_MAX).astype(np.int8)]


QSOFTMAX = Op("qsoftmax", _infer_qsoftmax, _evaluate_qsoftmax, {"axis": -1}, integer=True)
"""Inputs x int8, any shape; table int32 [256], table[d] = round(2**23 * exp(-d * scale of x)).

weight = table[max(x) - x] along the axis; out = floor(256 * weight / sum(weight) + 1/2) - 128, at most 127. The output
has scale 1/256 and zero point -128, the convention of TFLite's int8 softmax. All of it in 64-bit integers.
"""


OPS = (QSOFTMAX, QCONV, QMATMUL, QADD, QMUL, QAVERAGEPOOL, REQUANTIZE, LOOKUP, QUANTIZE, DEQUANTIZE)
