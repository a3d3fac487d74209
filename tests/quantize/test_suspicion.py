"""Calibration data that are no real inputs are suspected; real ones never."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import pytest

import intarsia
from intarsia import IntarsiaWarning
from intarsia.demo import load_demo
from intarsia.driver import lower
from intarsia.dtypes import Array
from intarsia.passes.calibration import SUSPICION

DIGITS = Path(__file__).parent.parent / "models"


def notes(model: Path | onnx.ModelProto, data: Array) -> dict[str, list[str]]:
    """What a calibration tells, by topic."""
    found: dict[str, list[str]] = {SUSPICION: [], "calibration": []}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IntarsiaWarning)
        lowered = lower(model, target="cpu", precision="int8", calibration=data, until="quantized")
    for topic, text in lowered.notes:
        if topic in found:
            found[topic].append(text)
    return found


def suspicions(model: Path | onnx.ModelProto, data: Array) -> list[str]:
    return notes(model, data)[SUSPICION]


def digits() -> Array:
    with np.load(DIGITS / "digits_test_450.npz") as data:
        return np.asarray(data["x"][:64], np.float32)


def blobs(count: int, side: int, seed: int = 0) -> Array:
    """Smooth pictures in colours, reds above greens above blues, float32 [N, 3, side, side] from 0 to 1."""
    rng = np.random.default_rng(seed)
    waves = np.cumsum(rng.standard_normal((count, 3, side, side)), axis=2)
    waves = np.cumsum(waves - waves.mean(axis=2, keepdims=True), axis=3)
    grey = np.cumsum(np.cumsum(rng.standard_normal((count, 1, side, side)), axis=2), axis=3)
    pictures = 0.3 * waves / waves.std() + 0.7 * grey / grey.std()
    return np.asarray(np.clip(0.12 * pictures + np.array([0.6, 0.45, 0.3])[:, None, None], 0, 1), np.float32)


def normalised(side: int = 16, layout: str = "NCHW") -> onnx.ModelProto:
    """Conv, BatchNormalization with the statistics of `blobs`, Relu, Conv: as exporters leave a network in training."""
    rng = np.random.default_rng(1)
    weight = rng.standard_normal((8, 3, 3, 3)).astype(np.float32)
    data = blobs(200, side, seed=2)
    windows = np.lib.stride_tricks.sliding_window_view(data, (3, 3), axis=(2, 3))
    products = np.einsum("nchwij,ocij->nohw", windows, weight)
    axes = (0, 2, 3)
    given = {
        "w": weight,
        "gamma": rng.uniform(0.5, 1.5, 8).astype(np.float32),
        "beta": rng.standard_normal(8).astype(np.float32),
        "mean": products.mean(axes).astype(np.float32),
        "variance": products.var(axes).astype(np.float32),
        "v": rng.standard_normal((4, 8, 1, 1)).astype(np.float32),
    }
    shape, turn = ("1,3,{0},{0}", "") if layout == "NCHW" else ("1,{0},{0},3", "t = Transpose <perm = [0,3,1,2]> (x)")
    model = onnx.parser.parse_model(f"""
        <ir_version: 8, opset_import: ["" : 17]>
        net (float[{shape.format(side)}] x) => (float[1,4,{side - 2},{side - 2}] y) {{
          {turn}
          c = Conv ({"t" if turn else "x"}, w)
          n = BatchNormalization (c, gamma, beta, mean, variance)
          r = Relu (n)
          y = Conv (r, v)
        }}""")
    model.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in given.items())
    return model


def test_real_data_are_never_suspected() -> None:
    demo = load_demo()
    for found in (
        notes(demo.model_path, demo.calibration),
        notes(DIGITS / "digits_cnn.onnx", digits()),
        notes(normalised(), blobs(64, 16)),
        notes(normalised(layout="NHWC"), blobs(64, 16).transpose(0, 2, 3, 1)),
    ):
        assert found == {SUSPICION: [], "calibration": []}


def test_pixels_that_were_not_scaled_or_scaled_twice() -> None:
    demo = load_demo()
    raw = (demo.calibration * 0.353 + 0.286) * 255
    for data, word in ((raw, "larger"), (demo.calibration * 255, "larger"), (demo.calibration / 255, "smaller")):
        (text,) = suspicions(demo.model_path, data)
        assert f"it is far {word} than what the model was trained on" in text and "the products of '/0/Conv'" in text
        assert "scale the inputs as in training, such as x / 255" in text
    for factor, word in ((255, "larger"), (1 / 255, "smaller")):
        assert f"far {word}" in suspicions(DIGITS / "digits_cnn.onnx", digits() * np.float32(factor))[0]
        (text,) = suspicions(normalised(), blobs(64, 16) * np.float32(factor))
        assert "it is not what the BatchNormalization behind" in text and "times as much" in text


def test_one_number_throughout() -> None:
    zeros = np.zeros((64, 1, 28, 28), np.float32)
    model = load_demo().model_path
    assert suspicions(model, zeros) == ["it holds nothing but 0: give real inputs"]
    assert suspicions(model, zeros + np.float32(0.5)) == ["it holds nothing but 0.5: give real inputs"]
    steps = zeros + np.arange(64, dtype=np.float32).reshape(-1, 1, 1, 1) / 64
    assert suspicions(model, steps) == ["it holds nothing but one number each: give real inputs"]
    half = np.concatenate([load_demo().calibration[:32], zeros[:32]])
    assert suspicions(model, half) == ["32 of 64 samples hold one number throughout: give real inputs"]


def test_samples_that_are_repeated_or_few() -> None:
    demo = load_demo()
    one = np.repeat(demo.calibration[:1], 40, axis=0)
    assert suspicions(demo.model_path, one) == ["only 1 of 40 samples is unlike those before"]
    twice = np.concatenate([demo.calibration[:40]] * 2)
    assert suspicions(demo.model_path, twice) == ["only 40 of 80 samples are unlike those before"]
    found = notes(demo.model_path, demo.calibration[:1])
    assert found[SUSPICION] == []
    assert found["calibration"] == [
        "1 sample may not show how large activations become: 100 to 500 real inputs are usual"
    ]
    assert notes(demo.model_path, demo.calibration[:31])["calibration"][0].startswith("31 samples may not show")
    assert notes(demo.model_path, demo.calibration[:32])["calibration"] == []


def test_a_batch_counts_as_many_samples_as_it_has_rows() -> None:
    demo = load_demo()
    lowered = lower(
        demo.model_path, target="cpu", precision="int8", batch=8, calibration=demo.calibration[:40], until="quantized"
    )
    assert [note for note in lowered.notes if "calibration" in note[0]] == []


def test_channels_in_the_place_of_rows() -> None:
    data = blobs(40, 16)
    last = np.ascontiguousarray(data.transpose(0, 2, 3, 1))
    (text,) = suspicions(normalised(), last.reshape(data.shape))
    assert "look as if their channels stood last, and the model takes them first: move the axis, x.transpose" in text
    found = suspicions(normalised(layout="NHWC"), data.reshape(last.shape))
    assert any("look as if their channels stood first, and the model takes them last" in text for text in found)


def test_colours_in_the_other_order() -> None:
    turned = np.ascontiguousarray(blobs(64, 16)[:, ::-1])
    (text,) = suspicions(normalised(), turned)
    assert "its colours may stand in the other order, BGR for RGB" in text


def test_pixels_of_a_model_that_tells_nothing() -> None:
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17]>
        net (float[1,1,8,8] x) => (float[1,1,8,8] y) { y = Relu (x) }""")
    pixels = np.random.default_rng(0).integers(0, 256, (40, 1, 8, 8), np.uint8)
    found = notes(model, pixels)
    assert found[SUSPICION] == []
    assert found["calibration"] == [
        "the inputs are whole numbers from 0 to 255 and were taken as they stand; if the model wants pixels scaled, "
        "scale them: nothing in it tells"
    ]
    assert notes(model, pixels / 255)["calibration"] == []


def test_random_networks_are_never_suspected_of_a_scale() -> None:
    """Biases of a network that no normalisation went into say nothing of its inputs."""
    rng = np.random.default_rng(3)
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17]>
        net (float[1,64] x) => (float[1,64] y) {
          a = Gemm (x, w, b) ac = Relu (a) c = Gemm (ac, w, b) cc = Relu (c) d = Gemm (cc, w, b)
          dc = Relu (d) y = Gemm (dc, w, b)
        }""")
    for name, shape, size in (("w", (64, 64), 0.18), ("b", (64,), 0.02)):
        data = (rng.standard_normal(shape) * size).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(data, name))
    for factor in (1e-3, 1.0, 1e3):
        assert suspicions(model, (rng.standard_normal((40, 64)) * factor).astype(np.float32)) == []


def test_a_batch_normalization_that_was_never_trained_remembers_nothing() -> None:
    model = normalised()
    for item in model.graph.initializer:
        if item.name in ("mean", "variance"):
            start = np.full(8, item.name == "variance", np.float32)
            item.CopyFrom(onnx.numpy_helper.from_array(start, item.name))
    for factor in (0.01, 1, 100):
        assert suspicions(model, blobs(40, 16) * np.float32(factor)) == []


def test_python_warns_and_the_artifact_remembers() -> None:
    demo = load_demo()
    with pytest.warns(IntarsiaWarning, match="calibration data: it holds nothing but 0") as caught:
        artifact = intarsia.compile_model(
            demo.model_path, target="cpu", precision="int8", calibration=np.zeros((64, 1, 28, 28), np.float32)
        )
    assert caught[0].filename == __file__  # the line that called, none of ours
    assert [SUSPICION, "it holds nothing but 0: give real inputs"] in artifact.contents.metadata["notes"]


def test_a_classifier_that_is_surer_of_other_colours() -> None:
    """Where no BatchNormalization is left, a classifier says itself which order of colours it knows."""
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17]>
        net (float[1,3,16,16] x) => (float[1,3] y) {
          p = GlobalAveragePool (x)
          f = Flatten (p)
          y = Gemm (f, w)
        }""")
    weight = 40 * np.array([[1, -0.5, 0.2], [-0.5, 1, 0.2], [-0.6, -0.4, -0.3]], np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
    data = blobs(64, 16)
    data[:, 0] = np.clip(data[:, 0] + 0.3, 0, 1)  # reds that it is sure of
    assert suspicions(model, data) == []
    (text,) = suspicions(model, np.ascontiguousarray(data[:, ::-1]))
    assert "the model is surer of the images with their colours turned round" in text


def test_layers_behind_sizes_that_nobody_knows() -> None:
    """A loop whose result has no known rank stands in front of the first layer."""
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17]>
        net (float[4,4] x) => (float[4,4] y) <int64 rounds = {2}, bool again = {1}> {
          z = Loop (rounds, again, x) <body = body (int64 i, bool go, a) => (bool on, n) {
            on = Identity (go)
            n = Relu (a)
          }>
          r = Reshape (z, shape)
          y = Gemm (r, w, b)
        }""")
    given = {"shape": np.array([4, 4]), "w": np.eye(4, dtype=np.float32), "b": np.ones(4, np.float32)}
    model.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in given.items())
    assert suspicions(model, np.random.default_rng(0).standard_normal((40, 4, 4)).astype(np.float32)) == []
