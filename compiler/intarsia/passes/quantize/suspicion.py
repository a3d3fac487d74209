"""Whether calibration data look like real inputs of the model: what can be told without knowing them.

Real inputs must never be suspected, so that every rule leaves a wide margin to what real data gave it; what no rule can
tell (images that are scaled a little otherwise, colours in another order for a detector whose BatchNormalizations were
folded) passes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from intarsia.dtypes import Array
from intarsia.ir.graph import Graph
from intarsia.passes.quantize.first_layer import FirstLayers
from intarsia.passes.quantize.orders import AxisOrder, ColourOrder, channel_axis
from intarsia.passes.statistics import Trained

FEW = 32
"""Fewer samples than that do not show what activations may be."""

_LOOKED_AT = 128
"""Of more samples only so many are looked at closely."""


class Watch:
    """Looks at calibration samples as they pass by."""

    def __init__(self, graph: Graph, trained: Mapping[str, Trained]) -> None:
        """
        graph    fused, in float, of one image a run where images are told from other inputs
        trained  what BatchNormalizations know of training, by name of a node
        """
        inputs = [value for value in graph.inputs if value.dtype == "float32"]
        axes = {value.name: axis for value in inputs if (axis := channel_axis(value)) is not None}
        colours = {value.name: axes[value.name] for value in inputs if _has_colours(value.shape, axes.get(value.name))}
        self.names = [value.name for value in inputs if value.type.rank and np.prod(value.shape[1:]) > 1]
        self.axes = {name: AxisOrder(axis) for name, axis in axes.items()}
        self.first = FirstLayers(graph, trained, colours)
        self.colours = None if self.first.colours else ColourOrder.of(graph, colours)
        self.rows = 0
        self.count = 0
        self.blank = 0
        self.levels: set[float] = set()
        self.digests: set[bytes] = set()
        self.pixels = bool(inputs)

    def passing(self, samples: Iterable[Mapping[str, Array]]) -> Iterator[Mapping[str, Array]]:
        """The samples, looked at."""
        for sample in samples:
            self.see(sample)
            yield sample

    def see(self, sample: Mapping[str, Array]) -> None:
        """Look at one sample: an array for every input, by name."""
        sizes = {len(array) for array in sample.values() if array.ndim}
        self.rows += sizes.pop() if len(sizes) == 1 else 1
        self._compare(sample)
        if self.count < _LOOKED_AT:
            self.first.see(self.count, sample)
            for name, order in self.axes.items():
                order.see(np.asarray(sample[name]))
            if self.colours is not None:
                self.colours.see(sample)
        self.count += 1

    def _compare(self, sample: Mapping[str, Array]) -> None:
        digest = hashlib.blake2b(digest_size=16)
        for _, array in sorted(sample.items()):
            digest.update(np.ascontiguousarray(array).tobytes() if array.dtype != object else repr(array).encode())
        self.digests.add(digest.digest())
        numbers = [np.asarray(sample[name]) for name in self.names]
        if numbers and all(array.size and bool(np.all(array == array.flat[0])) for array in numbers):
            self.blank += 1
            self.levels.update(float(array.flat[0]) for array in numbers)
        self.pixels = self.pixels and all(_are_pixels(np.asarray(sample[name])) for name in self.names)

    def suspicions(self) -> list[str]:
        """Sentences about data that are no real inputs, as far as one can tell; none for others."""
        if self.count and self.blank == self.count:
            level = f"{self.levels.pop():g}" if len(self.levels) == 1 else "one number each"
            return [f"it holds nothing but {level}: give real inputs"]
        found = [self._repeated(), *(order.finding(name) for name, order in self.axes.items())]
        if not any(found[1:]):  # else what reaches the layers is no image
            found += self.first.findings() or [None if self.colours is None else self.colours.finding()]
        return [text for text in found if text is not None]

    def _repeated(self) -> str | None:
        if self.blank * 2 >= self.count > 1:
            return f"{self.blank} of {self.count} samples hold one number throughout: give real inputs"
        different = len(self.digests)
        if self.count > 1 and different * 2 <= self.count:
            return f"only {different} of {self.count} samples {'is' if different == 1 else 'are'} unlike those before"
        return None

    def remarks(self) -> list[str]:
        """Sentences about data that may well be real, and are not the best that there could be."""
        found = []
        if self.rows < FEW:
            found.append(
                f"{self.rows} sample{'' if self.rows == 1 else 's'} may not show how large activations become: "
                "100 to 500 real inputs are usual"
            )
        if self.pixels and self.names and self.blank < self.count and not self.first.can_tell:
            found.append(
                "the inputs are whole numbers from 0 to 255 and were taken as they stand; if the model wants pixels "
                "scaled, scale them: nothing in it tells"
            )
        return found


def _has_colours(shape: tuple[int, ...], axis: int | None) -> bool:
    return axis is not None and shape[axis] == 3


def _are_pixels(array: Array) -> bool:
    """Whether numbers look like bytes of an image: whole, from 0 to 255, and some above 1."""
    if not array.size:
        return False
    low, high = array.min(), array.max()
    return bool(low >= 0 and 1 < high <= 255 and np.all(array == np.rint(array)))
