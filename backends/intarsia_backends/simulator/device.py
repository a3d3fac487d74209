"""The device that runs regions of the overlay on the NumPy machine, and times them with the cycle model."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from intarsia.dtypes import Array
from intarsia.errors import RunError
from intarsia.runtime.device import Device, LoadedRegion, RegionFiles, RegionResult
from intarsia_backends.overlay import isa
from intarsia_backends.overlay.config import OverlayConfig
from intarsia_backends.overlay.layout import TensorLayout, pack_all, unpack_all
from intarsia_backends.overlay.text import disassemble
from intarsia_backends.simulator.cycles import model_cycles
from intarsia_backends.simulator.machine import LoadedProgram, Machine, load_program

KIND = "overlay"
PROGRAM, CONSTANTS = "program.bin", "constants.bin"

_AGAIN = "compile the model again with the version of intarsia that is installed here"
_IDLE_MACHINES = 4


class SimulatorDevice(Device):
    """The overlay in NumPy: the bytes of the hardware, and cycles by the cycle model."""

    name = "simulator"
    kinds = (KIND,)
    priority = -10  # a board goes first

    def absent(self) -> str | None:
        return None

    def load(self, region: RegionFiles) -> LoadedRegion:
        """Check the program and make it ready. RunError where it is damaged or made for another overlay."""
        return SimulatedRegion(region)


class SimulatedRegion(LoadedRegion):
    """A region with its program checked; machines are made as threads need them.

    program  what its machines run
    """

    def __init__(self, region: RegionFiles) -> None:
        where, facts = f"region '{region.name}'", region.metadata
        try:
            config = OverlayConfig.from_dict(facts["config_data"])
            self._inputs = [TensorLayout.from_dict(item) for item in facts["inputs"]]
            self._outputs = [TensorLayout.from_dict(item) for item in facts["outputs"]]
            segments = {isa.Segment[name.upper()]: int(size) for name, size in facts["segments"].items()}
            program, constants = region.files[PROGRAM], region.files[CONSTANTS]
        except KeyError as error:
            raise RunError(where=where, what=f"it lacks {error}", help=_AGAIN) from None
        except (AttributeError, TypeError, ValueError) as error:
            raise RunError(where=where, what=f"its description cannot be read: {error}", help=_AGAIN) from None
        if config.hash != facts.get("config_hash"):
            made_for = f"overlay '{config.name}' {facts.get('config_hash')}"
            raise RunError(where=where, what=f"it was compiled for {made_for}, here that is {config.hash}", help=_AGAIN)
        for declared, layouts in ((region.inputs, self._inputs), (region.outputs, self._outputs)):
            wanted = [(name, dtype, tuple(shape)) for name, dtype, shape in declared]
            found = [(layout.name, layout.dtype, layout.shape) for layout in layouts]
            if wanted != found:
                raise RunError(where=where, what=f"it takes {found}, its description says {wanted}", help=_AGAIN)
        self._input_bytes = segments[isa.Segment.INPUTS]
        try:
            self.program: LoadedProgram = load_program(program, config, constants, segments)
        except RunError as error:
            raise RunError(where=f"{where}, {error.where}", what=error.what, help=error.help) from None
        self._words, self._tags = program, [str(name) for name in facts.get("tags", ())]
        self._counters = model_cycles(self.program.program, config).to_counters(region.layers)
        self._idle: list[Machine] = []
        self._lock = threading.Lock()

    @property
    def counters(self) -> Mapping[str, Any]:
        """The figures that every run has; they do not depend on the data."""
        return self._counters

    def listing(self) -> str:
        return disassemble(self._words, self.program.config, self._tags)

    def run(self, inputs: Sequence[Array]) -> RegionResult:
        image = pack_all(inputs, self._inputs, self._input_bytes)
        with self._lock:
            machine = self._idle.pop() if self._idle else None
        if machine is None:
            machine = Machine(self.program)
        outputs = unpack_all(machine.run(image), self._outputs)
        with self._lock:
            if len(self._idle) < _IDLE_MACHINES:
                self._idle.append(machine)
        return RegionResult(outputs, self._counters)
