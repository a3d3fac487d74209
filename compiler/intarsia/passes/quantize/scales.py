"""Scales: from ranges to scale and zero point, from float weights to int8, from ratios to multiplier and shift."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from intarsia.dtypes import Array
from intarsia.ir.integer import INT8_MAX, INT8_MIN, SCALE_LIMIT, WEIGHT_MAX, fixed_point, fixed_point_pair
from intarsia.ir.types import Quantization
from intarsia.passes.base import Refused, refuse

SMALLEST_SCALE = 2.0**-100
"""Under this a range counts as zero: float32 arithmetic on such scales would run into denormals."""

_BIAS_LIMIT = 2.0**30
_ACCUMULATOR_LIMIT = 1 << 31
_PRODUCT = 255 * 127


def quantization_of(low: float, high: float) -> Quantization:
    """Scale and zero point of a range: 256 steps from low to high, widened so that the real 0 is one of them.

    The scale is a float32; a range of nothing but 0 gets the scale 1.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    scale = float(np.float32((high - low) / (INT8_MAX - INT8_MIN)))
    if not scale > SMALLEST_SCALE:
        return Quantization(1.0, 0)
    zero_point = round(INT8_MIN - low / scale)
    return Quantization(scale, min(max(zero_point, INT8_MIN), INT8_MAX))


def steps(real: float, quantization: Quantization) -> int:
    """The int8 nearest to a real number; infinities give the ends."""
    limited = min(max(real / quantization.scale, -1e6), 1e6)
    return min(max(round(limited) + quantization.zero_point, INT8_MIN), INT8_MAX)


def clamp_of(activation: str, arguments: Sequence[float], quantization: Quantization) -> tuple[int, int]:
    """The integers between which a Relu or Clip leaves a value of that quantization; all of int8 for no activation."""
    if activation == "Relu":
        return steps(0.0, quantization), INT8_MAX
    if activation == "Clip":
        low, high = arguments
        return steps(low, quantization), steps(high, quantization)
    assert not activation, f"{activation} is no clamp"
    return INT8_MIN, INT8_MAX


@dataclass(frozen=True)
class Weight:
    """Weights as integers.

    integers  int8 in [-127, 127], output channels on the axis that the op has them; int16 where they reach further
    scales    float64 [M], one an output channel: real = integer * scale
    clamped   how many weights were -128 and became -127
    """

    integers: Array
    scales: Array
    clamped: int = 0


def copies(weight: Weight, axis: int) -> tuple[Weight, int]:
    """Weights as int8 that add up to them, and how many there are of each: exact products for weights of 9 bits.

    axis  along which they lie: the first parts of all, then the second ones, and so on
    """
    wide = weight.integers.astype(np.int32)
    count = max(-(-int(np.abs(wide).max(initial=0)) // WEIGHT_MAX), 1)
    parts, rest = [], wide
    for left in range(count, 0, -1):
        parts.append(np.sign(rest) * (np.abs(rest) // left))
        rest = rest - parts[-1]
    return Weight(np.concatenate(parts, axis).astype(np.int8), weight.scales, weight.clamped), count


def _along(vector: Array, rank: int, axis: int) -> Array:
    return vector.reshape([-1 if index == axis else 1 for index in range(rank)])


def quantize_weight(real: Array, axis: int, floors: Array | None = None) -> Weight:
    """Symmetric weights, one scale an output channel.

    real    float, output channels on `axis`
    floors  float64 [M]: the least scale for each channel, for biases that would not fit otherwise
    """
    real = real.astype(np.float64)
    others = tuple(index for index in range(real.ndim) if index != axis)
    scales = np.abs(real).max(axis=others, initial=0.0) / WEIGHT_MAX
    if floors is not None:
        scales = np.maximum(scales, floors)
    scales = np.where(scales > SMALLEST_SCALE, scales, 1.0)
    integers = np.rint(real / _along(scales, real.ndim, axis))
    return Weight(np.clip(integers, -WEIGHT_MAX, WEIGHT_MAX).astype(np.int8), scales)


def dequantize_weight(weight: Weight, axis: int) -> Array:
    """The real numbers of integer weights, float64."""
    real: Array = weight.integers.astype(np.float64) * _along(weight.scales, weight.integers.ndim, axis)
    return real


@dataclass(frozen=True)
class Scaling:
    """What a qconv or qmatmul needs beside its weights: int32 [M] each."""

    weight: Weight
    bias: Array
    multiplier: Array
    shift: Array


def scale_sums(
    weight: Weight, axis: int, bias: Array | None, source: Quantization, target: Quantization
) -> Scaling | Refused:
    """Bias, multiplier and shift for sums of products of `source` integers and weights.

    bias  float [M], real numbers, or None
    """
    real_bias = np.zeros(len(weight.scales)) if bias is None else bias.astype(np.float64)
    depth = weight.integers.size // max(len(weight.scales), 1)
    if depth * _PRODUCT >= _ACCUMULATOR_LIMIT:
        return refuse(f"{depth} products in one sum can overflow 32 bits")
    weight = _fit_bias(weight, axis, real_bias, source, target)
    sums = weight.scales * source.scale
    bias_integers = np.rint(real_bias / sums)
    room = _ACCUMULATOR_LIMIT - 1 - depth * _PRODUCT
    if np.abs(bias_integers).max(initial=0) > room:
        return refuse("the bias is too large beside the weights for 32-bit sums")
    pairs = ratios(sums / target.scale)
    if isinstance(pairs, Refused):
        return pairs
    multiplier, shift = pairs
    return Scaling(weight, bias_integers.astype(np.int32), multiplier, shift)


def _fit_bias(weight: Weight, axis: int, bias: Array, source: Quantization, target: Quantization) -> Weight:
    """Coarser weights where a bias would leave 32 bits, and a useful scale where all weights of a channel are 0."""
    others = tuple(index for index in range(weight.integers.ndim) if index != axis)
    empty = ~weight.integers.any(axis=others)
    scales = np.where(empty, target.scale / source.scale / 256.0, weight.scales)
    floors = np.abs(bias) / (source.scale * _BIAS_LIMIT)
    if (scales >= floors).all():
        return Weight(weight.integers, scales, weight.clamped)
    coarse = quantize_weight(dequantize_weight(weight, axis), axis, np.maximum(floors, scales))
    keep = scales >= floors
    chosen = np.where(_along(keep, weight.integers.ndim, axis), weight.integers, coarse.integers)
    return Weight(chosen, np.where(keep, scales, coarse.scales), weight.clamped)


def ratios(scales: Array) -> tuple[Array, Array] | Refused:
    """Multipliers and shifts, int32 [M] each, of positive real factors [M]."""
    try:
        pairs = [fixed_point(float(scale)) for scale in scales]
    except ValueError:
        return refuse(
            f"the scale of its sums is {scales.max():.3g} times that of its output, at most {SCALE_LIMIT - 1}"
        )
    table = np.asarray(pairs, np.int32).reshape(-1, 2)
    return np.ascontiguousarray(table[:, 0]), np.ascontiguousarray(table[:, 1])


def ratio(scale: float) -> tuple[int, int] | Refused:
    """Multiplier and shift of one positive real factor."""
    try:
        return fixed_point(scale)
    except ValueError:
        return refuse(f"the scale of its input is {scale:.3g} times that of its output, at most {SCALE_LIMIT - 1}")


def ratio_pair(first: float, second: float) -> tuple[int, int, int] | Refused:
    """Two multipliers over one shift."""
    try:
        return fixed_point_pair(first, second)
    except ValueError:
        larger = max(first, second)
        return refuse(f"the scale of an input is {larger:.3g} times that of the output, at most {SCALE_LIMIT - 1}")


def quantize_constant(real: Array) -> tuple[Array, Quantization]:
    """A constant operand as int8 with a scale of its own; a NaN or infinity in it is a programming error."""
    low, high = float(real.min(initial=0.0)), float(real.max(initial=0.0))
    assert math.isfinite(low) and math.isfinite(high)
    quantization = quantization_of(low, high)
    integers = np.rint(real.astype(np.float64) / quantization.scale) + quantization.zero_point
    return np.clip(integers, INT8_MIN, INT8_MAX).astype(np.int8), quantization
