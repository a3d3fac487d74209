"""The meaning of ops without a row in the op table: onnx.reference runs them, one node at a time.

Only the evaluator comes here, and `onnx` is imported when the first such op is met: boards never need it, save for a
model that puts such an op on the CPU.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np

from intarsia.dtypes import ELEMENT_NUMBERS, Array, dtype_name
from intarsia.errors import RunError
from intarsia.ir.budget import OverBudget, open_budget, pay, pay_step
from intarsia.ir.deadline import LateError
from intarsia.ir.graph import Attribute, Node, Value
from intarsia.ir.op import CAPTURED

ML_OPSET = 5
"""Opset of ai.onnx.ml and the preview domains given to nodes of the standard domain, whose subgraphs may use them."""


_evaluators: weakref.WeakKeyDictionary[Node, tuple[Any, Any]] = weakref.WeakKeyDictionary()


def evaluate_with_onnx(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    """Outputs of one node by onnx.reference; arrays, or lists of arrays for sequences, None for an absent optional.

    Raises RunError where onnx.reference does not know the op or cannot run it on these inputs.
    """
    types = tuple((index, _onnx_type_key(value)) for index, value in enumerate(inputs) if value is not None)
    key = (open_budget() is not None, types)
    cached = _evaluators.get(node)
    try:
        if cached is None or cached[0] != key:
            cached = (key, _evaluator(node, inputs))
            _evaluators[node] = cached
        feed = {_input_name(node, index): value for index, value in enumerate(inputs) if value is not None}
        results = cached[1].run(None, feed)
    except (LateError, OverBudget):
        raise
    except Exception as error:  # onnx.reference raises whatever NumPy raises
        raise RunError(
            where=node.where,
            what=f"onnx.reference cannot compute it: {type(error).__name__}: {_first_line(error)}",
            help="check the op's inputs and attributes; if they are right, please report this with the model",
        ) from error
    made = iter(results)
    outputs: list[Any] = [None if value is None else _of_type(_as_array(next(made)), value) for value in node.outputs]
    return outputs


def _of_type(result: Any, value: Value) -> Any:
    """The result; an empty one with the sizes that the graph knows: a loop of no rounds has not seen its rows."""
    shape = value.type.shape
    if not isinstance(result, np.ndarray) or result.size or shape is None or len(shape) != result.ndim:
        return result
    sizes = tuple(found if size is None else size for found, size in zip(result.shape, shape))
    return result.reshape(sizes) if 0 in sizes else result


def _as_array(result: Any) -> Any:
    return result if result is None or isinstance(result, (list, np.ndarray)) else np.asarray(result)


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else "no message"


def _onnx_type_key(value: Any) -> Any:
    return tuple(_onnx_type_key(item) for item in value) if isinstance(value, list) else dtype_name(value.dtype)


def _input_name(node: Node, index: int) -> str:
    captured = node.attributes.get(CAPTURED, ())
    first = len(node.inputs) - len(captured)
    return str(captured[index - first]) if index >= first else f"input_{index}"


def _evaluator(node: Node, inputs: Sequence[Any]) -> Any:
    from onnx import IR_VERSION, TypeProto, helper
    from onnx.reference import ReferenceEvaluator

    from intarsia.ir.onnx_loops import Loop, Scan
    from intarsia.ir.onnx_old_ops import DequantizeLinear, Scatter

    names = [_input_name(node, index) if value is not None else "" for index, value in enumerate(inputs)]
    outputs = ["" if value is None else f"output_{index}" for index, value in enumerate(node.outputs)]
    proto = node_proto(node, names, outputs)
    graph = helper.make_graph(
        [proto],
        "node",
        [helper.make_value_info(name, _type_of(value)) for name, value in zip(names, inputs) if name],
        [helper.make_value_info(name, TypeProto()) for name in outputs if name],
    )
    model = helper.make_model(graph, opset_imports=opset_imports(node), ir_version=IR_VERSION)
    # onnx.reference knows no DequantizeLinear before opset 19, nor any Scatter: they stand inside of branches, bodies.
    old = [Scatter, *([DequantizeLinear] if not node.domain and node.opset < 19 else [])]
    evaluator = ReferenceEvaluator(model, new_ops=[Loop, Scan, *old])
    if open_budget() is not None:
        for step in evaluator.rt_nodes_:
            _limit_bodies(step)
    return evaluator


def _limit_bodies(step: Any) -> None:
    """Let the nodes in the graphs that a step of onnx.reference carries pay for what they take."""
    from onnx import AttributeProto

    for item in step.onnx_node.attribute:
        if item.type == AttributeProto.GRAPH:
            for inner in getattr(step, item.name).rt_nodes_:
                inner.run = _paying(inner)
                _limit_bodies(inner)


def _paying(step: Any) -> Any:
    from onnx import AttributeProto, helper

    proto, run = step.onnx_node, step.run
    attributes = {
        item.name: helper.get_attribute_value(item)
        for item in proto.attribute
        if item.type not in (AttributeProto.GRAPH, AttributeProto.TENSOR, AttributeProto.SPARSE_TENSOR)
    }
    opset = step.run_params["opsets"].get(proto.domain, 1)
    node = Node(proto.op_type, proto.name or "".join(proto.output[:1]), [], attributes, opset, proto.domain)
    node.outputs = [None] * len(proto.output)

    def paying(*inputs: Any, **options: Any) -> Any:
        pay_step(node.where)
        pay(node, inputs)
        return run(*inputs, **options)

    return paying


def _type_of(value: Any) -> Any:
    from onnx import TypeProto, helper

    if isinstance(value, list):
        element = _type_of(value[0]) if value else helper.make_tensor_type_proto(1, None)
        return helper.make_sequence_type_proto(element)
    if not isinstance(value, np.ndarray):
        return TypeProto()
    return helper.make_tensor_type_proto(ELEMENT_NUMBERS[dtype_name(value.dtype)], value.shape)


def opset_imports(node: Node) -> list[Any]:
    """The opsets under which a one-node model means what the node means."""
    from onnx import defs, helper

    imports = {"": defs.onnx_opset_version(), "ai.onnx.ml": ML_OPSET, node.domain: node.opset}
    return [helper.make_opsetid(domain, version) for domain, version in imports.items()]


def node_proto(node: Node, inputs: Sequence[str], outputs: Sequence[str]) -> Any:
    """The onnx.NodeProto of a node, with the given names; captured inputs are left out, as onnx wants them."""
    from onnx import NodeProto, defs

    own = len(inputs) - len(node.attributes.get(CAPTURED, ()))
    proto = NodeProto(op_type=node.op, name=node.name, domain=node.domain, input=inputs[:own], output=outputs)
    kinds = {name: row.type for name, row in defs.get_schema(node.op, node.opset, node.domain).attributes.items()}
    for name, value in node.attributes.items():
        if name in kinds:
            _write_attribute(proto.attribute.add(name=name), kinds[name].name, value)
    return proto


def _write_attribute(proto: Any, kind: str, value: Attribute) -> None:
    """Fill an onnx.AttributeProto; kind as onnx.defs.OpSchema.AttrType names it."""
    from onnx import AttributeProto, numpy_helper

    proto.type = getattr(AttributeProto, kind)
    if kind == "INT":
        proto.i = value
    elif kind == "FLOAT":
        proto.f = value
    elif kind == "STRING":
        proto.s = _to_bytes(value)
    elif kind == "TENSOR":
        proto.t.CopyFrom(numpy_helper.from_array(np.asarray(value)))
    elif kind == "GRAPH":
        proto.g.ParseFromString(value)
    elif kind == "TYPE_PROTO":
        proto.tp.ParseFromString(value)
    elif kind == "INTS":
        proto.ints.extend(value)
    elif kind == "FLOATS":
        proto.floats.extend(value)
    else:
        assert kind == "STRINGS", f"no op has attributes of the kind {kind}"
        proto.strings.extend(_to_bytes(item) for item in value)


def _to_bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text
