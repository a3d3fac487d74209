"""Questions that rules ask about nodes and values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from intarsia.dtypes import FLOATING, Array
from intarsia.ir.graph import Graph, Node, Value

OPSET = 18
"""Opset of the ONNX nodes that passes make; newer ops than that say their own."""


def integers(value: Value | None) -> tuple[int, ...] | None:
    """Elements of a constant integer tensor, or None where they are not known."""
    if value is None or value.data is None or value.data.dtype.kind not in "iu":
        return None
    return tuple(int(item) for item in value.data.reshape(-1))


def scalar(value: Value | None) -> float | None:
    """The element of a constant of one element, or None."""
    if value is None or value.data is None or value.data.size != 1 or value.data.dtype.kind not in "fiu":
        return None
    return float(value.data.reshape(-1)[0])


def is_floating(value: Value) -> bool:
    """True for float16, float32, float64 and bfloat16."""
    return value.dtype in FLOATING


def constant_operand(node: Node) -> tuple[Value, Array] | None:
    """The other operand and the elements, for a node of two operands of which exactly one is a constant."""
    first, second = node.input(0), node.input(1)
    if second.data is not None and first.data is None:
        return first, second.data
    if first.data is not None and second.data is None:
        return second, first.data
    return None


def is_close(number: float, wanted: float) -> bool:
    """Whether an exporter that writes constants in float32, or with few digits, meant that number."""
    return abs(number - wanted) <= 1e-4 * abs(wanted)


def plain_producer(value: Value) -> Node | None:
    """The node of ONNX's own domain that makes a value and applies no activation, or None."""
    node = value.producer
    return None if node is None or node.domain or "activation" in node.attributes else node


def plus_constant(value: Value) -> tuple[Value, float] | None:
    """x and c of x + c."""
    node = plain_producer(value)
    pair = constant_operand(node) if node is not None and node.op == "Add" else None
    return None if pair is None or pair[1].size != 1 else (pair[0], float(pair[1].reshape(-1)[0]))


def times_constant(value: Value) -> tuple[Value, float] | None:
    """x and c of x * c or x / (1/c)."""
    node = plain_producer(value)
    pair = constant_operand(node) if node is not None and node.op in ("Mul", "Div") else None
    if node is None or pair is None or pair[1].size != 1 or (node.op == "Div" and pair[0] is not node.input(0)):
        return None
    number = float(pair[1].reshape(-1)[0])
    if node.op == "Mul":
        return pair[0], number
    return (pair[0], 1.0 / number) if number else None


def quantized_constant(value: Value) -> Node | None:
    """The DequantizeLinear that makes the value out of constants alone, or None."""
    node = value.producer
    if node is None or node.op != "DequantizeLinear" or node.domain:
        return None
    return node if all(item is None or item.is_constant for item in node.inputs) else None


def why_shared(graph: Graph, value: Value, reader: Node) -> str | None:
    """Why the value may not change: somebody beside `reader` sees it. None when nobody does."""
    if graph.is_output(value):
        return f"its value '{value.name}' is an output of the model"
    others = [user for user in value.users if user is not reader]
    if others:
        return f"its value '{value.name}' is also read by {others[0].where}"
    return None


def why_held(graph: Graph, old: Value, new: Value) -> str | None:
    """Why readers of `old` cannot simply read `new`: the model would lose the name of an output. None when they can."""
    if graph.is_output(old) and (new.producer is None or graph.is_output(new)):
        kind = "an output too" if graph.is_output(new) else "an input"
        return f"the output '{old.name}' needs a value of its own: '{new.name}' is {kind}"
    return None


def normal_axes(axes: Sequence[int], rank: int) -> tuple[int, ...]:
    """Axes counted from the front."""
    return tuple(axis % rank for axis in axes)


def known_axes(node: Node, index: int = 1) -> tuple[int, ...] | None:
    """Axes that a Reduce op works on, counted from the front; None where they are not known."""
    rank = node.input(0).type.rank
    value = node.optional_input(index)
    if value is None or (value.data is not None and value.data.size == 0):
        return () if node.attributes.get("noop_with_empty_axes", 0) else tuple(range(rank))
    axes = integers(value)
    return None if axes is None else normal_axes(axes, rank)


def permutation(node: Node) -> tuple[int, ...]:
    """The perm of a Transpose: axis i of the output is axis perm[i] of the input."""
    perm = node.attributes.get("perm")
    return tuple(range(node.input(0).type.rank))[::-1] if perm is None else tuple(perm)


def constant(graph: Graph, wish: str, data: Any, dtype: Any = None) -> Value:
    """A new constant under the wished name, or that name with a suffix."""
    return graph.add_constant(
        graph.fresh_name(wish), np.ascontiguousarray(np.asarray(data, dtype)).reshape(np.shape(data))
    )


def shape_constant(graph: Graph, wish: str, shape: Sequence[int]) -> Value:
    """A constant int64 tensor of sizes."""
    return constant(graph, wish, np.array(shape, np.int64))
