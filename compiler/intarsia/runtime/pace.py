"""How many images a session gives to its regions in one go. NumPy and the standard library only."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from intarsia.dtypes import Array
from intarsia.runtime.steps import Step, exact

_FIRST = 16
"""Images of the first go, where nobody waits for word between them and regions take no more at once."""

_SECONDS = 0.05
"""About as long as a go may take: time-outs, cancellation, ctrl-C and a command's bar are looked at between two."""

_BYTES = 64 << 20
"""What the values of all regions may take."""


class Pace:
    """Longer goes where one is done soon, shorter ones where it takes long.

    steps    the regions
    watched  whether somebody has a time limit, or wants to see how far it is
    clock    seconds
    """

    def __init__(self, steps: Sequence[Step], *, watched: bool, clock: Callable[[], float] = time.perf_counter) -> None:
        sizes = [step.image_bytes for step in steps]
        known = [size for size in sizes if size is not None]
        self._clock, self._start = clock, 0.0
        self._most = max(1, _BYTES // max(1, sum(known))) if known and len(known) == len(sizes) else 1
        at_once = max((step.loaded.images_at_once for step in steps), default=0)
        self._next = at_once if watched else max(_FIRST, at_once)

    def images(self, left: int) -> int:
        """How many to run next, of so many; at least one."""
        self._start = self._clock()
        return max(1, min(self._next, self._most, left))

    def done(self, images: int) -> None:
        """So many were run since `images` was asked."""
        seconds = self._clock() - self._start
        if seconds < _SECONDS / 2:
            self._next = max(self._next, 2 * images)
        elif seconds > 2 * _SECONDS:
            self._next = max(1, int(images * _SECONDS / seconds))


class OneGo:
    """A model of one region, for inputs that it can take whole, and that need no further look.

    step   the region
    batch  samples that it was compiled for
    """

    def __init__(self, step: Step, batch: int) -> None:
        self._step, self._batch = step, batch
        self._most = Pace([step], watched=False).images(_FIRST * max(_FIRST, step.loaded.images_at_once))
        kinds = [exact(item.dtype, item.shape) for item in (*step.region.inputs, *step.region.outputs)]
        known = [kind for kind in kinds if kind is not None and kind[1][:1] == (batch,)]
        self._fits = len(known) == len(kinds) and step.image_bytes is not None
        self._inputs = [(kind[0], kind[1][1:]) for kind in known[: len(step.region.inputs)]]
        self._rest = [kind[1][1:] for kind in known[len(step.region.inputs) :]]

    def takes(self, arrays: Sequence[Any]) -> int:
        """How many batches these arrays are; 0 where `Session.execute` should have a closer look."""
        if not self._fits or not arrays or type(arrays[0]) is not np.ndarray or arrays[0].ndim == 0:
            return 0
        samples = len(arrays[0])
        images, rest = divmod(samples, self._batch)
        if rest or not 1 <= images <= self._most:
            return 0
        for array, (dtype, shape) in zip(arrays, self._inputs):
            if type(array) is not np.ndarray or array.dtype != dtype or array.shape != (samples, *shape):
                return 0
            if not array.flags.c_contiguous:
                return 0
        return images

    def run(self, arrays: Sequence[Any], images: int) -> list[Array]:
        """The outputs for so many batches."""
        samples = images * self._batch
        outputs = self._step.loaded.run_images(arrays, images).outputs
        return [array.reshape(samples, *shape) for array, shape in zip(outputs, self._rest)]
