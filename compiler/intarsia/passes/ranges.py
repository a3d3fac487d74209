"""What is known of the elements of a value without running anything."""

from __future__ import annotations

import math

from intarsia.ir.facts import carries_activation
from intarsia.ir.graph import Node, Value
from intarsia.ir.ops import OPS, op_of
from intarsia.passes.matching import scalar

_DEPTH = 16


def lower_bound(value: Value, depth: int = _DEPTH) -> float:
    """A number that no element is less than; -inf where nothing is known."""
    if value.data is not None:
        known = value.data.size and value.data.dtype.kind in "fiu"
        return float(value.data.min()) if known else -math.inf
    node = value.producer
    if node is None or node.domain or depth == 0:
        return -math.inf
    own = _own_bound(node, depth)
    activation = node.attributes.get("activation")
    if activation is None or not carries_activation(node):
        return own
    arguments = node.attributes.get("activation_arguments", ())
    if OPS[activation].nonnegative:
        return max(own, 0.0)
    return float(arguments[0]) if activation == "Clip" else -math.inf


def _own_bound(node: Node, depth: int) -> float:
    op = op_of(node)
    if op is not None and op.nonnegative:
        return 0.0
    if node.op == "Clip":
        low = scalar(node.optional_input(1))
        return -math.inf if low is None else low
    if op is not None and op.keeps_range:
        data = node.inputs if node.op == "Concat" else node.inputs[:1]
        least = min(lower_bound(value, depth - 1) for value in data if value is not None)
        return min(least, 0.0) if node.attributes.get("count_include_pad", 0) else least
    if node.op == "Add" and all(value is not None for value in node.inputs):
        return lower_bound(node.input(0), depth - 1) + lower_bound(node.input(1), depth - 1)
    return -math.inf
