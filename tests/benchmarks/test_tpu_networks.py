"""Networks compiled ahead of time for TPUs, by libtpu: they fit, and what was int8 stays int8."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from network_models import NETWORKS

import intarsia
from intarsia_backends.tpu.portable import installed
from intarsia_backends.tpu.target import GENERATIONS

needs_libtpu = pytest.mark.skipif(installed("libtpu") is None, reason="needs libtpu: pip install '.[tpu]'")


def figures_of(model: Any, generation: str, **options: Any) -> dict[str, Any]:
    artifact = intarsia.compile_model(model, target=f"tpu{{generation={generation}, ahead_gib=6}}", **options)
    (figures,) = artifact.report().figures.values()
    assert figures["compiled_for"] == generation and figures["estimated_seconds"] > 0
    return dict(figures)


@pytest.mark.slow
@needs_libtpu
@pytest.mark.parametrize("generation", GENERATIONS)
def test_int8_convolutions_stay_s8_on_every_generation(generation: str) -> None:
    folder = Path(__file__).parent.parent / "models"
    with np.load(folder / "digits_test_450.npz") as data:
        figures = figures_of(
            folder / "digits_cnn.onnx", generation, precision="int8", calibration=np.asarray(data["x"][:64])
        )
    assert set(figures["convolutions"]) == {"s8 to s32"} and figures["convolutions"]["s8 to s32"] >= 3


@pytest.mark.slow
@needs_libtpu
@pytest.mark.parametrize("generation", ["v5e", "v6e"])
@pytest.mark.parametrize("name", ["ic_resnet8_int8", "kws_dscnn_int8"])
def test_networks_that_others_quantized(name: str, generation: str, shared_models: Path) -> None:
    figures = figures_of(shared_models / f"{name}.onnx", generation, precision="int8")
    assert set(figures["convolutions"]) == {"s8 to s32"}


@pytest.mark.slow
@needs_libtpu
@pytest.mark.parametrize("generation", ["v5e", "v6e"])
def test_efficientnet(generation: str, shared_models: Path) -> None:
    """Calibrated on noise: what is compiled does not depend on it."""
    noise = np.random.default_rng(0).standard_normal((2, 3, 224, 224)).astype(np.float32)
    model = shared_models / "efficientnet_lite0_static.onnx"
    figures = figures_of(model, generation, precision="int8", calibration=noise)
    assert set(figures["convolutions"]) == {"s8 to s32"}


@pytest.mark.slow
@needs_libtpu
@pytest.mark.parametrize("generation", ["v5e", "v6e"])
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_transformer(precision: str, generation: str) -> None:
    """MiniLM's shapes, behind its embeddings."""
    model = NETWORKS["minilm"]("minilm").SerializeToString()
    options: dict[str, Any] = {"precision": precision}
    if precision == "int8":
        options["calibration"] = np.random.default_rng(0).standard_normal((2, 128, 384)).astype(np.float32)
    kinds = figures_of(model, generation, **options)["convolutions"]
    assert set(kinds) == {"f32 to f32"} if precision == "float32" else kinds["s8 to s32"] >= 36
