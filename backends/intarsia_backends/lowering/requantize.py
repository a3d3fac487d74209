"""How sums of integers become int8: which arithmetic is exact for a layer, and its expression.

`intarsia.ir.integer.requantize` multiplies by a 21-bit integer, shifts right rounding half to even, adds the zero
point and clamps. Five forms give the same bytes:

    "float64"  total * factor is exact in 53 bits, whatever they are
    "int64"    so is total * multiplier, which is then shifted; the factor is multiplier * 64 + shift
    "int32"    the factor is a power of two: a shift, where the sum with half of its last place fits in 32 bits
    "half_up"  the same where no sum lies half-way between two numbers
    "float32"  the factor has 21 bits and is exact in float32; so is a total of at most 2**24; a fused multiply-add then
               rounds their exact product once. Larger totals lose low bits on the way to float32, which changes
               nothing where 2**24 times the factor lies beyond the clamp already. Some 4 times as fast.
"""

from __future__ import annotations

import numpy as np

from intarsia.dtypes import Array
from intarsia.ir.integer import INT8_MAX, INT8_MIN
from intarsia_backends.lowering.expressions import Apply, Cast, Constant, Expression, apply, maximum, minimum
from intarsia_backends.lowering.machine import Machine

_EXACT = 2.0**24
_REACH = 2.0**22

PLACES_BITS = 6
"""Low bits of an int64 factor that hold the shift."""


def factors_of(multiplier: Array, shift: Array) -> Array:
    """multiplier / 2**shift of each output channel, exact in float64, and in float32 too: 21 bits, at least 2**-47."""
    return np.ldexp(multiplier.astype(np.float64), -shift.astype(np.int32))


def factor_numbers(form: str, multiplier: Array, shift: Array) -> Array:
    """Factors of output channels as a form takes them, of the type that it names: "float64", "int64" or "float32"."""
    if form == "int64":
        return np.asarray(multiplier.astype(np.int64) << PLACES_BITS | shift.astype(np.int64))
    return factors_of(multiplier, shift).astype(form)


def largest_total(weights: Array, bias: Array, largest: int = 255) -> Array:
    """What no sum of an output channel exceeds in magnitude.

    weights  integers [outputs, ...]; bias [outputs]; largest is that of |x|
    returns  int64 [outputs]
    """
    sums = np.abs(weights.astype(np.int64)).reshape(len(weights), -1).sum(axis=1)
    return np.asarray(sums * largest + np.abs(bias.astype(np.int64)))


def requantize_form(machine: Machine, largest: Array, factors: Array, zero_point: int) -> str:
    """ "float32" where that form is exact for every channel and the machine has fused multiply-adds, else the machine's
    wide products.

    largest  bound of each channel's totals; factors float64, both [outputs]
    """
    if not machine.fuses_multiply_add:
        return machine.wide_products
    size = largest.astype(np.float64)
    beyond = float(max(INT8_MAX - zero_point, zero_point - INT8_MIN)) + 1.0
    exact = (size <= _EXACT) | (_EXACT * factors >= beyond)
    # A product of at most 2**22 keeps the sum with 1.5 * 2**23 where ones are counted.
    return "float32" if bool(np.all(exact & (size * factors < _REACH))) else machine.wide_products


def single_factor(
    machine: Machine, largest: int, multiplier: int, shift: int, zero_point: int, *, ties: bool = True
) -> tuple[str, Expression]:
    """Form and factor of a layer with one multiplier for all.

    largest  bound of the totals, which are multiplied by multiplier / 2**shift
    ties     whether a result may lie half-way between two numbers
    """
    if multiplier == 1 and 1 <= shift <= 30 and largest + (1 << shift) < 1 << 31:
        return "int32" if ties else "half_up", Constant("int32", shift)
    numbers = np.array([multiplier]), np.array([shift])
    form = requantize_form(machine, np.array([largest]), factors_of(*numbers), zero_point)
    return form, Constant(form, factor_numbers(form, *numbers)[0].item())


def sum_ties(multipliers: tuple[int, int], zero_points: tuple[int, int], shift: int) -> bool:
    """Whether a sum of two int8 less their zero points, each times its multiplier, can lie half-way between two
    multiples of 2**shift. All 65,536 sums are tried."""
    numbers = np.arange(INT8_MIN, INT8_MAX + 1, dtype=np.int64)
    left, right = (multiplier * (numbers - zero) for multiplier, zero in zip(multipliers, zero_points))
    half = 1 << shift >> 1
    return bool(np.any((left[:, None] + right) % (1 << shift) == half))


_SHIFTS = {"int32": "rounded_shift", "half_up": "half_up_shift"}


def is_clamped(whole: Expression) -> bool:
    """Whether an int32 is one that `requantized` has clamped, so that it and the zero point fit in eight bits."""
    match whole:
        case Apply("small_rint"):
            return True
        case Cast("int32", Apply("at_most", (Apply("at_least", (Apply("fixed_rint"), _)), _))):
            return True
        case Apply("min", (Apply("max", (Apply("scaled_rint" | "rounded_shift" | "half_up_shift"), _)), _)):
            return True
    return False


def requantized(
    total: Expression, factor: Expression, form: str, zero_point: int, low: int, high: int, *, centred: bool
) -> Expression:
    """The stored element of a layer.

    total    int32 expression
    factor   expression of the channel's factor, of the type that `form` names; for shifts the places, 1 to 30
    low, high  the node's clamp, zero point counted in
    centred  int16 without the zero point, else int8
    """
    first, last = low - zero_point, high - zero_point
    if form == "float32" or form in _SHIFTS:
        rounded = apply(_SHIFTS.get(form, "scaled_rint"), total, factor)
        whole = minimum(maximum(rounded, Constant("int32", first)), Constant("int32", last))
    elif form == "int64":
        floored = apply("at_least", apply("fixed_rint", total, factor), Constant("int64", first))
        whole = Cast("int32", apply("at_most", floored, Constant("int64", last)))
    else:
        # The clamp goes before the rounding, at whole numbers, which changes nothing and keeps the rest in 32 bits.
        scaled = Cast("float64", total) * factor
        floored = apply("at_least", scaled, Constant("float64", float(first)))
        whole = apply("small_rint", apply("at_most", floored, Constant("float64", float(last))))
    if centred:
        return Cast("int16", whole)
    return Cast("int8", whole + Constant("int32", zero_point))
