"""The driver on pynq's classes, and the Verilated core behind them: every register access is a transaction of AXI."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from bench_device import DRAM_BASE, BenchDevice, Uio
from board_regions import meaning, random_inputs, region_of, small_graph
from fixture_hwh import CORE
from pynq.buffer import PynqBuffer
from pynq.interrupt import _InterruptController
from verilated_core import VerilatedCore

import intarsia
from intarsia.errors import RunError
from intarsia.runtime.device import LoadedRegion, RegionFiles
from intarsia_backends.overlay.machine.config import PYNQ_Z2, TINY
from intarsia_backends.overlay.machine.region import PROGRAM
from intarsia_backends.pynq import board
from intarsia_backends.pynq.device import PynqDevice
from intarsia_backends.rtl.tools import missing

pytestmark = [pytest.mark.rtl, pytest.mark.skipif(missing() is not None, reason=missing() or "")]
GRAPH = small_graph()
FILES = region_of(GRAPH)


@pytest.fixture(scope="module")
def core() -> Iterator[VerilatedCore]:
    """One core for all tests: what a test leaves in it must not matter to the next."""
    from bench_device import bench

    verilated = VerilatedCore(TINY, bench.dram, DRAM_BASE)
    yield verilated
    verilated.core.close()


@pytest.fixture
def region(machine: BenchDevice, core: VerilatedCore) -> Iterator[LoadedRegion]:
    machine.core = core
    loaded = PynqDevice().load(FILES)
    yield loaded
    loaded.close()
    assert not core.violations


def right(region: LoadedRegion, seed: int = 0) -> bool:
    """Run once; whether the bytes are those of evaluate."""
    inputs = random_inputs(GRAPH, seed)
    return np.array_equal(region.run(inputs).outputs[0], meaning(GRAPH, inputs)[0])


def changed(files: RegionFiles, program: bytes) -> RegionFiles:
    return RegionFiles(
        files.name, files.kind, files.inputs, files.outputs, {**files.files, PROGRAM: program}, files.metadata
    )


def test_a_region_gives_the_bytes_of_evaluate(region: LoadedRegion) -> None:
    assert all(right(region, seed) for seed in range(3))


def test_counters_are_those_of_the_core(region: LoadedRegion) -> None:
    inputs = random_inputs(GRAPH, 0)
    first, second = (region.run(inputs).counters for _ in range(2))
    assert first["cycles"] > 0 and 0 < first["utilisation"] <= 1
    for queue in first["queues"].values():
        assert min(queue.values()) >= 0 and sum(queue.values()) == first["cycles"]
    assert first["queues"]["MAC"]["busy"] > 0
    assert abs(first["cycles"] - second["cycles"]) < 100, "the work is the same, the phase of the memory is not"


@pytest.mark.parametrize("name", ["flush", "invalidate"])
def test_a_forgotten_call_is_seen(name: str, region: LoadedRegion, monkeypatch: pytest.MonkeyPatch) -> None:
    assert right(region, 0)
    with monkeypatch.context() as patch:
        patch.setattr(PynqBuffer, name, lambda self: None)
        assert not right(region, 1)
    assert right(region, 2)


def test_lines_written_back_late_do_no_harm(machine: BenchDevice, region: LoadedRegion) -> None:
    machine.evicts_late = True
    assert all(right(region, seed) for seed in range(2))


def test_a_word_that_the_core_refuses(region: LoadedRegion) -> None:
    program = bytearray(FILES.files[PROGRAM])
    program[3 * 16] = 0x3F
    with_fault = PynqDevice().load(changed(FILES, bytes(program)))
    with pytest.raises(
        RunError, match=rf"'{GRAPH.name}' on overlay core '{CORE}', program word 3, .* refuses the word"
    ):
        with_fault.run(random_inputs(GRAPH, 0))
    with_fault.close()
    assert right(region)


def test_a_program_without_end(region: LoadedRegion) -> None:
    without_end = PynqDevice().load(changed(FILES, FILES.files[PROGRAM][:-16]))
    with pytest.raises(RunError, match="program words is End"):
        without_end.run(random_inputs(GRAPH, 0))
    without_end.close()
    assert right(region)


def test_an_error_of_the_memory_names_the_segment(core: VerilatedCore, region: LoadedRegion) -> None:
    constants = region._job.segments[0]  # type: ignore[attr-defined]
    core.core.memory.fault(constants + 0x100)
    with pytest.raises(RunError, match=rf"read of queue LOAD at {constants + 0x100:#x} .*segment CONSTANTS.*SLVERR"):
        region.run(random_inputs(GRAPH, 0))
    assert right(region)


def test_a_store_that_memory_refuses(core: VerilatedCore, region: LoadedRegion) -> None:
    outputs = region._job.segments[3]  # type: ignore[attr-defined]
    core.core.memory.fault(outputs, write=True, response=3)
    with pytest.raises(RunError, match=r"write of queue STORE at .*segment OUTPUTS.*DECERR"):
        region.run(random_inputs(GRAPH, 0))
    assert right(region)


def test_a_core_of_another_configuration(machine: BenchDevice, core: VerilatedCore) -> None:
    machine.core = core
    with pytest.raises(RunError, match=f"was compiled for overlay 'pynq-z2' .* the core here is {TINY.hash}"):
        PynqDevice().load(region_of(GRAPH, PYNQ_Z2))
    assert not machine.default_memory.live


def test_a_run_that_takes_too_long_is_stopped(
    machine: BenchDevice, core: VerilatedCore, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.core = core
    monkeypatch.setenv("INTARSIA_PYNQ_TIMEOUT", "1e-9")
    monkeypatch.setattr("verilated_core.CYCLES_A_LOOK", 1)
    region = PynqDevice().load(FILES)
    with pytest.raises(RunError, match="has not ended in time, after"):
        region.run(random_inputs(GRAPH, 0))
    board._loaded.board._timeout_seconds = 10.0  # type: ignore[union-attr]
    monkeypatch.setattr("verilated_core.CYCLES_A_LOOK", 500)
    assert right(region)
    region.close()


def test_the_cores_own_interrupt(machine: BenchDevice, core: VerilatedCore, monkeypatch: pytest.MonkeyPatch) -> None:
    def line() -> bool:
        core.advance()
        return machine.interrupt

    monkeypatch.setenv("INTARSIA_PYNQ_INTERRUPT", "1")
    monkeypatch.setattr(_InterruptController, "_uio_devices", {number: Uio(line) for number in (61, 121)})
    machine.core = core
    region = PynqDevice().load(FILES)
    assert all(right(region, seed) for seed in range(3))
    region.close()


def test_a_whole_artifact(machine: BenchDevice, core: VerilatedCore, artifacts: Path) -> None:
    machine.core = core
    images = np.load(artifacts / "images.npy")[:2]
    with intarsia.load(artifacts / "digits.intarsia") as session:
        assert "pynq" in session.devices.values()
        (found,) = session.run(images)
    with intarsia.load(artifacts / "digits.intarsia", device="simulator") as session:
        (wanted,) = session.run(images)
    assert found.tobytes() == wanted.tobytes()
