"""The meaning of a graph, in NumPy: the definition that compiled code, simulators and RTL are compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from intarsia.dtypes import Array
from intarsia.errors import FOREIGN, CompileError, RunError, said
from intarsia.ir.activations import apply_activation
from intarsia.ir.budget import pay
from intarsia.ir.deadline import check
from intarsia.ir.graph import Graph, Node, Value
from intarsia.ir.op import Evaluate, Op, bodies_of
from intarsia.ir.ops import op_of

_HELP = "look at the values that reach it, such as indices, lengths and shapes made at run time"


def evaluate_node(node: Node, inputs: list[Array | None]) -> list[Array]:
    """Outputs of one node, in order, after its fused activation where it has one.

    Ops without a row in the op table are given to onnx.reference. Raises RunError where the inputs' values, such as
    indices out of range, cannot be computed on, and where a budget is open (`ir.budget`) that has too little left.
    """
    pay(node, inputs)
    op = op_of(node)
    meaning = _meaning(node, op)
    if meaning is not None:
        try:
            with np.errstate(all="ignore"):  # infinities and NaN have a meaning: nobody needs a warning of them
                results = meaning(node, inputs)
        except CompileError as error:  # a rule of shapes, asked about shapes that are known only now
            raise RunError(where=error.where, what=error.what, help=_HELP) from error
        except FOREIGN as error:  # NumPy's, for values that no shape rule foresees
            raise RunError(
                where=node.where, what=f"it cannot be computed on these inputs: {said(error)}", help=_HELP
            ) from error
    else:
        from intarsia.ir.onnx_reference import evaluate_with_onnx

        with np.errstate(all="ignore"):
            results = evaluate_with_onnx(node, inputs)
    activation = node.attributes.get("activation")
    if activation is not None and op is not None and op.carries_activation:
        try:
            results[0] = apply_activation(results[0], activation, node.attributes.get("activation_arguments", ()))
        except FOREIGN as error:
            raise RunError(
                where=node.where, what=f"its activation {activation} cannot be computed: {said(error)}", help=_HELP
            ) from error
    return results


def _meaning(node: Node, op: Op | None) -> Evaluate | None:
    """What the op table says of this node; None where onnx.reference is asked."""
    if op is None or op.control is None:
        return None if op is None else op.evaluate
    control = op.control
    return (lambda node, inputs: control(node, inputs, _run)) if bodies_of(node) else None


def _run(graph: Graph, inputs: Sequence[Array]) -> list[Array]:
    return evaluate(graph, {value.name: array for value, array in zip(graph.inputs, inputs)})


def evaluate(
    graph: Graph,
    inputs: Mapping[str, Array],
    *,
    observe: Callable[[Value, Array], None] | None = None,
    change: Callable[[Value, Array], Array] | None = None,
) -> list[Array]:
    """Run a graph.

    inputs   an array for each graph input, by name
    observe  called with every value a node makes, in order, for calibration and comparison
    change   gives what is taken in the place of every value that a node makes, to see what errors of it bring about
    returns  the outputs, in order

    Intermediate arrays are dropped after their last use, so that memory stays near the widest cut of the graph.
    """
    live: dict[Value, Array] = {value: _as_given(inputs[value.name]) for value in graph.inputs}
    last_use: dict[Value, Node] = {value: node for node in graph.nodes for value in node.inputs if value is not None}

    def read(value: Value | None) -> Array | None:
        if value is None or value.data is not None:
            return None if value is None else value.data
        return live[value]

    for node in graph.nodes:
        check()
        results = evaluate_node(node, [read(value) for value in node.inputs])
        for value, result in zip(node.outputs, results):
            if value is None:
                continue
            if change is not None:
                result = change(value, result)
            if value in last_use or graph.is_output(value):
                live[value] = result
            if observe is not None:
                observe(value, result)
        for value in node.inputs:
            if value is not None and last_use[value] is node and not graph.is_output(value):
                live.pop(value, None)
    outputs = [read(value) for value in graph.outputs]
    return [output for output in outputs if output is not None]


def _as_given(data: Any) -> Any:
    """An array; a sequence (a list of arrays) stays a list."""
    return data if data is None or isinstance(data, list) else np.asarray(data)
