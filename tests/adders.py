"""A device whose regions add 1, for tests of what happens between regions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from intarsia.dtypes import Array
from intarsia.runtime.device import Device, LoadedRegion, RegionFiles, RegionResult


class Stage(LoadedRegion):
    """Adds 1. Calls `reached` with its region's name first; notes the time that it was given."""

    def __init__(self, name: str, device: Adder) -> None:
        self.name, self.device = name, device

    def run(self, inputs: Sequence[Array]) -> RegionResult:
        self.device.ran.append(self.name)
        self.device.reached(self.name)
        return RegionResult([inputs[0] + 1], {"cycles": 3})

    def run_within(self, inputs: Sequence[Array], seconds: float) -> RegionResult:
        self.device.given.append(seconds)
        return self.run(inputs)


class Adder(Device):
    name, kinds = "adder", ("add",)

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.given: list[float] = []
        self.reached: Callable[[str], None] = lambda name: None

    def absent(self) -> str | None:
        return None

    def load(self, region: RegionFiles) -> LoadedRegion:
        return Stage(region.name, self)


class Entry:
    name = value = "adder"

    def __init__(self, device: Adder) -> None:
        self.load = lambda: lambda: device
