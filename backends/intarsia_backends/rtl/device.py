"""The device that runs regions of the overlay on its RTL, Verilated: the hardware's bytes and the hardware's cycles."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import intarsia_hw
from intarsia.dtypes import Array
from intarsia.errors import RunError
from intarsia.runtime.device import Device, LoadedRegion, RegionFiles, RegionResult
from intarsia_backends.overlay.machine import isa
from intarsia_backends.overlay.machine.core_driver import Figures
from intarsia_backends.overlay.machine.disassembler import disassemble
from intarsia_backends.overlay.machine.isa import Queue, Segment
from intarsia_backends.overlay.machine.region import KIND, OverlayRegion, read_region
from intarsia_backends.rtl.core import Core, Image
from intarsia_backends.rtl.tools import missing
from intarsia_backends.simulator.costs import cost_of
from intarsia_backends.simulator.cycles import Account, CycleReport, Layer, layers_of, model_cycles
from intarsia_backends.simulator.decoded import Program
from intarsia_backends.simulator.machine import load_region
from intarsia_backends.simulator.timeline import Timing


class RtlDevice(Device):
    """The overlay's SystemVerilog, Verilated. It runs where it is asked for by name: the simulator is faster."""

    name = "rtl"
    kinds = (KIND,)
    priority = -100
    measures = True

    def absent(self) -> str | None:
        """Which tool or file is missing, if one is."""
        if not (intarsia_hw.RTL / "ia_core.sv").exists():
            return "the RTL is not part of this installation"
        return missing()

    def load(self, region: RegionFiles) -> LoadedRegion:
        """Check the program, and Verilate the core of its configuration where that has not been done before.

        RunError where the region is damaged, or the core cannot be built.
        """
        return RtlRegion(region)


class RtlRegion(LoadedRegion):
    """A region in the DRAM of a core of its own."""

    def __init__(self, region: RegionFiles) -> None:
        self._region = described = read_region(region)
        loaded = load_region(described)
        self._program = loaded.program
        self._modelled = model_cycles(self._program, described.config)
        self._lock = threading.Lock()
        self._lost = False
        self._start()
        _LOADED.add(self)

    def _start(self) -> None:
        self._image = Image(self._region)
        self._core: Core | None = Core(self._region.config)
        self._image.attach(self._core.memory)

    @property
    def counters(self) -> Mapping[str, Any]:
        """Figures by the cycle model, to be compared with those of a run."""
        return self._modelled.to_counters(self._region.layers)

    def listing(self) -> str:
        """The program, disassembled, with the names of its layers."""
        return disassemble(self._region.program, self._region.config, self._region.tags)

    def run(self, inputs: Sequence[Array]) -> RegionResult:
        """Execute the program on the Verilated core, one run at a time; counters are measured."""
        packed = self._region.pack(inputs)
        with self._lock:
            if self._lost:
                self._start()
                self._lost = False
            core = self._core
            if core is None:
                raise RunError(where=self._region.where, what="its session is closed", help="load the artifact again")
            self._image.segments[Segment.INPUTS][:] = packed
            figures = core.run(self._image.job, limit_cycles=1_000_000 + 100 * self._modelled.cycles)
            outputs = self._region.unpack(self._image.segments[Segment.OUTPUTS])
            counters = measured(self._region, self._program, core, figures).to_counters(self._region.layers)
        return RegionResult(outputs, counters)

    def close(self) -> None:
        """Let go of the core. A run in another thread ends first."""
        with self._lock:
            core, self._core = self._core, None
            if core is not None and not self._lost:
                core.close()

    def renew(self) -> None:
        """In a child process: a run of another thread of its parent may hold the lock, with the core halfway."""
        self._lost = self._lost or self._lock.locked()
        self._lock = threading.Lock()


_LOADED: weakref.WeakSet[RtlRegion] = weakref.WeakSet()


def _renew_all() -> None:
    for region in list(_LOADED):
        region.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)


def measured(region: OverlayRegion, program: Program, core: Core, figures: Figures) -> CycleReport:
    """What the core counted in its last run, in the form of the cycle model.

    Cycles and those of the queues are the core's own counters; bytes are counted at its AXI ports; layers follow from
    the cycles in which each run word began and ended.
    """
    timings = word_timings(program, core)
    macs = sum(timing.cost.macs for timing in timings)
    layers: tuple[Layer, ...] = layers_of(timings, figures.cycles) if timings else ()
    queues = {}
    for queue, found in figures.queues.items():
        account = Account(found.busy, found.wait_memory, found.wait_semaphore)
        account.idle = figures.cycles - account.busy - account.wait_memory - account.wait_semaphore
        queues[queue.name] = account
    return CycleReport(
        cycles=figures.cycles,
        bytes_read=core.memory.bytes_read,
        bytes_written=core.memory.bytes_written,
        macs=macs,
        macs_per_cycle=region.config.macs_per_cycle,
        queues=queues,
        layers=layers,
    )


def word_timings(program: Program, core: Core) -> list[Timing]:
    """When each run word began and ended in the core's last run, from the cycle of the start on.

    A word begins when its engine takes it, and ends with the engine's done; End is left out.
    """
    cycles = {queue: core.word_cycles(queue) for queue in Queue}
    at = dict.fromkeys(Queue, 0)
    timings = []
    for operation in program.operations:
        if isinstance(operation.word, isa.End):
            continue
        (starts, ends), index = cycles[operation.queue], at[operation.queue]
        at[operation.queue] += 1
        start, end = starts[index] - core.started, ends[index] - core.started
        timings.append(Timing(operation, cost_of(operation, core.config), start, start, end))
    return timings
