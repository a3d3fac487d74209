"""Whole models on the OpenCL of this machine: bytes of `evaluate` where all is integers, floats within 1e-4."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from whole_models import compare

import intarsia
from intarsia.demo import load_demo
from intarsia.runtime.vectors import verify_vectors
from real_inputs import real_inputs

MODELS = Path(__file__).parent.parent / "models"
SHARED = (
    "ad_ae_float",
    "ad_ae_int8",
    "efficientnet_lite0_static",
    "espcn_x3",
    "fastestdet_coco",
    "fmnist_resnet8",
    "ic_resnet8_float",
    "ic_resnet8_int8",
    "kws_dscnn_float",
    "kws_dscnn_int8",
    "silero_vad_openvino_16k",
    "sinet_seg",
    "ultraface_rfb320",
    "yolox_nano_coco",
)


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_shipped_digits(precision: str) -> None:
    data = np.load(MODELS / "digits_test_450.npz")["x"]
    found = compare(MODELS / "digits_cnn.onnx", precision, data[:32])
    assert found.holds and found.share == 1.0, found
    assert found.exact == (precision == "int8")


def test_shipped_residual_network_through_its_artifact(tmp_path: Path) -> None:
    demo = load_demo()
    artifact = intarsia.compile_model(demo.model_path, target="opencl", precision="int8", calibration=demo.calibration)
    artifact.save(tmp_path / "demo.zip")
    wanted = intarsia.load(
        intarsia.compile_model(demo.model_path, target="cpu", calibration=demo.calibration, precision="int8")
    )
    with intarsia.load(tmp_path / "demo.zip") as session:
        assert set(session.devices.values()) == {"opencl"}
        verify_vectors(session)
        np.testing.assert_array_equal(session.run(demo.images[:4])[0], wanted.run(demo.images[:4])[0])
        assert "__kernel" in session.listing(next(iter(session.devices)))
    rows = artifact.report().rows
    assert {row.place for row in rows} == {"opencl"} and sum(row.macs or 0 for row in rows) > 1_000_000


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("name", [pytest.param(each, marks=pytest.mark.slow) for each in SHARED])
def test_shared_models(name: str, precision: str, shared_models: Path) -> None:
    if name.endswith("_int8") and precision == "float32":
        pytest.skip("it is quantized by itself")
    pictures = real_inputs(name, shared_models.parent)
    found = compare(shared_models / f"{name}.onnx", precision, inputs=pictures and pictures[:1])
    assert found.holds, found
