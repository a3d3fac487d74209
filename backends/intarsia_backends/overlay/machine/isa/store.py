"""Words of the queue STORE: from activation memory to DRAM, and the end of a program."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from intarsia_backends.overlay.machine.config import OverlayConfig
from intarsia_backends.overlay.machine.isa.encoding import (
    WORD_BYTES,
    Instruction,
    Queue,
    Reads,
    Registers,
    Run,
    bits,
    positive,
    read,
)
from intarsia_backends.overlay.machine.isa.rectangles import Access, Rectangle
from intarsia_backends.overlay.machine.isa.transfers import chip_rectangle, dram_rectangle, estimate_transfer_cycles


@dataclass(frozen=True)
class StoreShape(Instruction):
    """Setup for Store: what is copied, and the pitches on both sides, in words of 16 bytes."""

    queue = Queue.STORE
    kind = 1

    blocks: int = positive(10)
    rows: int = positive(14)
    columns: int = positive(14)
    row_pitch: int = bits(14)
    block_pitch: int = bits(16)
    dram_row_pitch: int = bits(16)
    dram_block_pitch: int = bits(26)


@dataclass(frozen=True)
class Store(Run):
    """Copy words from ACT to DRAM.

    For b in blocks, y in rows, x in columns (StoreShape):
        DRAM[segment][offset + b * dram_block_pitch + y * dram_row_pitch + x] =
            ACT[base + b * block_pitch + y * row_pitch + x]
    """

    queue = Queue.STORE
    kind = 2
    setups: ClassVar = (Reads(StoreShape),)

    segment: int = bits(2)
    offset: int = bits(28)
    base: int = bits(16)

    def transfer(self, registers: Registers) -> tuple[Rectangle, Rectangle]:
        """What it writes in DRAM, and what it reads in ACT."""
        shape = read(registers, StoreShape)
        return dram_rectangle(shape, self.segment, self.offset), chip_rectangle(shape, self.base)

    def accesses(self, registers: Registers) -> list[Access]:
        """The copy's two sides."""
        dram, chip = self.transfer(registers)
        return [Access("read", chip), Access("write", dram)]

    def estimate_cycles(self, registers: Registers, config: OverlayConfig) -> int:
        """Those of DRAM."""
        return estimate_transfer_cycles(self.transfer(registers)[0].words * WORD_BYTES, config)


@dataclass(frozen=True)
class End(Run):
    """The last word of a program. The fetcher stops; the program is done when every queue is idle and empty."""

    queue = Queue.STORE
    kind = 15
