"""Expressions of `kernels` as TIR, as a loop body wants them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from tvm import tirx
from tvm.script.ir_builder import tirx as T
from tvm_ffi import structural_equal

from intarsia_backends.lowering.expressions import (
    Accumulator,
    Apply,
    Cast,
    Constant,
    Expression,
    Gather,
    Input,
)
from intarsia_backends.tir.half import float_of_half, half_of_float
from intarsia_backends.tir.requantize import fixed_rint, half_up_shift, rounded_shift, scaled_rint

Term = Any
"""A TIR expression."""


def constant(dtype: str, number: float | int | bool) -> Term:
    """A number of an element type; infinities and NaN included. A float16 is its bits."""
    if dtype == "float16":
        return tirx.const(int(np.float16(number).view(np.uint16)), "uint16")
    return tirx.const(number, dtype)


def is_nan(x: Term) -> Term:
    """True where x is not a number. `x != x` would be simplified away, and TVM does not vectorise its own `isnan`."""
    dtype = str(x.ty.dtype)
    if dtype not in ("float32", "float64"):
        return tirx.isnan(x)
    whole, infinity = ("int32", 0x7F800000) if dtype == "float32" else ("int64", 0x7FF << 52)
    rest = tirx.const(0x7FFFFFFF if dtype == "float32" else (1 << 63) - 1, whole)

    def above(number: Term) -> Term:
        bits = tirx.call_intrin(whole, "tirx.reinterpret", number)
        return tirx.bitwise_and(bits, rest) > tirx.const(infinity, whole)

    return shared(x, above)


_lanes: list[tuple[Term, int]] = []
"""Loops over lanes that are open: their index and extent."""


@contextmanager
def over_lanes(lanes: int) -> Iterator[Term]:
    """A loop that becomes vector operations; gives its index."""
    if lanes == 1:
        yield tirx.const(0, "int32")
        return
    with T.vectorized(0, lanes) as lane:
        _lanes.append((lane, lanes))
        try:
            yield lane
        finally:
            _lanes.pop()


def shared(value: Term, use: Callable[[Term], Term]) -> Term:
    """`use(value)` where the value is computed once: expressions are trees, and would repeat it.

    It is kept in a buffer of one element, a register in the end; over lanes, of one for each. Names (`Let`) in
    expressions will not do: TVM's vectoriser refuses some that are nested, and its generator of LLVM code takes time
    that doubles with each.
    """
    lane, lanes = _lanes[-1] if _lanes else (0, 1)
    register = T.alloc_buffer((lanes,), str(value.ty.dtype))
    T.buffer_store(register, value, [lane])
    return use(register[lane])


def exponential(x: Term) -> Term:
    """exp in float32 by range reduction and a polynomial of degree 6 (relative error under 2e-7); vectorises.

    Cody and Waite, Software Manual for the Elementary Functions: x = n ln 2 + r, |r| <= ln 2 / 2.
    """
    if _dtype(x) != "float32":
        return tirx.exp(x)
    return shared(x, _exponential)


def _exponential(x: Term) -> Term:
    bounded = tirx.max(tirx.min(x, constant("float32", 89.0)), constant("float32", -104.0))
    log2_e = constant("float32", 1.44269504088896341)
    result = shared(bounded, lambda bound: shared(tirx.nearbyint(bound * log2_e), lambda n: _scaled_series(bound, n)))
    return tirx.Select(is_nan(x), x, result)


def _rest(x: Term, whole: Term) -> Term:
    """x - whole * ln 2, with ln 2 in two parts."""
    return x - whole * constant("float32", 0.693145751953125) - whole * constant("float32", 1.42860682030941723212e-6)


def _exponential_series(r: Term) -> Term:
    """exp(r) for |r| up to ln 2 / 2."""
    return _polynomial(r, (1.0, 1.0, 1 / 2, 1 / 6, 1 / 24, 1 / 120, 1 / 720))


def _scaled_series(x: Term, whole: Term) -> Term:
    def scaled(number: Term, steps: Term) -> Term:
        # Two factors, one after the other: neither 2**128 nor 2**-150 is a float32, but the result may be.
        half = tirx.shift_right(steps, tirx.const(1, "int32"))
        return shared(half, lambda h: number * _power_of_two(h) * _power_of_two(steps - h))

    return shared(
        shared(_rest(x, whole), _exponential_series),
        lambda s: shared(tirx.Cast("int32", whole), lambda n: scaled(s, n)),
    )


def _power_of_two(steps: Term) -> Term:
    bits = tirx.shift_left(steps + tirx.const(127, "int32"), tirx.const(23, "int32"))
    return tirx.call_intrin("float32", "tirx.reinterpret", bits)


def _dtype(x: Term) -> str:
    return str(x.ty.dtype)


def _zero(x: Term) -> Term:
    return constant(_dtype(x), 0)


def _one(x: Term) -> Term:
    return constant(_dtype(x), 1)


def _sigmoid(x: Term) -> Term:
    return _one(x) / (_one(x) + exponential(-x))


def decay(x: Term) -> Term:
    """exp(x) for x up to 0, in float32; 0 below -87.33, where the exact result is under 2**-126. NaN stays.

    The range reduction of `exponential`, with the whole number taken from the low bits of a sum and one factor.
    """
    return shared(x, lambda v: shared(_floor_at(v, constant("float32", -87.33)), lambda bound: _decayed(v, bound)))


def _decayed(x: Term, bound: Term) -> Term:
    log2_e, magic = constant("float32", 1.44269504088896341), constant("float32", 1.5 * 2.0**23)

    def scaled(number: Term) -> Term:
        rest = _rest(bound, number - magic)
        shifted = tirx.shift_left(_bits(number), tirx.const(23, "int32")) + tirx.const(127 << 23, "int32")
        power = shared(shifted, lambda bits: tirx.call_intrin("float32", "tirx.reinterpret", bits))
        return shared(rest, _exponential_series) * power

    result = shared(bound * log2_e + magic, scaled)
    return tirx.Select(x < constant("float32", -87.33), constant("float32", 0), result)


def _bits(x: Term) -> Term:
    return tirx.call_intrin("int32", "tirx.reinterpret", x)


_ERF = (
    (1.1283791065216064, 0.19058455526828766, 0.05276789516210556, 0.0037721064873039722, 0.0002848256262950599,
     2.0459942788875196e-06),
    (1.0, 0.5022339224815369, 0.11417875438928604, 0.01498231291770935, 0.001163735520094633, 3.804649168159813e-05),
)  # fmt: skip
_TANH = (
    (1.0, 0.13380327820777893, 0.0034947574604302645, 2.0595376554410905e-05, 1.3335601067865355e-08),
    (1.0, 0.467136412858963, 0.025873824954032898, 0.0003284274716861546, 7.768772434246785e-07),
)
"""Numerators over x and denominators, in powers of x * x, lowest first.

Found by least squares for x P(x * x) - f(x) Q(x * x) at Chebyshev points of (0, limit), divided by |f(x) Q(x * x)| and
with weights that grow where the error is largest, over and over (Lawson), which tends to the least largest error.
Largest relative errors in float32, of 400,000 numbers: erf 3.3e-7, tanh 2.8e-7.
"""


def _odd_ratio(x: Term, limit: float, ratio: tuple[tuple[float, ...], tuple[float, ...]]) -> Term:
    """x P(x * x) / Q(x * x) for |x| up to the limit, from where on it is 1. NaN stays."""

    def between(value: Term, bound: float) -> Term:
        return _ceil_at(_floor_at(value, constant("float32", -bound)), constant("float32", bound))

    def ended(value: Term, square: Term) -> Term:
        top, bottom = (_polynomial(square, numbers) for numbers in ratio)
        return between(value * top / bottom, 1.0)

    return shared(between(x, limit), lambda v: shared(v * v, lambda square: ended(v, square)))


def _polynomial(x: Term, numbers: tuple[float, ...]) -> Term:
    """Coefficients with the lowest first."""
    total = constant("float32", numbers[-1])
    for number in reversed(numbers[:-1]):
        total = total * x + constant("float32", number)
    return total


def _erf(x: Term) -> Term:
    return tirx.erf(x) if _dtype(x) != "float32" else _odd_ratio(x, 3.925, _ERF)


def _tanh(x: Term) -> Term:
    if _dtype(x) == "float32":
        return _odd_ratio(x, 9.01, _TANH)

    def from_decay(value: Term, small: Term) -> Term:
        size = (_one(value) - small) / (_one(value) + small)
        return shared(size, lambda s: tirx.Select(value < _zero(value), -s, s))

    return shared(x, lambda v: shared(exponential(tirx.abs(v) * constant(_dtype(v), -2)), lambda d: from_decay(v, d)))


def _softplus(x: Term) -> Term:
    return shared(x, lambda v: tirx.max(v, _zero(v)) + _log1p(exponential(-tirx.abs(v))))


def _log1p(x: Term) -> Term:
    """log(1 + x) for x from 0 to 1, with small x not lost in the sum."""
    if _dtype(x) != "float32":
        return tirx.call_extern(_dtype(x), "log1p", x)

    def series(v: Term) -> Term:
        total = constant("float32", -0.25)
        for number in (1 / 3, -0.5, 1.0):
            total = total * v + constant("float32", number)
        return total * v

    bound = constant("float32", 1 / 32)
    return shared(x, lambda v: tirx.Select(v < bound, series(v), tirx.log(_one(v) + v)))


def _sign(x: Term) -> Term:
    one, zero = _one(x), _zero(x)
    return shared(x, lambda v: tirx.Select(v > zero, one, tirx.Select(v < zero, zero - one, v)))


def _maximum(a: Term, b: Term) -> Term:
    """The larger; NaN where either is, as NumPy has it."""
    if "float" not in _dtype(a):
        return tirx.max(a, b)
    return shared(a, lambda x: shared(b, lambda y: tirx.Select(x > y, x, _unless_nan(x, y))))


def _minimum(a: Term, b: Term) -> Term:
    if "float" not in _dtype(a):
        return tirx.min(a, b)
    return shared(a, lambda x: shared(b, lambda y: tirx.Select(x < y, x, _unless_nan(x, y))))


def _unless_nan(x: Term, y: Term) -> Term:
    """y, or x where that is not a number."""
    return tirx.Select(x <= constant(_dtype(x), float("inf")), y, x)


def _floor_at(x: Term, bound: Term) -> Term:
    return shared(x, lambda v: tirx.Select(v < bound, bound, v))


def _ceil_at(x: Term, bound: Term) -> Term:
    return shared(x, lambda v: tirx.Select(v > bound, bound, v))


def _small_rint(x: Term) -> Term:
    """A float64 of at most 2**31 as an int32, half to even. After the sum the whole number stands in the low bits."""

    def low_bits(number: Term) -> Term:  # TVM vectorises the argument of a call twice, and takes no nested names there
        bits = tirx.call_intrin("int64", "tirx.reinterpret", number + constant("float64", 1.5 * 2.0**52))
        return tirx.Cast("int32", bits)

    return shared(x, low_bits)


def _differ(a: Term, b: Term) -> Term:
    """Whether two bools differ; LLVM code for a comparison of bools is rejected."""
    return tirx.Or(tirx.And(a, tirx.Not(b)), tirx.And(tirx.Not(a), b))


def _difference(a: Term, b: Term) -> Term:
    """a - b. TVM makes 0 of x - x and x of (x + y) - y, of floats too; LLVM makes a subtraction of what stands here."""
    if _dtype(b) not in ("float32", "float64"):
        return a - b
    return a + b * tirx.const(-1.0, _dtype(b))


def _or_equal(comparison: Callable[[Term, Term], Term]) -> Callable[[Term, Term], Term]:
    """A comparison that holds of equal numbers: TVM says so of x and x, and NaN is none."""

    def compared(a: Term, b: Term) -> Term:
        if "float" in _dtype(a) and structural_equal(a, b):
            return tirx.Not(is_nan(a))
        return comparison(a, b)

    return compared


_EQUAL_NUMBERS = _or_equal(lambda a, b: tirx.EQ(a, b))


def _equal(a: Term, b: Term) -> Term:
    return tirx.Not(_differ(a, b)) if _dtype(a) == "bool" else _EQUAL_NUMBERS(a, b)


def _truncated_division(a: Term, b: Term) -> Term:
    return a / b if "float" in _dtype(a) else tirx.truncdiv(a, b)


def _fmod(a: Term, b: Term) -> Term:
    """C's fmod: LLVM has no intrinsic that TVM knows."""
    return tirx.call_extern(_dtype(a), "fmodf" if _dtype(a) == "float32" else "fmod", a, b)


def _float_mod(a: Term, b: Term) -> Term:
    """The remainder with the sign of the divisor."""

    def turned(divisor: Term, rest: Term) -> Term:
        other_sign = _differ(rest < _zero(rest), divisor < _zero(divisor))
        return tirx.Select(tirx.And(tirx.NE(rest, _zero(rest)), other_sign), rest + divisor, rest)

    return shared(b, lambda y: shared(_fmod(a, y), lambda r: turned(y, r)))


def _call(name: str) -> Callable[[Term], Term]:
    def call(x: Term) -> Term:
        return getattr(tirx, name)(x)

    return call


def _leaky(x: Term, alpha: Term) -> Term:
    return shared(x, lambda v: tirx.Select(v < _zero(v), v * alpha, v))


def _elu(x: Term, alpha: Term) -> Term:
    return shared(x, lambda v: tirx.Select(v < _zero(v), (exponential(v) - _one(v)) * alpha, v))


def _celu(x: Term, alpha: Term) -> Term:
    return shared(x, lambda v: tirx.Select(v < _zero(v), (exponential(v / alpha) - _one(v)) * alpha, v))


def _hard_sigmoid(x: Term, alpha: Term, beta: Term) -> Term:
    return _ceil_at(_floor_at(x * alpha + beta, _zero(x)), _one(x))


def _hard_swish(x: Term) -> Term:
    sixth, half = constant(_dtype(x), 1 / 6), constant(_dtype(x), 0.5)
    return shared(x, lambda v: v * _hard_sigmoid(v, sixth, half))


def _swish(x: Term, alpha: Term) -> Term:
    return shared(x, lambda v: v * _sigmoid(v * alpha))


def _gelu(x: Term) -> Term:
    half, root = constant(_dtype(x), 0.5), constant(_dtype(x), 0.7071067811865476)
    return shared(x, lambda v: half * v * (_one(v) + _erf(v * root)))


def _gelu_tanh(x: Term) -> Term:
    half, root = constant(_dtype(x), 0.5), constant(_dtype(x), 0.7978845608028654)
    cubic = constant(_dtype(x), 0.044715)
    return shared(x, lambda v: half * v * (_one(v) + _tanh(root * (v + cubic * v * v * v))))


def _mish(x: Term) -> Term:
    """x tanh(log(1 + e^x)) = x n / (n + 2) with n = e^x (e^x + 2): exact also where the result is small."""
    two, far = constant(_dtype(x), 2), constant(_dtype(x), 20)

    def share(e: Term) -> Term:
        return shared(e * (e + two), lambda n: n / (n + two))

    def product(v: Term) -> Term:
        return v * shared(exponential(tirx.Select(v > far, far, v)), share)

    return shared(x, lambda v: tirx.Select(v > far, v, product(v)))


def _softsign(x: Term) -> Term:
    return shared(x, lambda v: v / (_one(v) + tirx.abs(v)))


FUNCTIONS: dict[str, Callable[..., Term]] = {
    "add": lambda a, b: a + b,
    "sub": _difference,
    "mul": lambda a, b: a * b,
    "div": _truncated_division,
    "max": _maximum,
    "min": _minimum,
    # Relu and Clip: a comparison with a constant keeps NaN, and is one instruction.
    "floor_at": _floor_at,
    "ceil_at": _ceil_at,
    # For numbers that are never NaN.
    "at_least": lambda a, b: tirx.max(a, b),
    "at_most": lambda a, b: tirx.min(a, b),
    "pow": lambda a, b: tirx.pow(a, b),
    "neg": lambda a: -a,
    "abs": _call("abs"),
    "sqrt": _call("sqrt"),
    "exp": exponential,
    "log": _call("log"),
    "sin": _call("sin"),
    "cos": _call("cos"),
    "tan": _call("tan"),
    "asin": _call("asin"),
    "acos": _call("acos"),
    "atan": _call("atan"),
    "sinh": _call("sinh"),
    "cosh": _call("cosh"),
    "erf": _erf,
    "decay": decay,
    "tanh": _tanh,
    "sigmoid": _sigmoid,
    "softplus": _softplus,
    "sign": _sign,
    "leaky": _leaky,
    "elu": _elu,
    "celu": _celu,
    "hard_sigmoid": _hard_sigmoid,
    "hard_swish": _hard_swish,
    "swish": _swish,
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "mish": _mish,
    "softsign": _softsign,
    "floor": _call("floor"),
    "ceil": _call("ceil"),
    "small_rint": _small_rint,
    "rint": _call("nearbyint"),
    "no_nan": lambda x: shared(x, lambda v: tirx.Select(is_nan(v), _zero(v), v)),
    "lt": lambda a, b: a < b,
    "le": _or_equal(lambda a, b: a <= b),
    "gt": lambda a, b: a > b,
    "ge": _or_equal(lambda a, b: a >= b),
    "eq": _equal,
    "and": lambda a, b: tirx.And(a, b),
    "or": lambda a, b: tirx.Or(a, b),
    "xor": _differ,
    "not": lambda a: tirx.Not(a),
    "select": lambda condition, a, b: tirx.Select(condition, a, b),
    "bit_and": lambda a, b: tirx.bitwise_and(a, b),
    "bit_or": lambda a, b: tirx.bitwise_or(a, b),
    "bit_xor": lambda a, b: tirx.bitwise_xor(a, b),
    "bit_not": lambda a: tirx.bitwise_not(a),
    "shift_right": lambda a, b: tirx.shift_right(a, b),
    "truncated_mod": lambda a, b: tirx.truncmod(a, b),
    "floored_mod": lambda a, b: tirx.floormod(a, b),
    "fmod": _fmod,
    "float_mod": _float_mod,
    "is_nan": is_nan,
    "from_half": float_of_half,
    "to_half": half_of_float,
    "asinh": _call("asinh"),
    "acosh": _call("acosh"),
    "atanh": _call("atanh"),
    "shift_left": lambda a, b: tirx.shift_left(a, b),
    "scaled_rint": scaled_rint,
    "half_up_shift": half_up_shift,
    "fixed_rint": lambda total, factor: fixed_rint(total, factor, shared),
    "rounded_shift": lambda total, places: shared(total, lambda value: rounded_shift(value, places)),
}
"""What functions mean that an expression may name; `intarsia_backends.lowering.expression_types` has their types."""


def term(expression: Expression, load: Callable[[int, Term | None], Term], accumulator: Term = None) -> Term:
    """The TIR of an expression.

    load         gives operand k at the place of the loops, some elements further where that is not None
    accumulator  what `Accumulator()` stands for
    """
    match expression:
        case Input(operand):
            return load(operand, None)
        case Gather(operand, place):
            return load(operand, term(place, load, accumulator))
        case Accumulator():
            assert accumulator is not None
            return accumulator
        case Constant(dtype, value):
            return constant(dtype, value)
        case Cast(dtype, value):
            return tirx.Cast(dtype, term(value, load, accumulator))
        case Apply(name, arguments):
            return FUNCTIONS[name](*(term(argument, load, accumulator) for argument in arguments))
    raise TypeError(f"{expression!r} is no kind of expression")


__all__ = ["FUNCTIONS", "Term", "constant", "exponential", "term"]
