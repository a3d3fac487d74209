"""What must hold of a graph at each stage. A breach is a fault of a pass: an AssertionError that names the node."""

from __future__ import annotations

from typing import Any

import numpy as np

from intarsia.dtypes import dtype_name
from intarsia.errors import CompileError
from intarsia.ir.activations import ACTIVATIONS
from intarsia.ir.facts import carries_activation, keeps_scale
from intarsia.ir.graph import Graph, Node, Value
from intarsia.ir.infer import infer_node
from intarsia.ir.op import bodies_of
from intarsia.ir.ops import OPS, op_of
from intarsia.ir.stages import FUSED_STAGES, INTEGER_STAGES, STAGES
from intarsia.ir.types import TensorType, agree


class VerifyError(AssertionError):
    """A graph breaks a rule of its stage: a fault of intarsia, not of the model."""


def verify(graph: Graph, stage: str) -> None:
    """Check names, order, users, types, ops and scales.

    stage   one of ir.stages.STAGES: which ops and attributes may stand in the graph
    Raises VerifyError, or CompileError where the imported model itself breaks an op's shape rule.
    """
    assert stage in STAGES, f"no stage is called {stage!r}"
    _check_names(graph)
    _check_order(graph)
    _check_users(graph)
    for node in graph.nodes:
        _check_op(node, stage)
        _check_types(node, stage)
        if stage in INTEGER_STAGES:
            _check_scales(node)


def _fail(what: str, node: Node | None = None) -> VerifyError:
    return VerifyError(what if node is None else f"{node.where}: {what}")


# ---- structure


def _check_names(graph: Graph) -> None:
    values: dict[str, Value] = {}
    for value in graph.values():
        if values.setdefault(value.name, value) is not value:
            raise _fail(f"two values are called {value.name!r}", value.producer)
    names: set[str] = set()
    for node in graph.nodes:
        if node.name in names:
            raise _fail("two nodes have this name", node)
        names.add(node.name)


def _check_order(graph: Graph) -> None:
    """Every value is an input, a constant, or made by exactly one node before it is read."""
    made: set[Value] = set(graph.inputs)
    if len(made) < len(graph.inputs):
        raise _fail("a value is an input twice")
    for given in graph.inputs:
        if given.producer is not None or given.data is not None:
            raise _fail(f"the input {given.name!r} is also made by a node or constant", given.producer)
    for node in graph.nodes:
        for value in node.inputs:
            if value is not None and value.data is None and value not in made:
                raise _fail(f"it reads {value.name!r} before it is made", node)
            if value is not None and value.data is not None:
                _check_constant(value, node)
        if not node.outputs:
            raise _fail("it has no outputs", node)
        for value in node.outputs:
            if value is None:
                continue
            if value in made or value.data is not None:
                raise _fail(f"{value.name!r} is made twice", node)
            if value.producer is not node:
                raise _fail(f"its output {value.name!r} has {value.producer} for a producer", node)
            made.add(value)
    for taken in graph.outputs:
        if taken.data is None and taken not in made:
            raise _fail(f"nothing makes the output {taken.name!r}")


def _check_constant(value: Value, node: Node) -> None:
    assert value.data is not None
    actual = TensorType(dtype_name(value.data.dtype), tuple(value.data.shape))
    if value.producer is not None or value.type != actual:
        raise _fail(f"the constant {value.name!r} says {value.type} and holds {actual}", node)


def _check_users(graph: Graph) -> None:
    counted: dict[Value, dict[Node, int]] = {value: {} for value in graph.values()}
    for node in graph.nodes:
        for value in node.inputs:
            if value is not None:
                counted[value][node] = counted[value].get(node, 0) + 1
    for operand, users in counted.items():
        if operand._users != users:
            stale = [node for node in {*operand._users, *users} if operand._users.get(node) != users.get(node)]
            raise _fail(f"the users of {operand.name!r} are not those that read it", stale[0])


# ---- ops


def _check_op(node: Node, stage: str) -> None:
    for name, item in node.attributes.items():
        if not _is_attribute(item):
            raise _fail(f"attribute {name} holds {type(item).__name__}", node)
    for body in bodies_of(node):
        verify(body, "imported")
    ours = node.domain == "" and node.op[:1].islower()
    if ours and node.op not in OPS:
        raise _fail("no such op", node)
    if ours and OPS[node.op].integer and stage not in INTEGER_STAGES:
        raise _fail(f"integer op in a graph that is only {stage}", node)
    if node.op == "dense" and stage not in FUSED_STAGES:
        raise _fail(f"dense in a graph that is only {stage}", node)
    if not ours and node.opset < 1:
        raise _fail("an ONNX op without opset", node)
    activation, op = node.attributes.get("activation"), op_of(node)
    if activation is None or node.domain or (op is not None and "activation" in op.attributes):
        return
    arguments = node.attributes.get("activation_arguments", ())
    if stage not in FUSED_STAGES or not carries_activation(node):
        raise _fail(f"fused activation {activation} in a graph that is {stage}", node)
    if activation not in ACTIVATIONS or not all(isinstance(item, float) for item in arguments):
        raise _fail(f"activation {activation!r} with arguments {arguments!r}", node)


def _is_attribute(item: Any) -> bool:
    if isinstance(item, tuple):
        return all(_is_attribute(entry) for entry in item)
    return isinstance(item, (bool, int, float, str, bytes, np.ndarray, Graph))


def _check_types(node: Node, stage: str) -> None:
    """Types agree with the shape rule as far as both know; a pass may know more than the rule can see."""
    try:
        inferred = infer_node(node)
    except CompileError as error:
        if stage == "imported":
            raise
        raise VerifyError(f"{error} (in a graph that is {stage})") from error
    if inferred is None:
        return
    if len(node.outputs) > len(inferred):
        raise _fail(f"{len(node.outputs)} outputs where the op has {len(inferred)}", node)
    for value, expected in zip(node.outputs, inferred):
        if value is not None and not agree(value.type, expected):
            raise _fail(f"its output {value.name!r} says {value.type}; by the rule it is {expected}", node)


# ---- scales


def _check_scales(node: Node) -> None:
    """Integers of quantized graphs carry scale and zero point, and nodes mean the same zero points."""
    if node.domain:
        return
    if keeps_scale(node):
        source = node.optional_input(0)
        if source is not None and source.quantization is not None:
            for value in node.outputs:
                if value is not None and value.dtype == source.dtype and value.quantization != source.quantization:
                    raise _fail(f"{source.quantization} becomes {value.quantization} on the way", node)
        return
    op = op_of(node)
    if op is None or not op.integer:
        return
    for value in (*node.inputs, *node.outputs):
        if value is not None and value.dtype == "int8" and value.data is None and value.quantization is None:
            raise _fail(f"the int8 value {value.name!r} has no scale", node)
    spelled = {"a_zero_point": 0, "input_zero_point": 0, "b_zero_point": 1}
    for name, index in spelled.items():
        if name in node.attributes:
            _check_zero_point(node, node.optional_input(index), name)
    if "output_zero_point" in node.attributes:
        _check_zero_point(node, node.outputs[0], "output_zero_point")
    if "zero_point" in node.attributes:
        _check_zero_point(node, node.output if node.op == "quantize" else node.input(0), "zero_point")


def _check_zero_point(node: Node, value: Value | None, name: str) -> None:
    if value is None or value.quantization is None:
        return
    if value.quantization.zero_point != node.attributes[name]:
        raise _fail(f"{name} is {node.attributes[name]}, and {value.name!r} has {value.quantization}", node)
