"""Real models keep their accuracy in int8: measured on labelled data, not promised."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from intarsia.demo import load_demo
from intarsia.dtypes import Array
from intarsia.importer import import_model
from intarsia.ir.evaluate import evaluate
from intarsia.ir.graph import Graph
from intarsia.passes import fuse_passes, simplify_passes
from intarsia.passes.base import run_passes
from intarsia.passes.quantize import ImageOptions, calibrate, quantize, read_samples

MODELS = Path(__file__).parent.parent / "models"


def fused(path: Path) -> Graph:
    graph = import_model(path)
    run_passes(graph, (*simplify_passes(), *fuse_passes()))
    return graph


def int8(graph: Graph, samples: Iterable[dict[str, Array]], method: str = "minmax") -> Graph:
    twin = graph.copy()
    outcome = quantize(twin, calibrate(graph, samples, method=method))
    assert outcome.refusals == ()
    assert {value.dtype for value in twin.values() if not value.is_constant} == {"float32", "int8"}
    return twin


def answers(graph: Graph, images: Array) -> Array:
    """The largest output for each image."""
    name = graph.inputs[0].name
    return np.array([evaluate(graph, {name: image[None]})[0].argmax() for image in images])


@pytest.mark.parametrize("method", ["minmax", "percentile"])
def test_digits(method: str) -> None:
    graph = fused(MODELS / "digits_cnn.onnx")
    data = np.load(MODELS / "digits_test_450.npz")
    twin = int8(graph, read_samples(graph, data["x"][:50]), method)
    right = (answers(twin, data["x"]) == data["y"]).mean()
    assert right >= 0.985  # float: 0.991


def test_fashion() -> None:
    demo = load_demo()
    graph = fused(demo.model_path)
    twin = int8(graph, read_samples(graph, demo.calibration[:50]))
    images, labels = demo.images[:150], demo.labels[:150]
    exact, close = answers(graph, images), answers(twin, images)
    assert (close == labels).mean() >= (exact == labels).mean() - 0.015
    assert (close == exact).mean() >= 0.97


@pytest.mark.slow
def test_cifar_top1_within_half_a_point(shared_models: Path, shared_data: Path) -> None:
    graph = fused(shared_models / "ic_resnet8_float.onnx")
    twin = int8(graph, read_samples(graph, shared_data / "cifar10_jpeg_calib_512.npz"))
    data = np.load(shared_data / "cifar10_jpeg_1000.npz")
    right = (answers(twin, data["x"].astype(np.float32)) == data["y"]).mean()
    assert right >= 0.746  # float: 0.751


@pytest.mark.slow
def test_efficientnet_answers_like_float(shared_models: Path, shared_data: Path) -> None:
    pytest.importorskip("PIL")
    graph = fused(shared_models / "efficientnet_lite0_static.onnx")
    options = ImageOptions(mean=127.0, scale=1 / 128)
    twin = int8(graph, islice(read_samples(graph, shared_data / "imagenet224_calib_64", options), 16))
    every = read_samples(graph, shared_data / "imagenet224_250", options)
    name = graph.inputs[0].name
    images = np.concatenate([sample[name] for sample in islice(every, 0, 250, 25)])
    assert (answers(twin, images) == answers(graph, images)).mean() >= 0.9
