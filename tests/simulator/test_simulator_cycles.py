"""The cycle model: what overlaps, what is hidden, where waiting is booked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from assembled import BANK, chain, load_words, store_words

from intarsia_backends.overlay.machine import isa
from intarsia_backends.overlay.machine.config import TINY
from intarsia_backends.simulator.conv_cycles import (
    EPILOGUE_DEPTH_CYCLES,
    PLAN_CYCLES,
    SUM_DEPTH_CYCLES,
    WEIGHT_BLOCK_CYCLES,
)
from intarsia_backends.simulator.costs import VECTOR_DEPTH_CYCLES, cost_of
from intarsia_backends.simulator.cycles import CycleReport, model_cycles
from intarsia_backends.simulator.decoded import Operation, decode
from intarsia_backends.simulator.dram import MemoryModel

FAST = MemoryModel(bytes_per_cycle=16.0, latency_cycles=0, burst_bytes=128, outstanding=64)
BOARD = MemoryModel.of(TINY)


def report(program: bytes, memory: MemoryModel = BOARD) -> CycleReport:
    return model_cycles(decode(program), TINY, memory)


def end(*words: isa.Instruction) -> bytes:
    return isa.encode_program([*words, isa.End()])


def fill(words: int, base: int = 4 * BANK, **fields: int) -> tuple[isa.Instruction, ...]:
    return isa.VecTarget(base, words, words, 1, 1, words), isa.Vec(operation=isa.VecOperation.FILL, **fields)


def conv(
    rows: int, columns: int, blocks_in: int, blocks_out: int, kernel: int = 1, **fields: int
) -> tuple[isa.Instruction, ...]:
    size_y, size_x = rows + kernel - 1, columns + kernel - 1
    return (
        isa.ConvSource(0, size_x, size_x * size_y, size_y, size_x),
        isa.ConvWindow(
            kernel, kernel, 1, 1, 1, 1, 1 if fields.get("depthwise") else blocks_in, blocks_out, rows, columns
        ),
        isa.ConvTarget(4 * BANK, columns, rows * columns),
        isa.Conv(**fields),
    )


def cycles_of(*words: isa.Instruction) -> int:
    *setup, run = words
    assert isinstance(run, isa.Run)
    registers = {type(word): word for word in setup}
    return cost_of(Operation(0, run, registers), TINY).cycles


def assert_adds_up(found: CycleReport) -> None:
    for name, account in found.queues.items():
        parts = (account.busy, account.wait_memory, account.wait_semaphore, account.idle)
        assert sum(parts) == found.cycles and min(parts) >= 0, (name, account)
    if found.layers:
        assert sum(layer.cycles for layer in found.layers) == found.cycles
        assert all(layer.wait_memory + layer.wait_semaphore <= layer.cycles for layer in found.layers)


# ---- one word

DEPTH = WEIGHT_BLOCK_CYCLES + SUM_DEPTH_CYCLES - 1 + EPILOGUE_DEPTH_CYCLES
"""What a Conv takes besides its sums and the pixels of its last tile."""


def test_dense_conv_is_bound_by_the_array_when_sums_are_deep() -> None:
    steps = 9 * 4
    tile = TINY.tile_pixels
    assert cycles_of(*conv(3, tile, 4, 1, 3)) == 3 * steps * TINY.tile_groups + tile + DEPTH


def test_conv_of_one_step_is_bound_by_its_epilogue() -> None:
    tiles, tile = 6, TINY.tile_pixels
    assert cycles_of(*conv(1, tile, 1, tiles)) == TINY.tile_groups + tiles * tile + DEPTH


def test_a_weight_block_takes_four_cycles_to_load() -> None:
    """One pixel uses one group of the array's time, but its weights still take four cycles."""
    assert cycles_of(*conv(1, 1, 40, 1)) == 4 * 40 + 1 + DEPTH


def test_unfinished_sums_do_not_drain() -> None:
    assert cycles_of(*conv(1, 4, 1, 1, finish=0)) == 4 + DEPTH + 1


def test_depthwise_reads_a_column_of_four_rows_in_two_cycles() -> None:
    """Two rows of four outputs are one tile; its windows lie over six columns."""
    assert cycles_of(*conv(2, 4, 1, 1, 3, depthwise=1)) == PLAN_CYCLES + 2 * 6 + 2 * 4 + DEPTH


def test_depthwise_with_25_taps_takes_four_passes() -> None:
    assert cycles_of(*conv(2, 4, 1, 1, 5, depthwise=1)) == PLAN_CYCLES + 4 * 2 * 6 + 2 * 4 + DEPTH


def test_pooling_pays_for_its_window() -> None:
    target = isa.VecTarget(4 * BANK, 8, 16, 1, 2, 8)
    copy = cycles_of(target, isa.Vec())
    pool = cycles_of(target, isa.VecWindow(3, 3, 1, 1), isa.Vec(operation=isa.VecOperation.MAXIMUM))
    assert pool - copy == 16 * 8


def test_rows_that_follow_each_other_share_bursts() -> None:
    apart = isa.LoadShape(1, 4, 2, row_pitch=2, dram_row_pitch=3)
    tight = replace(apart, dram_row_pitch=2)
    bursts = [cost_of(Operation(0, isa.Load(), {isa.LoadShape: shape}), TINY).bursts for shape in (apart, tight)]
    assert bursts == [4, 1]


ESTIMATED = {
    "load": load_words(200, 0),
    "store": (*fill(200, 0), *store_words(200, 0)),
    "weights": (isa.LoadConstants(memory=isa.Memory.WEIGHTS, count=100),),
    "parameters": (isa.LoadConstants(memory=isa.Memory.PARAMETERS, count=8),),
    "patches": (
        isa.LoadPatchShape(20, 20, 3, 4, 3, 3, 1, 1),
        isa.LoadPatchTarget(18, 18, 18, 18 * 18),
        isa.LoadPatch(),
    ),
    "deep sum": conv(8, 8, 4, 2, 3),
    "shallow sum": conv(8, 8, 1, 4),
    "few pixels": conv(1, 3, 8, 4),
    "depthwise": conv(12, 12, 1, 2, 3, depthwise=1),
    "depthwise 5x5": conv(12, 12, 1, 2, 5, depthwise=1),
    "copy": (isa.VecTarget(4 * BANK, 20, 400, 1, 20, 20), isa.Vec()),
    "add": (isa.VecTarget(4 * BANK, 20, 400, 1, 20, 20), isa.Vec(operation=isa.VecOperation.ADD)),
    "pool": (
        isa.VecTarget(4 * BANK, 8, 64, 1, 8, 8),
        isa.VecWindow(2, 2, 2, 2),
        isa.Vec(operation=isa.VecOperation.MAXIMUM),
    ),
}


@pytest.mark.parametrize("words", ESTIMATED.values(), ids=ESTIMATED)
def test_what_the_instruction_set_estimates_is_near_the_model(words: tuple[isa.Instruction, ...]) -> None:
    """The compiler weighs programs by estimates of single words; they are within a factor of two."""
    *_, run = words
    assert isinstance(run, isa.Run)
    operation = decode(end(*words)).operations[-2]
    estimate, cost = run.estimate_cycles(operation.registers, TINY), cost_of(operation, TINY)
    traffic = cost.read_bytes + cost.write_bytes
    modelled = max(cost.cycles, traffic / TINY.dram_bytes_per_cycle + (TINY.dram_latency_cycles if traffic else 0))
    assert modelled / 2 <= estimate <= modelled * 2, (estimate, modelled)


# ---- words beside each other


def test_queues_overlap_where_no_semaphore_says_otherwise() -> None:
    together = report(end(*load_words(100, 0), *fill(200)), FAST).cycles
    chained = report(chain(*load_words(100, 0), *fill(200)), FAST).cycles
    assert together < 260 < 400 < chained


def test_latency_shows_once_for_loads_in_a_row() -> None:
    def time(count: int, latency: int) -> int:
        words = [word for index in range(count) for word in load_words(16, 16 * index, 16 * index)]
        return report(end(*words), replace(BOARD, latency_cycles=latency)).cycles

    one, many = time(1, 100) - time(1, 10), time(8, 100) - time(8, 10)
    assert one == pytest.approx(2 * 90, abs=2)  # of the fetch, and of the load
    assert many <= one + 30


def test_latency_shows_every_time_when_loads_wait_for_their_use() -> None:
    words = [word for index in range(6) for word in (*load_words(4, 0), *fill(4))]
    slow, fast = (report(chain(*words), replace(BOARD, latency_cycles=latency)).cycles for latency in (100, 10))
    assert slow - fast >= 6 * 90


def test_few_requests_in_flight_cannot_hide_latency() -> None:
    program = end(*load_words(512, 0))
    one, eight = (report(program, replace(BOARD, outstanding=count)).cycles for count in (1, 8))
    assert eight == pytest.approx(512 * 16 / TINY.axi_bytes + 2 * BOARD.latency_cycles, abs=20)
    assert one == pytest.approx(512 * 16 / 128 * BOARD.latency_cycles, rel=0.05)


def test_loads_and_stores_share_the_bandwidth() -> None:
    load, store = load_words(512, 0), store_words(512, 4 * BANK)
    first = (*fill(512, 4 * BANK), *load, *store)
    alone = report(end(*load)).cycles
    words: list[Any] = list(first)
    words[1] = replace(words[1], signal=1 << 1 | 1 << 2)
    words[3], words[5] = replace(words[3], wait=1 << 1), replace(words[5], wait=1 << 2)
    both = report(end(*words))
    moved = 2 * 512 * 16 / BOARD.bytes_per_cycle
    assert both.cycles == pytest.approx(520 + moved + 150, rel=0.05)
    assert alone < 0.75 * moved
    assert_adds_up(both)


def test_a_conv_begins_while_the_one_before_drains() -> None:
    first: Any = conv(1, TINY.tile_pixels, 1, 1)
    other_bank = (replace(first[2], base=5 * BANK), isa.Conv())
    its_target = (replace(first[0], base=4 * BANK), *other_bank)
    early, late = report(end(*first, *other_bank), FAST).cycles, report(end(*first, *its_target), FAST).cycles
    assert late - early >= EPILOGUE_DEPTH_CYCLES


def test_setup_words_hide_behind_the_word_at_work() -> None:
    busy, setups = fill(400), [isa.VecTarget(4 * BANK, 4, 4, 1, 1, 4)] * 3
    assert report(end(*busy, *setups, *fill(4)), FAST).cycles == report(end(*busy, *fill(4), *setups), FAST).cycles


# ---- accounts


def test_waiting_is_booked_where_it_belongs() -> None:
    found = report(chain(*load_words(300, 0), *fill(10)))
    assert_adds_up(found)
    load, vec = found.queues["LOAD"], found.queues["VEC"]
    assert load.wait_memory > 100 and load.wait_semaphore == 0
    assert vec.wait_semaphore > 400 and vec.wait_memory == 0


def test_layers_share_the_cycles() -> None:
    tagged = (
        isa.LoadShape(1, 1, 100),
        isa.Load(segment=2, tag=3),
        isa.VecTarget(4 * BANK, 100, 100, 1, 1, 100),
        isa.Vec(operation=isa.VecOperation.FILL, tag=5),
    )
    found = report(chain(*tagged))
    assert [layer.tag for layer in found.layers] == [3, 5]
    assert_adds_up(found)
    assert found.layers[0].bytes_read == 1600 and found.layers[0].wait_memory > 0
    assert found.layers[1].busy == {"VEC": 100 + VECTOR_DEPTH_CYCLES}
    rows = found.to_counters([{"name": f"layer {index}", "macs": 0} for index in range(6)])["layers"]
    assert [row["name"] for row in rows] == ["layer 3", "layer 5"]


def test_traffic_counts_the_program_itself() -> None:
    program = end(*load_words(10, 0), *fill(4))
    assert report(program).bytes_read == len(program) + 160
    assert report(program).bytes_written == 0


def test_macs_and_utilisation() -> None:
    found = report(end(*conv(8, 16, 4, 2, 3)), FAST)
    assert found.macs == 8 * 16 * 9 * 4 * 2 * 256
    assert 0.7 < found.utilisation <= 1.0


def test_no_layer_is_faster_than_the_array() -> None:
    """Words of several layers overlap; a cycle goes to the layer whose products are made in it."""
    tiles: list[Any] = [conv(8, TINY.tile_pixels, 3, 3) for _ in range(3)]
    words: list[isa.Instruction] = []
    for tag, tile in enumerate(tiles):
        source, target = (0, 4) if tag % 2 == 0 else (5, 1)
        placed = [replace(word, base=bank * BANK) for word, bank in ((tile[0], source), (tile[2], target))]
        words += [placed[0], tile[1], placed[1], *tile[3:-1], replace(tile[-1], tag=tag)]
    found = report(end(*words), FAST)
    assert_adds_up(found)
    for layer in found.layers:
        assert layer.macs <= layer.cycles * TINY.macs_per_cycle
