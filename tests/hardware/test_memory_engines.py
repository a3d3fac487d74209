"""Load and store engines, their DMAs and their memories against NumPy: every byte, on random words and memories."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from harness import needs_verilator
from memory_bench import Bench, Words

from intarsia_backends.overlay.machine import isa
from intarsia_backends.overlay.machine.config import TINY
from intarsia_backends.overlay.machine.isa import Segment
from intarsia_backends.simulator.costs import cost_of

pytestmark = [pytest.mark.rtl, needs_verilator]

MEMORIES: dict[str, dict[str, Any]] = {
    "board": {"bytes_per_cycle": 10.4, "latency_cycles": 50},
    "fast": {"latency_cycles": 1},
    "slow": {"bytes_per_cycle": 2.5, "latency_cycles": 120, "jitter_cycles": 60},
    "stalling": {"latency_cycles": 7, "jitter_cycles": 30, "stall": 0.5},
}


def bench_of(memory: str, seed: int, wide: bool) -> Bench:
    """A bench with a memory by name; words come with gaps where the memory stalls."""
    return Bench(seed, wide=wide, word_stall=0.4 if memory == "stalling" else 0.0, **MEMORIES[memory])


@pytest.mark.parametrize("wide", [False, True], ids=["narrow", "wide"])
@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("kind", ["load", "constants", "patch", "mixed"])
def test_loads(kind: str, memory: str, wide: bool) -> None:
    bench = bench_of(memory, len(kind), wide)
    words = Words(bench.random)
    makers = {"load": [words.load], "constants": [words.constants], "patch": [words.patch]}
    for _ in range(4):
        given, operations = words.draw(bench, makers.get(kind, [words.load, words.constants, words.patch]), 12)
        bench.expect(operations)
        bench.run("load", given)
        bench.check()


@pytest.mark.parametrize("wide", [False, True], ids=["narrow", "wide"])
@pytest.mark.parametrize("memory", MEMORIES)
def test_stores(memory: str, wide: bool) -> None:
    bench = bench_of(memory, 3, wide)
    words = Words(bench.random)
    for _ in range(4):
        given, operations = words.draw(bench, [words.store], 12)
        bench.expect(operations)
        bench.run("store", given)
        bench.check()
    # Each beat is written whole.
    assert bench.dram.counters("m_store write")["partial"] == 0


def test_loads_and_stores_run_side_by_side() -> None:
    """Loads fill the lower half of activation memory while stores read the upper one."""
    bench = bench_of("stalling", 5, False)
    words = Words(bench.random)
    half = TINY.activation_words // 2
    bench.sizes["ACT"] = half
    loads, _ = words.draw(bench, [words.load, words.patch], 20)
    loads = [
        replace(word, segment=Segment.INPUTS) if isinstance(word, isa.Load | isa.LoadPatch) else word for word in loads
    ]
    stores, _ = words.draw(bench, [words.store], 20)
    stores = [
        replace(word, segment=Segment.OUTPUTS, base=word.base + half) if isinstance(word, isa.Store) else word
        for word in stores
    ]
    bench.sizes["ACT"] = 2 * half
    for given in (loads, stores):
        operations = bench.valid(given)
        assert operations is not None
        bench.expect(operations)
    bench.add("store", stores)
    bench.run("load", loads)
    bench.run("store", [])
    bench.check()


def rows(count: int, columns: int, gap: int = 0) -> dict[str, int]:
    """A rectangle with `gap` words between its rows in DRAM."""
    return {"blocks": 1, "rows": count, "columns": columns, "row_pitch": columns, "dram_row_pitch": columns + gap}


@pytest.mark.parametrize("wide", [False, True], ids=["narrow", "wide"])
def test_a_load_takes_a_beat_a_cycle(wide: bool) -> None:
    """8 bursts in flight cover 50 cycles of latency; rows without gaps are one run; the next word follows at once."""
    bench = Bench(1, wide=wide, latency_cycles=50)
    words = [isa.LoadShape(**rows(50, 20)), *[isa.Load(segment=2, offset=at, base=at % 24) for at in range(4)]]
    took = bench.run("load", words)
    beats = 4 * 1000 * (1 if wide else 2)
    assert bench.dram.counters("m_load read")["waits"] == 0
    assert took < beats + 100


def test_a_store_takes_a_beat_a_cycle() -> None:
    bench = Bench(1, latency_cycles=50)
    words = [isa.StoreShape(**rows(50, 20)), *[isa.Store(segment=2, offset=at, base=at % 24) for at in range(4)]]
    took = bench.run("store", words)
    assert took < 4 * 2000 + 120


def test_short_rows_are_a_burst_each() -> None:
    bench = Bench(1, latency_cycles=50)
    words = [isa.LoadShape(**rows(100, 3, gap=7)), isa.Load(segment=2, offset=0, base=0)]
    took = bench.run("load", words)
    bursts = bench.dram.counters("m_load read")["bursts"]
    assert bursts == 125 and took < 125 * (50 + 8) / 8 + 80


def test_enlarged_words_are_read_once() -> None:
    bench = Bench(1, latency_cycles=20)
    shape = {**rows(30, 33), "dram_row_pitch": 17}
    took = bench.run("load", [isa.LoadShape(**shape), isa.Load(segment=2, upsample=1)])
    assert bench.dram.bytes_read == 15 * 17 * 16
    assert took < 30 * 33 + 60


@pytest.mark.parametrize(("kernel", "channels"), [((3, 3), 3), ((7, 7), 3), ((5, 5), 1), ((11, 11), 3)])
def test_patches_take_the_cycles_of_the_model(kernel: tuple[int, int], channels: int) -> None:
    bench = Bench(2, latency_cycles=5)
    width = 28 if kernel[0] < 11 else 24
    pitch = -(-width * channels // 16)
    outputs = {3: (20, 24), 5: (20, 24), 7: (8, 12), 11: (4, 8)}[kernel[0]]
    words = [
        isa.LoadPatchShape(24, width, channels, pitch, *kernel, 1, 1, 3),
        isa.LoadPatchTarget(*outputs, outputs[1], outputs[0] * outputs[1], kernel[0] // 2, kernel[1] // 2),
        isa.LoadPatch(segment=2),
    ]
    operations = bench.valid(words)
    assert operations is not None
    bench.expect(operations)
    took = bench.run("load", words)
    bench.check()
    modelled = cost_of(operations[0], TINY).cycles
    assert abs(took - modelled) < 0.02 * modelled, (took, modelled)


@pytest.mark.parametrize("queue", ["load", "store"])
@pytest.mark.parametrize("response", [2, 3])
def test_errors_are_reported(queue: str, response: int) -> None:
    bench = Bench(4, latency_cycles=9, stall=0.2)
    bad = bench.bases[2] + 16 * 500 + 8
    bench.dram.fault(bad, write=queue == "store", response=response, count=1)
    bursts = bench.model.histogram(f"{queue}_error_o", f"{queue}_error_response_o")
    shape = rows(1, 900)
    setup, run = (
        (isa.LoadShape(**shape), isa.Load(segment=2))
        if queue == "load"
        else (isa.StoreShape(**shape), isa.Store(segment=2))
    )
    bench.add(queue, [setup, run])
    bench.model.run_until(f"{queue}_error_o", limit=20000)
    assert bench.model[f"{queue}_error_response_o"] == response
    address = bench.model[f"{queue}_error_address_o"]
    assert address <= bad < address + 128 and (address % 128 == 0 or address == bench.bases[2])
    bench.model.step(9000)
    assert int(bursts.counts.sum()) == int(bursts.counts[response]) == 1


@pytest.mark.parametrize("wide", [False, True], ids=["narrow", "wide"])
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_stop_ends_what_has_begun(stall: float, wide: bool) -> None:
    bench = Bench(6, wide=wide, latency_cycles=40, jitter_cycles=20, stall=stall)
    for _ in range(8):
        before = bench.images[Segment.OUTPUTS].copy()
        act = bench.activations.copy()
        bench.add("load", [isa.LoadShape(**rows(30, 20, gap=1)), isa.Load(segment=2)])
        bench.add("store", [isa.StoreShape(**rows(30, 20, gap=1)), isa.Store(segment=3)])
        bench.model.step(int(bench.random.integers(20, 400)))
        bench.model["stop_i"] = 1
        bench.model.step()
        bursts = bench.model.histogram("load_write_o")
        waited = 0
        while not (bench.model["load_idle_o"] and bench.model["store_idle_o"]):
            bench.model.step()
            waited += 1
            assert waited < 3000
        assert bench.dram.idle and not bench.dram.violations, bench.dram.violations
        bench.model.step(100)
        assert bench.dram.idle and int(bursts.counts[0]) <= 65
        # What has been written is what was asked for: words of activation memory, or what was there.
        changed = (bench.images[Segment.OUTPUTS] != before).any(axis=1)
        assert changed.sum() <= 600
        del act
        bench.model["stop_i"] = 0
        bench.reset()
    # After a reset everything works again.
    bench.take_over()
    words = Words(bench.random)
    given, operations = words.draw(bench, [words.load, words.patch, words.constants], 6)
    bench.expect(operations)
    bench.run("load", given)
    given, operations = words.draw(bench, [words.store], 6)
    bench.expect(operations)
    bench.run("store", given)
    bench.check()


def test_tables_are_written_beside_lookups() -> None:
    """Table 1 is loaded while table 0 is read now and then; lookups never see a wrong byte."""
    bench = bench_of("board", 8, False)
    table = bench.state.tab[0].copy().view(np.uint8)
    bench.add("load", [isa.LoadConstants(memory=isa.Memory.TABLES, segment=0, at=1, count=1)])
    bench.expect(bench.valid([isa.LoadConstants(memory=isa.Memory.TABLES, segment=0, at=1, count=1)]) or [])
    cycles = 1500
    reads = bench.random.integers(0, 2, cycles) | (np.arange(cycles) < 300)
    lanes = bench.random.integers(0, 256, (cycles, 16)).astype(np.uint8)
    seen = bench.model.play({"table_read_i": list(reads), "table_read_bytes_i": lanes}, ["table_read_data_o"])
    found = seen["table_read_data_o"]
    for at in np.flatnonzero(reads[:-3]):
        assert np.array_equal(found[at + 3], table[lanes[at]])
    assert bench.ended("load") == 1
    bench.check()
