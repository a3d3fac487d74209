"""Relu, Clip, Min and Max with a constant, seen as one thing: two bounds."""

from __future__ import annotations

import math

import numpy as np

from intarsia.dtypes import Array, numpy_dtype
from intarsia.ir.graph import Graph, Node, Value
from intarsia.passes.matching import constant, constant_operand, scalar

Bounds = tuple[float, float]


def bounds_of(node: Node) -> tuple[Value, Bounds] | None:
    """The value that a node bounds, and the bounds; None for a node that is no clip by constants, or by NaN."""
    found = None if node.domain else _bounds_of(node)
    return None if found is None or any(map(math.isnan, found[1])) else found


def _bounds_of(node: Node) -> tuple[Value, Bounds] | None:
    if node.op == "Relu":
        return node.input(0), (0.0, math.inf)
    if node.op == "Clip":
        ends = []
        for index, default in ((1, -math.inf), (2, math.inf)):
            end = scalar(node.optional_input(index))
            if end is None and node.optional_input(index) is not None:
                return None
            ends.append(default if end is None else end)
        return node.input(0), (ends[0], ends[1])
    if node.op in ("Min", "Max") and len(node.inputs) == 2:
        pair = constant_operand(node)
        if pair is None or pair[1].size != 1 or pair[0].type != node.output.type:
            return None
        end = scalar_of(pair[1])
        return pair[0], ((-math.inf, end) if node.op == "Min" else (end, math.inf))
    return None


def scalar_of(data: Array) -> float:
    """The element of an array of one."""
    return float(data.reshape(-1)[0])


def merged(inner: Bounds, outer: Bounds) -> Bounds:
    """Bounds that do what two clips in a row do; in each, the lower end is not above the upper one."""
    return (
        min(max(inner[0], outer[0]), outer[1]),
        min(max(inner[1], outer[0]), outer[1]),
    )


def make_clip(node: Node, x: Value, bounds: Bounds, graph: Graph) -> None:
    """Turn a node into Relu or Clip of x, in place."""
    low, high = bounds
    if low == 0 and high == math.inf:
        node.op, node.opset, node.attributes = "Relu", 14, {}
        node.set_inputs([x])
        return
    dtype = numpy_dtype(x.dtype)
    node.op, node.opset, node.attributes = "Clip", 13, {}
    ends = [
        None if math.isinf(end) else constant(graph, f"{node.output.name}_{which}", np.array(end, dtype))
        for which, end in (("min", low), ("max", high))
    ]
    node.set_inputs([x, *ends])
