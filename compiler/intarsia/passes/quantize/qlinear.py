"""ONNX's older spelling: QLinearConv and QLinearMatMul, taken apart into DequantizeLinear, op, QuantizeLinear."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from intarsia.ir.graph import Graph, Node, Value
from intarsia.ir.types import TensorType

_OPSET = 13
"""Opset of the nodes made here: the first in which DequantizeLinear has an axis."""


def expand_qlinear(graph: Graph) -> int:
    """`QLinearConv(x, ..., w, ..., b)` -> `QuantizeLinear(Conv(DequantizeLinear(x), ...))`; returns how many.

    Only with constant weights and scales, and for QLinearMatMul with one matrix: others keep their own meaning.
    """
    count = 0
    for node in list(graph.nodes):
        if node.domain or node.op not in ("QLinearConv", "QLinearMatMul") or not _is_plain(node):
            continue
        real = _product(graph, node)
        quantize = _add(
            graph, "QuantizeLinear", [real, node.input(6), node.input(7)], node.output.type, node, "quantize"
        )
        name = node.output.name
        graph.replace_uses(node.output, quantize)
        if quantize.name != name:
            node.output.name, quantize.name = quantize.name, name
        graph.erase(node)
        count += 1
    if count:
        graph.sort()
    return count


def _is_plain(node: Node) -> bool:
    constants = all(value is None or value.is_constant for value in node.inputs[1:])
    if any(node.input(index).dtype != "float32" for index in (1, 4, 6)):  # scales that say: the real op is of float16
        return False
    matrix = node.op == "QLinearConv" or (node.input(3).type.rank == 2 and node.input(0).type.rank >= 2)
    return constants and matrix and node.output.type.is_static


def _product(graph: Graph, node: Node) -> Value:
    """The float op between the scales."""
    axis = 0 if node.op == "QLinearConv" else 1
    x = _dequantized(graph, node, node.inputs[:3], 1, "x")
    inputs = [x, _dequantized(graph, node, node.inputs[3:6], axis, "weight")]
    real = TensorType("float32", node.output.shape)
    if node.op == "QLinearMatMul":
        return _add(graph, "dense", inputs, real, node, "real")
    bias = node.optional_input(8)
    if bias is not None:
        scales = node.input(1).data, node.input(4).data
        assert scales[0] is not None and scales[1] is not None
        products = np.broadcast_to((scales[0] * scales[1]).astype(np.float32).reshape(-1), bias.shape)
        scale = graph.add_constant(graph.fresh_name(f"{node.name}_bias_scale"), np.ascontiguousarray(products))
        inputs.append(_dequantized(graph, node, [bias, scale], 0, "bias"))
    return _add(graph, "Conv", inputs, real, node, "real", dict(node.attributes))


def _dequantized(graph: Graph, node: Node, parts: Sequence[Value | None], axis: int, what: str) -> Value:
    """A DequantizeLinear of (integers, scale, zero point); one scale, or one a slice of the axis."""
    integers, scale = parts[0], parts[1]
    assert integers is not None and scale is not None
    attributes: dict[str, object] = {} if scale.type.rank == 0 else {"axis": axis}
    type = TensorType("float32", integers.type.shape)
    return _add(graph, "DequantizeLinear", parts, type, node, what, attributes)


def _add(
    graph: Graph,
    op: str,
    inputs: Sequence[Value | None],
    type: TensorType,
    node: Node,
    what: str,
    attributes: dict[str, object] | None = None,
) -> Value:
    wish = f"{node.name}_{what}"
    opset = 0 if op == "dense" else _OPSET
    return graph.add_node(op, inputs, [type], attributes or {}, name=wish, output_names=[wish], opset=opset).output
