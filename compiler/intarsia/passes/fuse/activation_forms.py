"""Activations that exporters write out in small ops, said as the one op that they are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from intarsia.dtypes import numpy_dtype
from intarsia.ir.graph import Node, Value
from intarsia.passes.base import CHANGED, Answer, Rewrite, Rewriter, refuse
from intarsia.passes.clips import bounds_of
from intarsia.passes.fuse.polynomials import affine, polynomial, seen_elsewhere
from intarsia.passes.matching import constant, constant_operand, is_close, is_floating, plain_producer, scalar

Found = tuple[str, int, dict[str, object], list[Node]]
"""Op, opset, attributes, and the nodes on the way that go."""

_ROOT = math.sqrt(0.5)
_CURVE = math.sqrt(2 / math.pi)
_CUBIC = 0.044715
_SIXTHS = ((1 / 6, 0.5), (0.2, 0.5))
"""Slope and height of the HardSigmoid of PyTorch, and of Keras and ONNX. A clip of other numbers is only that."""


@dataclass(frozen=True)
class CanonicalizeActivation(Rewrite):
    """Say `x * Sigmoid(x)` as Swish, `x * HardSigmoid(x)` as HardSwish, `x * (1 + Erf(x / sqrt 2)) / 2` as Gelu.

    Gelu's other forms, with Tanh or Sigmoid of a cubic, are known too; `x * Tanh(Softplus(x))`, which is Mish; a clip
    of a line, which is HardSigmoid; `Tanh(x / 2) / 2 + 1 / 2`, which is Sigmoid; `Max(x, a * x)`, which is LeakyRelu.
    """

    name: ClassVar[str] = "canonicalize-activation"
    tolerance: ClassVar[float] = 1e-5
    ops: ClassVar[tuple[str, ...]] = ("Add", "Clip", "Div", "Max", "Mul", "Sub")

    def rewrite(self, node: Node, rewriter: Rewriter) -> Answer:
        if not is_floating(node.output) or "activation" in node.attributes:
            return None
        for x, found in _candidates(node):
            if found is None or x.type != node.output.type:
                continue
            op, opset, attributes, path = found
            held = seen_elsewhere(rewriter.graph, path, node)
            if held is not None:
                return refuse(f"it is {op}, but {held}")
            node.op, node.opset, node.attributes = op, opset, dict(attributes)
            rewriter.set_inputs(node, [x])
            return CHANGED
        return _make_prelu(node, rewriter) if node.op in ("Add", "Sub") else None


def _candidates(node: Node) -> list[tuple[Value, Found | None]]:
    """What a node may be, by the value that it would be of."""
    alone = _alone(node)
    found: list[tuple[Value, Found | None]] = [] if alone is None else [alone]
    if node.op in ("Mul", "Div"):
        factor, leaves, inner = _product(node)
        if len(leaves) == 2:
            for x, gate in (leaves, leaves[::-1]):
                gated = _gated(x, gate, factor)
                found.append((x, None if gated is None else (*gated[:3], [*inner, *gated[3]])))
                whole, slope, shift, scaled = affine(x)
                gated = _gated(whole, gate, factor * slope) if scaled and shift == 0.0 else None
                if gated is not None:
                    nodes = dict.fromkeys([*inner, *scaled, *gated[3]])
                    found.append((whole, (*gated[:3], list(nodes))))
    elif node.op in ("Add", "Sub"):
        for term, product in (node.inputs, node.inputs[::-1]):
            if term is not None and product is not None and (node.op == "Add" or term is node.input(0)):
                found += _distributed(term, product, 1.0 if node.op == "Add" else -1.0)
    return found


def _alone(node: Node) -> tuple[Value, Found] | None:
    """HardSigmoid, Sigmoid or LeakyRelu of one value."""
    if node.op == "Max":
        return _leaky(node)
    leaf, a, b, outer = affine(node.output)
    curve = plain_producer(leaf)
    if curve is None:
        return None
    outer = [item for item in outer if item is not node]
    path = outer if curve is node else [*outer, curve]
    if curve.op == "Tanh" and (a, b) == (0.5, 0.5):
        x, slope, height, inner = affine(curve.input(0))
        return (x, ("Sigmoid", 13, {}, [*path, *inner])) if (slope, height) == (0.5, 0.0) else None
    bounded = bounds_of(curve)
    if bounded is None or bounded[1][0] != 0.0 or b != 0.0 or not is_close(a * bounded[1][1], 1.0):
        return None
    x, slope, height, inner = affine(bounded[0])
    for alpha, beta in _SIXTHS:
        if inner and is_close(a * slope, alpha) and is_close(a * height, beta):
            return x, ("HardSigmoid", 6, {"alpha": float(np.float32(alpha)), "beta": beta}, [*path, *inner])
    return None


def _leaky(node: Node) -> tuple[Value, Found] | None:
    """max(x, a * x) for 0 < a < 1."""
    if len(node.inputs) != 2:
        return None
    for x, scaled in (node.inputs, node.inputs[::-1]):
        if x is None or scaled is None:
            continue
        found = polynomial(x, scaled)
        if found is not None and found[1] and 0.0 < found[0][1] < 1.0 and not (found[0][0] or any(found[0][2:])):
            return x, ("LeakyRelu", 16, {"alpha": found[0][1]}, found[1])
    return None


def _make_prelu(node: Node, rewriter: Rewriter) -> Answer:
    """Relu(x) + a * min(x, 0), where the second is -Relu(-x), (x - Abs(x)) / 2 or a Clip."""
    for positive, rest in (node.inputs, node.inputs[::-1]) if node.op == "Add" else (node.inputs,):
        top = None if positive is None else plain_producer(positive)
        if top is None or rest is None or top.op != "Relu" or top.input(0).type != node.output.type:
            continue
        x, slope = top.input(0), np.asarray(1.0 if node.op == "Add" else -1.0)
        path, value = [top], rest
        while (inner := plain_producer(value)) is not None and value.type == node.output.type:
            pair = constant_operand(inner) if inner.op in ("Mul", "Div") else None
            if inner.op == "Neg":
                slope, value = -slope, inner.input(0)
            elif pair is not None and (inner.op == "Mul" or (pair[0] is inner.input(0) and pair[1].all())):
                slope = slope * pair[1] if inner.op == "Mul" else slope / pair[1]
                value = pair[0]
            else:
                break
            path.append(inner)
        part = _negative_part(x, value)
        if part is None or slope.ndim > x.type.rank:
            continue
        held = seen_elsewhere(rewriter.graph, [*path, *part[1]], node)
        if held is not None:
            return refuse(f"it is PRelu, but {held}")
        data = (slope * part[0]).astype(numpy_dtype(x.dtype))
        node.op, node.opset, node.attributes = "PRelu", 16, {}
        rewriter.set_inputs(node, [x, constant(rewriter.graph, f"{node.output.name}_slope", data)])
        return CHANGED
    return None


def _negative_part(x: Value, value: Value) -> tuple[float, list[Node]] | None:
    """k and the nodes of a value that is k * min(x, 0)."""
    node = plain_producer(value)
    if node is None:
        return None
    if node.op == "Relu":
        inner, slope, height, nodes = affine(node.input(0))
        return (slope, [node, *nodes]) if inner is x and slope == -1.0 and height == 0.0 else None
    if node.op == "Sub" and node.input(0) is x:
        size = plain_producer(node.input(1))
        return (2.0, [node, size]) if size is not None and size.op == "Abs" and size.input(0) is x else None
    bounded = bounds_of(node)
    return (1.0, [node]) if bounded is not None and bounded[0] is x and bounded[1] == (-math.inf, 0.0) else None


# ---- products


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
    """The activation x * gate(x) * factor, where the gate is a line of a curve of x."""
    leaf, a, b, outer = affine(gate)
    curve = plain_producer(leaf)
    if curve is None:
        return None
    found = _of_curve(x, curve, a * factor, b * factor)
    return None if found is None else (*found[:3], [*outer, curve, *found[3]])


def _of_curve(x: Value, curve: Node, a: float, b: float) -> Found | None:
    """The activation x * (a * curve(x) + b); nodes are those before the curve."""
    if curve.op == "Tanh" and is_close(a, 1.0) and b == 0.0:
        soft = plain_producer(curve.input(0))
        return ("Mish", 18, {}, [soft]) if soft is not None and soft.op == "Softplus" and soft.input(0) is x else None
    if curve.op == "HardSigmoid":
        alpha, beta = curve.attributes.get("alpha", 0.2), curve.attributes.get("beta", 0.5)
        whole = curve.input(0) is x and is_close(a, 1.0) and b == 0.0
        return ("HardSwish", 14, {}, []) if whole and is_close(alpha, 1 / 6) and is_close(beta, 0.5) else None
    if curve.op not in ("Erf", "Sigmoid", "Tanh"):
        return _of_clip(x, curve, a, b)
    inner = polynomial(x, curve.input(0))
    if inner is None:
        return None
    (c0, c1, c2, c3), nodes = inner
    if c0 or c2:
        return None
    if curve.op == "Sigmoid":
        # The other two are half of what a Sigmoid is, and half as steep.
        if not is_close(a, 1.0) or b != 0.0:
            return None
        slope, cubic = c1 / 2.0, c3 / 2.0
    else:
        if not is_close(b, 0.5) or not is_close(abs(a), 0.5):
            return None
        slope, cubic = math.copysign(c1, a * c1), math.copysign(c3, a * c3)
    if curve.op == "Erf":
        return ("Gelu", 20, {}, nodes) if is_close(slope, _ROOT) and not cubic else None
    if cubic:
        both = is_close(slope, _CURVE) and is_close(cubic, _CURVE * _CUBIC)
        return ("Gelu", 20, {"approximate": "tanh"}, nodes) if both else None
    return "Swish", 24, {} if slope == 0.5 else {"alpha": 2.0 * slope}, nodes


def _of_clip(x: Value, curve: Node, a: float, b: float) -> Found | None:
    """x * clip(x + 3, 0, 6) / 6, with the sixth in whatever place."""
    bounded = bounds_of(curve)
    if bounded is None or bounded[1][0] != 0.0 or b != 0.0 or not is_close(a * bounded[1][1], 1.0):
        return None
    inner = polynomial(x, bounded[0])
    if inner is None or any(inner[0][2:]):
        return None
    line = is_close(a * inner[0][1], 1 / 6) and is_close(a * inner[0][0], 0.5)
    return ("HardSwish", 14, {}, inner[1]) if line else None


def _distributed(term: Value, product: Value, sign: float) -> list[tuple[Value, Found | None]]:
    """x / 2 + x / 2 * curve(x)."""
    node = plain_producer(product)
    if node is None or node.op not in ("Mul", "Div"):
        return []
    factor, leaves, inner = _product(node)
    found: list[tuple[Value, Found | None]] = []
    for value, curve in (leaves, leaves[::-1]) if len(leaves) == 2 else ():
        maker = plain_producer(curve)
        x, slope, shift, scaled = affine(value)
        if maker is None or shift or maker.op not in ("Erf", "Tanh"):
            continue
        line = polynomial(x, term)
        if line is None or line[0][0] or any(line[0][2:]):
            continue
        gelu = _of_curve(x, maker, sign * factor * slope, line[0][1])
        nodes = list(dict.fromkeys([*line[1], node, *inner, *scaled, maker]))
        found.append((x, None if gelu is None else (*gelu[:3], [*nodes, *gelu[3]])))
    return found
