"""Unary functions as expressions: ops of their own, and the activations that other ops carry."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from intarsia.ir.activations import ARGUMENTS
from intarsia.ir.graph import Node
from intarsia_backends.lowering.expressions import Accumulator, Constant, Expression, apply, select

PLAIN = {
    "Abs": "abs",
    "Neg": "neg",
    "Sqrt": "sqrt",
    "Exp": "exp",
    "Log": "log",
    "Sin": "sin",
    "Cos": "cos",
    "Tan": "tan",
    "Asin": "asin",
    "Acos": "acos",
    "Atan": "atan",
    "Sinh": "sinh",
    "Cosh": "cosh",
    "Asinh": "asinh",
    "Acosh": "acosh",
    "Atanh": "atanh",
    "Erf": "erf",
    "Tanh": "tanh",
    "Sigmoid": "sigmoid",
    "Softplus": "softplus",
    "Softsign": "softsign",
    "Sign": "sign",
    "Floor": "floor",
    "Ceil": "ceil",
    "Round": "rint",
    "HardSwish": "hard_swish",
    "Mish": "mish",
}
"""Functions of one argument and no attribute."""

UNARY = (*PLAIN, *ARGUMENTS, "Relu", "Reciprocal")
"""Ops of one float input that `unary` knows."""


def unary(name: str, arguments: Sequence[Any], x: Expression, dtype: str) -> Expression | None:
    """The expression of ONNX op `name` on x; None where there is no such function here."""
    numbers: list[Expression] = [
        Constant(dtype, float(argument)) for argument in arguments if not isinstance(argument, (str, bytes))
    ]
    zero = Constant(dtype, 0.0)
    if name in PLAIN:
        return apply(PLAIN[name], x)
    if name == "Relu":
        return apply("floor_at", x, zero)
    if name == "Reciprocal":
        return Constant(dtype, 1.0) / x
    if name == "Clip":
        low, high = (float(argument) for argument in arguments)
        if not math.isinf(low):
            x = apply("floor_at", x, Constant(dtype, low))
        return x if math.isinf(high) else apply("ceil_at", x, Constant(dtype, high))
    if name not in ARGUMENTS:
        return None
    numbers += [Constant(dtype, default) for default in [*ARGUMENTS[name].values()][len(arguments) :]]
    if name == "LeakyRelu":
        return apply("leaky", x, *numbers)
    if name == "Selu":
        return numbers[1] * apply("elu", x, numbers[0])
    if name == "ThresholdedRelu":
        return select(x > numbers[0], x, zero)
    if name == "HardSigmoid":
        return apply("hard_sigmoid", x, *numbers)
    if name == "Gelu":
        return apply("gelu_tanh" if arguments and arguments[0] in ("tanh", b"tanh", 1.0) else "gelu", x)
    return apply(name.lower(), x, *numbers)


def attribute_arguments(node: Node) -> tuple[Any, ...]:
    """The attributes of a unary op as activation arguments."""
    return tuple(node.attributes.get(key, default) for key, default in ARGUMENTS.get(node.op, {}).items())


def activated(node: Node, x: Expression, dtype: str = "float32") -> Expression:
    """x after the activation that a node carries."""
    name = node.attributes.get("activation")
    if not name:
        return x
    result = unary(str(name), node.attributes.get("activation_arguments", ()), x, dtype)
    assert result is not None, f"{node.where} carries the activation {name}, which its check refuses"
    return result


def knows_activation(node: Node) -> bool:
    """Whether the activation that a node carries, if any, can be made."""
    name = node.attributes.get("activation")
    arguments = node.attributes.get("activation_arguments", ())
    return not name or unary(str(name), arguments, Accumulator(), "float32") is not None
