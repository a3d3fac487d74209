"""Integer ops, with the bytes of `intarsia.ir.ops.quantized` on whatever runs them.

Sums are int32 and wrap as registers do; what scales them is int64, never a float: a TPU has no float64, and would make
float32 of it. Where it has no int64 either its compiler makes pairs of 32 bits, which is exact.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from intarsia.dtypes import Array
from intarsia.ir.graph import Node
from intarsia.ir.integer import INT8_MAX, INT8_MIN
from intarsia.ir.ops.convolution import each_tap
from intarsia.ir.ops.geometry import Window
from intarsia.targets import YES, Support
from intarsia_backends.lowering.ops.table import axis_of, elements, refused
from intarsia_backends.tpu.body import Body, emitter
from intarsia_backends.tpu.ops.images import pooled, reaching
from intarsia_backends.tpu.stablehlo import Tensor


def requantized(
    body: Body, node: Node, total: Tensor, multiplier: Array | int, shift: Array | int, axis: int = 0
) -> Tensor:
    """(total * multiplier) >> shift, half to even, plus the node's zero point, clamped: `ir.integer.requantize`.

    total              int32, or int64 whose product with the multiplier fits
    multiplier, shift  numbers, or one for each step of the axis
    """
    one, wide = isinstance(multiplier, int) and multiplier == 1, "int64"
    if one and total.dtype == "int32" and int(np.max(shift)) <= 29:
        wide = "int32"  # |total| < 2**30, and half a step is at most 2**28
    product = body.convert(total, wide)

    def each(numbers: Any) -> Tensor:
        narrow = np.abs(numbers).max() < 1 << 31  # half of the memory
        held = body.constant(np.asarray(numbers, "int32" if narrow else wide))
        return body.broadcast(body.convert(held, wide), product.shape, () if held.rank == 0 else (axis,))

    if not one:
        product = body.binary("multiply", product, each(multiplier))
    shifts = np.asarray(shift, np.int64)
    places = each(shifts)
    odd = body.with_number("and", body.binary("shift_right_arithmetic", product, places), 1)
    half = each((np.int64(1) << (shifts - 1)) - 1)
    rounded = body.binary("add", body.binary("add", product, half), odd)
    result = body.with_number(
        "add", body.binary("shift_right_arithmetic", rounded, places), node.attributes["output_zero_point"]
    )
    low, high = node.attributes.get("clamp_min", INT8_MIN), node.attributes.get("clamp_max", INT8_MAX)
    return body.convert(body.clamp(result, low, high), "int8")


_MOST_TAPS = 64
"""Of a window that is written out tap by tap."""


def _folded(bias: Array, zero: int, weight: Array, axes: tuple[int, ...]) -> Array:
    """The bias with what the input's zero point adds to each sum taken off, as a 32-bit register holds it."""
    return np.asarray(bias.astype(np.int64) - zero * weight.astype(np.int64).sum(axis=axes)).astype(np.int32)


def _qconv(body: Body, node: Node) -> Tensor:
    """int8 by int8 to int32, as matrix units want it: the zero point is in the padding and in the bias."""
    x, w = body.read(node.input(0)), node.input(1)
    weight, bias, multiplier, shift = (elements(node.input(index)) for index in (1, 2, 3, 4))
    attributes, spatial = node.attributes, x.rank - 2
    zero, pads = int(attributes["input_zero_point"]), list(attributes["pads"])
    pairs = list(zip(pads[:spatial], pads[spatial:]))
    if zero:
        x = body.pad(x, zero, [0, 0, *pads[:spatial]], [0, 0, *pads[spatial:]])
        pairs = [(0, 0)] * spatial
    group, strides, dilations = int(attributes.get("group", 1)), attributes["strides"], attributes["dilations"]
    if group == x.shape[1] > 1 and math.prod(weight.shape[2:]) <= _MOST_TAPS:
        window = Window(weight.shape[2:], tuple(strides), tuple(dilations), (0,) * (2 * spatial))
        total = _depthwise(body, body.pad(x, 0, *zip((0, 0), (0, 0), *pairs)), weight, window, node.output.shape)
    else:
        total = body.convolution(
            x, body.read(w), strides=strides, pads=pairs, dilations=dilations, group=group, dtype="int32"
        )
    folded = _folded(bias, zero, weight, tuple(range(1, weight.ndim)))
    total = body.binary("add", total, body.along(folded, "int32", total.shape, 1))
    return requantized(body, node, total, multiplier, shift, axis=1)


def _depthwise(body: Body, x: Tensor, weight: Array, window: Window, shape: tuple[int, ...]) -> Tensor:
    """Where each channel stands alone: tap by tap, as products and sums of whole images.

    XLA's CPU makes a dense convolution of a grouped one, with as many times the work as there are channels. For a v5e
    libtpu estimates as many cycles as for the convolution, for a v6e a third to half.

    x        int8 [N, C, *spatial], padded
    weight   [C * each, 1, *kernel]
    returns  int32 [N, C * each, *positions]
    """
    wide = body.convert(x, "int32")
    each = weight.shape[0] // x.shape[1]
    if each > 1:
        repeated = body.broadcast(wide, (x.shape[0], x.shape[1], each, *x.shape[2:]), (0, 1, *range(3, x.rank + 1)))
        wide = body.reshape(repeated, (x.shape[0], weight.shape[0], *x.shape[2:]))
    flat, total = weight.reshape(weight.shape[0], -1), None
    for tap in each_tap(window.kernel):
        starts = [place * dilation for place, dilation in zip(tap, window.dilations)]
        ends = [start + (count - 1) * stride + 1 for start, count, stride in zip(starts, shape[2:], window.strides)]
        part = body.cut(wide, (0, 0, *starts), (*wide.shape[:2], *ends), (1, 1, *window.strides))
        factors = body.along(flat[:, np.ravel_multi_index(tap, window.kernel)], "int32", part.shape, 1)
        part = body.binary("multiply", part, factors)
        total = part if total is None else body.binary("add", total, part)
    assert total is not None
    return total


def _qmatmul(body: Body, node: Node) -> Tensor:
    x = body.read(node.input(0))
    weight, bias, multiplier, shift = (elements(node.input(index)) for index in (1, 2, 3, 4))
    total = body.dot(x, body.read(node.input(1)), (x.rank - 1, 0), dtype="int32")
    folded, axis = _folded(bias, int(node.attributes["input_zero_point"]), weight, (0,)), total.rank - 1
    total = body.binary("add", total, body.along(folded, "int32", total.shape, axis))
    return requantized(body, node, total, multiplier, shift, axis)


def centred(body: Body, x: Tensor, zero: int) -> Tensor:
    """An int8 without its zero point, as int32."""
    wide = body.convert(x, "int32")
    return body.with_number("subtract", wide, zero) if zero else wide


def _both(body: Body, node: Node) -> list[Tensor]:
    """Two operands without their zero points, in the output's shape."""
    operands = []
    for index, side in enumerate("ab"):
        x = centred(body, body.read(node.input(index)), int(node.attributes[f"{side}_zero_point"]))
        operands.append(body.spread(x, node.output.shape))
    return operands


def _qadd(body: Body, node: Node) -> Tensor:
    a, b = _both(body, node)
    a = body.with_number("multiply", a, node.attributes["a_multiplier"])
    b = body.with_number("multiply", b, node.attributes["b_multiplier"])
    return requantized(body, node, body.binary("add", a, b), 1, node.attributes["shift"])


def _qmul(body: Body, node: Node) -> Tensor:
    product = body.binary("multiply", *_both(body, node))
    return requantized(body, node, product, node.attributes["multiplier"], node.attributes["shift"])


def _qaveragepool(body: Body, node: Node) -> Tensor:
    x, (window, pads) = body.read(node.input(0)), reaching(node)
    wide = centred(body, x, int(node.attributes["input_zero_point"]))
    if window.kernel == x.shape[2:] and not any(map(any, pads)):
        total = body.reshape(body.reduce("add", wide, 0, range(2, x.rank)), node.output.shape)
    else:
        total = pooled(body, wide, "add", 0, window, pads)
    return requantized(body, node, total, node.attributes["multiplier"], node.attributes["shift"])


def _requantize(body: Body, node: Node) -> Tensor:
    x = centred(body, body.read(node.input(0)), int(node.attributes["input_zero_point"]))
    return requantized(body, node, x, node.attributes["multiplier"], node.attributes["shift"])


def _lookup(body: Body, node: Node) -> Tensor:
    """table[the byte of x, read as unsigned]; an int8 looks in the table turned round by 128."""
    x, table = body.read(node.input(0)), elements(node.input(1))
    places = body.convert(x, "int32")
    if x.dtype == "int8":
        places, table = body.with_number("add", places, 128), np.roll(table, 128)
    return body.take(body.constant(table), places, 0)


# ---- between floats and int8


def _quantize(body: Body, node: Node) -> Tensor:
    """rint(x / scale) + zero_point as `ir.integer.quantize_linear` has it, without a division.

    A quotient that is rounded otherwise than NumPy rounds it may be off by one step. So it is guessed by a product,
    which is off by one step at most, and mended: up where the next step is reached too, down where this one is not.
    Whether one is takes exact arithmetic alone (`_reached`).
    """
    x, zero, scale = body.read(node.input(0)), int(node.attributes["zero_point"]), np.float32(node.attributes["scale"])
    guess = body.unary("round_nearest_even", body.with_number("multiply", x, np.float32(1) / scale))
    guess = body.clamp(guess, float(INT8_MIN - zero), float(INT8_MAX - zero))
    even = body.with_number("and", body.convert(guess, "int32"), 1)
    even = body.compare("EQ", even, body.like(0, even))
    up = _reached(body, x, scale, body.with_number("add", guess, 0.5), body.unary("not", even))
    stays = _reached(body, x, scale, body.with_number("subtract", guess, 0.5), even)
    steps = body.binary("add", guess, body.binary("add", *(body.convert(step, "float32") for step in (up, stays))))
    result = body.convert(body.with_number("add", steps, float(zero - 1)), "int32")
    result = body.convert(body.clamp(result, INT8_MIN, INT8_MAX), "int8")
    unknown = body.compare("NE", x, x)  # NaN becomes the zero point
    return body.select(unknown, body.like(zero, result), result)


def _reached(body: Body, x: Tensor, scale: np.floating[Any], edge: Tensor, even: Tensor) -> Tensor:
    """Whether x / scale, rounded to float32, rounds to the whole number behind an edge half a step below it.

    edge  k - 0.5 for whole numbers k, |k| <= 256: 10 bits
    even  whether k is even, so that the edge itself rounds to it

    x - scale * edge is exact where it is small: the scale is cut in two halves of 12 bits, whose products with 10 bits
    fit a float32; x is so near the first that their difference is exact, and what is left has few bits. It is compared
    with half of what lies between the edge and the next float32 on either side, times the scale: where the quotient is
    nearer than that it is rounded to the edge, whose last bit is 0, as it is on the tie.
    """
    high = np.asarray(scale).view(np.int32) & ~0xFFF
    first = np.asarray(high, np.int32).view(np.float32)
    rest = body.binary("subtract", x, body.with_number("multiply", edge, first))
    rest = body.binary("subtract", rest, body.with_number("multiply", edge, scale - first))
    power = body.bitcast(body.with_number("and", body.bitcast(edge, "int32"), 0x7F800000), "float32")
    half = body.with_number("multiply", power, scale * np.float32(2.0**-24))
    narrow = body.with_number("multiply", half, 0.5)  # towards 0 from a power of two, which 0.5 is and -0.5
    below = body.select(body.compare("EQ", edge, body.like(0.5, edge)), narrow, half)
    above = body.select(body.compare("EQ", edge, body.like(-0.5, edge)), narrow, half)
    inclusive = body.compare("GE", rest, body.unary("negate", below))
    return body.select(even, inclusive, body.compare("GT", rest, above))


def _check_scale(node: Node) -> Support:
    scale = float(node.attributes["scale"])
    if not 2.0**-96 <= scale <= 2.0**96:
        return refused("scale", f"scale {scale:g}, from 2**-96 to 2**96")
    return YES


def _dequantize(body: Body, node: Node) -> Tensor:
    x = centred(body, body.read(node.input(0)), int(node.attributes["zero_point"]))
    return body.with_number("multiply", body.convert(x, "float32"), np.float32(node.attributes["scale"]))


def _qsoftmax(body: Body, node: Node) -> Tensor:
    x, table = body.read(node.input(0)), elements(node.input(1))
    axis = axis_of(node, x.rank, -1)
    others = [other for other in range(x.rank) if other != axis]
    wide = body.convert(x, "int32")
    top = body.broadcast(body.reduce("maximum", wide, INT8_MIN, (axis,)), x.shape, others)
    weight = body.convert(body.take(body.constant(table), body.binary("subtract", top, wide), 0), "int64")
    total = body.broadcast(body.reduce("add", weight, 0, (axis,)), x.shape, others)
    above = body.binary("add", body.with_number("multiply", weight, 512), total)
    share = body.binary("divide", above, body.with_number("multiply", total, 2))
    return body.convert(body.with_number("minimum", body.with_number("add", share, INT8_MIN), INT8_MAX), "int8")


_SCALES = (1, 2, 3, 4)

EMITTERS = {
    "qconv": emitter(_qconv, dtypes=("int8",), constants=_SCALES),
    "qmatmul": emitter(_qmatmul, dtypes=("int8",), constants=_SCALES),
    "qadd": emitter(_qadd, dtypes=("int8",)),
    "qmul": emitter(_qmul, dtypes=("int8",)),
    "qaveragepool": emitter(_qaveragepool, dtypes=("int8",)),
    "requantize": emitter(_requantize, dtypes=("int8",)),
    "lookup": emitter(_lookup, dtypes=("int8", "uint8"), constants=(1,)),
    "quantize": emitter(_quantize, own_type=(0,), check=_check_scale),
    "dequantize": emitter(_dequantize, dtypes=("int8", "float32")),
    "qsoftmax": emitter(_qsoftmax, dtypes=("int8",), constants=(1,)),
}
