"""Configurations of the overlay: sizes that the compiler, the simulator and the RTL share. Standard library only.

One configuration is one bitstream. Everything that changes a program or a cycle count stands here and nowhere else; the
RTL takes the same numbers as parameters from the JSON form.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

LANES = 16
"""Channels in a word: the array takes 16 input channels and makes 16 output channels, in every configuration."""

WORD_BYTES = LANES
"""One word of activation memory: 16 channels of one pixel."""

WEIGHT_ROW_BYTES = 64
"""One row of weight memory: what the array takes in one cycle."""

PARAMETER_GROUP_BYTES = 8 * LANES
"""One entry of parameter memory: 16 channels of (bias int32, multiplier and shift packed in 32 bits)."""

TABLE_BYTES = 256

ADDRESS_WORDS = 1 << 16
"""Words of a memory on chip that instruction fields reach."""

LIMITS: Mapping[str, tuple[float, float, int]] = {
    "pixels": (1, 64, 1),
    "tile_groups": (2, 1024, 1),  # depthwise mode makes two rows at once
    "activation_banks": (1, 256, 1),
    "activation_bank_bytes": (WORD_BYTES, ADDRESS_WORDS * WORD_BYTES, WORD_BYTES),
    "weight_bytes": (WEIGHT_ROW_BYTES, ADDRESS_WORDS * WEIGHT_ROW_BYTES, WEIGHT_ROW_BYTES),
    "parameter_groups": (1, ADDRESS_WORDS, 1),
    "tables": (1, 256, 1),
    "patch_bytes": (WORD_BYTES, 1 << 20, WORD_BYTES),
    "depthwise_taps": (1, 256, 1),
    "queue_words": (1, 1024, 1),
    "semaphore_max": (1, 65535, 1),
    "dram_bytes_per_cycle": (0.01, 65536, 0),
    "dram_latency_cycles": (0, 1_000_000, 1),
    "dram_burst_bytes": (WORD_BYTES, 1024, WORD_BYTES),  # the fetcher holds 64 words
    "axi_bytes": (8, 16, 8),
    "clock_mhz_assumption": (0.001, 1e6, 0),
}
"""Least and most that a field may be, and what a whole number must be a multiple of (0: any number). What programs and
the cycle model rely on; wider than every configuration that is built."""


@dataclass(frozen=True)
class OverlayConfig:
    """Sizes of one overlay. Ranges that the instruction fields allow are wider than every configuration.

    name                      what --target takes
    part                      the FPGA that the sizes were chosen for
    pixels                    pixels that the array works on in a cycle; 16 * 16 * pixels MACs
    tile_groups               depth of an accumulator buffer: groups of `pixels` output pixels in a tile
    activation_banks          banks of activation memory; word w lies in bank w // bank_words
    activation_bank_bytes     bytes of one bank
    weight_bytes              weight memory
    parameter_groups          parameter memory, in groups of 16 output channels
    tables                    lookup tables of 256 bytes that the vector unit holds
    patch_bytes               line buffer of the patch builder: it holds kernel_height rows of the image, in whole words
    depthwise_taps            kernel taps that depthwise mode takes in a cycle, for 16 channels of one pixel: 3 x 3
    queue_words               instruction words that each queue holds decoded ahead
    semaphore_max             largest count of a semaphore; a signal at this count waits
    dram_bytes_per_cycle      sustained DRAM traffic, reads and writes together
    dram_latency_cycles       from the request of a burst to its first bytes
    dram_burst_bytes          longest burst
    axi_bytes                 bytes that one port (fetch, load or store) moves in a cycle: 8 or 16
    clock_mhz_assumption      clock at which cycles are turned into milliseconds: assumed, not timing-closed
    """

    name: str
    part: str
    pixels: int
    tile_groups: int
    activation_banks: int
    activation_bank_bytes: int
    weight_bytes: int
    parameter_groups: int
    tables: int
    patch_bytes: int
    depthwise_taps: int
    queue_words: int
    semaphore_max: int
    dram_bytes_per_cycle: float
    dram_latency_cycles: int
    dram_burst_bytes: int
    axi_bytes: int
    clock_mhz_assumption: float

    @property
    def macs_per_cycle(self) -> int:
        """Products of a dense convolution that the array adds in a cycle."""
        return LANES * LANES * self.pixels

    @property
    def tile_pixels(self) -> int:
        """Output pixels in a full tile."""
        return self.pixels * self.tile_groups

    @property
    def bank_words(self) -> int:
        """Words of 16 bytes in a bank of ACT."""
        return self.activation_bank_bytes // WORD_BYTES

    @property
    def activation_words(self) -> int:
        """Words of 16 bytes in ACT."""
        return self.activation_banks * self.bank_words

    @property
    def activation_bytes(self) -> int:
        """Bytes of ACT."""
        return self.activation_banks * self.activation_bank_bytes

    @property
    def weight_rows(self) -> int:
        """Rows of 64 bytes in WGT."""
        return self.weight_bytes // WEIGHT_ROW_BYTES

    @property
    def memory_words(self) -> dict[str, int]:
        """Words, rows, groups and tables of the memories on chip, by the names in the instruction set."""
        return {
            "ACT": self.activation_words,
            "WGT": self.weight_rows,
            "PAR": self.parameter_groups,
            "TAB": self.tables,
        }

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form: every field by name."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> OverlayConfig:
        """The configuration that `to_dict` wrote; TypeError where fields are missing or unknown."""
        return cls(**data)

    def fault(self) -> str | None:
        """What is wrong with a field, and which; None for a configuration that there may be."""
        for name, value in self.to_dict().items():
            if name not in LIMITS:
                if not isinstance(value, str):
                    return f"'{name}' is {_shown(value)}, not text"
                continue
            least, most, step = LIMITS[name]
            if isinstance(value, bool) or not isinstance(value, int if step else (int, float)):
                return f"'{name}' is {_shown(value)}, not a {'whole ' if step else ''}number"
            if not least <= value <= most or (step > 1 and value % step):
                multiple = f" that {step} divides" if step > 1 else ""
                return f"'{name}' is {_shown(value)}, not a number from {least:g} to {most:g}{multiple}"
        if self.activation_words > ADDRESS_WORDS:
            return f"'activation_banks' times 'activation_bank_bytes' is more than {ADDRESS_WORDS * WORD_BYTES} bytes"
        if self.dram_burst_bytes % self.axi_bytes:
            return f"'dram_burst_bytes' is {self.dram_burst_bytes}, no multiple of the {self.axi_bytes} of 'axi_bytes'"
        return None

    @property
    def hash(self) -> str:
        """16 hexadecimal digits that change with any field but the clock assumption: what a program is made for."""
        data = self.to_dict()
        del data["clock_mhz_assumption"]
        return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 40 else f"{shown[:37]}..."


PYNQ_Z2 = OverlayConfig(
    name="pynq-z2",
    part="xc7z020clg400-1",
    pixels=2,
    tile_groups=32,
    # Sixteen banks of half the size save EfficientNet-Lite0 6 % of its cycles, and take twice the multiplexers.
    activation_banks=8,
    activation_bank_bytes=32 * 1024,
    weight_bytes=192 * 1024,
    parameter_groups=128,
    tables=4,
    patch_bytes=8 * 1024,
    depthwise_taps=9,
    queue_words=16,
    semaphore_max=255,
    # 16-bit DDR3 at 525 MHz is 2.1 GB/s; the controller sustains about 70 % of it, at 142 MHz 10.4 bytes a cycle.
    dram_bytes_per_cycle=10.4,
    dram_latency_cycles=50,
    dram_burst_bytes=128,
    axi_bytes=8,
    clock_mhz_assumption=142.0,
)

KV260 = OverlayConfig(
    name="kv260",
    part="xck26-sfvc784-2LV-c",
    pixels=4,
    tile_groups=32,
    activation_banks=16,
    activation_bank_bytes=64 * 1024,
    weight_bytes=512 * 1024,
    parameter_groups=256,
    tables=4,
    patch_bytes=32 * 1024,
    depthwise_taps=9,
    queue_words=16,
    semaphore_max=255,
    # 64-bit DDR4-2400 is 19.2 GB/s; 75 % of it at 300 MHz is 48 bytes a cycle.
    dram_bytes_per_cycle=48.0,
    dram_latency_cycles=80,
    dram_burst_bytes=256,
    axi_bytes=16,
    clock_mhz_assumption=300.0,
)

TINY = OverlayConfig(
    name="tiny",
    part="none: small memories that make every path of the compiler visible in small tests",
    pixels=2,
    tile_groups=8,
    activation_banks=8,
    activation_bank_bytes=2 * 1024,
    weight_bytes=16 * 1024,
    parameter_groups=8,
    tables=2,
    patch_bytes=1024,
    depthwise_taps=9,
    queue_words=4,
    semaphore_max=255,
    dram_bytes_per_cycle=10.4,
    dram_latency_cycles=50,
    dram_burst_bytes=128,
    axi_bytes=8,
    clock_mhz_assumption=142.0,
)

CONFIGS: Mapping[str, OverlayConfig] = {config.name: config for config in (TINY, PYNQ_Z2, KV260)}
