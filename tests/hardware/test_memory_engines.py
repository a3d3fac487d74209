"""Load and store engines, their DMAs and the memories, against NumPy: every byte, on random words and random memories."""

from __future__ import annotations

import numpy as np
import pytest
from harness import needs_verilator
from memory_bench import Bench, Words

from intarsia_backends.overlay import isa
from intarsia_backends.overlay.config import TINY
from intarsia_backends.overlay.isa import Segment
from intarsia_backends.rtl.model import DramOptions

pytestmark = [pytest.mark.rtl, needs_verilator]

MEMORIES = {
    "board": {"bytes_per_cycle": 10.4, "latency_cycles": 50},
    "fast": {"latency_cycles": 1},
    "slow": {"bytes_per_cycle": 2.5, "latency_cycles": 120, "jitter_cycles": 60},
    "stalling": {"latency_cycles": 7, "jitter_cycles": 30, "stall": 0.5},
}


@pytest.mark.parametrize("wide", [False, True], ids=["narrow", "wide"])
@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("kind", ["load", "constants", "patch", "mixed"])
def test_loads(kind: str, memory: str, wide: bool) -> None:
    bench = Bench(
        len(kind) * 7 + len(memory), wide=wide, word_stall=0.4 if memory == "stalling" else 0.0, **MEMORIES[memory]
    )
    words = Words(bench.random)
    makers = {"load": [words.load], "constants": [words.constants], "patch": [words.patch]}
    for _ in range(4):
        given, operations = words.draw(bench, makers.get(kind, [words.load, words.constants, words.patch]), 12)
        bench.expect(operations)
        bench.run("load", given)
        bench.check()
