"""Activation functions: as ops of their own and fused into the op before them, with one meaning for both.

A fused activation is two attributes of the producing node: `activation`, the ONNX op name, and `activation_arguments`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from intarsia.dtypes import Array

_erf = np.frompyfunc(math.erf, 1, 1)


def erf(x: Array) -> Array:
    """The error function, to the last bit of x's own type; NumPy has none."""
    return np.asarray(_erf(x.astype(np.float64))).astype(x.dtype)


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), without overflow for large |x|."""
    small = np.exp(-np.abs(x))
    one = x.dtype.type(1)
    return np.asarray(np.where(x >= 0, one, small) / (one + small))


def _relu(x: Array) -> Array:
    return np.asarray(np.maximum(x, x.dtype.type(0)))


def clip(x: Array, low: Any, high: Any) -> Array:
    """min(max(x, low), high), so that high wins where the bounds cross; NaN stays NaN."""
    if x.dtype.kind in "iu":
        limits = np.iinfo(x.dtype)
        low = min(max(low, limits.min), limits.max)
        high = min(max(high, limits.min), limits.max)
    return np.asarray(np.minimum(np.maximum(x, x.dtype.type(low)), x.dtype.type(high)))


def _leaky_relu(x: Array, alpha: float) -> Array:
    return np.asarray(np.where(x < 0, x * x.dtype.type(alpha), x))


def _hard_sigmoid(x: Array, alpha: float, beta: float) -> Array:
    return clip(x * x.dtype.type(alpha) + x.dtype.type(beta), 0.0, 1.0)


def _hard_swish(x: Array) -> Array:
    return np.asarray(x * _hard_sigmoid(x, 1.0 / 6.0, 0.5))


def _exponential_below(x: Array) -> Array:
    """exp(x) - 1 for x < 0, and 0 above, where exp might overflow."""
    return np.asarray(np.expm1(np.minimum(x, x.dtype.type(0))))


def _elu(x: Array, alpha: float) -> Array:
    return np.asarray(np.where(x < 0, x.dtype.type(alpha) * _exponential_below(x), x))


def _selu(x: Array, alpha: float, gamma: float) -> Array:
    return np.asarray(x.dtype.type(gamma) * _elu(x, alpha))


def _celu(x: Array, alpha: float) -> Array:
    factor = x.dtype.type(alpha)
    return np.asarray(np.maximum(x, x.dtype.type(0)) + factor * _exponential_below(x / factor))


def _thresholded_relu(x: Array, alpha: float) -> Array:
    return np.asarray(np.where(x > x.dtype.type(alpha), x, x.dtype.type(0)))


def _softplus(x: Array) -> Array:
    return np.asarray(np.logaddexp(x, x.dtype.type(0)).astype(x.dtype))


def _softsign(x: Array) -> Array:
    return np.asarray(x / (x.dtype.type(1) + np.abs(x)))


def _mish(x: Array) -> Array:
    return np.asarray(x * np.tanh(_softplus(x)))


def _swish(x: Array, alpha: float) -> Array:
    return np.asarray(x * sigmoid(x * x.dtype.type(alpha)))


def _gelu(x: Array, approximate: float) -> Array:
    """approximate  0 for the exact form with erf, 1 for the one with tanh"""
    kind = x.dtype.type
    if approximate:
        inner = kind(math.sqrt(2.0 / math.pi)) * (x + kind(0.044715) * x * x * x)
        return np.asarray(kind(0.5) * x * (kind(1) + np.tanh(inner)))
    return np.asarray(kind(0.5) * x * (kind(1) + erf(x * kind(math.sqrt(0.5)))))


_FUNCTIONS: dict[str, Callable[..., Array]] = {
    "Relu": _relu,
    "Clip": clip,
    "LeakyRelu": _leaky_relu,
    "Sigmoid": sigmoid,
    "Tanh": np.tanh,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _hard_swish,
    "Elu": _elu,
    "Selu": _selu,
    "Celu": _celu,
    "ThresholdedRelu": _thresholded_relu,
    "Softplus": _softplus,
    "Softsign": _softsign,
    "Mish": _mish,
    "Swish": _swish,
    "Gelu": _gelu,
}

ACTIVATIONS = frozenset(_FUNCTIONS)
"""Names that `apply_activation` knows."""

ARGUMENTS: dict[str, dict[str, float]] = {
    "LeakyRelu": {"alpha": 0.01},
    "HardSigmoid": {"alpha": 0.2, "beta": 0.5},
    "Elu": {"alpha": 1.0},
    "Selu": {"alpha": 1.67326319217681884765625, "gamma": 1.05070102214813232421875},
    "Celu": {"alpha": 1.0},
    "ThresholdedRelu": {"alpha": 1.0},
    "Swish": {"alpha": 1.0},
    "Gelu": {"approximate": 0.0},
}
"""Arguments in their order, with ONNX's defaults, of the activations that have any; Clip has two without defaults."""


def apply_activation(x: Array, name: str, arguments: Sequence[float] = ()) -> Array:
    """An activation on every element.

    x          any shape; floating, or an integer type for Relu and Clip
    name       one of ACTIVATIONS
    arguments  those of ARGUMENTS, where Gelu's is 1.0 for the form with tanh; Clip's (min, max). Those left out have
               ONNX's defaults
    returns    the shape and type of x
    """
    assert name in ACTIVATIONS, f"no activation is called {name!r}"
    defaults = tuple(ARGUMENTS.get(name, {}).values())
    most = 2 if name == "Clip" else len(defaults)
    assert len(arguments) <= most, f"{name} takes {most} arguments, not {len(arguments)}"
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        return np.asarray(_FUNCTIONS[name](x, *arguments, *defaults[len(arguments) :])).astype(x.dtype, copy=False)
