"""Any module of the RTL as a Python object.

    def test_fifo():
        with module("ia_fifo", Width=8, Depth=4) as fifo:
            fifo.reset()
            source, sink = fifo.source("in_data_i", stall=0.3), fifo.sink("out_data_o", stall=0.3)
            source.add(range(100))
            fifo.step(500)
            assert sink.values == list(range(100))

`model["port"]` reads and sets ports, `step`, `run_until`, `play` run the clock, `source`, `sink`, `dram`, `registers`,
`histogram` attach to ports (intarsia_backends/rtl/attachments.py says how). Modules are found in hw/intarsia_hw/rtl and
benches; `sources` names further files. Built modules are kept in the cache; the compiler takes a few seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from intarsia_backends.overlay.machine.config import OverlayConfig
from intarsia_backends.overlay.machine.parameters import core_parameters
from intarsia_backends.rtl.build import Design
from intarsia_backends.rtl.model import Model
from intarsia_backends.rtl.module import ModelError, integers
from intarsia_backends.rtl.tools import missing

__all__ = ["ModelError", "integers", "module", "needs_verilator", "parameters"]

HERE = Path(__file__).parent

needs_verilator = pytest.mark.skipif(missing() is not None, reason=str(missing()))
"""Marks tests, or a whole file as `pytestmark = [pytest.mark.rtl, needs_verilator]`."""


def module(
    top: str,
    *,
    sources: Sequence[str | Path] = (),
    signals: Sequence[str] = (),
    checks: bool = True,
    optimise: str = "-O1",
    fast: bool = False,
    seed: int = 1,
    **parameters: int | tuple[int, int],
) -> Model:
    """A module, Verilated with parameters.

    sources     further SystemVerilog files; relative to tests/hardware
    signals     inner signals to be read as ports, "ia_fifo.count_q"; unpacked arrays too: model.memory("u_x.memory")
    fast        with the modules that are written once more for simulation
    seed        of the values that registers hold before they are written; results must not depend on it
    parameters  by name; (bits, value) where a number has more than 32 bits
    """
    files = tuple(HERE / path for path in sources)
    return Model(Design(top, parameters, files, tuple(signals), checks, optimise, fast), seed)


def parameters(config: OverlayConfig, *names: str) -> dict[str, Any]:
    """Parameters of modules for a configuration: all, or those named."""
    known = core_parameters(config)
    return {name: known[name] for name in names or known}
