"""Functions of one number that StableHLO does not have, and activations: of a tensor of float32, number by number."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from intarsia.ir.activations import ARGUMENTS
from intarsia.ir.graph import Node
from intarsia_backends.tpu.stablehlo import Tensor, Writer

_ERF_ABOVE = (
    -2.72614225801306e-10,
    2.77068142495902e-08,
    -2.10102402082508e-06,
    -5.69250639462346e-05,
    -7.34990630326855e-04,
    -2.95459980854025e-03,
    -1.60960333262415e-02,
)
_ERF_BELOW = (
    -1.45660718464996e-05,
    -2.13374055278905e-04,
    -1.68282697438203e-03,
    -7.37332916720468e-03,
    -1.42647390514189e-02,
)
"""x * above(x**2) / below(x**2), from the highest power down: Eigen's approximation of erf, which XLA uses too. On
[-4, 4] it is within 3e-7."""


def erf(out: Writer, x: Tensor) -> Tensor:
    """The error function."""
    x = out.clamp(x, -4.0, 4.0)
    square = out.binary("multiply", x, x)
    above, below = _polynomial(out, square, _ERF_ABOVE), _polynomial(out, square, _ERF_BELOW)
    return out.binary("divide", out.binary("multiply", x, above), below)


def _polynomial(out: Writer, x: Tensor, factors: Sequence[float]) -> Tensor:
    total = out.like(factors[0], x)
    for factor in factors[1:]:
        total = out.with_number("add", out.binary("multiply", total, x), factor)
    return total


def relu(out: Writer, x: Tensor) -> Tensor:
    return out.with_number("maximum", x, 0)


def sigmoid(out: Writer, x: Tensor) -> Tensor:
    return out.unary("logistic", x)


def hard_sigmoid(out: Writer, x: Tensor, alpha: float, beta: float) -> Tensor:
    return out.clamp(out.with_number("add", out.with_number("multiply", x, alpha), beta), 0.0, 1.0)


def _leaky_relu(out: Writer, x: Tensor, alpha: float) -> Tensor:
    return _where_negative(out, x, out.with_number("multiply", x, alpha), x)


def _where_negative(out: Writer, x: Tensor, below: Tensor, above: Tensor) -> Tensor:
    return out.select(out.compare("LT", x, out.like(0, x)), below, above)


def _exponential_below(out: Writer, x: Tensor) -> Tensor:
    """exp(x) - 1 for x < 0, and 0 above."""
    return out.unary("exponential_minus_one", out.with_number("minimum", x, 0.0))


def _elu(out: Writer, x: Tensor, alpha: float) -> Tensor:
    return _where_negative(out, x, out.with_number("multiply", _exponential_below(out, x), alpha), x)


def _selu(out: Writer, x: Tensor, alpha: float, gamma: float) -> Tensor:
    return out.with_number("multiply", _elu(out, x, alpha), gamma)


def _celu(out: Writer, x: Tensor, alpha: float) -> Tensor:
    below = out.with_number("multiply", _exponential_below(out, out.with_number("divide", x, alpha)), alpha)
    return out.binary("add", out.with_number("maximum", x, 0.0), below)


def _thresholded_relu(out: Writer, x: Tensor, alpha: float) -> Tensor:
    return out.select(out.compare("GT", x, out.like(alpha, x)), x, out.like(0.0, x))


def softplus(out: Writer, x: Tensor) -> Tensor:
    """max(x, 0) + log1p(exp(-|x|))"""
    small = out.unary("exponential", out.unary("negate", out.unary("abs", x)))
    return out.binary("add", out.with_number("maximum", x, 0.0), out.unary("log_plus_one", small))


def _softsign(out: Writer, x: Tensor) -> Tensor:
    return out.binary("divide", x, out.with_number("add", out.unary("abs", x), 1.0))


def _mish(out: Writer, x: Tensor) -> Tensor:
    return out.binary("multiply", x, out.unary("tanh", softplus(out, x)))


def _swish(out: Writer, x: Tensor, alpha: float) -> Tensor:
    return out.binary("multiply", x, sigmoid(out, out.with_number("multiply", x, alpha)))


def _hard_swish(out: Writer, x: Tensor) -> Tensor:
    return out.binary("multiply", x, hard_sigmoid(out, x, 1.0 / 6.0, 0.5))


def _gelu(out: Writer, x: Tensor, approximate: Any) -> Tensor:
    if approximate in (1.0, "tanh", b"tanh"):
        cube = out.with_number("multiply", out.binary("multiply", out.binary("multiply", x, x), x), 0.044715)
        inner = out.with_number("multiply", out.binary("add", x, cube), math.sqrt(2.0 / math.pi))
        shape = out.unary("tanh", inner)
    else:
        shape = erf(out, out.with_number("multiply", x, math.sqrt(0.5)))
    half = out.with_number("multiply", x, 0.5)
    return out.binary("multiply", half, out.with_number("add", shape, 1.0))


def clip(out: Writer, x: Tensor, low: Any, high: Any) -> Tensor:
    """min(max(x, low), high); an infinite bound, or None, is none."""
    for op, bound in (("maximum", low), ("minimum", high)):
        if bound is not None and not math.isinf(bound):
            x = out.with_number(op, x, bound)
    return x


_ACTIVATIONS: dict[str, Callable[..., Tensor]] = {
    "Relu": relu,
    "Clip": clip,
    "LeakyRelu": _leaky_relu,
    "Sigmoid": sigmoid,
    "Tanh": lambda out, x: out.unary("tanh", x),
    "HardSigmoid": hard_sigmoid,
    "HardSwish": _hard_swish,
    "Elu": _elu,
    "Selu": _selu,
    "Celu": _celu,
    "ThresholdedRelu": _thresholded_relu,
    "Softplus": softplus,
    "Softsign": _softsign,
    "Mish": _mish,
    "Swish": _swish,
    "Gelu": _gelu,
}

ACTIVATIONS = tuple(name for name in _ACTIVATIONS if name != "Clip")
"""Those that are ops of their own too."""


def activate(out: Writer, x: Tensor, name: str, arguments: Sequence[Any]) -> Tensor:
    """See `intarsia.ir.activations.apply_activation`."""
    defaults = tuple(ARGUMENTS.get(name, {}).values())
    return _ACTIVATIONS[name](out, x, *arguments, *defaults[len(arguments) :])


def knows_activation(node: Node) -> bool:
    """Whether the activation that a node carries, if any, can be written."""
    return node.attributes.get("activation") in (None, *_ACTIVATIONS)


def activated(out: Writer, node: Node, x: Tensor) -> Tensor:
    """x after the activation that a node carries."""
    name = node.attributes.get("activation")
    return x if name is None else activate(out, x, str(name), node.attributes.get("activation_arguments", ()))
