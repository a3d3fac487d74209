"""What must stay true of a model, looked at in every run of continuous integration: no board, no FPGA tools."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import intarsia
from intarsia.runtime.vectors import verify_vectors

FOLDER = Path(__file__).resolve().parent.parent
MODEL, DATA = FOLDER / "digits.onnx", FOLDER / "digits.npz"  # yours
TARGET = "pynq-z2"
LEAST_ACCURACY = 0.98  # in int8, on the labelled pictures
MOST_CYCLES = 3_000  # an image, by the simulator's model


def prepare(pixels: np.ndarray) -> np.ndarray:
    """uint8 [N, 8, 8] to what the model takes, float32 [N, 1, 8, 8]."""
    return np.asarray((pixels[:, None].astype(np.float32) - 77.9) / 95.9, np.float32)


@pytest.fixture(scope="module")
def data() -> dict[str, np.ndarray]:
    with np.load(DATA) as file:
        return dict(file)


@pytest.fixture(scope="module")
def artifact(data: dict[str, np.ndarray]) -> intarsia.Artifact:
    return intarsia.compile_model(MODEL, target=TARGET, calibration=prepare(data["calibration"]))


def test_every_op_is_on_the_overlay() -> None:
    """Someone changed the network, and a layer fell off: here it is, with the reason."""
    rows = intarsia.explain(MODEL, target=TARGET).rows
    elsewhere = [row for row in rows if row.place != TARGET and row.op not in ("quantize", "dequantize")]
    assert not elsewhere, "\n".join(f"{row.op} '{row.name}': {row.reasons}" for row in elsewhere)


def test_it_gives_what_it_gave_when_it_was_made(artifact: intarsia.Artifact) -> None:
    with intarsia.load(artifact) as session:
        assert all(result.ok for result in verify_vectors(session))


def test_accuracy_and_cycles_are_within_their_limits(artifact: intarsia.Artifact, data: dict[str, np.ndarray]) -> None:
    with intarsia.load(artifact) as session:
        result = session.execute([prepare(data["pixels"])])
    right = np.mean(result.outputs[0].argmax(axis=1) == data["labels"])
    assert right >= LEAST_ACCURACY
    assert result.counters["cycles"] / result.counters["images"] <= MOST_CYCLES


def test_two_builds_give_the_same_bytes(
    artifact: intarsia.Artifact, data: dict[str, np.ndarray], tmp_path: Path
) -> None:
    """What is released can be built again by anybody, and compared."""
    again = intarsia.compile_model(MODEL, target=TARGET, calibration=prepare(data["calibration"]))
    artifact.save(tmp_path / "one.intarsia")
    again.save(tmp_path / "two.intarsia")
    assert (tmp_path / "one.intarsia").read_bytes() == (tmp_path / "two.intarsia").read_bytes()
