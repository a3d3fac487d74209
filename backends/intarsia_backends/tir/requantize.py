"""The end of integer kernels: int32 sums times a factor, rounded half to even; where it can, in one instruction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm import tirx

from intarsia_backends.lowering.requantize import PLACES_BITS

_ROUND = 1.5 * 2.0**23
"""Where the last bit of a float32 counts ones; an even multiple of them, so that ties go to even numbers."""

_ROUND_BITS = 0x4B400000


def scaled_rint(total: Any, factor: Any) -> Any:
    """total * factor as an int32, rounded half to even; both exact in float32, and |total * factor| < 2**22.

    One fused multiply-add forms the exact product, adds `_ROUND` and rounds once, to a whole number, half to even: that
    number then stands in the low bits. `intarsia_backends.lowering.requantize` says when this serves for a layer.

    total    int32, one or a vector
    factor   float32, as many
    """
    lanes = int(total.ty.dtype.lanes)
    real, whole = (kind if lanes == 1 else f"{kind}x{lanes}" for kind in ("float32", "int32"))
    number = tirx.Cast(real, total)
    rounded = tirx.call_llvm_pure_intrin(real, "llvm.fma", number, factor, _spread(_ROUND, "float32", lanes))
    return tirx.call_intrin(whole, "tirx.reinterpret", rounded) - _spread(_ROUND_BITS, "int32", lanes)


def fixed_rint(total: Any, factor: Any, shared: Callable[[Any, Callable[[Any], Any]], Any]) -> Any:
    """total * multiplier / 2**shift as an int64, rounded half to even; exact.

    total    int32
    factor   int64: multiplier * 64 + shift, as `intarsia_backends.lowering.requantize.factor_numbers` packs them
    shared   gives what a function makes of a value that is computed once
    """

    def scaled(number: Any) -> Any:
        product = tirx.Cast("int64", total) * tirx.shift_right(number, _wide(PLACES_BITS))
        places = tirx.bitwise_and(number, _wide((1 << PLACES_BITS) - 1))
        return shared(product, lambda whole: shared(places, lambda shift: _half_even(whole, shift)))

    return shared(factor, scaled)


def _half_even(total: Any, places: Any) -> Any:
    odd = tirx.bitwise_and(tirx.shift_right(total, places), _wide(1))
    half = tirx.shift_left(_wide(1), places - _wide(1)) - _wide(1)
    return tirx.shift_right(total + half + odd, places)


def _wide(number: int) -> Any:
    return tirx.const(number, "int64")


def rounded_shift(total: Any, places: Any) -> Any:
    """total / 2**places, rounded half to even; int32, with total + 2**places in 31 bits.

    One or a vector. Half of the last place less one is added, and one where what stays is odd.
    """
    one = _spread(1, "int32", int(total.ty.dtype.lanes))
    odd = tirx.bitwise_and(tirx.shift_right(total, places), one)
    half = tirx.shift_left(one, places - one) - one
    return tirx.shift_right(total + half + odd, places)


def half_up_shift(total: Any, places: Any) -> Any:
    """The same where no total lies half-way between two numbers."""
    one = _spread(1, "int32", int(total.ty.dtype.lanes))
    return tirx.shift_right(total + tirx.shift_left(one, places - one), places)


def _spread(number: float, dtype: str, lanes: int) -> Any:
    constant = tirx.const(number, dtype)
    return constant if lanes == 1 else tirx.Broadcast(constant, lanes)
