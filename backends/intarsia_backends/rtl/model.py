"""A Verilated module with all that can be attached to its ports: DRAM, streams, registers, traces."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from intarsia_backends.rtl.attachments import Dram, DramOptions, Histogram, Registers, Sink, Source, Trace
from intarsia_backends.rtl.module import Module


class Model(Module):
    """A module, and makers of what its ports are connected with."""

    def dram(self, reads: Sequence[str] = (), writes: Sequence[str] = (), **options: Any) -> Dram:
        """DRAM behind AXI masters.

        reads, writes  prefixes of ports: "m_load" for m_load_arvalid_o, m_load_rdata_i, ...; "" without prefix
        options        fields of DramOptions
        """
        return Dram(self, reads, writes, DramOptions(**options))

    def source(
        self, data: str, valid: str | None = None, ready: str | None = "", stall: float = 0, seed: int = 1
    ) -> Source:
        """Offers items on a stream with valid and ready.

        data   port; valid and ready are its names with "valid", "ready" for the last "data", unless given
        ready  None for a stream that cannot wait
        stall  share of cycles in which nothing new is offered
        """
        return Source(self, data, valid or _beside(data, "valid_i"), _ready(ready, data, "ready_o"), stall, seed)

    def sink(
        self, data: str, valid: str | None = None, ready: str | None = "", stall: float = 0, seed: int = 1
    ) -> Sink:
        """Takes items from a stream and keeps them; the arguments are those of `source`."""
        return Sink(self, data, valid or _beside(data, "valid_o"), _ready(ready, data, "ready_i"), stall, seed)

    def trace(self, valid: str, ready: str, word: str, done: str, run_opcodes: int) -> Trace:
        """Notes when run words are taken and when they are done.

        run_opcodes  bit n: words whose low 6 bits are n are run words
        """
        return Trace(self, valid, ready, word, done, run_opcodes)

    def histogram(self, gate: str, value: str | None = None) -> Histogram:
        """Counts the cycles in which `gate` is not 0, by the value of another port."""
        return Histogram(self, gate, value)

    def registers(self, prefix: str = "s_axi") -> Registers:
        """Access to an AXI-Lite slave."""
        return Registers(self, prefix)


def _beside(data: str, ending: str) -> str:
    """word_i, in_data_i -> word_valid_i, in_valid_i."""
    return re.sub(r"(_?data)?_[io]$", "", data) + "_" + ending


def _ready(given: str | None, data: str, ending: str) -> str | None:
    return _beside(data, ending) if given == "" else given
