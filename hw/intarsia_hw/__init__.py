"""The overlay's hardware as package data: RTL, generated packages, benches, C++ for Verilator."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parent

RTL = ROOT / "rtl"
"""One module a file, `ia_*.sv`, and headers `*.svh`."""

SIMULATION = ROOT / "simulation"
"""Modules of RTL written once more, for speed in simulation: the same ports, and the same bits in every cycle."""

GENERATED = ROOT / "generated"
"""Written by `intarsia_backends.overlay.machine.generated`: SystemVerilog packages, the manual, configurations."""

BENCHES = ROOT / "benches"
"""Modules that only tests use."""

VERILATOR = ROOT / "verilator"
"""C++ that is compiled together with what Verilator writes."""
