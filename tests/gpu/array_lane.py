"""A lane without a device."""

from __future__ import annotations

from typing import Any

import numpy as np

from intarsia_backends.gpu.launches import ARENA, WEIGHTS, Launch, Launches, Place
from intarsia_backends.gpu.region import Lane


class ArrayLane(Lane):
    """An arena that is an array, and kernels that do nothing: every place lies in it, or an assertion fails."""

    def __init__(self, launches: Launches) -> None:
        self.launches = launches
        self.memories = {
            ARENA: np.zeros(launches.arena_bytes, np.uint8),
            WEIGHTS: np.zeros(launches.weights_bytes, np.uint8),
        }
        self.launched: list[int] = []
        self.closed = False

    def part(self, place: Place, size_bytes: int) -> Any:
        part = self.memories[place.memory][place.start : place.start + size_bytes]
        assert len(part) == size_bytes
        return part

    def write(self, start: int, data: Any) -> None:
        self.part(Place(ARENA, start), data.nbytes)[:] = data.reshape(-1).view(np.uint8)

    def read(self, start: int, data: Any) -> None:
        data.reshape(-1).view(np.uint8)[:] = self.part(Place(ARENA, start), data.nbytes)

    def copy(self, source: Place, target: Place, size_bytes: int) -> None:
        self.part(target, size_bytes)[:] = self.part(source, size_bytes)

    def launch(self, step: int) -> None:
        launch = self.launches.steps[step]
        assert isinstance(launch, Launch)
        for place, parameter in zip(launch.places, self.launches.kernels[launch.kernel].parameters):
            self.part(place, parameter.size_bytes)
        self.launched.append(step)

    def close(self) -> None:
        self.closed = True
