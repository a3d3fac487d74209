"""One quantized model, three engines: evaluate, CPU code and the overlay's simulator give the same bytes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import intarsia
from intarsia.artifact.parts import WHOLE_GRAPH, read_graph
from intarsia.demo import load_demo
from intarsia.dtypes import Array
from intarsia.ir.evaluate import evaluate
from intarsia.ir.graph import Graph

MODELS = Path(__file__).parent.parent / "models"


def integer_graph(artifact: intarsia.Artifact) -> Graph:
    head = f"{WHOLE_GRAPH}/"
    files = {path[len(head) :]: data for path, data in artifact.files.items() if path.startswith(head)}
    return read_graph(files, "artifact")


def check_engines(model: Any, calibration: Any, inputs: Array, targets: tuple[str, ...] = ("cpu", "pynq-z2")) -> None:
    """Compile for each target, run all inputs, compare every byte with evaluate."""
    expected: Array | None = None
    for target in targets:
        artifact = intarsia.compile_model(model, target=target, precision="int8", calibration=calibration)
        if expected is None:
            graph = integer_graph(artifact)
            name = graph.inputs[0].name
            runs = [evaluate(graph, {name: inputs[index : index + 1]})[0] for index in range(len(inputs))]
            expected = np.concatenate(runs)
        (found,) = intarsia.load(artifact).run(inputs)
        np.testing.assert_array_equal(found, expected, err_msg=f"on {target}")


def test_shipped_digits() -> None:
    data = np.load(MODELS / "digits_test_450.npz")
    check_engines(MODELS / "digits_cnn.onnx", data["x"][:64], data["x"][64:96], ("cpu", "pynq-z2", "tiny", "kv260"))


def test_shipped_residual_network() -> None:
    demo = load_demo()
    check_engines(demo.model_path, demo.calibration[:32], demo.images[:12], ("cpu", "pynq-z2", "tiny"))


def test_shipped_residual_network_is_as_accurate_as_in_float() -> None:
    demo = load_demo()
    accuracy: Mapping[str, float] = {
        precision: float(
            np.mean(
                intarsia.load(
                    intarsia.compile_model(
                        demo.model_path, target="cpu", precision=precision, calibration=demo.calibration
                    )
                )
                .run(demo.images)[0]
                .argmax(axis=1)
                == demo.labels
            )
        )
        for precision in ("float32", "int8")
    }
    assert accuracy["float32"] > 0.85
    assert accuracy["int8"] > accuracy["float32"] - 0.015


@pytest.mark.parametrize("name", ["ic_resnet8_int8", "kws_dscnn_int8", "ad_ae_int8"])
def test_models_quantized_by_others(name: str, shared_models: Path) -> None:
    model = shared_models / f"{name}.onnx"
    told = intarsia.explain(model, target="pynq-z2")
    elsewhere = [row.op for row in told.rows if row.compute and row.place != "pynq-z2"]
    assert set(elsewhere) <= {"qsoftmax"}
    session = intarsia.load(intarsia.compile_model(model, target="pynq-z2"))
    shape = session.inputs[0].shape
    assert shape is not None
    generator = np.random.default_rng(0)
    inputs = generator.integers(-128, 128, (8, *shape[1:])).astype(np.int8)
    check_engines(model, None, inputs)


def test_float_resnet8_calibrated_on_pictures(shared_models: Path, shared_data: Path) -> None:
    calibration = np.load(shared_data / "cifar10_jpeg_calib_512.npz")["x"][:128].astype(np.float32)
    pictures = np.load(shared_data / "cifar10_jpeg_1000.npz")["x"][:16].astype(np.float32)
    check_engines(shared_models / "ic_resnet8_float.onnx", calibration, pictures)
