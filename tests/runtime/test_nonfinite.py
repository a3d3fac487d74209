"""NaN and infinities in the inputs of integer models: the same bytes on every device, counted, and warned of once."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

import intarsia
from intarsia.artifact import Artifact
from intarsia.artifact.parts import whole_graph
from intarsia.dtypes import Array
from intarsia.ir.evaluate import evaluate
from intarsia.ir.integer import quantize_linear

MODELS = Path(__file__).parents[1] / "models"


def digits() -> Array:
    with np.load(MODELS / "digits_test_450.npz") as data:
        return np.asarray(data["x"], np.float32)


def broken(count: int = 3) -> Array:
    """Digits in which numbers are NaN, infinite, and as large as a float32 may be."""
    x = digits()[100 : 100 + count].copy()
    largest = np.finfo(np.float32).max
    x[:, 0, 2, :6] = [np.nan, np.inf, -np.inf, -np.nan, largest, -largest]
    x[-1] = np.nan
    return x


@pytest.fixture(scope="module", params=["cpu", "tiny"])
def artifact(request: pytest.FixtureRequest) -> Artifact:
    return intarsia.compile_model(MODELS / "digits_cnn.onnx", target=request.param, calibration=digits()[:64])


@pytest.mark.parametrize("native", [True, False])
def test_every_device_gives_the_bytes_of_the_meaning(artifact: Artifact, native: bool) -> None:
    graph, x = whole_graph(artifact.files), broken()
    with intarsia.load(artifact, native=native) as session:
        with pytest.warns(intarsia.IntarsiaWarning):
            (found,) = session.run(x)
        name = session.inputs[0].name
    wanted = np.concatenate([evaluate(graph, {name: row[None]})[0] for row in x])
    assert found.tobytes() == wanted.tobytes() and np.isfinite(found).all()
    clean = np.nan_to_num(x, nan=0.0, posinf=3e38, neginf=-3e38)
    with intarsia.load(artifact, native=native) as session:
        assert session.run(clean)[0].tobytes() == found.tobytes()


@pytest.mark.parametrize("zero_point", [-128, -7, 0, 127])
def test_the_meaning(zero_point: int) -> None:
    largest = float(np.finfo(np.float32).max)
    x = np.array([np.nan, np.inf, -np.inf, largest, -largest], np.float32)
    for scale in (1e-30, 0.05, 1e30):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = quantize_linear(x, scale, zero_point)
        assert found[:3].tolist() == [zero_point, 127, -128]
        assert found[3] == (127 if scale < 1e30 else min(127, zero_point + round(largest / 1e30)))


def test_they_are_counted_and_told_of_once(artifact: Artifact) -> None:
    with intarsia.load(artifact) as session:
        name = session.inputs[0].name
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            session.run(digits()[:2])
            session.execute([digits()[:1]])
        assert session.nonfinite == {}
        with pytest.warns(intarsia.IntarsiaWarning, match="holds 2 NaN and 2 infinite numbers") as caught:
            session.run(broken(2)[:1])
        assert [item.filename for item in caught] == [__file__]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            session.execute([broken()])
        assert session.nonfinite == {name: {"nan": 2 + 2 + 2 + 64, "infinite": 2 + 2 + 2}}


def test_float_models_keep_them() -> None:
    artifact = intarsia.compile_model(MODELS / "digits_cnn.onnx", target="cpu")
    with intarsia.load(artifact) as session, warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(session.run(broken(1))[0]).all() and session.nonfinite == {}
