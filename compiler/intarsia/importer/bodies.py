"""What ONNX itself defines by simpler ops: the body of a node's function, as a graph."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from intarsia.dtypes import FLOATING
from intarsia.errors import CompileError
from intarsia.importer.body_table import Bodies
from intarsia.importer.build import build_graph
from intarsia.importer.limits import Limits
from intarsia.importer.types import type_proto
from intarsia.ir.graph import Graph, Node, Value
from intarsia.ir.onnx_reference import node_proto, opset_imports

_LOCAL = "intarsia.function"
"""Domain under which a function is handed to the importer, which puts it in place."""

_SMALL_ELEMENTS = 16
"""Floating constants of more elements than this decide nothing about what a body looks like."""

_HELP = "nothing needs to change: the op stays as it is"


def body_of(node: Node, known: Bodies) -> Graph:
    """What `intarsia.importer.function_body` says."""
    kind = _kind(node)
    if kind not in known:
        try:
            known[kind] = _imported(node)
        except (CompileError, RuntimeError, ValueError) as error:  # of onnx, where a function has no such form
            known[kind] = f"ONNX's function for it: {' '.join(str(error).split())[:200]}"
    found = known[kind]
    if isinstance(found, str):
        raise CompileError(where=node.where, what=found, help=_HELP)
    body = found.copy()
    late = (value for value in node.inputs if value is not None and not _is_early(value))
    filled = []
    for twin, value in zip(list(body.inputs), late):
        if value.data is not None:
            twin.data = value.data
            filled.append(twin)
    body.inputs = [value for value in body.inputs if value not in filled]
    return body


def _is_early(value: Value) -> bool:
    """Whether the elements of an input are known when the body is made: they may decide its form."""
    return value.data is not None and (value.dtype not in FLOATING or value.data.size <= _SMALL_ELEMENTS)


def _kind(node: Node) -> Hashable:
    """Equal for nodes of one body: their op, attributes, types, and the constants that decide its form."""
    attributes = tuple((name, _hashable(item)) for name, item in sorted(node.attributes.items()))
    inputs = tuple(
        None if value is None else (value.type, _hashable(value.data) if _is_early(value) else None)
        for value in node.inputs
    )
    return (
        node.op,
        node.opset,
        attributes,
        inputs,
        tuple(None if value is None else value.type for value in node.outputs),
    )


def _hashable(item: Any) -> Hashable:
    if isinstance(item, np.ndarray):
        content = repr(item.tolist()) if item.dtype.kind in "OUS" else item.tobytes()
        return str(item.dtype), item.shape, content
    return type(item).__name__, repr(item)


def _imported(node: Node) -> Graph:
    """The body, with all floating constants that are not small as inputs."""
    values: dict[str, Value] = {}
    names = []
    for index, value in enumerate(node.inputs):
        names.append("" if value is None else f"input_{index}")
        if value is not None:
            values[names[-1]] = value
    outputs = ["" if value is None else f"output_{index}" for index, value in enumerate(node.outputs)]
    proto = node_proto(node, names, outputs)
    types = [onnx.TypeProto() if value is None else type_proto(value.type) for value in node.inputs]
    function = _function(node, proto, types)
    proto.domain = function.domain = _LOCAL
    graph = helper.make_graph(
        [proto],
        node.op,
        [onnx.ValueInfoProto(name=name, type=type_proto(value.type)) for name, value in values.items()],
        [
            onnx.ValueInfoProto(name=name, type=type_proto(value.type))
            for name, value in zip(outputs, node.outputs)
            if value is not None
        ],
        [numpy_helper.from_array(value.data, name) for name, value in values.items() if _is_early(value)],
    )
    opsets = [*opset_imports(node), helper.make_opsetid(_LOCAL, 1)]
    model = helper.make_model(graph, opset_imports=opsets, functions=[function], ir_version=onnx.IR_VERSION)
    return build_graph(model, batch=1, limits=Limits(), shapes={}, dimensions={}, values={})


def _function(node: Node, proto: onnx.NodeProto, types: Sequence[onnx.TypeProto]) -> onnx.FunctionProto:
    """The function of a node; attributes that the node leaves out are written to `proto`."""
    schema = onnx.defs.get_schema(node.op, node.opset, node.domain)
    for name, row in schema.attributes.items():
        if name not in node.attributes and row.default_value.name:
            proto.attribute.append(row.default_value)  # a function refers to it, and knows no default
    plain, dependent = schema.function_opset_versions, schema.context_dependent_function_opset_versions
    fitting = [version for version in (*plain, *dependent) if version <= node.opset]
    if not fitting:
        raise CompileError(where=node.where, what=f"there is none in opset {node.opset}", help=_HELP)
    version = max(fitting)
    if version in plain:
        content = schema.get_function_with_opset_version(version)
    else:
        content = schema.get_context_dependent_function_with_opset_version(
            version, proto.SerializeToString(), [type.SerializeToString() for type in types]
        )
    return onnx.FunctionProto.FromString(content)
