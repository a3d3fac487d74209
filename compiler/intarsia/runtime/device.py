"""The run side of a backend: what a device must do. NumPy and the standard library only.

Devices arrive by the entry point group `intarsia.devices`; each entry is a callable without arguments that returns a
Device. The session asks for every region which device runs its kind.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from intarsia.dtypes import Array

GROUP = "intarsia.devices"


@dataclass(frozen=True)
class RegionFiles:
    """A region as the artifact holds it.

    name      region name, unique in the artifact
    kind      kind of device that it was compiled for (Blob.device)
    inputs    (value name, dtype, shape) in order
    outputs   the same
    files     contents by file name; already checked against their hashes
    metadata  Blob.metadata as it came back from JSON
    layers    Blob.layers as they came back from JSON
    """

    name: str
    kind: str
    inputs: tuple[tuple[str, str, tuple[int, ...]], ...]
    outputs: tuple[tuple[str, str, tuple[int, ...]], ...]
    files: Mapping[str, bytes]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    layers: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class RegionResult:
    """Outputs of one run, and its figures.

    counters  JSON-able: {"cycles": int, "bytes_read": int, "bytes_written": int, "layers": [{...}, ...]} on an
              overlay engine; {"seconds": float} on a CPU; {} where nothing is counted. Over the images of a batch
              the session adds numbers up, save "tag" and "utilisation", which it keeps, and those with "peak" in
              their name: of them it keeps the largest
    """

    outputs: list[Array]
    counters: Mapping[str, Any] = field(default_factory=dict)


class LoadedRegion(ABC):
    """A region ready to run. `run` may be called from several threads at once."""

    @abstractmethod
    def run(self, inputs: Sequence[Array]) -> RegionResult:
        """Run once. Inputs are C-contiguous, of the declared dtype and shape; outputs are fresh arrays."""

    @property
    def counters(self) -> Mapping[str, Any]:
        """Figures that every run has, whatever the data; {} where only a run can tell."""
        return {}

    def listing(self) -> str:
        """The region's program as text for people, one line an instruction; "" where there is none to show."""
        return ""

    def close(self) -> None:  # noqa: B027
        """Let go of what the region holds outside of memory. It is not run afterwards."""


class Device(ABC):
    """Something that runs regions.

    name      what --device takes
    kinds     the kinds of region that it runs
    measures  whether a run counts cycles of hardware; `LoadedRegion.counters` are then a model's, to compare with
    """

    name: str
    kinds: tuple[str, ...]
    measures: bool = False
    priority: int = 0  # among devices that are present and run a kind, the highest is chosen

    @abstractmethod
    def absent(self) -> str | None:
        """None where the device can be used here, else the reason why not. Quick and without side effects."""

    @abstractmethod
    def load(self, region: RegionFiles) -> LoadedRegion:
        """Make a region ready. Raises RunError where the files do not fit this machine."""
