"""Sums and means along axes, however their dimensions are kept."""

from __future__ import annotations

import math

from intarsia.ir.graph import Node, Value
from intarsia.passes.matching import is_close, known_axes, plain_producer, times_constant

Reduced = tuple[Value, tuple[int, ...]]
"""What is reduced, and along which axes, sorted."""


def reduction(value: Value, op: str) -> Reduced | None:
    """x and the axes of a reduction that keeps its dimensions, by itself or by Unsqueeze or Reshape behind it."""
    node = plain_producer(value)
    if node is not None and node.op in ("Reshape", "Unsqueeze"):
        inner = plain_producer(node.input(0))
        found = None if inner is None or inner.op != op else _reduced(inner)
        if found is None or not found[0].type.is_static or not value.type.is_static:
            return None
        kept = tuple(1 if axis in found[1] else size for axis, size in enumerate(found[0].shape))
        return found if kept == value.shape else None
    if node is None or node.op != op or not node.attributes.get("keepdims", 1):
        return None
    return _reduced(node)


def mean(value: Value) -> Reduced | None:
    """x and the axes of a mean that keeps its dimensions."""
    return reduction(value, "ReduceMean") or _share(value, "ReduceSum")


def sum_of_squares(value: Value) -> Reduced | None:
    """x and the axes of ReduceSumSquare over the number of elements."""
    return _share(value, "ReduceSumSquare")


def _share(value: Value, op: str) -> Reduced | None:
    scaled = times_constant(value)
    found = None if scaled is None else reduction(scaled[0], op)
    if scaled is None or found is None or not found[0].type.is_static:
        return None
    return found if is_close(scaled[1] * math.prod(found[0].shape[axis] for axis in found[1]), 1.0) else None


def _reduced(node: Node) -> Reduced | None:
    axes = known_axes(node) if node.input(0).type.shape is not None else None
    return (node.input(0), tuple(sorted(axes))) if axes else None
