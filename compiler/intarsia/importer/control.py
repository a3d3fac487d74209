"""The graphs of If, Loop and Scan as graphs of ours, so that they run where there is no onnx.

What holds optionals, or breaks a rule of ours, stays as ONNX's bytes: onnx.reference runs it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx
from onnx import numpy_helper

from intarsia.dtypes import Array
from intarsia.errors import CompileError
from intarsia.importer.names import node_where
from intarsia.importer.structure import subgraphs
from intarsia.importer.types import tensor_type
from intarsia.ir.graph import Graph, Node
from intarsia.ir.op import CAPTURED, Op
from intarsia.ir.ops import op_of
from intarsia.ir.types import TensorType, agree

Body = Callable[[onnx.GraphProto, Sequence[TensorType]], Graph]
"""Builds a graph of types for its formal inputs; behind these it has what the node captures."""


def read_bodies(node: Node, proto: onnx.NodeProto, body: Body) -> None:
    """Put a Graph in the place of each graph that the node holds as bytes, where all of them can be read."""
    op = op_of(node)
    if op is None or op.control is None or not _is_plain(node, op):
        return
    found = {}
    try:
        for attribute in proto.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                found[attribute.name] = body(attribute.g, _formal(node, attribute.g))
    except CompileError:
        return
    graphs = tuple(found.values())
    if len(graphs) == len(list(subgraphs(proto))) and all(_is_fitting(node, graph) for graph in graphs):
        node.attributes.update(found)
        if node.op == "If":
            _take_types(node, graphs)


_ENDLESS = 1 << 62
"""Rounds that stand for no limit: exporters of `while` write the largest int64."""


def check_it_ends(proto: onnx.NodeProto, known: Sequence[Array | None]) -> None:
    """Refuse a Loop without a last round: no limit, and a condition that its body hands on or sets to true.

    known  the elements of its inputs, where they are known
    """
    limit, condition = (known[index] if index < len(known) else None for index in (0, 1))
    limited = any(proto.input[:1]) and not (limit is not None and limit.size == 1 and limit.item() >= _ENDLESS)
    if limited or (any(proto.input[1:2]) and not (condition is not None and condition.all())):
        return
    body = next((item.g for item in proto.attribute if item.name == "body"), None)
    if body is not None and len(body.input) > 1 and body.output and _stays_true(body, body.output[0].name):
        raise CompileError(
            where=node_where(proto),
            what="it never ends: it has no number of rounds, and its condition is never false",
            help="give it a number of rounds, its input M, or let its body compute the condition",
        )


def _stays_true(body: onnx.GraphProto, name: str) -> bool:
    """Whether a value of a Loop's body is the condition that comes in, which is true, or a constant that is."""
    makers = {made: node for node in body.node for made in node.output}
    while name in makers and makers[name].op_type == "Identity" and not makers[name].domain:
        name = makers[name].input[0]
    constants = [tensor for tensor in body.initializer if tensor.name == name]
    if name in makers and makers[name].op_type == "Constant" and not makers[name].domain:
        constants = [item.t for item in makers[name].attribute if item.name == "value"]
    if constants:
        data = constants[0]
        return data.data_location != onnx.TensorProto.EXTERNAL and bool(numpy_helper.to_array(data).all())
    return bool(name == body.input[1].name)


def _take_types(node: Node, branches: Sequence[Graph]) -> None:
    """Give an If the sizes that its branches make: what they declare may be of another batch than is read now."""
    for value, made in zip(node.outputs, zip(*(branch.outputs for branch in branches))):
        if value is None:
            continue
        shapes = {item.type.shape for item in made}
        if len(shapes) == 1:
            value.type = made[0].type
        elif None not in shapes and len({len(shape) for shape in shapes if shape is not None}) == 1:
            sizes = zip(*(shape for shape in shapes if shape is not None))
            value.type = TensorType(value.dtype, tuple(size[0] if len(set(size)) == 1 else None for size in sizes))


def _is_plain(node: Node, op: Op) -> bool:
    """Tensors and sequences of them go in and out; Scan as it is since opset 9."""
    values = [value for value in (*node.inputs, *node.outputs) if value is not None]
    return (node.op != "Scan" or node.opset > 8) and not any(_is_other(value.dtype) for value in values)


def _is_other(dtype: str) -> bool:
    return dtype.endswith(")") and not (dtype.startswith("sequence(") and dtype.count("(") == 1)


def _own(node: Node) -> list[TensorType | None]:
    count = len(node.inputs) - len(node.attributes.get(CAPTURED, ()))
    return [None if value is None else value.type for value in node.inputs[:count]]


def _formal(node: Node, graph: onnx.GraphProto) -> list[TensorType]:
    """Types of a graph's formal inputs, as far as they hold in every round."""
    own = _own(node)
    if node.op == "If":
        return []
    if node.op == "Loop":
        given: list[TensorType | None] = [TensorType("int64", ()), TensorType("bool", ()), *own[2:]]
        states = range(2, len(given))
    else:
        count = len(own) - int(node.attributes["num_scan_inputs"])
        given = [*own[:count], *(_slice(node, type, index) for index, type in enumerate(own[count:]))]
        states = range(count)
    if len(given) != len(graph.input) or None in given:
        raise CompileError(where=node.where, what="its graph has other inputs than it is given", help="export it again")
    return [
        _carried(type, declared) if index in states else type
        for index, (type, declared) in enumerate(zip(given, graph.input))
        if type is not None
    ]


def _carried(first: TensorType, declared: onnx.ValueInfoProto) -> TensorType:
    """What holds in every round: what the graph declares, unless the first round breaks it, else no size at all."""
    told = tensor_type(declared.type, f"value '{declared.name}'")
    return told if told is not None and agree(first, told) else TensorType(first.dtype, None)


def _slice(node: Node, type: TensorType | None, index: int) -> TensorType | None:
    """A scanned tensor without the axis along which it is scanned."""
    if type is None or type.shape is None or not type.shape:
        return type
    axes = node.attributes.get("scan_input_axes", ())
    axis = (int(axes[index]) if index < len(axes) else 0) % len(type.shape)
    return TensorType(type.dtype, (*type.shape[:axis], *type.shape[axis + 1 :]))


def _is_fitting(node: Node, graph: Graph) -> bool:
    """The graph gives as many results as the node has outputs, of their element types, and holds no optionals."""
    if any(_is_other(value.dtype) for value in graph.values()):
        return False
    results = [value.type for value in graph.outputs]
    if node.op == "Loop":
        results = results[1:]
    return len(results) == len(node.outputs) and all(
        value is None or value.dtype == result.dtype for value, result in zip(node.outputs, results)
    )
