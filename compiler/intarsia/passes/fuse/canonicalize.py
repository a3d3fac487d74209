"""Canonical forms: what exporters write out in small ops, said as the one op that it is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from intarsia.ir.graph import Graph, Node, Value
from intarsia.passes.base import CHANGED, Answer, Rewrite, Rewriter, refuse, type_like
from intarsia.passes.clips import bounds_of
from intarsia.passes.matching import (
    OPSET,
    is_close,
    is_floating,
    known_axes,
    plain_producer,
    plus_constant,
    scalar,
    shape_constant,
    times_constant,
    why_shared,
)


@dataclass(frozen=True)
class CanonicalizeActivation(Rewrite):
    """Say `x * Sigmoid(x)` as Swish, `x * HardSigmoid(x)` as HardSwish, `x * (1 + Erf(x / sqrt 2)) / 2` as Gelu.

    Gelu's other form, with Tanh of a cubic, is known too, and `x * Tanh(Softplus(x))`, which is Mish.
    """

    name: ClassVar[str] = "canonicalize-activation"
    tolerance: ClassVar[float] = 1e-5
    ops: ClassVar[tuple[str, ...]] = ("Mul", "Div")

    def rewrite(self, node: Node, rewriter: Rewriter) -> Answer:
        if not is_floating(node.output) or "activation" in node.attributes:
            return None
        factor, leaves, inner = _product(node)
        if len(leaves) != 2:
            return None
        for x, gate in (leaves, leaves[::-1]):
            found = _gated(x, gate, factor)
            if found is None or x.type != node.output.type:
                continue
            op, opset, attributes, path = found
            for member in (*inner, *path):
                keeper = next((user for user in member.output.users if user in (node, *inner, *path)), node)
                shared = why_shared(rewriter.graph, member.output, keeper)
                if shared is not None:
                    return refuse(f"it is {op}, but {member.where} must stay: {shared}")
            node.op, node.opset, node.attributes = op, opset, dict(attributes)
            rewriter.set_inputs(node, [x])
            return CHANGED
        return None


Found = tuple[str, int, dict[str, object], list[Node]]
"""Op, opset, attributes, and the nodes on the way that go."""


def _product(node: Node) -> tuple[float, list[Value], list[Node]]:
    """Constant factor, other factors and inner nodes of a tree of multiplications."""
    factor, leaves, inner = 1.0, list[Value](), list[Node]()
    stack = [node]
    while stack:
        top = stack.pop()
        if top is not node:
            inner.append(top)
        for index, value in enumerate(top.inputs):
            assert value is not None
            number, producer = scalar(value), value.producer
            if number is not None:
                factor *= number if top.op == "Mul" else 1.0 / number if number else math.inf
            elif producer is not None and _is_product(producer) and value.user_count == 1:
                if top.op == "Div" and index == 1:
                    return 1.0, [], []
                stack.append(producer)
            elif top.op == "Div" and index == 1:
                return 1.0, [], []
            else:
                leaves.append(value)
    return factor, leaves, inner


def _is_product(node: Node) -> bool:
    if node.domain or node.op not in ("Mul", "Div") or "activation" in node.attributes:
        return False
    return node.op == "Mul" or scalar(node.input(1)) is not None


def _gated(x: Value, gate: Value, factor: float) -> Found | None:
    """The activation x * gate(x) * factor."""
    node = gate.producer
    if node is None or node.domain or "activation" in node.attributes:
        return None
    if node.op == "Sigmoid" and factor == 1.0:
        if node.input(0) is x:
            return "Swish", 24, {}, [node]
        scaled, inner = times_constant(node.input(0)), node.input(0).producer
        if scaled is not None and scaled[0] is x and inner is not None:
            return "Swish", 24, {"alpha": scaled[1]}, [node, inner]
        return None
    if node.op == "Tanh" and factor == 1.0:
        soft = plain_producer(node.input(0))
        return ("Mish", 18, {}, [node, soft]) if soft and soft.op == "Softplus" and soft.input(0) is x else None
    if node.op == "HardSigmoid" and factor == 1.0 and node.input(0) is x:
        alpha, beta = node.attributes.get("alpha", 0.2), node.attributes.get("beta", 0.5)
        return ("HardSwish", 14, {}, [node]) if is_close(alpha, 1 / 6) and is_close(beta, 0.5) else None
    bounded = bounds_of(node)
    if bounded is not None and bounded[1] == (0.0, 6.0) and is_close(factor, 1 / 6):
        plus = plus_constant(bounded[0])
        if plus is not None and plus[0] is x and plus[1] == 3.0 and bounded[0].producer is not None:
            return "HardSwish", 14, {}, [node, bounded[0].producer]
    if node.op == "Add" and is_close(factor, 0.5):
        return _gelu(x, gate, node)
    return None


def _gelu(x: Value, gate: Value, node: Node) -> Found | None:
    """1 + erf(x / sqrt 2), or 1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x**3))."""
    plus = plus_constant(gate)
    curve = None if plus is None else plus[0].producer
    if plus is None or plus[1] != 1.0 or curve is None or curve.domain or curve.op not in ("Erf", "Tanh"):
        return None
    scaled, inner = times_constant(curve.input(0)), curve.input(0).producer
    if scaled is None or inner is None:
        return None
    if curve.op == "Erf":
        return (
            ("Gelu", 20, {}, [node, curve, inner]) if scaled[0] is x and is_close(scaled[1], math.sqrt(0.5)) else None
        )
    path = _cubic(x, scaled[0]) if is_close(scaled[1], math.sqrt(2 / math.pi)) else None
    return None if path is None else ("Gelu", 20, {"approximate": "tanh"}, [node, curve, inner, *path])


def _cubic(x: Value, value: Value) -> list[Node] | None:
    """The nodes of x + 0.044715 * x**3."""
    total = value.producer
    if total is None or total.domain or total.op != "Add" or "activation" in total.attributes:
        return None
    for first, second in (total.inputs, total.inputs[::-1]):
        if first is not x or second is None or (term := second.producer) is None:
            continue
        scaled = times_constant(second)
        if scaled is None or not is_close(scaled[1], 0.044715):
            continue
        cube = _cube(x, scaled[0])
        if cube is not None:
            return [total, term, *cube]
    return None


def _cube(x: Value, value: Value) -> list[Node] | None:
    """The nodes of x ** 3, or of x * (x * x)."""
    node = plain_producer(value)
    if node is None:
        return None
    if node.op == "Pow":
        return [node] if node.input(0) is x and scalar(node.input(1)) == 3.0 else None
    if node.op != "Mul" or x not in node.inputs:
        return None
    other = node.input(1) if node.input(0) is x else node.input(0)
    square = plain_producer(other)
    if square is None or square.input(0) is not x:
        return None
    twice = square.op == "Mul" and square.input(1) is x
    return [node, square] if twice or (square.op == "Pow" and scalar(square.input(1)) == 2.0) else None


@dataclass(frozen=True)
class CanonicalizeGlobalPool(Rewrite):
    """Say ReduceMean and ReduceMax over all spatial axes as GlobalAveragePool and GlobalMaxPool."""

    name: ClassVar[str] = "canonicalize-global-pool"
    tolerance: ClassVar[float] = 1e-6
    ops: ClassVar[tuple[str, ...]] = ("ReduceMean", "ReduceMax")

    def rewrite(self, node: Node, rewriter: Rewriter) -> Answer:
        x = node.input(0)
        if x.type.shape is None or x.type.rank < 3 or not x.type.is_static or not is_floating(x):
            return None
        axes = known_axes(node)
        if axes is None:
            return refuse("its axes are not constant")
        spatial = tuple(range(2, x.type.rank))
        if tuple(sorted(axes)) != spatial:
            return refuse(f"it reduces the axes {list(axes)}, and a global pool reduces {list(spatial)}")
        pool = "GlobalAveragePool" if node.op == "ReduceMean" else "GlobalMaxPool"
        graph = rewriter.graph
        if node.attributes.get("keepdims", 1):
            node.op, node.opset, node.attributes = pool, 1, {}
            rewriter.set_inputs(node, [x])
            return CHANGED
        pooled = _pooled(graph, pool, node, x)
        node.op, node.opset, node.attributes = "Reshape", OPSET, {}
        rewriter.set_inputs(node, [pooled, shape_constant(graph, f"{node.output.name}_shape", node.output.shape)])
        return CHANGED


def _pooled(graph: Graph, pool: str, node: Node, x: Value) -> Value:
    shape = (*x.shape[:2], *(1,) * (x.type.rank - 2))
    wish = f"{node.name}_pool"
    return graph.add_node(pool, [x], [type_like(x, shape)], name=wish, output_names=[wish], opset=1).output
