"""The driver of the core's registers, against registers in Python: a run, what is counted, and every way to fail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
from board_regions import meaning, random_inputs, region_of, small_graph
from register_model import CYCLES, Fault, RegisterModel, memory

from intarsia.dtypes import Array
from intarsia.errors import RunError
from intarsia.ir.graph import Graph
from intarsia_backends.overlay.machine import core_driver, registers
from intarsia_backends.overlay.machine.config import PYNQ_Z2, TINY
from intarsia_backends.overlay.machine.core_driver import CoreDriver, CoreStuck, Job
from intarsia_backends.overlay.machine.isa import Queue, Segment
from intarsia_backends.overlay.machine.region import OverlayRegion, read_region
from intarsia_backends.overlay.machine.registers import Cause, CounterKind

BASE = 0x1_0000_0000
"""Above 4 GiB, so that high words of addresses matter."""

PLACES = {Segment.CONSTANTS: 0x2000, Segment.ARENA: 0x8000, Segment.INPUTS: 0xA000, Segment.OUTPUTS: 0xC000}


@dataclass
class Bench:
    """A region in the memory of a core that exists in Python alone."""

    graph: Graph
    region: OverlayRegion
    model: RegisterModel
    core: CoreDriver
    job: Job

    def fill(self, inputs: list[Array]) -> None:
        contents = {
            0: np.frombuffer(self.region.program, np.uint8),
            PLACES[Segment.CONSTANTS]: np.frombuffer(self.region.constants, np.uint8),
            PLACES[Segment.INPUTS]: self.region.pack(inputs),
        }
        for place, data in contents.items():
            self.model.dram[place : place + data.size] = data

    def outputs(self) -> list[Array]:
        place = PLACES[Segment.OUTPUTS]
        return self.region.unpack(self.model.dram[place : place + self.region.segments[Segment.OUTPUTS]])


@pytest.fixture
def bench() -> Bench:
    graph = small_graph()
    region = read_region(region_of(graph))
    model = RegisterModel(TINY, memory(0x10000), BASE)
    model.sizes = region.segments
    job = Job(region, BASE, {segment: BASE + place for segment, place in PLACES.items()})
    return Bench(graph, region, model, CoreDriver(model.read, model.write), job)


def patient(finished: Callable[[], bool]) -> bool:
    """Wait for as long as it takes."""
    while not finished():
        pass
    return True


def hasty(finished: Callable[[], bool]) -> bool:
    """Give up after a few looks."""
    return any(finished() for _ in range(5))


def test_a_run_gives_the_bytes_of_evaluate(bench: Bench) -> None:
    bench.core.check(TINY, "region 'small'")
    for seed in range(3):
        inputs = random_inputs(bench.graph, seed)
        bench.fill(inputs)
        bench.core.run(bench.job, patient)
        for found, wanted in zip(bench.outputs(), meaning(bench.graph, inputs)):
            np.testing.assert_array_equal(found, wanted)
    assert bench.model.starts == 3


def test_addresses_are_written_whole(bench: Bench) -> None:
    bench.fill(random_inputs(bench.graph, 0))
    bench.core.run(bench.job, patient)
    assert bench.model.get(registers.PROGRAM_BASE) == BASE
    assert bench.model.get(registers.PROGRAM_WORDS) == len(bench.region.program) // 16
    for register, segment in zip(registers.SEGMENTS, Segment):
        assert bench.model.get(register) == BASE + PLACES[segment]
    assert f"{bench.model.get(registers.EXPECTED_HASH):016x}" == TINY.hash


def test_counters_share_out_all_cycles(bench: Bench) -> None:
    bench.fill(random_inputs(bench.graph, 0))
    counters = bench.core.run(bench.job, patient).to_counters(TINY, bench.region.layers)
    assert counters["cycles"] == CYCLES
    assert counters["macs"] == sum(row["macs"] for row in bench.region.layers) > 0
    assert counters["utilisation"] == counters["macs"] / (CYCLES * TINY.macs_per_cycle)
    for number, queue in enumerate(Queue):
        # The core counts waiting for memory as busy; the report keeps them apart, as the simulator does.
        wanted = {"busy": 300, "wait_memory": 200 + number, "wait_semaphore": 100 + number}
        assert counters["queues"][queue.name] == {**wanted, "idle": CYCLES - sum(wanted.values())}


def test_interrupt_is_enabled_for_the_run_and_cleared_after_it(bench: Bench) -> None:
    bench.fill(random_inputs(bench.graph, 0))
    seen = []

    def wait(finished: Callable[[], bool]) -> bool:
        seen.append(bench.model.interrupt)
        while not bench.model.interrupt:
            bench.model.advance()
        return finished()

    bench.core.run(bench.job, wait, interrupt=True)
    assert seen == [False] and not bench.model.interrupt
    bench.core.run(bench.job, patient)
    assert not bench.model.interrupt


LETTERS: dict[str, Fault] = {
    "config_mismatch": Fault(Cause.CONFIG_MISMATCH),
    "malformed_word": Fault(Cause.MALFORMED_WORD, queue=1, word=6),
    "malformed_word_behind_the_end": Fault(Cause.MALFORMED_WORD, queue=0, word=999),
    "missing_end": Fault(Cause.MISSING_END, queue=registers.FETCHER),
    "read_slave_error": Fault(Cause.READ_SLAVE_ERROR, queue=0, word=5, address=BASE + 0x2040),
    "read_decode_error_of_the_fetcher": Fault(Cause.READ_DECODE_ERROR, registers.FETCHER, 2, address=BASE + 0x10),
    "write_slave_error": Fault(Cause.WRITE_SLAVE_ERROR, queue=3, word=9, address=BASE + 0xC000),
    "write_decode_error_outside": Fault(Cause.WRITE_DECODE_ERROR, queue=3, word=9, address=0x40),
    "deadlock": Fault(Cause.DEADLOCK, word=9, state=0b0001_0010_0000_1000),
    "unknown_cause": Fault(99, queue=7),
}


@pytest.mark.parametrize("name", LETTERS)
def test_errors_of_the_core_are_letters(name: str, bench: Bench, golden: Callable[[str], None]) -> None:
    inputs = random_inputs(bench.graph, 0)
    bench.fill(inputs)
    bench.model.fault = LETTERS[name]
    with pytest.raises(RunError) as caught:
        bench.core.run(bench.job, patient)
    text = str(caught.value).replace(TINY.hash, "<tiny>")
    golden(f"{text}\n")
    bench.core.run(bench.job, patient)  # the next start brings it back
    np.testing.assert_array_equal(bench.outputs()[0], meaning(bench.graph, inputs)[0])


def test_wrong_configuration_is_found_by_the_core_too(bench: Bench) -> None:
    bench.model.put(registers.CONFIG_HASH, int(PYNQ_Z2.hash, 16))
    with pytest.raises(RunError, match=f"is for configuration {TINY.hash}, the core is {PYNQ_Z2.hash}"):
        bench.core.run(bench.job, patient)


CHECKS: dict[str, tuple[registers.Register, int]] = {
    "another_device": (registers.IDENTIFICATION, 0xFFFFFFFF),
    "another_version": (registers.VERSION, registers.VERSION_VALUE + 1),
    "another_configuration": (registers.CONFIG_HASH, int(PYNQ_Z2.hash, 16)),
}


@pytest.mark.parametrize("name", CHECKS)
def test_check_refuses(name: str, bench: Bench, golden: Callable[[str], None]) -> None:
    bench.model.put(*CHECKS[name])
    with pytest.raises(RunError) as caught:
        bench.core.check(TINY, "region 'small'")
    text = str(caught.value).replace(TINY.hash, "<tiny>").replace(PYNQ_Z2.hash, "<pynq-z2>")
    golden(f"{text}\n")


def test_time_out_stops_the_core_and_says_how_far_it_came(bench: Bench, golden: Callable[[str], None]) -> None:
    inputs = random_inputs(bench.graph, 0)
    bench.fill(inputs)
    bench.model.looks = None
    bench.model.put(registers.CYCLES, 123456)
    for queue in Queue:
        bench.model.put(registers.COUNTERS[CounterKind.WORDS, queue], 3 * queue)
    with pytest.raises(RunError) as caught:
        bench.core.run(bench.job, hasty)
    golden(f"{caught.value}\n")
    assert bench.core.status("idle")
    bench.model.looks = 3
    bench.core.run(bench.job, patient)
    np.testing.assert_array_equal(bench.outputs()[0], meaning(bench.graph, inputs)[0])


def test_core_that_does_not_stop(bench: Bench, monkeypatch: pytest.MonkeyPatch, golden: Callable[[str], None]) -> None:
    monkeypatch.setattr(core_driver, "RESET_READS", 10)
    bench.model.looks, bench.model.stops = None, False
    with pytest.raises(CoreStuck) as caught:
        bench.core.run(bench.job, hasty)
    golden(f"{caught.value}\n")


def test_keyboard_interrupt_stops_the_core(bench: Bench) -> None:
    def wait(finished: Callable[[], bool]) -> bool:
        assert not finished()
        raise KeyboardInterrupt

    bench.model.looks = None
    with pytest.raises(KeyboardInterrupt):
        bench.core.run(bench.job, wait)
    assert bench.core.status("idle")


def test_core_left_running_is_stopped_first(bench: Bench) -> None:
    inputs = random_inputs(bench.graph, 0)
    bench.fill(inputs)
    bench.model.looks = None
    bench.core.command("start")
    assert bench.core.status("running")
    bench.model.looks = 3
    bench.core.run(bench.job, patient)
    np.testing.assert_array_equal(bench.outputs()[0], meaning(bench.graph, inputs)[0])


def test_words_are_named_for_people(bench: Bench) -> None:
    broken = replace(bench.region, program=bench.region.program[:16] + bytes(16))
    assert broken.words == 2
    assert broken.word(0).startswith("program word 0, ")
    assert broken.word(1) == f"program word 1, {bytes(16).hex()}"
    assert broken.word(2) == "program word 2, behind the end"
