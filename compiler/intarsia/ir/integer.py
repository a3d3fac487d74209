"""Integer arithmetic that every engine repeats bit for bit: fixed-point scales, rounding, clamping.

One rule serves all integer ops. An int32 accumulator is multiplied by a 21-bit integer, shifted right rounding half to
even, the zero point is added and the sum clamped. 21 bits because 2**31 * 2**21 = 2**52 is exact in a float64, so that
code without wide integers may multiply and round there, because the two products of an addition fit an int32, and
because fewer are not enough: on 500 CIFAR pictures MLPerf Tiny's ResNet-8, as others quantized it, chose another class
than the float formula 18 times with 17 bits, 7 times with 18, 3 times with 20 or more. One DSP48E1 port takes 24.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from intarsia.dtypes import Array
from intarsia.ir.products import matrix_product

MULTIPLIER_BITS = 21
SHIFT_MAX = 47
SCALE_LIMIT = 1 << MULTIPLIER_BITS - 1
INT8_MIN, INT8_MAX = -128, 127
INT8_RANGE = (INT8_MIN, INT8_MAX)
WEIGHT_MIN, WEIGHT_MAX = -127, 127
"""Weights leave out -128: two products share one DSP48E1 only then."""


def fixed_point(scale: float) -> tuple[int, int]:
    """The nearest `multiplier / 2**shift` to a positive scale.

    scale    real factor, 0 <= scale < 2**20
    returns  multiplier in [2**20, 2**21) and shift in [1, 47]; for scales under 2**-27 the multiplier is smaller

    Raises ValueError for a negative, infinite or too large scale.
    """
    if not (math.isfinite(scale) and 0.0 <= scale < SCALE_LIMIT):
        raise ValueError(f"scale {scale} is not in [0, {SCALE_LIMIT})")
    if scale == 0.0:
        return 0, 1
    _, exponent = math.frexp(scale)  # scale = mantissa * 2**exponent, mantissa in [0.5, 1)
    shift = min(MULTIPLIER_BITS - exponent, SHIFT_MAX)
    multiplier = round(math.ldexp(scale, shift))
    if multiplier == 1 << MULTIPLIER_BITS:
        multiplier, shift = multiplier >> 1, shift - 1
    if shift < 1:
        raise ValueError(f"scale {scale} is not in [0, {SCALE_LIMIT})")
    return multiplier, shift


def fixed_point_pair(first: float, second: float) -> tuple[int, int, int]:
    """Two scales over one shift: the larger gets all 21 bits.

    returns  multipliers in [0, 2**21) and the shift in [1, 47]
    """
    larger, shift = fixed_point(max(first, second))
    smaller = min(round(math.ldexp(min(first, second), shift)), larger)
    return (larger, smaller, shift) if first >= second else (smaller, larger, shift)


def scale_and_round(accumulator: Array, multiplier: Array | int, shift: Array | int) -> Array:
    """accumulator * multiplier / 2**shift, rounded half to even.

    accumulator  integers with |accumulator| < 2**31
    multiplier   [0, 2**21), shift [1, 47]; both broadcast against the accumulator
    returns      float64 holding whole numbers: every step is exact in it
    """
    factor = np.ldexp(np.asarray(multiplier, np.float64), -np.asarray(shift, np.int32))
    product = np.asarray(np.asarray(accumulator, np.float64) * factor)
    return np.rint(product, out=product)


def requantize(
    accumulator: Array,
    multiplier: Array | int,
    shift: Array | int,
    zero_point: int,
    clamp_min: int = INT8_MIN,
    clamp_max: int = INT8_MAX,
) -> Array:
    """Scale accumulators to int8: (accumulator * multiplier) >> shift, half to even, plus zero point, clamped.

    accumulator  int32 (any integer type), any shape
    multiplier   21 bits, shift 1 to 47: scalars, or arrays that broadcast against the accumulator
    zero_point   added after the shift
    returns      int8, clamped to [clamp_min, clamp_max]
    """
    scaled = scale_and_round(accumulator, multiplier, shift)
    scaled += zero_point
    return np.clip(scaled, clamp_min, clamp_max, out=scaled).astype(np.int8)


def wrap_int32(accumulator: Array) -> Array:
    """Accumulators as 32-bit registers hold them (two's complement)."""
    return np.asarray(accumulator).astype(np.int64).astype(np.int32)


def exact_type(weight: Array, axis: int) -> type[np.floating[Any]]:
    """The float type in which sums of weight * x, |x| <= 255, over one axis are exact, in whatever order.

    weight   whole numbers
    returns  float32 where every partial sum stays below 2**24, else float64
    """
    largest = np.abs(weight.astype(np.int64)).sum(axis=axis).max(initial=0) * 255
    return np.float32 if largest < 1 << 24 else np.float64


def integer_matmul(left: Array, right: Array) -> Array:
    """Exact product of two matrices of small integers, by whichever float type is exact and fastest.

    left     int8 or differences of int8 (|x| <= 255), any type, [..., M, K]
    right    int8, [..., K, N]
    returns  float array of whole numbers, exact
    """
    kind = exact_type(right, axis=-2)
    first, second = left.astype(kind, copy=False), right.astype(kind)
    return matrix_product(first, second) if first.ndim == second.ndim == 2 else np.asarray(np.matmul(first, second))


def quantize_linear(real: Array, scale: float, zero_point: int) -> Array:
    """ONNX QuantizeLinear to int8: rint(real / scale) + zero_point, saturated; the division is one of float32.

    NaN becomes the zero point.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        steps = np.rint(np.asarray(real, np.float32) / np.float32(scale))
    steps = np.where(np.isnan(steps), np.float32(0), steps)
    return np.clip(steps.astype(np.float64) + zero_point, INT8_MIN, INT8_MAX).astype(np.int8)


def dequantize_linear(integer: Array, scale: float, zero_point: int) -> Array:
    """ONNX DequantizeLinear: (integer - zero_point) * scale, the product in float32."""
    return np.asarray((integer.astype(np.int32) - zero_point).astype(np.float32) * np.float32(scale))
