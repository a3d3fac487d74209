"""Whole real models on the RTL of the pynq-z2 give the simulator's bytes.

python -m pytest -m slow tests/hardware/test_rtl_models.py
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness import needs_verilator

import intarsia
from intarsia.demo import load_demo
from intarsia.dtypes import Array
from intarsia_backends.rtl import device as rtl_device
from intarsia_backends.rtl.core import Core

pytestmark = [pytest.mark.rtl, pytest.mark.slow, needs_verilator]


def check(model: Any, calibration: Any, inputs: Array) -> None:
    """Every byte of every input, on both engines."""
    artifact = intarsia.compile_model(model, target="pynq-z2", precision="int8", calibration=calibration)
    found, wanted = (intarsia.load(artifact, device=device).run(inputs) for device in ("rtl", "simulator"))
    for one, other in zip(found, wanted):
        np.testing.assert_array_equal(one, other)


def test_shipped_models() -> None:
    digits = Path(__file__).parents[1] / "models"
    with np.load(digits / "digits_test_450.npz") as data:
        check(digits / "digits_cnn.onnx", data["x"][:64], data["x"][64:80])
    demo = load_demo()
    check(demo.model_path, demo.calibration[:32], demo.images[:4])


@pytest.mark.parametrize("name", ["ic_resnet8_int8", "kws_dscnn_int8", "ad_ae_int8"])
def test_models_quantized_by_others(name: str, shared_models: Path) -> None:
    (info,) = intarsia.load(intarsia.compile_model(shared_models / f"{name}.onnx", target="pynq-z2")).inputs
    inputs = np.random.default_rng(0).integers(-128, 128, (4, *info.dims[1:])).astype(np.int8)
    check(shared_models / f"{name}.onnx", None, inputs)


def test_float_resnet8(shared_models: Path, shared_data: Path) -> None:
    with np.load(shared_data / "cifar10_jpeg_calib_512.npz") as data:
        pictures = data["x"].astype(np.float32)
    check(shared_models / "ic_resnet8_float.onnx", pictures[:64], pictures[64:68])


@pytest.mark.parametrize("name", ["kws_dscnn_float", "ad_ae_float", "fastestdet_coco", "efficientnet_lite0_static"])
def test_float_models(name: str, shared_models: Path) -> None:
    """Random inputs serve for bytes; for accuracy they would not."""
    path = shared_models / f"{name}.onnx"
    (info,) = intarsia.load(intarsia.compile_model(path, target="cpu")).inputs
    inputs = np.random.default_rng(0).standard_normal((3, *info.dims[1:])).astype(np.float32)
    check(path, inputs[:2], inputs[2:])


@pytest.mark.parametrize("name", ["kws_dscnn_float", "efficientnet_lite0_static"])
def test_without_the_modules_for_simulation(name: str, shared_models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rtl_device, "Core", partial(Core, fast=False))
    test_float_models(name, shared_models)
