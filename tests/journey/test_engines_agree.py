"""One quantized model, all engines: evaluate, CPU code, the overlay's simulator and XLA give the same bytes."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import intarsia
from intarsia.artifact.parts import whole_graph
from intarsia.demo import load_demo
from intarsia.dtypes import Array
from intarsia.ir.evaluate import evaluate
from intarsia.ir.graph import Graph

MODELS = Path(__file__).parent.parent / "models"

XLA = ("tpu{ahead=false}",) if find_spec("jaxlib") else ()
"""jaxlib comes for Python 3.11 and newer."""


def integer_graph(artifact: intarsia.Artifact) -> Graph:
    return whole_graph(artifact.files)


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
    check_engines(
        MODELS / "digits_cnn.onnx", data["x"][:64], data["x"][64:96], ("cpu", "pynq-z2", "tiny", "kv260", *XLA)
    )


def test_shipped_residual_network() -> None:
    demo = load_demo()
    check_engines(demo.model_path, demo.calibration[:32], demo.images[:12], ("cpu", "pynq-z2", "tiny", *XLA))


def test_shipped_residual_network_is_as_accurate_as_in_float() -> None:
    demo = load_demo()
    accuracy: Mapping[str, float] = {
        precision: float(
            np.mean(
                intarsia.load(intarsia.compile_model(demo.model_path, target="cpu", calibration=calibration))
                .run(demo.images)[0]
                .argmax(axis=1)
                == demo.labels
            )
        )
        for precision, calibration in (("float32", None), ("int8", demo.calibration))
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
    shape = session.inputs[0].dims
    generator = np.random.default_rng(0)
    inputs = generator.integers(-128, 128, (8, *shape[1:])).astype(np.int8)
    check_engines(model, None, inputs, ("cpu", "pynq-z2", *XLA))


def test_float_resnet8_calibrated_on_pictures(shared_models: Path, shared_data: Path) -> None:
    calibration = np.load(shared_data / "cifar10_jpeg_calib_512.npz")["x"][:128].astype(np.float32)
    pictures = np.load(shared_data / "cifar10_jpeg_1000.npz")["x"][:16].astype(np.float32)
    check_engines(shared_models / "ic_resnet8_float.onnx", calibration, pictures)


def pictures(folder: Path, count: int) -> tuple[Array, Array]:
    """Inputs float32 [N, 3, 224, 224] and class indexes (from file names that begin with them)."""
    from PIL import Image

    paths = sorted(folder.glob("*.jpg"))[:: max(1, len(list(folder.glob("*.jpg"))) // count)][:count]
    pixels = np.stack([np.asarray(Image.open(path).convert("RGB"), np.float32) for path in paths])
    labels = np.array([int(path.name[:4]) if path.name[:4].isdigit() else -1 for path in paths])
    return np.ascontiguousarray(((pixels - 127) / 128).transpose(0, 3, 1, 2)), labels


@pytest.mark.slow
def test_efficientnet_lite0_raw_and_static(shared_models: Path, shared_data: Path) -> None:
    """Two exports of one network: equal placement, and 20 images with the bytes of evaluate on the simulator."""
    calibration, _ = pictures(shared_data / "imagenet224_calib_64", 64)
    images, labels = pictures(shared_data / "imagenet224_250", 20)
    places, outputs = [], []
    for name in ("efficientnet_lite0", "efficientnet_lite0_static"):
        artifact = intarsia.compile_model(shared_models / f"{name}.onnx", target="pynq-z2", calibration=calibration)
        places.append([(row["op"], row["place"]) for row in artifact.manifest["placements"]])
        (found,) = intarsia.load(artifact).run(images)
        graph = integer_graph(artifact)
        for index in range(len(images)):
            (expected,) = evaluate(graph, {graph.inputs[0].name: images[index : index + 1]})
            np.testing.assert_array_equal(found[index : index + 1], expected)
        outputs.append(found)
    assert places[0] == places[1]
    np.testing.assert_array_equal(outputs[0], outputs[1])
    assert np.mean(outputs[0].argmax(axis=1) == labels) >= 0.75
