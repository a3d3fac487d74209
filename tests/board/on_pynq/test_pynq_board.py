"""Regions on pynq's own classes: caches, buffers, errors, interrupts."""

from __future__ import annotations

import fcntl
import gc
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bench_device import DRAM_BYTES, PYNQ_MAJOR, BenchDevice, Uio
from board_regions import meaning, random_inputs, region_of, small_graph
from fixture_hwh import CORE, write_hwh
from pynq.buffer import PynqBuffer
from pynq.interrupt import _InterruptController
from register_model import CYCLES, Fault, RegisterModel

from intarsia.errors import RunError
from intarsia.ir.graph import Graph
from intarsia.runtime.device import LoadedRegion, RegionFiles
from intarsia.runtime.limits import RunTimeout
from intarsia_backends.overlay.machine import core_driver
from intarsia_backends.overlay.machine.config import KV260, PYNQ_Z2, TINY
from intarsia_backends.overlay.machine.parameters import VLNV
from intarsia_backends.overlay.machine.registers import Cause
from intarsia_backends.pynq import board
from intarsia_backends.pynq.device import PynqDevice

Load = Callable[[RegionFiles], LoadedRegion]
GRAPH = small_graph()


def right(region: LoadedRegion, graph: Graph = GRAPH, seed: int = 0) -> bool:
    """Run once; whether the bytes are those of evaluate."""
    inputs = random_inputs(graph, seed)
    found = region.run(inputs).outputs
    return all(np.array_equal(one, other) for one, other in zip(found, meaning(graph, inputs)))


@pytest.mark.parametrize("config", [TINY, PYNQ_Z2, KV260], ids=lambda config: config.name)
def test_a_region_gives_the_bytes_of_evaluate(config: Any, load: Load) -> None:
    region = load(region_of(GRAPH, config))
    assert all(right(region, seed=seed) for seed in range(3))


def test_a_kria_is_loaded_too(machine: BenchDevice, load: Load, tmp_path: Path) -> None:
    machine.be("kv260")
    (tmp_path / "tiny.hwh").write_text(write_hwh("kv260", VLNV))
    assert right(load(region_of(GRAPH)))


def test_pynq_4_and_a_zynq_7000(machine: BenchDevice, load: Load, tmp_path: Path) -> None:
    if PYNQ_MAJOR < 4:
        pytest.skip("about pynq 4")
    machine.be("pynq-z2")
    (tmp_path / "tiny.hwh").write_text(write_hwh("pynq-z2", VLNV))
    with pytest.raises(RunError, match="pynq 4 no longer loads overlays on Zynq-7000"):
        load(region_of(GRAPH))


def test_outputs_are_the_callers_own(load: Load) -> None:
    region = load(region_of(GRAPH))
    inputs = [random_inputs(GRAPH, seed) for seed in (0, 1)]
    first = region.run(inputs[0]).outputs[0]
    kept = first.copy()
    region.run(inputs[1])
    assert type(first) is np.ndarray and np.array_equal(first, kept)


def test_counters(load: Load) -> None:
    region = load(region_of(GRAPH))
    counters = region.run(random_inputs(GRAPH, 0)).counters
    assert counters["cycles"] == CYCLES and counters["seconds"] > 0
    assert sum(counters["queues"]["MAC"].values()) == CYCLES
    assert region.listing().startswith("; overlay tiny")


# ---- caches


def test_lines_written_back_late_do_no_harm(machine: BenchDevice, load: Load) -> None:
    machine.evicts_late = True
    region = load(region_of(GRAPH))
    assert all(right(region, seed=seed) for seed in range(3))


def forget(monkeypatch: pytest.MonkeyPatch, name: str, call: int) -> None:
    """Make one call of PynqBuffer.flush or .invalidate, counted from now, do nothing."""
    original, calls = getattr(PynqBuffer, name), iter(range(1000))
    monkeypatch.setattr(PynqBuffer, name, lambda self: None if next(calls) == call else original(self))


LOADING = ("new program", "program", "new constants", "constants", "new arena", "new inputs", "new outputs")
"""What is flushed while a region is loaded, in order."""


@pytest.mark.parametrize("call", [LOADING.index("program"), LOADING.index("constants")])
def test_a_flush_forgotten_while_loading_is_seen(call: int, monkeypatch: pytest.MonkeyPatch, load: Load) -> None:
    forget(monkeypatch, "flush", call)
    region = load(region_of(GRAPH))
    with suppress(RunError):  # a program of zeros
        assert not right(region)


def test_a_flush_of_new_outputs_forgotten_is_seen(
    machine: BenchDevice, monkeypatch: pytest.MonkeyPatch, load: Load
) -> None:
    machine.evicts_late = True
    forget(monkeypatch, "flush", LOADING.index("new outputs"))
    assert not right(load(region_of(GRAPH)))


def test_a_flush_of_inputs_forgotten_is_seen(monkeypatch: pytest.MonkeyPatch, load: Load) -> None:
    region = load(region_of(GRAPH))
    assert right(region, seed=0)
    forget(monkeypatch, "flush", 0)
    assert not right(region, seed=1)
    assert right(region, seed=2)


def test_an_invalidate_forgotten_is_seen(monkeypatch: pytest.MonkeyPatch, load: Load) -> None:
    region = load(region_of(GRAPH))
    assert right(region, seed=0)
    forget(monkeypatch, "invalidate", 0)
    assert not right(region, seed=1)
    assert right(region, seed=2)


# ---- buffers


def test_buffers_are_reused_and_given_back(machine: BenchDevice, load: Load) -> None:
    held = machine.default_memory.live
    region = load(region_of(GRAPH))
    taken = dict(held)
    assert len(taken) == 5, "program, constants, arena, inputs, outputs"
    for seed in range(3):
        assert right(region, seed=seed)
    assert held == taken
    region.close()
    assert not held
    with pytest.raises(RunError, match="its session is closed"):
        region.run(random_inputs(GRAPH, 0))
    region.close()


def test_buffers_of_a_region_that_nobody_closed_are_given_back(machine: BenchDevice) -> None:
    machine.core = RegisterModel(TINY, machine.dram)
    region = PynqDevice().load(region_of(GRAPH))
    assert machine.default_memory.live and board._loaded.users == 1
    del region
    gc.collect()
    assert not machine.default_memory.live and board._loaded.users == 0


def test_memory_that_is_short(machine: BenchDevice, load: Load) -> None:
    whole = machine.default_memory.allocate((DRAM_BYTES - 4 * 4096,), np.uint8)
    with pytest.raises(RunError, match=r"bytes of contiguous memory cannot be had"):
        load(region_of(GRAPH))
    del whole
    gc.collect()
    assert not machine.default_memory.live
    assert right(load(region_of(GRAPH)))


def test_memory_beyond_the_cores_addresses(machine: BenchDevice, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    original = machine.default_memory.allocate

    def allocate(*arguments: Any, **options: Any) -> PynqBuffer:
        buffer = original(*arguments, **options)
        buffer.device_address += 1 << 32
        return buffer

    monkeypatch.setattr(machine.default_memory, "allocate", allocate)
    with pytest.raises(RunError, match=r"the kernel gave memory at 0x11000.000, the core's addresses have 32 bits"):
        load(region_of(GRAPH))


def test_two_regions_share_the_core(machine: BenchDevice, load: Load) -> None:
    other = small_graph(seed=4)
    regions = [load(region_of(GRAPH)), load(region_of(other))]
    assert len(machine.downloads) == 1, "one bitstream, loaded once"
    assert right(regions[0], GRAPH) and right(regions[1], other) and right(regions[0], GRAPH, seed=1)
    regions[0].close()
    assert right(regions[1], other, seed=1)


def test_threads_take_turns(load: Load) -> None:
    region = load(region_of(GRAPH))
    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(lambda seed: right(region, seed=seed), range(24)))


def test_close_waits_for_a_run(machine: BenchDevice, load: Load) -> None:
    region = load(region_of(GRAPH))
    assert isinstance(machine.core, RegisterModel)
    machine.core.looks = 50
    with ThreadPoolExecutor(1) as pool:
        started, original = threading.Event(), machine.core.write

        def write(offset: int, value: int) -> None:
            original(offset, value)
            started.set()

        machine.core.write = write  # type: ignore[method-assign]
        running = pool.submit(right, region)
        started.wait()
        region.close()
        assert running.result()


# ---- what goes wrong


def test_another_configuration_on_the_board(machine: BenchDevice, load: Load) -> None:
    machine.core = RegisterModel(PYNQ_Z2, machine.dram)
    with pytest.raises(RunError, match="was compiled for overlay 'tiny'"):
        load(region_of(GRAPH, TINY))
    assert board._loaded.users == 0 and not machine.default_memory.live


def test_another_bitstream_while_a_session_is_open(machine: BenchDevice, load: Load) -> None:
    region = load(region_of(GRAPH, TINY))
    with pytest.raises(RunError, match="close the other session first"):
        load(region_of(GRAPH, PYNQ_Z2))
    region.close()
    machine.core = None
    assert right(load(region_of(GRAPH, PYNQ_Z2)))
    assert [Path(path).name for path in machine.downloads] == ["tiny.bit", "pynq-z2.bit"]


def test_design_without_our_core(load: Load, tmp_path: Path) -> None:
    text = (tmp_path / "tiny.hwh").read_text()
    (tmp_path / "tiny.hwh").write_text(text.replace(VLNV, "somebody:else:core:2.0"))
    with pytest.raises(RunError, match=rf"has 0 cores {VLNV}, not one; it holds {CORE}, irq_controller"):
        load(region_of(GRAPH))
    (tmp_path / "tiny.hwh").write_text(text)
    assert right(load(region_of(GRAPH))), "the FPGA is free again"


def test_no_bitstream(load: Load, tmp_path: Path) -> None:
    (tmp_path / "tiny.bit").unlink()
    with pytest.raises(RunError, match="set INTARSIA_BITSTREAM"):
        load(region_of(GRAPH))


def test_another_process_has_the_board(load: Load) -> None:
    with open(board.LOCK_FILE, "w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(RunError, match="another process runs models on the FPGA"):
            load(region_of(GRAPH))
    assert right(load(region_of(GRAPH)))


def test_a_lock_that_cannot_be_opened(load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board, "LOCK_FILE", tmp_path / "missing" / "lock")
    with pytest.raises(RunError, match="its lock cannot be opened"):
        load(region_of(GRAPH))


def test_fault_of_the_core(machine: BenchDevice, load: Load) -> None:
    region = load(region_of(GRAPH))
    assert isinstance(machine.core, RegisterModel)
    machine.core.fault = Fault(Cause.READ_DECODE_ERROR, queue=0, word=5, address=0x40)
    with pytest.raises(RunError, match=rf"'{GRAPH.name}' on overlay core '{CORE}': .* queue LOAD at 0x40 .*DECERR"):
        region.run(random_inputs(GRAPH, 0))
    assert right(region)


def test_time_out(machine: BenchDevice, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTARSIA_PYNQ_TIMEOUT", "0.05")
    region = load(region_of(GRAPH))
    assert isinstance(machine.core, RegisterModel)
    machine.core.looks = None
    with pytest.raises(RunError, match="has not ended in time"):
        region.run(random_inputs(GRAPH, 0))
    machine.core.looks = 3
    assert right(region)


def test_the_callers_time_ends_before_the_boards(load: Load, machine: BenchDevice) -> None:
    region = load(region_of(GRAPH))
    assert isinstance(machine.core, RegisterModel)
    machine.core.looks = None
    with pytest.raises(RunTimeout, match=r"the 0\.05 s that were left for it are over: the program has not ended"):
        region.run_within(random_inputs(GRAPH, 0), 0.05)
    machine.core.looks = 3
    assert right(region)
    inputs = random_inputs(GRAPH, 0)
    assert np.array_equal(region.run_within(inputs, 60.0).outputs[0], meaning(GRAPH, inputs)[0])


def test_waiting_for_a_turn_counts(load: Load) -> None:
    region = load(region_of(GRAPH))
    assert board._loaded.board is not None
    with board._loaded.board.lock, ThreadPoolExecutor(1) as pool:
        late = pool.submit(region.run_within, random_inputs(GRAPH, 0), 0.05)
        with pytest.raises(RunTimeout, match=r"other runs on the FPGA took the 0\.05 s") as caught:
            late.result()
    assert caught.value.region == GRAPH.name and right(region)


@pytest.mark.parametrize("text", ["soon", "0", "-1", "nan"])
def test_time_out_that_is_no_time(text: str, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTARSIA_PYNQ_TIMEOUT", text)
    with pytest.raises(RunError, match="is no number of seconds"):
        load(region_of(GRAPH))


def test_memory_of_a_core_that_does_not_stop_is_never_given_away(
    machine: BenchDevice, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core_driver, "RESET_READS", 10)
    monkeypatch.setenv("INTARSIA_PYNQ_TIMEOUT", "0.01")
    region = load(region_of(GRAPH))
    assert isinstance(machine.core, RegisterModel)
    machine.core.looks, machine.core.stops = None, False
    with pytest.raises(RunError, match="the core does not stop"):
        region.run(random_inputs(GRAPH, 0))
    taken = dict(machine.default_memory.live)
    with pytest.raises(RunError, match="restart the board"):
        region.run(random_inputs(GRAPH, 0))
    region.close()
    gc.collect()
    assert machine.default_memory.live == taken != {}
    board._loaded.board._stuck.clear()  # type: ignore[union-attr]


# ---- interrupts


@pytest.fixture
def line(machine: BenchDevice, monkeypatch: pytest.MonkeyPatch) -> BenchDevice:
    """A machine whose kernel hands on the interrupt of the design."""
    monkeypatch.setenv("INTARSIA_PYNQ_INTERRUPT", "1")
    uio = Uio(lambda: _advanced(machine))
    monkeypatch.setattr(_InterruptController, "_uio_devices", {61: uio, 121: uio})
    return machine


def _advanced(machine: BenchDevice) -> bool:
    assert machine.core is not None
    machine.core.advance()
    return machine.interrupt


def test_a_run_that_sleeps_until_the_interrupt(line: BenchDevice, load: Load) -> None:
    region = load(region_of(GRAPH))
    assert isinstance(line.core, RegisterModel)
    line.core.looks = 20
    looks: list[int] = []
    original = line.core.read
    line.core.read = lambda offset: looks.append(offset) or original(offset)  # type: ignore[method-assign,func-returns-value]
    assert right(region)
    assert looks.count(0x14) < 10, "the status is not polled"
    assert all(right(region, seed=seed) for seed in range(1, 4))


def test_a_board_loaded_in_another_thread(line: BenchDevice, load: Load) -> None:
    """pynq asks for the thread's event loop where the kernel hands on interrupts; only the main thread has one."""
    with ThreadPoolExecutor(1) as pool:
        region = pool.submit(load, region_of(GRAPH)).result()
        assert pool.submit(right, region).result()
    assert right(region)


def test_an_interrupt_that_never_comes(line: BenchDevice, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTARSIA_PYNQ_TIMEOUT", "0.05")
    region = load(region_of(GRAPH))
    assert isinstance(line.core, RegisterModel)
    line.core.looks = None
    with pytest.raises(RunError, match="has not ended in time"):
        region.run(random_inputs(GRAPH, 0))
    line.core.looks = 3
    assert right(region)
