"""Values that go from a region at one place to a region at another: what many small regions cost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from intarsia.artifact.manifest import Manifest
from intarsia.ir.types import TensorType
from intarsia.partition import Partition

HOST_BYTES_PER_SECOND = 0.4e9
"""Assumed, not measured: a board's CPU (Cortex-A9 at 650 MHz, NEON) on compiled code that streams from DRAM."""


@dataclass(frozen=True)
class Crossings:
    """What a run hands from place to place.

    count  values, each as often as another region reads it
    bytes  of those whose sizes are known
    """

    count: int
    bytes: int

    @property
    def seconds(self) -> float:
        """An estimate: a board's CPU reads and writes every byte once, in the other place's layout."""
        return 2 * self.bytes / HOST_BYTES_PER_SECOND

    def __str__(self) -> str:
        times = "1 value goes" if self.count == 1 else f"{self.count} values go"
        return f"{times} from device to device, {self.bytes:,} B, about {self.seconds * 1e3:.3g} ms"


NONE = Crossings(0, 0)


def crossings(parts: Partition) -> Crossings:
    """Of a graph that is cut up, in one run of it."""
    return _counted(
        (
            region.place,
            [(value.name, value.type) for value in region.graph.inputs],
            [value.name for value in region.graph.outputs],
        )
        for region in parts.regions
    )


def crossings_of(contents: Manifest) -> Crossings:
    """Of an artifact, in one run of it."""
    places = {row.get("region"): str(row.get("place")) for row in contents.placements}
    return _counted(
        (
            places.get(region.name, region.kind),
            [(item.name, TensorType(item.dtype, item.shape)) for item in region.inputs],
            [item.name for item in region.outputs],
        )
        for region in contents.regions
    )


def _counted(regions: Iterable[tuple[str, Sequence[tuple[str, TensorType]], Sequence[str]]]) -> Crossings:
    """Of regions in order of running: their places, what they read, what they make."""
    made: dict[str, str] = {}
    count = size = 0
    for place, inputs, outputs in regions:
        for name, type in inputs:
            if made.get(name, place) != place:
                count += 1
                size += type.size_bytes if type.is_static and type.dtype != "string" else 0
        made.update(dict.fromkeys(outputs, place))
    return Crossings(count, size)
