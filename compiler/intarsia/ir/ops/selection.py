"""Elements picked or counted by what they are: Compress, Unique. Shapes by onnx, since they depend on data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from intarsia.dtypes import Array
from intarsia.ir.graph import Node
from intarsia.ir.op import Op
from intarsia.ir.ops.rules import axis_in, given


def _evaluate_compress(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    x, axis = given(inputs, 0), node.attributes.get("axis")
    return [np.compress(given(inputs, 1), x, axis=None if axis is None else axis_in(node, axis, x.ndim))]


def _evaluate_unique(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    """Distinct elements, or slices along an axis; where each first stands, which each element is, how often it comes.

    In ascending order, or without `sorted` in that of their first places.
    """
    x, axis = given(inputs, 0), node.attributes.get("axis")
    if axis is None:
        x, axis = x.reshape(-1), 0
    axis = axis_in(node, axis, x.ndim)
    found, first, inverse, counts = np.unique(x, True, True, True, axis=axis)
    inverse = inverse.reshape(-1)
    if not node.attributes.get("sorted", 1):
        order = np.argsort(first, kind="stable")
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        found, first, inverse, counts = np.take(found, order, axis), first[order], place[inverse], counts[order]
    return [found, *(item.astype(np.int64) for item in (first, inverse, counts))]


OPS = (
    Op("Compress", None, _evaluate_compress, {"axis": None}),
    Op("Unique", None, _evaluate_unique, {"axis": None, "sorted": 1}, optional_outputs=True),
)
