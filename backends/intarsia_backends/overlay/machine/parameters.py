"""The core as a block: its name in a block design, and the parameters of its RTL for a configuration. Standard library
only."""

from __future__ import annotations

from intarsia_backends.overlay.machine.config import WORD_BYTES, OverlayConfig

VLNV = "intarsia:overlay:ia_core:1.0"
"""Vendor, library, name and version of the packaged core: pynq binds the driver by it."""

OUTSTANDING_BURSTS = 8


def core_parameters(config: OverlayConfig) -> dict[str, int | tuple[int, int]]:
    """Parameters of ia_core, (bits, value) where one has more than 32 bits; modules take those that they need."""
    return {
        "Pixels": config.pixels,
        "TileGroups": config.tile_groups,
        "ActBanks": config.activation_banks,
        "BankWords": config.bank_words,
        "WeightRows": config.weight_rows,
        "ParameterGroups": config.parameter_groups,
        "Tables": config.tables,
        "PatchWords": config.patch_bytes // WORD_BYTES,
        "QueueWords": config.queue_words,
        "SemaphoreMax": config.semaphore_max,
        "AxiBytes": config.axi_bytes,
        "AddressBits": 40 if config.name == "kv260" else 32,
        "BurstBytes": config.dram_burst_bytes,
        "Outstanding": OUTSTANDING_BURSTS,
        "ConfigHash": (64, int(config.hash, 16)),
    }
