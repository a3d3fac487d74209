"""Whole models as machine code for NVIDIA's GPUs, on the device `cuda`: bytes of `evaluate` where all is integers."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from cards import Cards, needs_compiler
from test_opencl_models import MODELS, SHARED
from whole_models import compare

from intarsia.demo import load_demo
from real_inputs import real_inputs

sys.path.append(str(Path(__file__).resolve().parents[1] / "benchmarks"))
NETWORKS = import_module("network_models").NETWORKS


@pytest.fixture(autouse=True)
def compiler() -> None:
    """One of CUDA's."""
    needs_compiler()


@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
def test_shipped_digits(cards: Cards, precision: str) -> None:
    data = np.load(MODELS / "digits_test_450.npz")["x"]
    found = compare(MODELS / "digits_cnn.onnx", precision, data[:32], target=cards.target, prepare=cards.know)
    assert found.holds and found.share == 1.0, found
    assert found.exact == (precision == "int8")


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_shipped_residual_network(cards: Cards, precision: str) -> None:
    demo = load_demo()
    found = compare(Path(demo.model_path), precision, demo.calibration, target=cards.target, prepare=cards.know)
    assert found.holds and found.share == 1.0, found


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
@pytest.mark.parametrize("name", ["resnet18", "resnet50", "mobilenetv2", "minilm"])
def test_networks_of_usual_size(cards: Cards, name: str, precision: str, tmp_path: Path) -> None:
    """Random weights: what is compared is code."""
    path = tmp_path / f"{name}.onnx"
    path.write_bytes(NETWORKS[name](name).SerializeToString())
    found = compare(path, precision, target=cards.target, prepare=cards.know)
    assert found.share == 1.0 and (found.holds if precision != "float16" else found.largest < 2e-2), found


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("name", [pytest.param(each, marks=pytest.mark.slow) for each in SHARED])
def test_shared_models(cards: Cards, name: str, precision: str, shared_models: Path) -> None:
    if name.endswith("_int8") and precision == "float32":
        pytest.skip("it is quantized by itself")
    model, pictures = shared_models / f"{name}.onnx", real_inputs(name, shared_models.parent)
    found = compare(model, precision, inputs=pictures and pictures[:1], target=cards.target, prepare=cards.know)
    assert found.holds, found
