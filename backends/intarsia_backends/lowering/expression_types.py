"""Functions of kernel expressions with the element types that they take, and a check that an expression keeps to them.

A mistake here is one of ours, never the user's: lowering made an expression that means nothing, or means what an
emitter would quietly convert.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from intarsia.dtypes import INTEGER
from intarsia_backends.lowering.expressions import Accumulator, Apply, Cast, Constant, Expression, Gather, Input

FLOATS = ("float32", "float64")
INTEGERS = INTEGER
NUMBERS = (*FLOATS, *INTEGERS)
SIGNED = tuple(dtype for dtype in NUMBERS if not dtype.startswith("u"))
ALL = (*NUMBERS, "bool")
MOVED = (*ALL, "float16")
"""Types that are moved without a look at them: of a float16 kernels see the bits."""

_PLACES = ("int32", "int64")
_ANY = "T"


@dataclass(frozen=True)
class Signature:
    """Types of a function.

    arguments, result  names of types; "T" where it is any of `types`, the same one everywhere
    """

    arguments: tuple[str, ...]
    result: str
    types: tuple[str, ...] = ()

    def applied(self, given: Sequence[str]) -> str:
        """The type of the result for arguments of these types. Raises ExpressionError where they do not fit."""
        if len(given) != len(self.arguments):
            raise ExpressionError(f"takes {_counted(len(self.arguments))}, not {len(given)}")
        chosen = ""
        for wanted, own in zip(self.arguments, given):
            if wanted != _ANY:
                if own != wanted:
                    raise ExpressionError(f"takes ({', '.join(self.arguments)}), not ({', '.join(given)})")
                continue
            if own not in self.types:
                raise ExpressionError(f"is not defined for {own}")
            if chosen not in ("", own):
                raise ExpressionError(f"takes one type throughout, not ({', '.join(given)})")
            chosen = own
        return chosen if self.result == _ANY else self.result


class ExpressionError(AssertionError):
    """An expression that no kernel should have been given."""


def _same(types: tuple[str, ...], arguments: int) -> Signature:
    """All of one type, and the result as well."""
    return Signature((_ANY,) * arguments, _ANY, types)


_COMPARISON = Signature((_ANY, _ANY), "bool", NUMBERS)
_LOGICAL = Signature(("bool", "bool"), "bool")

FUNCTIONS: dict[str, Signature] = {
    **dict.fromkeys(("add", "sub", "mul", "div", "max", "min", "floor_at", "ceil_at"), _same(NUMBERS, 2)),
    **dict.fromkeys(("at_least", "at_most"), _same(NUMBERS, 2)),
    "neg": _same(SIGNED, 1),
    "abs": _same(NUMBERS, 1),
    **dict.fromkeys(("pow", "fmod", "float_mod"), _same(FLOATS, 2)),
    **dict.fromkeys(("sqrt", "exp", "log", "erf", "sigmoid", "softplus", "softsign", "sign"), _same(FLOATS, 1)),
    **dict.fromkeys(("sin", "cos", "tan", "asin", "acos", "atan"), _same(FLOATS, 1)),
    **dict.fromkeys(("sinh", "cosh", "tanh", "asinh", "acosh", "atanh"), _same(FLOATS, 1)),
    **dict.fromkeys(("floor", "ceil", "rint", "no_nan"), _same(FLOATS, 1)),
    **dict.fromkeys(("hard_swish", "gelu", "gelu_tanh", "mish"), _same(FLOATS, 1)),
    **dict.fromkeys(("leaky", "elu", "celu", "swish"), _same(FLOATS, 2)),
    "hard_sigmoid": _same(FLOATS, 3),
    "decay": _same(("float32",), 1),
    "is_nan": Signature((_ANY,), "bool", FLOATS),
    **dict.fromkeys(("lt", "le", "gt", "ge"), _COMPARISON),
    "eq": Signature((_ANY, _ANY), "bool", ALL),
    **dict.fromkeys(("and", "or", "xor"), _LOGICAL),
    "not": Signature(("bool",), "bool"),
    "select": Signature(("bool", _ANY, _ANY), _ANY, MOVED),
    **dict.fromkeys(("bit_and", "bit_or", "bit_xor", "shift_left", "shift_right"), _same(INTEGERS, 2)),
    **dict.fromkeys(("truncated_mod", "floored_mod"), _same(INTEGERS, 2)),
    "bit_not": _same(INTEGERS, 1),
    "from_half": Signature(("float16",), "float32"),
    "to_half": Signature(("float32",), "float16"),
    "small_rint": Signature(("float64",), "int32"),
    "fixed_rint": Signature(("int32", "int64"), "int64"),
    "scaled_rint": Signature(("int32", "float32"), "int32"),
    **dict.fromkeys(("rounded_shift", "half_up_shift"), Signature(("int32", "int32"), "int32")),
}
"""Functions that an expression may name. What they mean is said where they are spelled:
`intarsia_backends.tir.expressions`."""


def dtype_of(expression: Expression, operands: Sequence[str], accumulator: str | None = None) -> str:
    """The element type of an expression whose parts all fit.

    operands     element types of what it may read
    accumulator  that of the accumulator; None where there is none

    Raises ExpressionError, which names the part that does not fit.
    """
    match expression:
        case Input(operand):
            return _operand(expression, operand, operands)
        case Gather(operand, place):
            if dtype_of(place, operands, accumulator) not in _PLACES:
                raise ExpressionError(f"{expression}: the place is {dtype_of(place, operands, accumulator)}")
            return _operand(expression, operand, operands)
        case Accumulator():
            if accumulator is None:
                raise ExpressionError(f"{expression}: there is no accumulator here")
            return accumulator
        case Constant(dtype, value):
            if dtype not in MOVED:
                raise ExpressionError(f"{expression}: there is no type {dtype}")
            if dtype in INTEGERS and not np.iinfo(dtype).min <= value <= np.iinfo(dtype).max:
                raise ExpressionError(f"{expression}: it is no {dtype}")
            return dtype
        case Cast(dtype, value):
            # Of a float16 there are only bits here, and what is not 0 is a question of its own.
            source = dtype_of(value, operands, accumulator)
            if dtype not in NUMBERS or source not in NUMBERS:
                raise ExpressionError(f"{expression}: there is no cast from {source} to {dtype}")
            return dtype
        case Apply(function, arguments):
            if function not in FUNCTIONS:
                raise ExpressionError(f"{expression}: there is no function {function}")
            given = [dtype_of(argument, operands, accumulator) for argument in arguments]
            try:
                return FUNCTIONS[function].applied(given)
            except ExpressionError as error:
                raise ExpressionError(f"{expression}: {function} {error}") from None
    raise ExpressionError(f"{expression!r} is no kind of expression")


def _operand(expression: Expression, operand: int, operands: Sequence[str]) -> str:
    if not 0 <= operand < len(operands):
        raise ExpressionError(f"{expression}: there are {_counted(len(operands), 'operand')} alone")
    return operands[operand]


def _counted(count: int, word: str = "argument") -> str:
    return f"{count} {word}{'s' * (count != 1)}"
