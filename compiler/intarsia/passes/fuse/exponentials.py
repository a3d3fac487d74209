"""Sigmoid, Softplus and Softmax written out with Exp, said as the one op that they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from intarsia.ir.graph import Node, Value
from intarsia.passes.base import CHANGED, Answer, Rewrite, Rewriter
from intarsia.passes.matching import is_floating, known_axes, plain_producer, plus_constant, scalar, times_constant


@dataclass(frozen=True)
class CanonicalizeExponential(Rewrite):
    """Say `1 / (1 + Exp(-x))` as Sigmoid, `Log(1 + Exp(x))` as Softplus, `Exp(x - max) / ReduceSum(...)` as Softmax."""

    name: ClassVar[str] = "canonicalize-exponential"
    tolerance: ClassVar[float] = 1e-5
    ops: ClassVar[tuple[str, ...]] = ("Div", "Reciprocal", "Log")

    def rewrite(self, node: Node, rewriter: Rewriter) -> Answer:
        if not is_floating(node.output) or "activation" in node.attributes or not node.output.type.is_static:
            return None
        found = _softplus(node) if node.op == "Log" else _sigmoid(node) or _softmax(node)
        if found is None or found[1].type != node.output.type:
            return None
        node.op, node.opset, node.attributes = found[0], 13, dict(found[2])
        rewriter.set_inputs(node, [found[1]])
        return CHANGED


Found = tuple[str, Value, dict[str, object]]
"""Op, input, attributes."""


def _one_plus_exp(value: Value) -> Value | None:
    """x of 1 + Exp(x)."""
    plus = plus_constant(value)
    node = None if plus is None or plus[1] != 1.0 else plain_producer(plus[0])
    return node.input(0) if node is not None and node.op == "Exp" else None


def _softplus(node: Node) -> Found | None:
    x = _one_plus_exp(node.input(0))
    return None if x is None else ("Softplus", x, {})


def _sigmoid(node: Node) -> Found | None:
    if node.op == "Div" and scalar(node.input(0)) != 1.0:
        return None
    negative = _one_plus_exp(node.input(1 if node.op == "Div" else 0))
    inner, scaled = None if negative is None else plain_producer(negative), None
    if inner is not None and inner.op == "Neg":
        return "Sigmoid", inner.input(0), {}
    scaled = None if negative is None else times_constant(negative)
    return ("Sigmoid", scaled[0], {}) if scaled is not None and scaled[1] == -1.0 else None


def _softmax(node: Node) -> Found | None:
    """Along one axis, with its maximum taken off, as every exporter does."""
    if node.op != "Div":
        return None
    top, total = plain_producer(node.input(0)), plain_producer(node.input(1))
    if top is None or top.op != "Exp" or total is None or total.op != "ReduceSum" or total.input(0) is not top.output:
        return None
    shifted = plain_producer(top.input(0))
    most = plain_producer(shifted.input(1)) if shifted is not None and shifted.op == "Sub" else None
    if shifted is None or most is None or most.op != "ReduceMax" or most.input(0) is not shifted.input(0):
        return None
    axes = known_axes(total), known_axes(most)
    kept = all(part.attributes.get("keepdims", 1) for part in (total, most))
    if axes[0] is None or len(axes[0]) != 1 or axes[0] != axes[1] or not kept:
        return None
    return "Softmax", shifted.input(0), {"axis": axes[0][0]}
