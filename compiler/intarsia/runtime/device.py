"""The run side of a backend: what a device must do. NumPy and the standard library only.

Devices arrive by the entry point group `intarsia.devices`; each entry is a callable without arguments that returns a
Device. The session asks for every region which device runs its kind.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from intarsia.dtypes import Array
from intarsia.errors import RunError, either

GROUP = "intarsia.devices"

MOST_THREADS = 256


@dataclass(frozen=True)
class Processors:
    """What the caller wants of this machine's processors. Raises RunError for numbers that mean nothing.

    threads  threads for one run, the calling one among them, 1 to MOST_THREADS; None leaves it to the device
    pin      processors that the device's own threads stay on, one each, from the first; the calling thread, which is
             the caller's, is never moved. None lets them go where the system sends them
    """

    threads: int | None = None
    pin: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.threads is not None and not (_whole(self.threads) and 1 <= self.threads <= MOST_THREADS):
            raise RunError(
                where=either("--threads", "threads"),
                what=f"{self.threads!r} is no whole number from 1 to {MOST_THREADS}",
                help="leave it out to use every processor that the process may use",
            )
        if self.pin is None:
            return
        if not all(_whole(number) and number >= 0 for number in self.pin) or len(set(self.pin)) < len(self.pin):
            raise RunError(
                where=either("--pin", "pin"),
                what=f"{list(self.pin)} is no list of different processors",
                help="give their numbers from 0, as /proc/cpuinfo does",
            )
        if not max(1, (self.threads or 1) - 1) <= len(self.pin) < MOST_THREADS:
            raise RunError(
                where=either("--pin", "pin"),
                what=f"it names {len(self.pin)} processors, and {self.threads or 2} threads need "
                f"{(self.threads or 2) - 1}: the thread that calls is not moved",
                help="name one for every thread but that",
            )


def _whole(number: Any) -> bool:
    return isinstance(number, int) and not isinstance(number, bool)


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


class RegionResult(NamedTuple):
    """Outputs of one run, and its figures.

    counters  JSON-able: {"cycles": int, "bytes_read": int, "bytes_written": int, "layers": [{...}, ...]} on an
              overlay engine; {"seconds": float} on a CPU; {} where nothing is counted. Over the images of a batch
              the session adds numbers up, save "tag" and "utilisation", which it keeps, and those with "peak" in
              their name: of them it keeps the largest
    """

    outputs: list[Array]
    counters: Mapping[str, Any] = MappingProxyType({})


class Resident(ABC):
    """A value that a region has made, and that stays where its device keeps it until an array of it is asked for.

    The session that got it hands it to regions of the same home, all in one thread, and releases it in the end.

    home          that of the region which made it; see LoadedRegion
    dtype, shape  of the array
    """

    home: Hashable
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @abstractmethod
    def array(self) -> Array:
        """The value as an array, made when first asked for, row by row in memory. RunError where the device fails."""

    @abstractmethod
    def release(self) -> None:
        """Nobody asks for it any more. Arrays of it stay as they are; what is released already stays so."""


class HomeResult(NamedTuple):
    """As RegionResult, for a run whose values may stay on the device."""

    outputs: list[Array | Resident]
    counters: Mapping[str, Any] = MappingProxyType({})


class LoadedRegion(ABC):
    """A region ready to run. `run` and `run_images` may be called from several threads at once.

    images_at_once  images that `run_images` takes in one go; 0 where only `run` can be called
    home            where `run_at_home` keeps values; regions whose homes are equal take each other's. None where values
                    are only ever arrays
    """

    images_at_once: int = 0
    home: Hashable | None = None

    @abstractmethod
    def run(self, inputs: Sequence[Array]) -> RegionResult:
        """Run once. Inputs are C-contiguous, of the declared dtype and shape; outputs are fresh arrays."""

    def run_within(self, inputs: Sequence[Array], seconds: float) -> RegionResult:
        """Run once, for a caller who waits no longer than that.

        For devices that wait for hardware: those give up by raising `intarsia.runtime.limits.RunTimeout`, and can run
        the region again. By default a run goes on to its end, and the session looks at the time before the next region.
        """
        return self.run(inputs)

    def run_at_home(self, inputs: Sequence[Array | Resident], kept: Sequence[bool]) -> HomeResult:
        """Run once, as `run` does, for a session whose next regions are at home where this one is.

        inputs  arrays, and values that regions of the same home have kept
        kept    for each output whether it may stay there: a Resident, or an array after all
        """
        raise NotImplementedError

    def run_images(self, inputs: Sequence[Array], images: int) -> RegionResult:
        """Run several times, on inputs [images, *shape] each, for outputs [images, *shape].

        The bytes for an image are those that `run` gives. Counters are those of all runs, added up.
        """
        raise NotImplementedError

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

    name        what --device takes
    kinds       the kinds of region that it runs
    measures    whether a run counts cycles of hardware; `LoadedRegion.counters` are then a model's, to compare with
    native      whether `load` maps machine code out of the artifact into this process, which nothing can check
    processors  what the caller wants of this machine's processors, set before `load`; only devices that have threads
                of their own look at it
    """

    name: str
    kinds: tuple[str, ...]
    measures: bool = False
    native: bool = False
    processors: Processors = Processors()
    priority: int = 0  # among devices that are present and run a kind, the highest is chosen

    @abstractmethod
    def absent(self) -> str | None:
        """None where the device can be used here, else the reason why not. Quick and without side effects."""

    def expected(self) -> bool:
        """Whether its hardware is on this machine. Where it is `absent` nevertheless, there is something to mend."""
        return False

    def lacking(self) -> str | None:
        """What this machine lacks for it beside what `absent` looks at, such as a driver or a card; None for nothing.

        Asked by who lists devices. It may take a moment.
        """
        return None

    def unfit(self, region: RegionFiles) -> RunError | None:
        """Why it cannot run a region of its kind on this machine, though it is here; None where it can.

        Asked where the choice is left to the session, which then takes another device, or the evaluator, and says so.
        `load` raises the same.
        """
        return None

    @abstractmethod
    def load(self, region: RegionFiles) -> LoadedRegion:
        """Make a region ready. Raises RunError where the files do not fit this machine."""
