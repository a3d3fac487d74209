"""Whole pipelines on real models: what is left of them, that they mean the same, and how long it takes."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from pass_cases import ops

from intarsia.importer import import_model
from intarsia.ir.graph import Graph
from intarsia.ir.verify import verify
from intarsia.passes import fuse_passes, run_passes, simplify_passes
from intarsia.passes.instruments import Compare

SHIPPED = Path(__file__).parent.parent / "models"


def prepared(path: Path) -> tuple[Graph, Compare]:
    """The fused graph, every pass compared with the graph before it."""
    graph = import_model(path)
    prequantized = any(node.op == "QuantizeLinear" for node in graph.nodes)
    rng = np.random.default_rng(0)
    inputs = {}
    for value in graph.inputs:
        floating = value.dtype.startswith("float")
        data = rng.uniform(-2, 2, value.shape) if floating else rng.integers(-128, 128, value.shape)
        inputs[value.name] = data.astype(value.dtype)
    compare = Compare(inputs)
    run_passes(graph, (*simplify_passes(prequantized), *fuse_passes(prequantized)), hook=compare)
    verify(graph, "fused")
    return graph, compare


LEFT = {
    "digits_cnn": {"Conv+Relu": 4, "MaxPool": 1, "GlobalAveragePool": 1, "Reshape": 1, "dense": 1},
    "ic_resnet8_float": {
        **{"Transpose": 1, "Conv+Relu": 4, "Conv": 5, "Add+Relu": 3},
        **{"AveragePool": 1, "Reshape": 1, "dense": 1, "Softmax": 1},
    },
    "ic_resnet8_int8": {
        **{"Transpose": 1, "Conv+Relu": 4, "Conv": 5, "Add+Relu": 3, "AveragePool": 1, "Reshape": 1, "dense": 1},
        **{"Softmax": 1, "DequantizeLinear": 35, "QuantizeLinear": 15},
    },
    "kws_dscnn_float": {"Reshape": 2, "Conv+Relu": 9, "AveragePool": 1, "dense": 1, "Softmax": 1},
    "kws_dscnn_int8": {
        **{"Reshape": 2, "Conv+Relu": 9, "AveragePool": 1, "dense": 1, "Softmax": 1},
        **{"DequantizeLinear": 32, "QuantizeLinear": 12},
    },
    "ad_ae_float": {"dense+Relu": 9, "dense": 1},
    "ad_ae_int8": {"dense+Relu": 9, "dense": 1, "DequantizeLinear": 30, "QuantizeLinear": 10},
    "efficientnet_lite0": {"Conv+Clip": 33, "Conv": 16, "Add": 9, "GlobalAveragePool": 1, "Reshape": 1, "dense": 1},
    "efficientnet_lite0_static": {
        **{"Conv+Clip": 33, "Conv": 16, "Add": 9, "GlobalAveragePool": 1, "Reshape": 1, "dense": 1},
    },
}


@pytest.mark.parametrize("name", LEFT)
def test_model_comes_down_to_its_layers(name: str, request: pytest.FixtureRequest) -> None:
    path = SHIPPED / f"{name}.onnx"
    graph, _ = prepared(path if path.exists() else request.getfixturevalue("shared_models") / f"{name}.onnx")
    assert Counter(ops(graph)) == LEFT[name]


@pytest.mark.parametrize("name", ["fastestdet_coco", "silero_vad_openvino_16k", "fmnist_resnet8"])
def test_model_means_the_same_after_every_pass(name: str, shared_models: Path) -> None:
    graph, compare = prepared(shared_models / f"{name}.onnx")
    assert max(compare.drifts.values()) < 1e-5
    assert not {"BatchNormalization", "Identity", "Shape"} & set(ops(graph))


def test_static_and_dynamic_export_become_the_same_ops(shared_models: Path) -> None:
    first = import_model(shared_models / "efficientnet_lite0.onnx")
    second = import_model(shared_models / "efficientnet_lite0_static.onnx")
    for graph in (first, second):
        run_passes(graph, (*simplify_passes(), *fuse_passes()))
    assert ops(first) == ops(second)


def test_long_models_take_time_in_proportion(shared_models: Path) -> None:
    """230 shape ops of the raw export are gone in a fraction of the second that `explain` may take."""
    graph = import_model(shared_models / "efficientnet_lite0.onnx")
    started = time.process_time()
    run_passes(graph, (*simplify_passes(), *fuse_passes()))
    assert time.process_time() - started < 0.5
