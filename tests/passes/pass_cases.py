"""Small models as ONNX text, and the question that every pass must answer: does the graph still mean the same?"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from intarsia.dtypes import Array
from intarsia.importer import import_model
from intarsia.ir.evaluate import evaluate
from intarsia.ir.graph import Graph
from intarsia.ir.verify import verify
from intarsia.passes import Pass
from intarsia.passes.instruments import relative_drift


def model(body: str, *, opset: int = 18, random: str = "", **values: Any) -> Graph:
    """An imported graph.

    body    `(float[1,3,4,4] x, float[2,3,1,1] w) => (float[1,2,4,4] y) { y = Conv (x, w) }`
    random  names of declared inputs that become constants of random elements
    values  declared inputs that become constants of these elements
    """
    proto = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : {opset}]> tiny {body}')
    rng = np.random.default_rng(5)
    for value in list(proto.graph.input):
        if value.name not in values and value.name not in random.split():
            continue
        tensor = value.type.tensor_type
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
        shape = [size.dim_value for size in tensor.shape.dim]
        if value.name in values:
            data = np.array(values[value.name], dtype).reshape(shape)
        elif dtype.kind == "f":
            data = rng.uniform(0.25, 1.0, shape).astype(dtype)
        else:
            data = rng.integers(-100, 100, shape).astype(dtype)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(data, value.name))
        proto.graph.input.remove(value)
    return import_model(proto)


def random_inputs(graph: Graph, seed: int = 0) -> dict[str, Array]:
    """An array for each graph input, of both signs."""
    rng = np.random.default_rng(seed)
    inputs: dict[str, Array] = {}
    for value in graph.inputs:
        dtype = np.dtype(value.dtype)
        if dtype.kind == "f":
            inputs[value.name] = rng.uniform(-4, 4, value.shape).astype(dtype)
        else:
            inputs[value.name] = rng.integers(0 if dtype.kind == "u" else -100, 100, value.shape).astype(dtype)
    return inputs


def apply(graph: Graph, *passes: Pass) -> int:
    """Run passes; the graph must stay well formed and mean the same, within what the passes declare."""
    inputs = random_inputs(graph)
    names = [value.name for value in graph.outputs]
    before = evaluate(graph, inputs)
    changes = sum(step.run(graph) for step in passes)
    verify(graph, "fused")
    assert [value.name for value in graph.outputs] == names
    tolerance = sum(step.tolerance for step in passes)
    for name, old, new in zip(names, before, evaluate(graph, inputs)):
        drift = relative_drift(old, new)
        assert drift <= tolerance, f"output {name} drifts by {drift:.3g}"
    assert all(step.run(graph) == 0 for step in passes[-1:]), "a second run finds more to change"
    return changes


def ops(graph: Graph) -> list[str]:
    """Ops in order, with the activations that they carry."""
    return [
        node.op + "+" * ("activation" in node.attributes) + node.attributes.get("activation", "")
        for node in graph.nodes
    ]


def reasons(step: Pass, graph: Graph) -> str:
    """Every refusal, one a line."""
    return "".join(f"{refusal}\n" for refusal in step.refusals(graph))


def refused(step: Pass, graph: Graph) -> str:
    """The reason of the one refusal of a pass that changes nothing."""
    before = ops(graph)
    assert step.run(graph) == 0
    assert ops(graph) == before
    (refusal,) = step.refusals(graph)
    return str(refusal)
