"""How integer nodes read int8 numbers and store sums: zero points, multipliers and clamps from their attributes."""

from __future__ import annotations

from intarsia.dtypes import Array
from intarsia.ir.graph import Node
from intarsia_backends.lowering import requantize
from intarsia_backends.lowering.expressions import Cast, Constant, Expression, Input
from intarsia_backends.lowering.machine import Machine
from intarsia_backends.lowering.ops.table import attribute, elements


def centred(zero_point: int) -> Expression:
    """Operand 0, an int8, without its zero point, as an int32."""
    return Cast("int32", Input(0)) - Constant("int32", zero_point)


def requantized(total: Expression, factor: Expression, node: Node, form: str = "float64") -> Expression:
    """`intarsia.ir.integer.requantize` of an int32 with the zero point and the clamp of a node.

    form  of the arithmetic, and type of the factor: see `intarsia_backends.lowering.requantize`
    """
    zero = int(attribute(node, "output_zero_point", 0))
    low, high = int(attribute(node, "clamp_min", -128)), int(attribute(node, "clamp_max", 127))
    return requantize.requantized(total, factor, form, zero, low, high, centred=False)


def channel_factors(node: Node, machine: Machine, weights: Array) -> tuple[Array, str]:
    """multiplier / 2**shift of each output channel of a qconv or qmatmul, and the form of `requantized` that is exact.

    weights  [outputs, ...]
    """
    bias, multiplier, shift = (elements(node.input(index)) for index in (2, 3, 4))
    multiplier, shift = multiplier.reshape(-1), shift.reshape(-1)
    totals = requantize.largest_total(weights, bias.reshape(-1))
    factors, zero = requantize.factors_of(multiplier, shift), int(attribute(node, "output_zero_point", 0))
    form = requantize.requantize_form(machine, totals, factors, zero)
    return requantize.factor_numbers(form, multiplier, shift), form
