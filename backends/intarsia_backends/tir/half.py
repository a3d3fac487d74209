"""float16 in whole-number arithmetic: any processor does it, in vectors, with no help from a library.

Languages of GPUs have conversions of their own; while `named_conversions` is open, these stand there by name alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from tvm import tirx

Term = Any

HALF_TO_FLOAT, FLOAT_TO_HALF = "half_to_float", "float_to_half"
"""Conversions by name: of the bits of a float16, uint16, to a float32, and back, rounded half to even."""

_by_name: ContextVar[bool] = ContextVar("by_name", default=False)

_INFINITY = 255 << 23
_SMALLEST_NORMAL = 113 << 23
"""Bits of 2**-14, the smallest normal float16, in float32."""

_TOO_LARGE = 143 << 23
"""Bits of 2**16, from which on a float16 is infinite (as are those that round up to it)."""

_DENORMAL = 126 << 23
"""Bits of 0.5: added to a number below 2**-14, what is left of it in the low bits is the float16."""


@contextmanager
def named_conversions() -> Iterator[None]:
    """While it is open, conversions are calls of functions that whoever prints the TIR knows."""
    before = _by_name.set(True)
    try:
        yield
    finally:
        _by_name.reset(before)


def _let(value: Term, use: Callable[[Term], Term]) -> Term:
    name = tirx.Var("bits", str(value.ty.dtype))
    return tirx.Let(name, value, use(name))


def _word(number: int) -> Term:
    return tirx.const(number, "uint32")


def _float(bits: Term) -> Term:
    return tirx.call_intrin("float32", "tirx.reinterpret", bits)


def _bits(x: Term) -> Term:
    return tirx.call_intrin("uint32", "tirx.reinterpret", x)


def float_of_half(half: Term) -> Term:
    """uint16 bits of a float16 as a float32; exact."""
    if _by_name.get():
        return tirx.call_pure_extern("float32", HALF_TO_FLOAT, half)

    def convert(word: Term) -> Term:
        size = tirx.bitwise_and(word, _word(0x7FFF))
        sign = tirx.shift_left(tirx.bitwise_and(word, _word(0x8000)), _word(16))
        moved = tirx.shift_left(size, _word(13)) + _word(112 << 23)
        tiny = _bits(_float(moved + _word(1 << 23)) - _float(_word(_SMALLEST_NORMAL)))
        wide = tirx.Select(size >= _word(0x7C00), moved + _word(112 << 23), moved)
        return _float(tirx.bitwise_or(tirx.Select(size < _word(0x0400), tiny, wide), sign))

    return _let(tirx.Cast("uint32", half), convert)


def half_of_float(x: Term) -> Term:
    """A float32 as the bits of a float16, rounded half to even."""
    if _by_name.get():
        return tirx.call_pure_extern("uint16", FLOAT_TO_HALF, x)

    def convert(word: Term) -> Term:
        size = tirx.bitwise_and(word, _word(0x7FFFFFFF))
        sign = tirx.shift_right(tirx.bitwise_and(word, _word(0x80000000)), _word(16))
        beyond = tirx.Select(size > _word(_INFINITY), _word(0x7E00), _word(0x7C00))
        tiny = _bits(_float(size) + _float(_word(_DENORMAL))) - _word(_DENORMAL)
        odd = tirx.bitwise_and(tirx.shift_right(size, _word(13)), _word(1))
        rounded = tirx.shift_right(size - _word(112 << 23) + _word(0xFFF) + odd, _word(13))
        small = tirx.Select(size < _word(_SMALLEST_NORMAL), tiny, rounded)
        found = tirx.Select(size >= _word(_TOO_LARGE), beyond, small)
        return tirx.Cast("uint16", tirx.bitwise_or(found, sign))

    return _let(_bits(x), convert)
