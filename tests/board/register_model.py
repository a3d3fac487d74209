"""The core as the host sees it, in Python: its registers, and DRAM that it reads programs from.

It stands in where the Verilated core is not wanted: the driver's own tests, and faults that no program brings about.
A program is executed by the NumPy machine, so its results are those of the hardware; its cycles are not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from intarsia.dtypes import Array
from intarsia_backends.overlay.machine import registers
from intarsia_backends.overlay.machine.config import OverlayConfig
from intarsia_backends.overlay.machine.isa import WORD_BYTES, Queue, Segment
from intarsia_backends.overlay.machine.registers import Cause, CounterKind, Register
from intarsia_backends.simulator.machine import Machine, load_program

CYCLES = 1000


@dataclass(frozen=True)
class Fault:
    """What the next run ends with."""

    cause: int
    queue: int = 0
    word: int = 0
    address: int = 0
    state: int = 0


class RegisterModel:
    """Registers of one core over DRAM.

    dram      uint8 bytes, the first at address `base`
    sizes     bytes of the segments, which the hardware does not know and the NumPy machine wants
    looks     how often STATUS is read before a program ends; None: it never does
    stops     False for a core that no reset brings to rest
    """

    def __init__(self, config: OverlayConfig, dram: Array, base: int = 0) -> None:
        self.config = config
        self.dram, self.base = dram, base
        self.sizes: Mapping[Segment, int] = {}
        self.looks: int | None = 3
        self.stops = True
        self.fault: Fault | None = None
        self.starts = 0
        self._left: int | None = 0
        self._running = False
        self._status = registers.STATUS.mask("idle")
        self.values: dict[int, int] = {}
        self.put(registers.IDENTIFICATION, registers.IDENTIFICATION_VALUE)
        self.put(registers.VERSION, registers.VERSION_VALUE)
        self.put(registers.CONFIG_HASH, int(config.hash, 16))

    # ---- what tests set and look at

    def put(self, register: Register, value: int) -> None:
        """Set what a register reads."""
        self.values[register.offset] = value & 0xFFFFFFFF
        if register.words == 2:
            self.values[register.offset + 4] = value >> 32

    def get(self, register: Register) -> int:
        """What the host wrote."""
        value = self.values.get(register.offset, 0)
        return value if register.words == 1 else value | self.values.get(register.offset + 4, 0) << 32

    @property
    def interrupt(self) -> bool:
        """The interrupt output."""
        enabled = self.get(registers.CONTROL) & registers.CONTROL.mask("interrupt_enable")
        return bool(enabled and self._status & registers.STATUS.mask("interrupt"))

    def advance(self) -> None:
        """Let time pass, as a look at STATUS does."""
        if not self._running or self._left is None:
            return
        self._left -= 1
        if self._left <= 0:
            self._end()

    # ---- the two accesses of the host

    def read(self, offset: int) -> int:
        if offset == registers.STATUS.offset:
            self.advance()
            return self._status
        return self.values.get(offset, 0)

    def write(self, offset: int, value: int) -> None:
        assert 0 <= value < 1 << 32 and offset % 4 == 0
        if offset == registers.CONTROL.offset:
            self._command(value)
            return
        register = next(item for item in registers.REGISTERS if 0 <= offset - item.offset < 4 * item.words)
        if register.access == registers.Access.READ_WRITE and not self._running:
            self.values[offset] = value

    def _command(self, value: int) -> None:
        mask = registers.CONTROL.mask
        self.put(registers.CONTROL, value & mask("interrupt_enable"))
        if value & mask("interrupt_clear"):
            self._status &= ~registers.STATUS.mask("interrupt")
        if value & mask("soft_reset") and self.stops:
            self._running, self._status = False, registers.STATUS.mask("idle")
        elif value & mask("start") and not self._running:
            self._running, self._left, self._status = True, self.looks, registers.STATUS.mask("running")
            self.starts += 1

    def _end(self) -> None:
        self._running = False
        fault, self.fault = self.fault, None
        if fault is None and self.get(registers.EXPECTED_HASH) != self.get(registers.CONFIG_HASH):
            fault = Fault(Cause.CONFIG_MISMATCH)
        ends = "done" if fault is None else "error"
        self._status = sum(registers.STATUS.mask(name) for name in ("idle", ends, "interrupt"))
        if fault is not None:
            self.put(registers.ERROR_CAUSE, fault.cause)
            self.put(registers.ERROR_QUEUE, fault.queue)
            self.put(registers.ERROR_WORD, fault.word)
            self.put(registers.ERROR_ADDRESS, fault.address)
            self.put(registers.ERROR_STATE, fault.state)
            return
        self._execute()
        self.put(registers.CYCLES, CYCLES)
        for queue in Queue:
            for kind, count in ((CounterKind.BUSY, 500), (CounterKind.WAIT_MEMORY, 200), (CounterKind.WORDS, 7)):
                self.put(registers.COUNTERS[kind, queue], count + queue)
            self.put(registers.COUNTERS[CounterKind.WAIT_SEMAPHORE, queue], 100 + queue)

    def _execute(self) -> None:
        bases = dict(zip(Segment, (self.get(register) for register in registers.SEGMENTS)))
        program = self._bytes(self.get(registers.PROGRAM_BASE), self.get(registers.PROGRAM_WORDS) * WORD_BYTES)
        constants = self._bytes(bases[Segment.CONSTANTS], self.sizes[Segment.CONSTANTS])
        machine = Machine(load_program(program.tobytes(), self.config, constants.tobytes(), self.sizes))
        stored = machine.run(self._bytes(bases[Segment.INPUTS], self.sizes[Segment.INPUTS]))
        self._bytes(bases[Segment.OUTPUTS], self.sizes[Segment.OUTPUTS])[...] = stored

    def _bytes(self, address: int, size_bytes: int) -> Array:
        start = address - self.base
        assert start >= 0 and start + size_bytes <= self.dram.size, f"{size_bytes} bytes at {address:#x} are no memory"
        return self.dram[start : start + size_bytes]


def memory(size_bytes: int) -> Array:
    """DRAM with contents that nobody should see."""
    return np.full(size_bytes, 0xA5, np.uint8)
