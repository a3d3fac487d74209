"""Whole models: those of the measurements, those that come with onnx, and onnx's own test cases."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from pathlib import Path

import onnx.backend.test
import onnx.backend.test.case.node as node
import pytest
from onnx.backend.test.case.test_case import TestCase
from onnx.backend.test.loader import load_model_tests
from onnx_models import assert_like_onnxruntime

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


@pytest.mark.parametrize(
    "name", ["ad_ae_float", "digits_cnn", "ic_resnet8_float", "kws_dscnn_float", "silero_vad_openvino_16k"]
)
def test_imported_models_mean_what_onnxruntime_computes(name: str, shared_models: Path) -> None:
    assert_like_onnxruntime(shared_models / f"{name}.onnx")


def test_models_of_the_repository() -> None:
    for path in sorted(MODELS.glob("*.onnx")):
        assert all(value.type.is_static for value in import_model(path).values())


def test_light_models_of_onnx() -> None:
    paths = sorted(LIGHT.glob("*.onnx"))
    assert len(paths) >= 9
    for path in paths:
        graph = import_model(path)
        assert all(value.type.is_static for value in graph.values()), path.name


# fmt: off
FAMILIES = (
    "batch_normalization", "clip", "concat", "constant", "conv", "convtranspose", "dequantizelinear", "dropout",
    "gather", "if_", "loop", "lstm", "maxpool", "pad", "rangeop", "reshape", "resize", "scan", "sequenceinsert",
    "slice", "softmax", "split", "squeeze", "topk", "unsqueeze", "upsample",
)
# fmt: on


def refusals(cases: Iterable[TestCase]) -> list[str]:
    """The errors of the cases that do not import."""
    refused = []
    for case in cases:
        try:
            graph = import_model(case.model)
        except CompileError as error:
            refused.append(f"{case.name}: {error}")
        else:
            assert [value.name for value in graph.outputs] == [value.name for value in case.model.graph.output]
    return refused


def test_some_node_cases_of_onnx() -> None:
    """The models of onnx's tests of some ops; importing a module of them makes them."""
    for family in FAMILIES:
        importlib.import_module(f"{node.__name__}.{family}")
    cases = list(node._NodeTestCases)
    assert len(cases) > 200
    assert not refusals(cases)


@pytest.mark.slow
def test_all_node_cases_of_onnx() -> None:
    cases = load_model_tests(kind="node")
    assert len(cases) > 1500
    assert not refusals(cases)
