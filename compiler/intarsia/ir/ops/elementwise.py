"""Ops on one element at a time: arithmetic, comparison, logic, conversion, Dropout. Operands broadcast like NumPy's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import numpy as np

from intarsia.dtypes import FLOATING, INTEGER, NATIVE, Array, numpy_dtype
from intarsia.ir.activations import clip, erf
from intarsia.ir.graph import Node
from intarsia.ir.op import Known, Op, attribute, refuse, required
from intarsia.ir.ops.rules import (
    BAD_MODEL,
    NUMERIC,
    SIGNED,
    Types,
    broadcast,
    element_type_of,
    fallback,
    given,
    given_or_none,
    optional,
    same_dtype,
    scalar,
    tensor,
)
from intarsia.ir.types import TensorType

# ---- one operand


def _unary(name: str, function: Callable[[Array], Any], dtypes: Sequence[str], result: str = "") -> Op:
    """A row for an op of one input; result: the output's element type, where it is not the input's."""

    def infer(node: Node, types: Types, known: Known) -> list[TensorType]:
        x = tensor(node, types, 0, dtypes)
        return [TensorType(result or x.dtype, x.shape)]

    def evaluate(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
        x = given(inputs, 0)
        with np.errstate(all="ignore"):
            return [np.asarray(function(x)).astype(numpy_dtype(result) if result else x.dtype, copy=False)]

    return Op(name, infer, evaluate, nonnegative=name in ("Abs", "Exp", "Sqrt"))


_FLOAT_FUNCTIONS: dict[str, Callable[[Array], Any]] = {
    "Sqrt": np.sqrt,
    "Exp": np.exp,
    "Log": np.log,
    "Sin": np.sin,
    "Cos": np.cos,
    "Tan": np.tan,
    "Asin": np.arcsin,
    "Acos": np.arccos,
    "Atan": np.arctan,
    "Sinh": np.sinh,
    "Cosh": np.cosh,
    "Asinh": np.arcsinh,
    "Acosh": np.arccosh,
    "Atanh": np.arctanh,
    "Ceil": np.ceil,
    "Floor": np.floor,
    "Round": np.rint,
    "Reciprocal": lambda x: x.dtype.type(1) / x,
}

_UNARY = (
    *(_unary(name, function, FLOATING) for name, function in _FLOAT_FUNCTIONS.items()),
    _unary("Erf", erf, NUMERIC),
    _unary("Abs", np.abs, NUMERIC),
    _unary("Neg", np.negative, SIGNED),
    _unary("Sign", np.sign, NUMERIC),
    _unary("Not", np.logical_not, ("bool",)),
    _unary("BitwiseNot", np.bitwise_not, INTEGER),
    _unary("IsNaN", np.isnan, FLOATING, "bool"),
)


def _infer_is_inf(node: Node, types: Types, known: Known) -> list[TensorType]:
    return [TensorType("bool", tensor(node, types, 0).shape)]


def _evaluate_is_inf(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    x = given(inputs, 0)
    infinite = np.isinf(x)
    if not attribute(node, IS_INF, "detect_negative"):
        infinite &= x > 0
    if not attribute(node, IS_INF, "detect_positive"):
        infinite &= x < 0
    return [np.asarray(infinite)]


IS_INF = Op("IsInf", _infer_is_inf, _evaluate_is_inf, {"detect_negative": 1, "detect_positive": 1})


# ---- two operands and more


def divide(a: Array, b: Array) -> Array:
    """ONNX Div: IEEE for floats; whole numbers are cut toward zero (a division by zero gives any number)."""
    if a.dtype.kind not in "iu":
        return np.asarray(np.divide(a, b))
    quotient = np.floor_divide(a, b)
    inexact = quotient * b != a
    return np.asarray(quotient + (inexact & ((a < 0) != (b < 0)))).astype(a.dtype)


def power(a: Array, b: Array) -> Array:
    """ONNX Pow: the result has a's type, whatever b's is."""
    if a.dtype.kind in "iu" and b.dtype.kind in "iu" and (b >= 0).all():
        return np.asarray(np.power(a, b.astype(a.dtype))).astype(a.dtype)
    if a.dtype.kind in "iu":
        return np.asarray(np.power(a.astype(np.float64), b.astype(np.float64))).astype(a.dtype)
    return np.asarray(np.power(a, b.astype(a.dtype)))


def _shift(node: Node, a: Array, b: Array) -> Array:
    """Counts that are negative or not below the number of bits shift everything out; the sign stays, to the right."""
    bits = a.dtype.itemsize * 8
    inside = (b >= 0) & (b < bits)
    if attribute(node, BIT_SHIFT, "direction") == "LEFT":
        return np.where(inside, np.left_shift(a, np.where(inside, b, 0)), 0)
    return np.right_shift(a, np.where(inside, b, bits - 1)) if a.dtype.kind == "i" else _unsigned_right(a, b, inside)


def _unsigned_right(a: Array, b: Array, inside: Array) -> Array:
    return np.where(inside, np.right_shift(a, np.where(inside, b, 0)), 0)


def _modulo(node: Node, a: Array, b: Array) -> Array:
    return np.asarray(np.fmod(a, b) if attribute(node, MOD, "fmod") else np.mod(a, b))


def _binary(
    name: str,
    function: Callable[[Node, Array, Array], Array],
    dtypes: Sequence[str],
    result: str = "",
    attributes: dict[str, Any] | None = None,
    mixed: bool = False,
) -> Op:
    """A row for an op of two inputs.

    result  the output's element type, where it is not the inputs'
    mixed   True where the inputs may have different types
    """

    def infer(node: Node, types: Types, known: Known) -> list[TensorType]:
        a, b = tensor(node, types, 0, dtypes), tensor(node, types, 1, dtypes)
        if not mixed:
            same_dtype(node, a, b)
        if attributes:
            _check_attributes(node, a)
        return [TensorType(result or a.dtype, broadcast(node, a, b))]

    def evaluate(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
        a, b = given(inputs, 0), given(inputs, 1)
        with np.errstate(all="ignore"):
            return [np.asarray(function(node, a, b)).astype(numpy_dtype(result) if result else a.dtype, copy=False)]

    return Op(name, infer, evaluate, attributes or {}, carries_activation=name in ("Add", "Sub", "Mul"))


def _check_attributes(node: Node, a: TensorType) -> None:
    if node.op == "BitShift" and attribute(node, BIT_SHIFT, "direction") not in ("LEFT", "RIGHT"):
        raise refuse(node, f"direction {node.attributes['direction']!r} is not LEFT or RIGHT", BAD_MODEL)


def _plain(function: Callable[[Array, Array], Any]) -> Callable[[Node, Array, Array], Array]:
    return lambda node, a, b: np.asarray(function(a, b))


BIT_SHIFT = _binary("BitShift", _shift, INTEGER, attributes={"direction": required})
MOD = _binary("Mod", _modulo, NUMERIC, attributes={"fmod": 0})
_ANY = (*NATIVE, "bfloat16", "string")

_BINARY = (
    BIT_SHIFT,
    MOD,
    _binary("Add", _plain(np.add), NUMERIC),
    _binary("Sub", _plain(np.subtract), NUMERIC),
    _binary("Mul", _plain(np.multiply), NUMERIC),
    _binary("Div", _plain(divide), NUMERIC),
    _binary("Pow", _plain(power), NUMERIC, mixed=True),
    *(
        _binary(name, _plain(function), INTEGER)
        for name, function in {
            "BitwiseAnd": np.bitwise_and,
            "BitwiseOr": np.bitwise_or,
            "BitwiseXor": np.bitwise_xor,
        }.items()
    ),
    *(
        _binary(name, _plain(function), ("bool",))
        for name, function in {"And": np.logical_and, "Or": np.logical_or, "Xor": np.logical_xor}.items()
    ),
    _binary("Equal", _plain(np.equal), _ANY, "bool"),
    *(
        _binary(name, _plain(function), NUMERIC, "bool")
        for name, function in {
            "Less": np.less,
            "LessOrEqual": np.less_equal,
            "Greater": np.greater,
            "GreaterOrEqual": np.greater_equal,
        }.items()
    ),
)


def _variadic(name: str, function: Callable[[list[Array]], Any], dtypes: Sequence[str]) -> Op:
    def infer(node: Node, types: Types, known: Known) -> list[TensorType]:
        operands = [tensor(node, types, index, dtypes) for index in range(max(len(types), 1))]
        return [TensorType(same_dtype(node, *operands), broadcast(node, *operands))]

    def evaluate(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
        operands = [value for value in inputs if value is not None]
        return [np.asarray(function(operands)).astype(operands[0].dtype, copy=False)]

    return Op(name, infer, evaluate)


_VARIADIC = (
    _variadic("Min", lambda operands: reduce(np.minimum, operands), NUMERIC),
    _variadic("Max", lambda operands: reduce(np.maximum, operands), NUMERIC),
    _variadic("Sum", lambda operands: reduce(np.add, operands), FLOATING),
    _variadic("Mean", lambda operands: reduce(np.add, operands) / operands[0].dtype.type(len(operands)), FLOATING),
)


def _infer_where(node: Node, types: Types, known: Known) -> list[TensorType]:
    condition, a, b = tensor(node, types, 0, ("bool",)), tensor(node, types, 1), tensor(node, types, 2)
    return [TensorType(same_dtype(node, a, b), broadcast(node, condition, a, b))]


def _evaluate_where(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    return [np.where(given(inputs, 0), given(inputs, 1), given(inputs, 2))]


WHERE = Op("Where", _infer_where, _evaluate_where)


# ---- Clip, Cast


def _infer_clip(node: Node, types: Types, known: Known) -> list[TensorType]:
    x = tensor(node, types, 0, NUMERIC)
    for index in (1, 2):
        bound = optional(types, index)
        if bound is not None:
            same_dtype(node, x, scalar(node, types, index))
    return [x]


def _evaluate_clip(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    x, low, high = given(inputs, 0), given_or_none(inputs, 1), given_or_none(inputs, 2)
    lowest, highest = _bounds(x.dtype)
    minimum = low.reshape(()) if low is not None else node.attributes.get("min", lowest)
    maximum = high.reshape(()) if high is not None else node.attributes.get("max", highest)
    return [clip(x, minimum, maximum)]


def _bounds(dtype: Any) -> tuple[Any, Any]:
    if dtype.kind in "iu":
        return np.iinfo(dtype).min, np.iinfo(dtype).max
    return -np.inf, np.inf


CLIP = Op("Clip", _infer_clip, _evaluate_clip)


def _infer_cast(node: Node, types: Types, known: Known) -> list[TensorType]:
    x = tensor(node, types, 0)
    return [TensorType(element_type_of(node, attribute(node, CAST, "to")), x.shape)]


def cast(x: Array, name: str) -> Array:
    """Convert between types that need no saturation: floats lose their fraction, NaN and overflow give any number."""
    with np.errstate(all="ignore"):
        return x.astype(numpy_dtype(name))


_PLAIN = (*NATIVE, "bfloat16")
_SATURATION = {"saturate": 1, "round_mode": "up"}  # matter for float8 alone


def _evaluate_cast(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    x, to = given(inputs, 0), element_type_of(node, attribute(node, CAST, "to"))
    return [cast(x, to)] if x.dtype.name in _PLAIN and to in _PLAIN else fallback(node, inputs)


def _is_rare_cast(node: Node) -> bool:
    to = node.input(1).dtype if node.op == "CastLike" else element_type_of(node, attribute(node, CAST, "to"))
    return node.input(0).dtype not in _PLAIN or to not in _PLAIN


CAST = Op("Cast", _infer_cast, _evaluate_cast, {"to": required, **_SATURATION}, rare=_is_rare_cast, work="conversion")


def _infer_cast_like(node: Node, types: Types, known: Known) -> list[TensorType]:
    return [TensorType(tensor(node, types, 1).dtype, tensor(node, types, 0).shape)]


def _evaluate_cast_like(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    x, to = given(inputs, 0), given(inputs, 1).dtype.name
    return [cast(x, to)] if x.dtype.name in _PLAIN and to in _PLAIN else fallback(node, inputs)


CAST_LIKE = Op("CastLike", _infer_cast_like, _evaluate_cast_like, _SATURATION, rare=_is_rare_cast)


# ---- Dropout


def _infer_dropout(node: Node, types: Types, known: Known) -> list[TensorType]:
    x = tensor(node, types, 0)
    return [x, TensorType("bool", x.shape)][: max(len(node.outputs), 1)]


def _evaluate_dropout(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    x, training = given(inputs, 0), given_or_none(inputs, 2)
    if training is not None and bool(training.reshape(-1)[0]):
        return fallback(node, inputs)
    return [x, np.ones(x.shape, np.bool_)][: max(len(node.outputs), 1)]


def _may_train(node: Node) -> bool:
    training = node.optional_input(2)
    return training is not None and (training.data is None or bool(training.data.reshape(-1)[0]))


DROPOUT = Op("Dropout", _infer_dropout, _evaluate_dropout, rare=_may_train, random=_may_train, optional_outputs=True)


OPS = (*_UNARY, IS_INF, *_BINARY, *_VARIADIC, WHERE, CLIP, CAST, CAST_LIKE, DROPOUT)
