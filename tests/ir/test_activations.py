"""Activations: the formulas, ONNX's defaults, element types, and the fused form against the op that follows."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from integer_graphs import node_of

from intarsia.ir.activations import ACTIVATIONS, apply_activation
from intarsia.ir.evaluate import evaluate_node


def logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


FORMULAS: dict[str, tuple[tuple[float, ...], Callable[[float], float]]] = {
    "Relu": ((), lambda x: max(x, 0)),
    "Clip": ((-1.5, 6.0), lambda x: min(max(x, -1.5), 6.0)),
    "LeakyRelu": ((0.25,), lambda x: x if x >= 0 else 0.25 * x),
    "Sigmoid": ((), logistic),
    "Tanh": ((), math.tanh),
    "HardSigmoid": ((0.3, 0.4), lambda x: min(max(0.3 * x + 0.4, 0), 1)),
    "HardSwish": ((), lambda x: x * min(max(x / 6 + 0.5, 0), 1)),
    "Elu": ((1.5,), lambda x: x if x >= 0 else 1.5 * math.expm1(x)),
    "Selu": ((2.0, 3.0), lambda x: 3 * (x if x >= 0 else 2 * math.expm1(x))),
    "Celu": ((0.5,), lambda x: x if x >= 0 else 0.5 * math.expm1(x / 0.5)),
    "ThresholdedRelu": ((2.0,), lambda x: x if x > 2 else 0),
    "Softplus": ((), lambda x: max(x, 0) + math.log1p(math.exp(-abs(x)))),
    "Softsign": ((), lambda x: x / (1 + abs(x))),
    "Mish": ((), lambda x: x * math.tanh(max(x, 0) + math.log1p(math.exp(-abs(x))))),
    "Swish": ((2.0,), lambda x: x * logistic(2 * x)),
    "Gelu": ((), lambda x: 0.5 * x * (1 + math.erf(x / math.sqrt(2)))),
}


def test_every_activation_has_a_formula_here() -> None:
    assert set(FORMULAS) == ACTIVATIONS


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
@given(x=st.floats(-90, 90, width=32))
def test_formula(name: str, x: float) -> None:
    arguments, formula = FORMULAS[name]
    found = apply_activation(np.array([x], np.float32), name, arguments)
    assert found[0] == pytest.approx(formula(float(np.float32(x))), rel=2e-5, abs=2e-6)


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_type_and_shape_stay_and_nothing_overflows(name: str, dtype: str) -> None:
    x = np.array([[-60000, -700, -1, 0, 1, 700, 60000]], dtype)
    found = apply_activation(x, name, FORMULAS[name][0])
    assert (found.dtype, found.shape) == (x.dtype, x.shape)
    assert not np.isnan(found).any()


def test_bounds_may_be_open() -> None:
    x = np.array([-np.inf, -3, 3, np.inf], np.float32)
    assert apply_activation(x, "Clip", (-math.inf, 2.0)).tolist() == [-np.inf, -3, 2, 2]


def test_relu_and_clip_take_whole_numbers() -> None:
    x = np.array([-128, -1, 0, 127], np.int8)
    assert apply_activation(x, "Relu").tolist() == [0, 0, 0, 127]
    found = apply_activation(x, "Clip", (-1000.0, 6.0))
    assert found.tolist() == [-128, -1, 0, 6] and found.dtype == np.int8


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_fused_is_the_op_after(name: str) -> None:
    generator = np.random.default_rng(3)
    a, b = (generator.normal(size=(2, 5)).astype(np.float32) for _ in range(2))
    arguments = FORMULAS[name][0]
    plain = node_of("Add", [a, b], {})
    fused = node_of("Add", [a, b], {"activation": name, "activation_arguments": arguments})
    (total,) = evaluate_node(plain, [a, b])
    (found,) = evaluate_node(fused, [a, b])
    assert found.dtype == np.float32
    assert np.array_equal(found, apply_activation(total, name, arguments))
    assert not np.array_equal(found, total)


def test_unknown_names_are_our_fault() -> None:
    with pytest.raises(AssertionError, match="no activation is called 'Snake'"):
        apply_activation(np.zeros(1), "Snake")
    with pytest.raises(AssertionError, match="Relu takes 0 arguments"):
        apply_activation(np.zeros(1), "Relu", (1.0,))
