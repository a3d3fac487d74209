"""The device that runs regions of the overlay on the NumPy machine, and times them with the cycle model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from intarsia.dtypes import Array
from intarsia.errors import RunError
from intarsia.runtime.device import Device, LoadedRegion, RegionFiles, RegionResult
from intarsia_backends.overlay.machine.disassembler import disassemble
from intarsia_backends.overlay.machine.region import KIND, read_region
from intarsia_backends.simulator.cycles import model_cycles
from intarsia_backends.simulator.machine import LoadedProgram, Machine, load_region

_IDLE_MACHINES = 4


class SimulatorDevice(Device):
    """The overlay in NumPy: the bytes of the hardware, and cycles by the cycle model."""

    name = "simulator"
    kinds = (KIND,)
    priority = -10  # a board goes first

    def absent(self) -> str | None:
        """None: NumPy is all that it needs."""
        return None

    def load(self, region: RegionFiles) -> LoadedRegion:
        """Check the program and make it ready. RunError where it is damaged or made for another overlay."""
        return SimulatedRegion(region)


class SimulatedRegion(LoadedRegion):
    """A region with its program checked; machines are made as threads need them.

    program  what its machines run
    """

    def __init__(self, region: RegionFiles) -> None:
        self._region = described = read_region(region)
        self.program: LoadedProgram = load_region(described)
        self._counters = model_cycles(self.program.program, described.config).to_counters(described.layers)
        self._idle: list[Machine] = []

    @property
    def counters(self) -> Mapping[str, Any]:
        """The figures that every run has; they do not depend on the data."""
        return self._counters

    def listing(self) -> str:
        """The program, disassembled, with the names of its layers."""
        return disassemble(self._region.program, self._region.config, self._region.tags)

    def run(self, inputs: Sequence[Array]) -> RegionResult:
        """Execute the program on a machine that no other thread uses; counters are those of the cycle model."""
        image = self._region.pack(inputs)
        try:
            machine = self._idle.pop()  # one step for all threads of Python, as is append: a lock would hang forks
        except IndexError:
            machine = self._machine()
        outputs = self._region.unpack(machine.run(image))
        if len(self._idle) < _IDLE_MACHINES:
            self._idle.append(machine)
        return RegionResult(outputs, self._counters)

    def _machine(self) -> Machine:
        try:
            return Machine(self.program)
        except MemoryError as error:
            raise RunError(
                where=self._region.where,
                what=f"there is no memory for its segments of {sum(self._region.segments.values())} bytes",
                help="close other programs, or run it on a machine with more memory",
            ) from error
