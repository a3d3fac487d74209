"""What Load and Store have in common: a copy between DRAM and activation memory."""

from __future__ import annotations

from typing import Protocol

from intarsia_backends.overlay.machine.config import OverlayConfig
from intarsia_backends.overlay.machine.isa.encoding import Segment
from intarsia_backends.overlay.machine.isa.rectangles import Rectangle


class CopyShape(Protocol):
    """What LoadShape and StoreShape say of a copy; their fields have these names."""

    @property
    def blocks(self) -> int:
        """Channel blocks."""
        ...

    @property
    def rows(self) -> int:
        """Rows in ACT."""
        ...

    @property
    def columns(self) -> int:
        """Columns in ACT."""
        ...

    @property
    def row_pitch(self) -> int:
        """Words of ACT from a row to the next."""
        ...

    @property
    def block_pitch(self) -> int:
        """Words of ACT from a block to the next."""
        ...

    @property
    def dram_row_pitch(self) -> int:
        """Words of DRAM from a row to the next."""
        ...

    @property
    def dram_block_pitch(self) -> int:
        """Words of DRAM from a block to the next."""
        ...


def dram_rectangle(shape: CopyShape, segment: int, offset: int, upsample: int = 0) -> Rectangle:
    """The words of a copy in DRAM; with upsample = 1 each stands for two rows and two columns in ACT."""
    rows, columns = 1 + (shape.rows - 1 >> upsample), 1 + (shape.columns - 1 >> upsample)
    name = Segment(segment).name
    return Rectangle(name, offset, shape.blocks, rows, columns, shape.dram_block_pitch, shape.dram_row_pitch)


def chip_rectangle(shape: CopyShape, base: int) -> Rectangle:
    """The words of a copy in ACT."""
    return Rectangle("ACT", base, shape.blocks, shape.rows, shape.columns, shape.block_pitch, shape.row_pitch)


def estimate_transfer_cycles(bytes_moved: int, config: OverlayConfig) -> int:
    """Roughly how long DRAM takes for so many bytes, from the request to the last of them."""
    return config.dram_latency_cycles + int(bytes_moved / min(config.axi_bytes, config.dram_bytes_per_cycle))
