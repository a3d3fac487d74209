"""The model and the labelled images that ship with intarsia, for the demo, the tutorials and the tests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from intarsia.dtypes import Array

MEAN, DEVIATION = 0.2860, 0.3530
"""Of Fashion-MNIST's training images, as the model was trained: input = (pixel / 255 - MEAN) / DEVIATION."""

CLASSES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")


@dataclass(frozen=True)
class Demo:
    """A small residual network for Fashion-MNIST, and real data for it.

    model_path   the ONNX file, float32, input [N, 1, 28, 28]
    calibration  float32 [100, 1, 28, 28], images that the accuracy is not measured on
    images       float32 [400, 1, 28, 28], as the model takes them
    labels       uint8 [400], indexes into CLASSES
    pixels       uint8 [400, 28, 28], the images as they were made, 0 to 255
    """

    model_path: Path
    calibration: Array
    images: Array
    labels: Array
    pixels: Array


def load_demo() -> Demo:
    """Read the shipped files. The images are Zalando's Fashion-MNIST, MIT licence."""
    folder = Path(__file__).parent
    with np.load(folder / "fashion_mnist.npz") as data:
        return Demo(
            folder / "fmnist_resnet8.onnx",
            _as_input(data["calibration"]),
            _as_input(data["images"]),
            data["labels"],
            data["images"],
        )


def _as_input(pixels: Array) -> Array:
    """uint8 [N, 28, 28] to what the model takes, float32 [N, 1, 28, 28]."""
    scaled = (pixels[:, None].astype(np.float32) / 255 - MEAN) / DEVIATION
    return np.asarray(scaled.astype(np.float32))
