"""Sigmoid, Swish, Softplus, Softmax and LogSoftmax written out with Exp, said as the one op that they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from intarsia.ir.graph import Node, Value
from intarsia.passes.base import CHANGED, Answer, Rewrite, Rewriter
from intarsia.passes.fuse.polynomials import affine
from intarsia.passes.fuse.reductions import reduction
from intarsia.passes.matching import is_floating, plain_producer, plus_constant, scalar


@dataclass(frozen=True)
class CanonicalizeExponential(Rewrite):
    """Say `1 / (1 + Exp(-x))` as Sigmoid, `Log(1 + Exp(x))` as Softplus, `Exp(x - max) / ReduceSum(...)` as Softmax.

    The maximum need not be taken off. `x / (1 + Exp(-x))` is Swish, and `x - Log(ReduceSum(Exp(x)))` LogSoftmax.
    """

    name: ClassVar[str] = "canonicalize-exponential"
    tolerance: ClassVar[float] = 1e-5
    ops: ClassVar[tuple[str, ...]] = ("Div", "Log", "Mul", "Reciprocal", "Sub")

    def rewrite(self, node: Node, rewriter: Rewriter) -> Answer:
        if not is_floating(node.output) or "activation" in node.attributes or not node.output.type.is_static:
            return None
        found = next((found for rule in _RULES[node.op] if (found := rule(node)) is not None), None)
        if found is None or found[1].type != node.output.type:
            return None
        node.op, node.opset, node.attributes = found[0], found[3], dict(found[2])
        rewriter.set_inputs(node, [found[1]])
        return CHANGED


Found = tuple[str, Value, dict[str, object], int]
"""Op, input, attributes, opset."""


def _exponent(value: Value) -> Value | None:
    """x of Exp(x)."""
    node = plain_producer(value)
    return node.input(0) if node is not None and node.op == "Exp" else None


def _one_plus_exp(value: Value) -> Value | None:
    """x of 1 + Exp(x)."""
    plus = plus_constant(value)
    return None if plus is None or plus[1] != 1.0 else _exponent(plus[0])


def _softplus(node: Node) -> Found | None:
    x = _one_plus_exp(node.input(0))
    return None if x is None else ("Softplus", x, {}, 1)


def _sigmoid(node: Node) -> Found | None:
    """1 / (1 + Exp(-x)), or x over the same, or Exp(x) / (1 + Exp(x))."""
    top = node.input(0) if node.op == "Div" else None
    below = _one_plus_exp(node.input(1 if node.op == "Div" else 0))
    if below is None:
        return None
    if top is not None and _exponent(top) is below:
        return "Sigmoid", below, {}, 13
    x, slope, height, _ = affine(below)
    if height != 0.0 or slope >= 0.0:
        return None
    if top is None or scalar(top) == 1.0:
        return ("Sigmoid", x, {}, 13) if slope == -1.0 else None
    return ("Swish", x, {} if slope == -1.0 else {"alpha": -slope}, 24) if top is x else None


def _softmax(node: Node) -> Found | None:
    """Exp(x) over its sum along one axis."""
    if node.op == "Div":
        return _weights(node.input(0), node.input(1))
    for top, below in (node.inputs, node.inputs[::-1]):
        inverse = None if below is None else plain_producer(below)
        if top is None or inverse is None:
            continue
        total = inverse.input(0) if inverse.op == "Reciprocal" else None
        if inverse.op == "Div" and scalar(inverse.input(0)) == 1.0:
            total = inverse.input(1)
        found = None if total is None else _weights(top, total)
        if found is not None:
            return found
    return None


def _weights(top: Value, total: Value) -> Found | None:
    x, summed = _exponent(top), reduction(total, "ReduceSum")
    if x is None or summed is None or summed[0] is not top or len(summed[1]) != 1:
        return None
    return "Softmax", _unshifted(x, summed[1][0]), {"axis": summed[1][0] - x.type.rank}, 13


def _unshifted(value: Value, axis: int) -> Value:
    """x of x - max(x) along the axis; a Softmax does not change by it."""
    node = plain_producer(value)
    most = reduction(node.input(1), "ReduceMax") if node is not None and node.op == "Sub" else None
    return value if node is None or most is None or most != (node.input(0), (axis,)) else node.input(0)


def _log_softmax(node: Node) -> Found | None:
    """x - Log(ReduceSum(Exp(x))), or less its ReduceLogSumExp."""
    x, rest = node.input(0), node.input(1)
    whole = reduction(rest, "ReduceLogSumExp")
    if whole is not None:
        alone = whole[0] is x and len(whole[1]) == 1
        return ("LogSoftmax", x, {"axis": whole[1][0] - x.type.rank}, 13) if alone else None
    logarithm = plain_producer(rest)
    summed = None
    if logarithm is not None and logarithm.op == "Log":
        summed = reduction(logarithm.input(0), "ReduceSum")
    if summed is None or len(summed[1]) != 1 or _exponent(summed[0]) is not x:
        return None
    return "LogSoftmax", _unshifted(x, summed[1][0]), {"axis": summed[1][0] - x.type.rank}, 13


_RULES = {
    "Div": (_sigmoid, _softmax),
    "Log": (_softplus,),
    "Mul": (_softmax,),
    "Reciprocal": (_sigmoid,),
    "Sub": (_log_softmax,),
}
