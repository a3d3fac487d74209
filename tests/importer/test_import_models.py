"""Whole models: those of the measurements, those that come with onnx, and onnx's own test cases."""

from __future__ import annotations

from pathlib import Path

import onnx.backend.test
import pytest
from onnx.backend.test.loader import load_model_tests

from intarsia.errors import CompileError
from intarsia.importer import import_model

MODELS = Path(__file__).parent.parent / "models"
LIGHT = Path(onnx.backend.test.__file__).parent / "data" / "light"

SHARED = [
    "ad_ae_float",
    "ad_ae_int8",
    "digits_cnn",
    "efficientnet_lite0",
    "efficientnet_lite0_static",
    "fastestdet_coco",
    "fmnist_resnet8",
    "ic_resnet8_float",
    "ic_resnet8_int8",
    "kws_dscnn_float",
    "kws_dscnn_int8",
    "silero_vad_openvino_16k",
]


@pytest.mark.parametrize("name", SHARED)
def test_shared_models_have_static_shapes(name: str, shared_models: Path) -> None:
    graph = import_model(shared_models / f"{name}.onnx")
    assert graph.nodes and all(value.type.is_static for value in graph.values())


@pytest.mark.parametrize("name", ["ic_resnet8_float", "fmnist_resnet8", "efficientnet_lite0", "kws_dscnn_int8"])
def test_the_batch_reaches_the_outputs(name: str, shared_models: Path) -> None:
    graph = import_model(shared_models / f"{name}.onnx", batch=3)
    assert [value.shape[0] for value in (*graph.inputs, *graph.outputs)] == [3, 3]


def test_models_of_the_repository() -> None:
    for path in sorted(MODELS.glob("*.onnx")):
        assert all(value.type.is_static for value in import_model(path).values())


def test_light_models_of_onnx() -> None:
    paths = sorted(LIGHT.glob("*.onnx"))
    assert len(paths) >= 9
    for path in paths:
        graph = import_model(path)
        assert all(value.type.is_static for value in graph.values()), path.name


REFUSED = {"test_training_dropout": "dropout in training mode"}
"""Beginnings of names of onnx's test cases that are refused on purpose, and why."""


def test_node_cases_of_onnx() -> None:
    """Every model of onnx's own node tests imports, with the types that it declares."""
    cases = load_model_tests(kind="node")
    refused = []
    for case in cases:
        try:
            graph = import_model(case.model)
        except CompileError as error:
            refused.append(f"{case.name}: {error}")
            continue
        for value, declared in zip(graph.outputs, case.model.graph.output):
            assert value.name == declared.name
    unexpected = [line for line in refused if not line.startswith(tuple(REFUSED))]
    assert not unexpected, "\n".join(unexpected)
    assert len(cases) > 1500
