"""Small artifacts, made by hand, for the tests of artifacts, sessions and commands."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from intarsia.artifact import Artifact
from intarsia.artifact.parts import EVALUATOR, WHOLE_GRAPH, graph_files, tensor, vector
from intarsia.dtypes import Array
from intarsia.ir.evaluate import evaluate
from intarsia.ir.graph import Graph, Value
from intarsia.ir.infer import infer_node
from intarsia.ir.integer import fixed_point
from intarsia.ir.types import Quantization, TensorType


def small_graph(batch: int = 1) -> Graph:
    """quantize, a 3x3 convolution, dequantize: float32 [batch, 2, 5, 5] in, float32 [batch, 3, 5, 5] out."""
    rng = np.random.default_rng(7)
    graph = Graph("small")
    x = graph.add_input("image", TensorType("float32", (batch, 2, 5, 5)))
    quantized = _add(graph, "quantize", [x], {"scale": 0.05, "zero_point": 3}, "image_q", Quantization(0.05, 3))
    multiplier, shift = fixed_point(0.002)
    constants = [
        graph.add_constant("weight", rng.integers(-127, 128, (3, 2, 3, 3)).astype(np.int8)),
        graph.add_constant("bias", rng.integers(-900, 900, 3).astype(np.int32)),
        graph.add_constant("multiplier", np.full(3, multiplier, np.int32)),
        graph.add_constant("shift", np.full(3, shift, np.int32)),
    ]
    attributes: dict[str, Any] = {
        "strides": (1, 1),
        "pads": (1, 1, 1, 1),
        "dilations": (1, 1),
        "group": 1,
        "input_zero_point": 3,
        "output_zero_point": -4,
    }
    hidden = _add(graph, "qconv", [quantized, *constants], attributes, "hidden", Quantization(0.1, -4))
    graph.outputs = [_add(graph, "dequantize", [hidden], {"scale": 0.1, "zero_point": -4}, "scores", None)]
    return graph


def _add(
    graph: Graph, op: str, inputs: list[Value], attributes: dict[str, Any], name: str, scale: Quantization | None
) -> Value:
    node = graph.add_node(op, inputs, [TensorType("int8", (0,))], attributes, name=f"{name}_{op}", output_names=[name])
    types = infer_node(node)
    assert types is not None
    node.output.type, node.output.quantization = types[0], scale
    return node.output


def evaluator_artifact(
    graph: Graph, *, batch: int = 1, vectors: int = 1, region_metadata: dict[str, Any] | None = None
) -> Artifact:
    """An artifact with one region of kind "evaluator" and a few test vectors of random inputs."""
    name, rng = "0_evaluator", np.random.default_rng(3)
    pieces = graph_files(graph)
    files = {f"regions/{name}/{file}": data for file, data in pieces.items()}
    files.update((f"{WHOLE_GRAPH}/{file}", data) for file, data in pieces.items())
    entries = []
    for index in range(vectors):
        feed = {value.name: random_array(rng, value) for value in graph.inputs}
        entry, added = vector(index, list(feed.values()), evaluate(graph, feed))
        entries.append(entry)
        files.update(added)
    region = {
        "name": name,
        "kind": EVALUATOR,
        "inputs": [tensor(value) for value in graph.inputs],
        "outputs": [tensor(value) for value in graph.outputs],
        "files": sorted(pieces),
        "metadata": region_metadata or {},
        "layers": [],
    }
    manifest = {
        "model_name": graph.name,
        "target": "cpu",
        "precision": "int8",
        "batch": batch,
        "inputs": [tensor(value) for value in graph.inputs],
        "outputs": [tensor(value) for value in graph.outputs],
        "regions": [region],
        "placements": [
            {"name": node.name, "op": node.op, "place": EVALUATOR, "region": name, "macs": 1350 * (node.op == "qconv")}
            for node in graph.nodes
        ],
        "vectors": entries,
    }
    return Artifact(manifest, files)


def random_array(rng: np.random.Generator, value: Value) -> Array:
    """Elements for an input: normal for floats, everything an integer type holds for integers."""
    if value.dtype.startswith("float"):
        return rng.standard_normal(value.shape).astype(value.dtype)
    limits = np.iinfo(value.dtype)
    return rng.integers(limits.min, limits.max, value.shape, endpoint=True).astype(value.dtype)


def chain(stages: int) -> Artifact:
    """x + stages, each addition in a region of its own, of the kind "add": float32 [1, 3]."""
    graph = Graph("chain")
    x = graph.add_input("x", TensorType("float32", (1, 3)))
    graph.outputs = [graph.add_node("Identity", [x], [x.type], output_names=["y"], opset=18).output]
    made = evaluator_artifact(graph)
    value = {"dtype": "float32", "shape": [1, 3]}
    names = ["x", *(f"v{index}" for index in range(1, stages)), "y"]
    regions = [
        {
            "name": f"{index}_add",
            "kind": "add",
            "inputs": [{"name": before, **value}],
            "outputs": [{"name": after, **value}],
            "files": [],
        }
        for index, (before, after) in enumerate(pairwise(names))
    ]
    return Artifact(
        {**made.manifest, "regions": [{**made.manifest["regions"][0], **region} for region in regions], "vectors": []},
        {path: data for path, data in made.files.items() if not path.startswith(("regions/", "vectors/"))},
    )
