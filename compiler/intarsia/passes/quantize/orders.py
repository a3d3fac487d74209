"""Whether images in calibration data have the order of axes, and of colours, that the model takes."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from intarsia.dtypes import Array
from intarsia.errors import RunError
from intarsia.ir.evaluate import evaluate
from intarsia.ir.graph import Graph, Value

_CHANNELS = (2, 3, 4)
_LEAST_SIDE = 8
_ROUGH = 0.75
"""Neighbours of an image that was read in the wrong order of axes differ more than in the right one: in six data sets
of photographs the right order has 0.15 to 0.5 of the differences of the wrong one, sample by sample 0.9 at most."""

_SURE = 3.5
"""Standard errors by which the other order of colours must make a classifier surer."""
_LEAST_IMAGES, _MOST_IMAGES = 32, 128
_SETTLED, _SETTLED_IMAGES = 2.0, 16
"""No more images are looked at when so many make it surer by so many standard errors in the order that they have."""


def channel_axis(value: Value) -> int | None:
    """Where an input [1, C, H, W] or [1, H, W, C] has its few channels; None where nobody can tell."""
    shape = value.type.shape
    if value.dtype != "float32" or shape is None or len(shape) != 4 or None in shape:
        return None
    sizes = [size or 0 for size in shape]
    first, last = sizes[1] in _CHANNELS, sizes[3] in _CHANNELS
    if first == last or min(sizes[2], sizes[3] if first else sizes[1]) < _LEAST_SIDE:
        return None
    return 1 if first else 3


class AxisOrder:
    """How smooth images are, in the order of axes that they have and in the other one that the numbers may have had."""

    def __init__(self, axis: int) -> None:
        self.axis = axis
        self.ratios: list[float] = []

    def see(self, images: Array) -> None:
        """Look at [N, C, H, W] or [N, H, W, C]."""
        size = images.shape
        if self.axis == 1:
            given = images
            other = images.reshape(size[0], size[2], size[3], size[1]).transpose(0, 3, 1, 2)
        else:
            given = images.transpose(0, 3, 1, 2)
            other = images.reshape(size[0], size[3], size[1], size[2])
        rough = _roughness(given)
        if rough > 0:
            self.ratios.append(_roughness(other) / rough)

    def finding(self, name: str) -> str | None:
        """A sentence, where most images are smoother in the other order."""
        if not self.ratios or float(np.median(self.ratios)) >= _ROUGH:
            return None
        has, wants = ("last", "first") if self.axis == 1 else ("first", "last")
        turn = "(0, 3, 1, 2)" if self.axis == 1 else "(0, 2, 3, 1)"
        return (
            f"the images for '{name}' look as if their channels stood {has}, and the model takes them {wants}: move "
            f"the axis, x.transpose{turn}, where they were only reshaped"
        )


def _roughness(planes: Array) -> float:
    """Mean difference of neighbours in [N, C, H, W], downwards and to the right."""
    planes = planes.astype(np.float64)
    with np.errstate(all="ignore"):
        return float(sum(np.abs(np.diff(planes, axis=axis)).mean() for axis in (2, 3)))


class ColourOrder:
    """How sure a classifier is of images as they are, and with their colours in the other order.

    A network that has learned from pictures is less sure of pictures in false colours: by 0.1 to 0.4 nats of entropy on
    two of them, three standard errors with 32 pictures.
    """

    def __init__(self, graph: Graph, colours: Mapping[str, int]) -> None:
        self.graph, self.colours = graph, colours
        self.differences: list[float] = []
        self.settled = False

    @classmethod
    def of(cls, graph: Graph, colours: Mapping[str, int]) -> ColourOrder | None:
        """One for a classifier of images; None for other graphs."""
        shapes = [value.type.shape for value in graph.outputs]
        if len(graph.inputs) != 1 or not colours or len(shapes) != 1 or graph.outputs[0].dtype != "float32":
            return None
        shape = shapes[0]
        if shape is None or None in shape or len(shape) < 2 or (shape[1] or 0) < 3:
            return None
        return cls(graph, colours) if all(size == 1 for size in shape[2:]) else None

    def see(self, sample: Mapping[str, Array]) -> None:
        """Look at one sample, as long as there are not enough."""
        if self.settled:
            return
        turned = {name: np.flip(array, self.colours[name]) for name, array in sample.items()}
        try:
            given, other = (_entropies(evaluate(self.graph, item)[0]) for item in (sample, turned))
        except RunError:  # calibration says so, with the sample's number
            return
        self.differences += [float(item) for item in given - other if math.isfinite(item)]
        count = len(self.differences)
        right = count >= _SETTLED_IMAGES and self._errors() < -_SETTLED
        self.settled = right or count >= _MOST_IMAGES

    def _errors(self) -> float:
        """By how many standard errors the other order makes it surer."""
        mean, deviation = np.mean(self.differences), np.std(self.differences, ddof=1)
        return float(mean / deviation * math.sqrt(len(self.differences))) if deviation else 0.0

    def finding(self) -> str | None:
        """A sentence, where the other order makes it surer beyond chance."""
        if len(self.differences) < _LEAST_IMAGES or self._errors() <= _SURE:
            return None
        return (
            "its colours may stand in the other order, BGR for RGB or the like: the model is surer of the images with "
            f"their colours turned round, by {np.mean(self.differences):.2g} nats of entropy"
        )


def _entropies(scores: Array) -> Array:
    """Of each row [N, C, 1...] in nats: of probabilities, or of the softmax of other scores."""
    rows = scores.reshape(len(scores), -1).astype(np.float64)
    with np.errstate(all="ignore"):
        if rows.min() >= 0.0 and np.allclose(rows.sum(axis=1), 1.0, atol=1e-3):
            chances = rows
        else:
            chances = np.exp(rows - rows.max(axis=1, keepdims=True))
            chances = chances / chances.sum(axis=1, keepdims=True)
        return np.asarray(-np.sum(chances * np.log(np.maximum(chances, 1e-300)), axis=1))
