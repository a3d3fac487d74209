"""Elementwise ops on whole numbers and bits, questions about floats, and divisions that never stop the process."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from intarsia.ir.graph import Node
from intarsia.targets import YES, Support
from intarsia_backends.lowering.builder import Builder
from intarsia_backends.lowering.expression_types import INTEGERS
from intarsia_backends.lowering.expressions import (
    Constant,
    Expression,
    Input,
    apply,
    equal,
    logical_and,
    logical_or,
    select,
)
from intarsia_backends.lowering.fusion import map_values
from intarsia_backends.lowering.ops.activations import activated, knows_activation
from intarsia_backends.lowering.ops.table import FLOATS, NUMBERS, Lowering, attribute, refused, text

_left = Input(0)
_right = Input(1)

Body = Callable[[Node], Expression]


def _map(body: Body) -> Callable[[Builder, Node], None]:
    def lower(builder: Builder, node: Node) -> None:
        values = [value for value in node.inputs if value is not None]
        map_values(builder, values, node.output, body(node))

    return lower


def _number(dtype: str, number: float) -> Expression:
    return Constant(dtype, number)


# ---- division and remainder of whole numbers


def _harmless(dtype: str) -> Expression:
    """The divisor, or 1 in place of those that a processor cannot divide by: 0, and -1 under the lowest number."""
    bad = equal(_right, _number(dtype, 0))
    if not dtype.startswith("u"):
        bad = logical_or(bad, equal(_right, _number(dtype, -1)))
    return select(bad, _number(dtype, 1), _right)


def _quotient(node: Node) -> Expression:
    """Cut toward zero; by 0 it gives what the NumPy meaning does: 0, or 1 for a negative number."""
    dtype = node.input(0).dtype
    if dtype in FLOATS:
        return activated(node, _left / _right, dtype)
    zero = _number(dtype, 0)
    quotient = _left / _harmless(dtype)
    by_zero: Expression = zero
    if not dtype.startswith("u"):
        quotient = select(equal(_right, _number(dtype, -1)), zero - _left, quotient)
        by_zero = select(_left < zero, _number(dtype, 1), zero)
    return select(equal(_right, zero), by_zero, quotient)


def _remainder(node: Node) -> Expression:
    dtype = node.input(0).dtype
    if dtype in FLOATS:
        return apply("fmod" if attribute(node, "fmod", 0) else "float_mod", _left, _right)
    # With 1 for 0 and -1 the remainder is 0, as NumPy has it.
    return apply("truncated_mod" if attribute(node, "fmod", 0) else "floored_mod", _left, _harmless(dtype))


# ---- bits


def _shifted(node: Node) -> Expression:
    dtype = node.input(0).dtype
    bits = np.dtype(dtype).itemsize * 8
    inside = _right < _number(dtype, bits)
    if not dtype.startswith("u"):
        inside = logical_and(inside, _right >= _number(dtype, 0))
    if text(node, "direction", "") == "LEFT":
        return select(inside, _left << select(inside, _right, _number(dtype, 0)), _number(dtype, 0))
    if dtype.startswith("u"):
        return select(inside, _left >> select(inside, _right, _number(dtype, 0)), _number(dtype, 0))
    return _left >> select(inside, _right, _number(dtype, bits - 1))


def _lower_bit_cast(builder: Builder, node: Node) -> None:
    builder.alias(node.output, node.input(0))


def _check_bit_cast(node: Node) -> Support:
    if node.input(0).type.size_bytes != node.output.type.size_bytes:
        return refused("element-type", f"from {node.input(0).dtype} to {node.output.dtype}")
    return YES


# ---- floats


def _infinite(node: Node) -> Expression:
    dtype = node.input(0).dtype
    ends = [
        equal(_left, _number(dtype, sign * np.inf))
        for sign, name in ((1, "detect_positive"), (-1, "detect_negative"))
        if attribute(node, name, 1)
    ]
    if not ends:
        return logical_and(equal(_left, _number(dtype, np.inf)), equal(_left, _number(dtype, 0)))
    return ends[0] if len(ends) == 1 else logical_or(*ends)


def _shrunk(node: Node) -> Expression:
    dtype = node.input(0).dtype
    limit, bias = float(attribute(node, "lambd", 0.5)), _number(dtype, float(attribute(node, "bias", 0.0)))
    above = _left > _number(dtype, limit)
    below = _left < _number(dtype, -limit)
    rest = select(above, _left - bias, _number(dtype, 0))
    return select(below, _left + bias, rest)


def _check_activation(node: Node) -> Support:
    if node.attributes.get("activation") and node.input(0).dtype not in FLOATS:
        return refused("activation", f"an activation on {node.input(0).dtype}")
    if not knows_activation(node):
        return refused("activation", f"no code is made for {node.attributes['activation']}")
    return YES


LOWERINGS = {
    "Div": Lowering(_map(_quotient), dtypes=NUMBERS, check=_check_activation),
    "Mod": Lowering(_map(_remainder), dtypes=NUMBERS),
    "BitShift": Lowering(_map(_shifted), dtypes=INTEGERS),
    "BitwiseAnd": Lowering(_map(lambda node: _left & _right), dtypes=INTEGERS),
    "BitwiseOr": Lowering(_map(lambda node: _left | _right), dtypes=INTEGERS),
    "BitwiseXor": Lowering(_map(lambda node: _left ^ _right), dtypes=INTEGERS),
    "BitwiseNot": Lowering(_map(lambda node: ~_left), dtypes=INTEGERS),
    "BitCast": Lowering(_lower_bit_cast, dtypes=NUMBERS, own_type=(0,), check=_check_bit_cast),
    "IsNaN": Lowering(_map(lambda node: apply("is_nan", _left)), dtypes=FLOATS, own_type=(0,)),
    "IsInf": Lowering(_map(_infinite), dtypes=FLOATS, own_type=(0,)),
    "Shrink": Lowering(_map(_shrunk), dtypes=FLOATS),
}
