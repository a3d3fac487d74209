"""What one run gives: outputs and figures together, so that they belong to each other in a queue of requests too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from intarsia.dtypes import Array
from intarsia.runtime.counters import whole_model


@dataclass(frozen=True, eq=False)
class RunResult:
    """Outputs of one run, and what the devices counted in that run and no other.

    outputs  the model's outputs, in order; fresh arrays
    names    their names, in the same order
    images   samples that were run, without those that only fill the last batch up
    seconds  wall time of the run, its checks and the wait for a device that others use included
    regions  for each region in order of running (name, device, what the device counted, summed over the batches); the
             devices' own objects, not to be written to
    """

    outputs: list[Array]
    names: tuple[str, ...]
    images: int
    seconds: float
    regions: Sequence[tuple[str, str, Mapping[str, Any]]] = field(repr=False)

    @property
    def by_name(self) -> dict[str, Array]:
        """The outputs by name."""
        return dict(zip(self.names, self.outputs))

    @cached_property
    def counters(self) -> dict[str, Any]:
        """Figures of the run, made when first asked for; the caller's own, JSON-able.

        {"images": int, "cycles": int, ..., "regions": [{"name", "device", what the device counts}]}: see
        `RegionResult.counters` for a region's, and `intarsia.runtime.counters` for how they are summed.
        """
        named = [{**figures, "name": name, "device": device} for name, device, figures in self.regions]
        return whole_model(self.images, named)
