"""The whole core, Verilated for a configuration, with DRAM behind its ports and the driver at its registers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from intarsia.dtypes import Array
from intarsia.errors import RunError
from intarsia_backends.overlay.machine import isa
from intarsia_backends.overlay.machine.config import WORD_BYTES, OverlayConfig
from intarsia_backends.overlay.machine.core_driver import CoreDriver, Figures, Job
from intarsia_backends.overlay.machine.isa import Queue, Segment
from intarsia_backends.overlay.machine.parameters import OUTSTANDING_BURSTS, core_parameters
from intarsia_backends.overlay.machine.region import OverlayRegion
from intarsia_backends.rtl.attachments import Dram, Trace
from intarsia_backends.rtl.build import Design
from intarsia_backends.rtl.model import Model
from intarsia_backends.rtl.module import ModelError

CYCLE_LIMIT = 2_000_000_000

_FIRST_ADDRESS = 0x1000_0000
_GAP_BYTES = 4096
_REPORT = "this is a fault of the overlay's RTL: please report it with the artifact"
_SETTLE_CYCLES = 43
"""From the end of a program to the interrupt: ia_sequencer lets the counters settle."""

_TRACED = ("word_valid_o", "word_ready_i", "word_o", "done_i")


def core_design(config: OverlayConfig, checks: bool = False, fast: bool = True) -> Design:
    """What is built to run programs of a configuration.

    checks  whether the assertions in the RTL run; they cost speed, and most of what a better compiled core would gain
    fast    whether the arithmetic of the convolution engine is that written for simulation, or what is synthesised
    """
    signals = [*(f"ia_issue.{name}" for name in _TRACED), "ia_memory_bank.words_q"]
    optimise = "-O1" if checks else "-O2"
    return Design("ia_core", core_parameters(config), signals=signals, checks=checks, optimise=optimise, fast=fast)


class Core:
    """A core and its memory. One run at a time.

    memory  the DRAM: bandwidth and latency of the configuration's board, unless options say otherwise
    """

    def __init__(
        self, config: OverlayConfig, *, checks: bool = False, fast: bool = True, seed: int = 1, **options: Any
    ) -> None:
        """checks, fast  as in core_design
        seed          of what registers and memories hold before the first run
        options       fields of attachments.DramOptions
        """
        self.config = config
        self.model = Model(core_design(config, checks, fast), seed)
        given: dict[str, Any] = {
            "bytes_per_cycle": config.dram_bytes_per_cycle,
            "latency_cycles": config.dram_latency_cycles,
            "outstanding": OUTSTANDING_BURSTS,
            "boundary_bytes": config.dram_burst_bytes,
            **options,
        }
        self.memory: Dram = self.model.dram(["m_fetch", "m_load"], ["m_store"], **given)
        self._registers = self.model.registers("s_axi")
        self._traces = _traces(self.model)
        self._limit = CYCLE_LIMIT
        self._interrupted = self.started = 0  # cycles of the model: interrupt and begin of the last run
        self.driver = CoreDriver(self._registers.read, self._registers.write, "Verilated core")
        self.model.reset()

    def run(self, job: Job, limit_cycles: int = CYCLE_LIMIT) -> Figures:
        """Run a program. RunError where the core reports an error, or has not ended after so many cycles."""
        self._limit = limit_cycles
        for trace in self._traces.values():
            trace.clear()
        self.memory.begin()  # the same run takes the same cycles, whatever ran before
        try:
            figures = self.driver.run(job, self._wait, interrupt=True)
        except ModelError as error:
            raise RunError(where=f"{job.region.where} on Verilated core", what=str(error), help=_REPORT) from None
        if self.memory.violations:
            what = f"its AXI ports break the protocol:\n{self.memory.violations.rstrip()}"
            raise RunError(where=f"{job.region.where} on Verilated core", what=what, help=_REPORT)
        self.started = self._interrupted - _SETTLE_CYCLES - figures.cycles
        return figures

    def _wait(self, ended: Any) -> bool:
        """Clock the core until it raises its interrupt."""
        if not self.model["irq_o"]:
            self.model.run_to("irq_o", 1, self._limit)
        self._interrupted = self.model.cycle
        return bool(self.model["irq_o"]) and bool(ended())

    def word_cycles(self, queue: Queue) -> tuple[list[int], list[int]]:
        """Cycles in which the run words of a queue, End left out, began and ended in the last run."""
        trace = self._traces[queue]
        return trace.starts, trace.ends

    def fill_activations(self, words: Array) -> None:
        """Put something into activation memory, uint8 [words, 16]; programs must not depend on it."""
        banks = words.reshape(self.config.activation_banks, -1, WORD_BYTES)
        for name in self.model.ports:
            found = re.fullmatch(r"u_activations\.g_bank\[(\d+)\]\..*\.words_q", name)
            if found is not None:
                self.model.memory(name)[:] = banks[int(found[1])]

    def close(self) -> None:
        """Let go of the core."""
        self.model.close()


def _traces(model: Model) -> dict[Queue, Trace]:
    run = {queue: 0 for queue in Queue}
    for kind in isa.INSTRUCTIONS:
        if kind.is_run() and kind is not isa.End:
            run[kind.queue] |= 1 << kind.opcode()
    found = sorted(name for name in model.ports if re.search(r"issue.*\.word_valid_o$", name))
    assert len(found) == len(Queue), f"queues in the RTL: {found}"
    traces = {}
    for queue, name in zip(Queue, found):
        valid, ready, word, done = (f"{name.rsplit('.', 1)[0]}.{signal}" for signal in _TRACED)
        traces[queue] = model.trace(valid, ready, word, done, run[queue])
    return traces


class Image:
    """What a region has in DRAM: its program and segments at addresses with gaps between them.

    segments  uint8 contents by segment; the core reads and writes these arrays
    """

    def __init__(self, region: OverlayRegion, shift_words: int = 0) -> None:
        """shift_words  puts everything so many words behind the boundary of a page"""
        self.program = np.frombuffer(region.program, np.uint8).copy()
        self.segments: Mapping[Segment, Array] = {
            segment: np.zeros(region.segments[segment], np.uint8) for segment in Segment
        }
        self.segments[Segment.CONSTANTS][:] = np.frombuffer(region.constants, np.uint8)
        address, places = _FIRST_ADDRESS + shift_words * WORD_BYTES, []
        for content in (self.program, *self.segments.values()):
            places.append(address)
            address += -(-content.nbytes // _GAP_BYTES) * _GAP_BYTES + _GAP_BYTES
        self.job = Job(region, places[0], dict(zip(self.segments, places[1:])))

    def attach(self, memory: Dram) -> None:
        """Put it where the core sees it, in place of what was there."""
        memory.clear()
        memory.region(self.job.program, self.program)
        for segment, content in self.segments.items():
            memory.region(self.job.segments[segment], content)
