"""Regions on the device `cuda`: on a driver that pretends, and by `pytest -m cuda` on a GPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cards import Cards, needs_compiler
from gpu_kernels import every_kind
from gpu_regions import compare

import intarsia
from artifact_examples import random_array, small_graph
from intarsia.runtime.vectors import verify_vectors

MODELS = Path(__file__).parent.parent / "models"


def test_a_quantized_network_has_the_bytes_of_evaluate(cards: Cards) -> None:
    graph = small_graph()
    region = cards.load(graph)
    for seed in range(3):
        inputs = {value.name: random_array(np.random.default_rng(seed), value) for value in graph.inputs}
        compare(graph, inputs, region.run([inputs[value.name] for value in graph.inputs]).outputs)
    region.close()


def test_every_kind_of_kernel(cards: Cards) -> None:
    kinds = every_kind()
    region = cards.load(kinds.graph)
    for _ in range(2):
        compare(kinds.graph, kinds.inputs, region.run(list(kinds.inputs.values())).outputs)
    assert "__global__" in region.listing()
    region.close()


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_machine_code_of_the_target(cards: Cards, precision: str, tmp_path: Path) -> None:
    needs_compiler()
    digits = np.load(MODELS / "digits_test_450.npz")["x"]
    calibration = digits[:32] if precision == "int8" else None
    artifact, beside = (
        intarsia.compile_model(MODELS / "digits_cnn.onnx", target=target, precision=precision, calibration=calibration)
        for target in (cards.target, "cpu")
    )
    artifact.save(tmp_path / "digits.zip")
    cards.know(artifact)
    with intarsia.load(tmp_path / "digits.zip", device="cuda") as session:
        assert "cuda" in session.devices.values()
        verify_vectors(session)
    with intarsia.load(artifact) as session, intarsia.load(beside) as on_cpu:
        for image in digits[32:36]:
            found, wanted = session.run(image[None])[0], on_cpu.run(image[None])[0]
            assert np.allclose(found, wanted, rtol=0, atol=1e-4) and (precision != "int8" or (found == wanted).all())
