"""A lane whose device is the processor: every kernel gets arrays of its own, with guards around them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cuda_on_cpu import FORWARD, Kernels
from intarsia.dtypes import Array
from intarsia_backends.gpu.compiler import GpuCode
from intarsia_backends.gpu.launches import ARENA, WEIGHTS, Launch, Place
from intarsia_backends.gpu.region import Lane


class CpuLane(Lane):
    """Kernels of a region, in an order of threads.

    fill  what the arena holds at first, and what lies around the arrays of kernels: results must not depend on it
    """

    def __init__(self, code: GpuCode, folder: Path, order: int = FORWARD, fill: int = 0xA5) -> None:
        self.code, self.order, self.fill = code, order, fill
        self.kernels = Kernels(code.text, folder)
        self.memories = {
            ARENA: np.full(code.launches.arena_bytes, fill, np.uint8),
            WEIGHTS: np.frombuffer(code.weights, np.uint8).copy(),
        }

    def part(self, place: Place, size_bytes: int) -> Array:
        """Bytes of a memory."""
        return self.memories[place.memory][place.start : place.start + size_bytes]

    def write(self, start: int, data: Array) -> None:
        self.part(Place(ARENA, start), data.nbytes)[:] = data.reshape(-1).view(np.uint8)

    def read(self, start: int, data: Array) -> None:
        data.reshape(-1).view(np.uint8)[:] = self.part(Place(ARENA, start), data.nbytes)

    def copy(self, source: Place, target: Place, size_bytes: int) -> None:
        self.part(target, size_bytes)[:] = self.part(source, size_bytes)

    def launch(self, step: int) -> None:
        launch = self.code.launches.steps[step]
        assert isinstance(launch, Launch)
        facts = self.code.launches.kernels[launch.kernel]
        if 0 in facts.grid:
            return
        parts = [self.part(place, each.size_bytes) for place, each in zip(launch.places, facts.parameters)]
        arrays = [part.view(each.dtype).copy() for part, each in zip(parts, facts.parameters)]
        self.kernels.launch(facts, arrays, self.order, self.fill)
        for part, array, parameter in zip(parts, arrays, facts.parameters):
            if parameter.written:
                part[:] = array.view(np.uint8)

    def close(self) -> None:
        """Nothing is held."""
