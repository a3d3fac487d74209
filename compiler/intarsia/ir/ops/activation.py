"""Activations as ops of their own: shape and type stay, the function is that of `ir.activations`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from intarsia.dtypes import FLOATING, Array
from intarsia.ir.activations import ARGUMENTS, apply_activation
from intarsia.ir.graph import Node
from intarsia.ir.op import Known, Op, attribute, refuse
from intarsia.ir.ops.rules import BAD_MODEL, NUMERIC, SIGNED, Types, broadcast, given, same_dtype, tensor
from intarsia.ir.types import TensorType


def _row(name: str, dtypes: Sequence[str] = FLOATING) -> Op:
    """A row whose attributes, in order, are the arguments of the activation."""
    attributes = ARGUMENTS.get(name, {})

    def infer(node: Node, types: Types, known: Known) -> list[TensorType]:
        return [tensor(node, types, 0, dtypes)]

    def evaluate(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
        arguments = [node.attributes.get(key, default) for key, default in attributes.items()]
        return [apply_activation(given(inputs, 0), name, arguments)]

    nonnegative = name in ("Relu", "Sigmoid", "HardSigmoid", "Softplus")
    return Op(name, infer, evaluate, attributes, nonnegative=nonnegative)


def _infer_gelu(node: Node, types: Types, known: Known) -> list[TensorType]:
    if attribute(node, GELU, "approximate") not in ("none", "tanh"):
        raise refuse(node, f"approximate {node.attributes['approximate']!r} is not none or tanh", BAD_MODEL)
    return [tensor(node, types, 0, FLOATING)]


def _evaluate_gelu(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    by_tanh = attribute(node, GELU, "approximate") == "tanh"
    return [apply_activation(given(inputs, 0), "Gelu", (float(by_tanh),))]


GELU = Op("Gelu", _infer_gelu, _evaluate_gelu, {"approximate": "none"})


def _infer_prelu(node: Node, types: Types, known: Known) -> list[TensorType]:
    x, slope = tensor(node, types, 0, NUMERIC), tensor(node, types, 1, NUMERIC)
    same_dtype(node, x, slope)
    shape = broadcast(node, x, slope)
    if shape is not None and x.shape is not None and len(shape) != len(x.shape):
        raise refuse(node, f"slope {slope} does not broadcast to {x}", "give one slope a channel, as [C,1,1]")
    return [x]


def _evaluate_prelu(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    x, slope = given(inputs, 0), given(inputs, 1)
    return [np.where(x < 0, x * slope, x).astype(x.dtype, copy=False)]


OPS = (
    _row("Relu", SIGNED),
    _row("LeakyRelu"),
    _row("Sigmoid"),
    _row("Tanh"),
    _row("HardSigmoid"),
    _row("HardSwish"),
    _row("Elu"),
    _row("Selu"),
    _row("Celu"),
    _row("ThresholdedRelu"),
    _row("Softplus"),
    _row("Softsign"),
    _row("Mish"),
    _row("Swish"),
    GELU,
    Op("PRelu", _infer_prelu, _evaluate_prelu),
)
