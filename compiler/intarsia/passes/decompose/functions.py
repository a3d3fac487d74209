"""Ops that ONNX itself defines by simpler ones: the body of its function, put in place and simplified."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

from intarsia.errors import CompileError
from intarsia.ir.graph import Node, Value
from intarsia.passes.decompose.parts import Expanded, NotMade

FUNCTIONS = frozenset(
    (
        *("AffineGrid", "Attention", "CausalConvWithState", "CenterCropPad", "DynamicQuantizeLinear"),
        *("GroupNormalization", "LayerNormalization", "LinearAttention", "MeanVarianceNormalization"),
        *("NegativeLogLikelihoodLoss", "RMSNormalization", "RotaryEmbedding", "SoftmaxCrossEntropyLoss", "SwiGLU"),
    )
)
"""Ops whose ONNX function is put in place. Not among them: those that code is made for in all forms."""

_LOCAL = "intarsia.function"
"""Domain under which a function is handed to the importer, which puts it in place."""

_expanded: weakref.WeakKeyDictionary[Node, Expanded | NotMade] = weakref.WeakKeyDictionary()


def expand_function(node: Node) -> Expanded:
    """The parts of a node as ONNX's function says. Raises NotMade where the function does not come out static."""
    if node not in _expanded:
        try:
            _expanded[node] = _expand(node)
        except NotMade as refusal:
            _expanded[node] = refusal
    found = _expanded[node]
    if isinstance(found, NotMade):
        raise found
    return found


def _expand(node: Node) -> Expanded:
    import onnx
    from onnx import helper, numpy_helper

    from intarsia.importer import import_model
    from intarsia.importer.types import type_proto
    from intarsia.ir.onnx_reference import node_proto, opset_imports
    from intarsia.passes import run_passes, simplify_passes

    values: dict[str, Value] = {}
    names = []
    for index, value in enumerate(node.inputs):
        names.append("" if value is None else f"input_{index}")
        if value is not None:
            values[names[-1]] = value
    outputs = ["" if value is None else f"output_{index}" for index, value in enumerate(node.outputs)]
    proto = node_proto(node, names, outputs)
    types = [onnx.TypeProto() if value is None else type_proto(value.type) for value in node.inputs]
    try:
        function = _function(node, proto, types)
        proto.domain = function.domain = _LOCAL
        graph = helper.make_graph(
            [proto],
            node.name,
            [onnx.ValueInfoProto(name=name, type=type_proto(value.type)) for name, value in values.items()],
            [
                onnx.ValueInfoProto(name=name, type=type_proto(value.type))
                for name, value in zip(outputs, node.outputs)
                if value is not None
            ],
            [numpy_helper.from_array(value.data, name) for name, value in values.items() if value.data is not None],
        )
        opsets = [*opset_imports(node), helper.make_opsetid(_LOCAL, 1)]
        model = helper.make_model(graph, opset_imports=opsets, functions=[function], ir_version=onnx.IR_VERSION)
        body = import_model(model)
        run_passes(body, simplify_passes())
    except (CompileError, RuntimeError, ValueError) as error:
        raise NotMade("function", f"ONNX's function for it: {' '.join(str(error).split())[:200]}") from None
    places = {name: index for index, name in enumerate(names)}
    return Expanded(body, {places[value.name]: value for value in body.inputs})


def _function(node: Node, proto: Any, types: Sequence[Any]) -> Any:
    """The onnx.FunctionProto of a node; attributes that the node leaves out are written to `proto`."""
    import onnx

    schema = onnx.defs.get_schema(node.op, node.opset, node.domain)
    for name, row in schema.attributes.items():
        if name not in node.attributes and row.default_value.name:
            proto.attribute.append(row.default_value)  # a function refers to it, and knows no default
    plain, dependent = schema.function_opset_versions, schema.context_dependent_function_opset_versions
    fitting = [version for version in (*plain, *dependent) if version <= node.opset]
    if not fitting:
        raise NotMade("operator", f"ONNX has no function for {node.op} of opset {node.opset}")
    version = max(fitting)
    if version in plain:
        content = schema.get_function_with_opset_version(version)
    else:
        content = schema.get_context_dependent_function_with_opset_version(
            version, proto.SerializeToString(), [type.SerializeToString() for type in types]
        )
    return onnx.FunctionProto.FromString(content)
