"""The Verilated core as what stands behind the registers of the bench."""

from __future__ import annotations

from intarsia.dtypes import Array
from intarsia_backends.overlay.machine import registers
from intarsia_backends.overlay.machine.config import OverlayConfig
from intarsia_backends.rtl.core import Core

CYCLES_A_LOOK = 500
"""Time that passes between two looks at the status: the processor is slow."""


class VerilatedCore:
    """A core over the bench's memory.

    dram  uint8 bytes, the first at address `base`
    """

    def __init__(self, config: OverlayConfig, dram: Array, base: int) -> None:
        self.core = Core(config)
        self.core.memory.clear()
        self.core.memory.region(base, dram)
        self._registers = self.core.model.registers("s_axi")

    def read(self, offset: int) -> int:
        if offset == registers.STATUS.offset:
            self.advance()
        return self._registers.read(offset)

    def write(self, offset: int, value: int) -> None:
        self._registers.write(offset, value)

    def advance(self) -> None:
        """Let time pass, until the core raises its interrupt at most."""
        if not self.interrupt:
            self.core.model.run_to("irq_o", 1, CYCLES_A_LOOK)

    @property
    def interrupt(self) -> bool:
        return bool(self.core.model["irq_o"])

    @property
    def violations(self) -> str:
        """What its AXI ports did against the protocol."""
        return self.core.memory.violations
