"""Arithmetic with single numbers, read as what it computes: a factor and a summand, or a polynomial of one value."""

from __future__ import annotations

from collections.abc import Sequence

from intarsia.ir.graph import Graph, Node, Value
from intarsia.passes.matching import constant_operand, plain_producer, scalar

_DEPTH = 8
_DEGREE = 3


def affine(value: Value) -> tuple[Value, float, float, list[Node]]:
    """x, a, b and the nodes of `a * x + b`, written in any number of steps; of none, x is the value itself."""
    a, b, nodes = 1.0, 0.0, list[Node]()
    for _ in range(_DEPTH):
        node = plain_producer(value)
        if node is not None and node.op == "Neg":
            nodes.append(node)
            value, a = node.input(0), -a
            continue
        pair = constant_operand(node) if node is not None and node.op in ("Add", "Sub", "Mul", "Div") else None
        if node is None or pair is None or pair[1].size != 1 or pair[0].type != value.type:
            break
        number, first = float(pair[1].reshape(-1)[0]), pair[0] is node.input(0)
        if node.op == "Add":
            b += a * number
        elif node.op == "Sub":
            a, b = (a, b - a * number) if first else (-a, b + a * number)
        elif node.op == "Mul":
            a *= number
        elif first and number:
            a /= number
        else:
            break
        nodes.append(node)
        value = pair[0]
    return value, a, b, nodes


def polynomial(x: Value, value: Value, depth: int = _DEPTH) -> tuple[list[float], list[Node]] | None:
    """Coefficients [c0, c1, c2, c3] and the nodes of a polynomial of x; None for anything else."""
    if value is x:
        return [0.0, 1.0, 0.0, 0.0], []
    number = scalar(value)
    if number is not None:
        return [number, 0.0, 0.0, 0.0], []
    node = plain_producer(value)
    if node is None or not depth or node.op not in ("Add", "Div", "Mul", "Neg", "Pow", "Sub"):
        return None
    found = polynomial(x, node.input(0), depth - 1)
    if found is None:
        return None
    first, nodes = found
    if node.op == "Neg":
        return [-item for item in first], [node, *nodes]
    if node.op == "Pow":
        power = scalar(node.input(1))
        result: list[float] | None = first
        for _ in range(int(power) - 1 if power in (1.0, 2.0, 3.0) else 0):
            result = _times(result, first) if result is not None else None
        return None if result is None or power not in (1.0, 2.0, 3.0) else (result, [node, *nodes])
    other = polynomial(x, node.input(1), depth - 1)
    if other is None:
        return None
    second, nodes = other[0], [node, *nodes, *other[1]]
    if node.op == "Mul":
        product = _times(first, second)
        return None if product is None else (product, nodes)
    if node.op == "Div":
        return ([item / second[0] for item in first], nodes) if second[0] and not any(second[1:]) else None
    sign = 1.0 if node.op == "Add" else -1.0
    return [a + sign * b for a, b in zip(first, second)], nodes


def _times(first: Sequence[float], second: Sequence[float]) -> list[float] | None:
    result = [0.0] * (2 * _DEGREE + 1)
    for i, a in enumerate(first):
        for j, b in enumerate(second):
            result[i + j] += a * b
    return None if any(result[_DEGREE + 1 :]) else result[: _DEGREE + 1]


def seen_elsewhere(graph: Graph, nodes: Sequence[Node], top: Node) -> str | None:
    """Why nodes must stay that would make way for one op in the place of `top`; None where nobody else reads them."""
    inside = {top, *nodes}
    for node in nodes:
        if graph.is_output(node.output):
            return f"{node.where} must stay: its value '{node.output.name}' is an output of the model"
        # More readers than there are nodes inside need no list of them: one is outside.
        for user in node.output.users if node.output.user_count <= len(inside) else (None,):
            if user is None:
                return f"{node.where} must stay: its value '{node.output.name}' is also read by others"
            if user not in inside:
                return f"{node.where} must stay: its value '{node.output.name}' is also read by {user.where}"
    return None
