"""Control: semaphores, issue, fetch, registers, and how a run ends, with engines that only take time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from control_core import (
    DATA,
    DATA_BYTES,
    PROGRAM,
    SETUPS,
    Core,
    Failure,
    check_order,
    core_model,
    random_program,
    run_word,
    watch,
)
from harness import integers, module, needs_verilator

from intarsia_backends.overlay.machine import isa, registers
from intarsia_backends.overlay.machine.config import TINY
from intarsia_backends.overlay.machine.isa import Queue
from intarsia_backends.overlay.machine.registers import COUNTERS, CYCLES, Cause, CounterKind
from intarsia_backends.rtl.attachments import DECERR
from intarsia_backends.rtl.module import ModelError

pytestmark = [pytest.mark.rtl, needs_verilator]


@pytest.fixture
def core() -> Iterator[Core]:
    with core_model() as found:
        yield Core(found)


def end_of(words: int) -> list[isa.Instruction]:
    return [*list(SETUPS.values()) * words, isa.End()]


# ---- semaphores


@pytest.mark.parametrize("most", [3, 255])
def test_semaphores_count(most: int) -> None:
    draw = np.random.default_rng(most)
    cycles, queues = 4000, 4
    takes, signals = draw.integers(0, 16, cycles), draw.integers(0, 16, cycles)
    if most > 3:  # fill up first, then let them be taken
        takes[: cycles // 2] = 0
    masks = [[int(draw.integers(0, 1 << 16)) for _ in range(queues)] for _ in range(cycles)]
    sparse = [[mask & int(draw.integers(0, 1 << 16)) & int(draw.integers(0, 1 << 16)) for mask in row] for row in masks]
    with module("ia_semaphores", SemaphoreMax=most) as unit:
        unit.reset()
        seen = unit.play(
            {
                "take_valid_i": takes,
                "signal_valid_i": signals,
                "take_mask_i": [sum(mask << 16 * queue for queue, mask in enumerate(row)) for row in sparse],
                "signal_mask_i": [sum(mask << 16 * queue for queue, mask in enumerate(row)) for row in sparse[::-1]],
            },
            watch=["take_grant_o", "signal_ready_o"],
        )
    grants, ready = integers(seen["take_grant_o"]), integers(seen["signal_ready_o"])
    counts, full = np.zeros(16, int), np.zeros(16, bool)
    granted = refused = 0
    for at in range(cycles):
        wanted, given, claimed = sparse[at], sparse[cycles - 1 - at], 0
        taken, added = np.zeros(16, int), np.zeros(16, int)
        for queue in range(queues):
            bits = np.array([wanted[queue] >> number & 1 for number in range(16)])
            open_ = takes[at] >> queue & 1 and all(counts[bits == 1]) and not wanted[queue] & claimed
            assert grants[at] >> queue & 1 == bool(open_)
            if takes[at] >> queue & 1:
                claimed |= wanted[queue]
            taken += bits * bool(open_)
            more = np.array([given[queue] >> number & 1 for number in range(16)])
            room = not full[more == 1].any()
            assert ready[at] >> queue & 1 == room
            added += more * bool(signals[at] >> queue & 1 and room)
            granted, refused = granted + bool(open_), refused + (not room)
        full = counts + added >= most
        counts = counts + added - taken
        assert (counts >= 0).all() and (counts <= most + 3).all()
    assert granted > 100 and refused > 100


# ---- words


def test_malformed_words_are_those_that_python_refuses() -> None:
    draw = np.random.default_rng(5)
    words = [0, (1 << 128) - 1]
    for kind in isa.INSTRUCTIONS:
        for _ in range(40):
            values = {}
            for name, width, signed in kind.layout():
                low, high = (-(1 << width - 1), 1 << width - 1) if signed else (0, 1 << width)
                values[name] = int(draw.integers(low, high))
            for name, least, most in kind.limits():
                if draw.random() < 0.95:
                    high = values[name] if most is None else min(most, values[name])
                    values[name] = max(least or 0, high)
            word = int.from_bytes(kind(**values).encode(), "little")
            words.append(word if draw.random() < 0.8 else word | 1 << int(draw.integers(40, 128)))
    words += [opcode | int(draw.integers(0, 4)) << 40 for opcode in range(64)]
    with module("malformed_probe", sources=["modules/malformed_probe.sv"]) as probe:
        seen = probe.play({"word_i": words}, watch=["malformed_o", "run_o"])
    found = [0, 0]
    for word, malformed, run in zip(words, integers(seen["malformed_o"]), integers(seen["run_o"])):
        try:
            decoded = isa.decode(word.to_bytes(16, "little"))
            expected = decoded.malformed() is not None
            assert bool(run) == decoded.is_run()
        except isa.EncodingError:
            expected = True
        assert bool(malformed) == expected, f"{word:#x}"
        found[expected] += 1
    assert min(found) > 100


def test_needed_setup_words_are_those_of_the_table() -> None:
    runs = [kind() for kind in isa.INSTRUCTIONS if issubclass(kind, isa.Run)]
    runs += [isa.Vec(operation=operation) for operation in isa.VecOperation]
    setups = [kind for kind in isa.INSTRUCTIONS if not kind.is_run()]
    words = [int.from_bytes(word.encode(), "little") for word in (*runs, *(kind() for kind in setups))]
    with module("malformed_probe", sources=["modules/malformed_probe.sv"]) as probe:
        seen = probe.play({"word_i": words}, watch=["counted_o", "needed_o"])
    counted, needed = integers(seen["counted_o"]), integers(seen["needed_o"])
    assert not any(counted[: len(runs)]) and not any(needed[len(runs) :])
    places = dict(zip(setups, counted[len(runs) :]))
    assert sum(places.values()) == (1 << sum(map(bool, places.values()))) - 1, "a bit each"
    for word, bits in zip(runs, needed):
        missing = word.missing({})
        assert all(places[kind] for kind in missing)
        assert bits == sum(places[kind] for kind in missing), type(word).__name__


@pytest.mark.parametrize("seed", range(4))
def test_queues_keep_order_and_semaphores(seed: int) -> None:
    program = random_program(seed, 300)
    with core_model() as model:
        core = Core(model, stall=0.1 * seed, jitter_cycles=10 * seed, seed=seed + 1)
        core.load(isa.encode_program(program))
        core.start()
        check_order(program, watch(model, 6000))
        core.finish()
        assert core.failure() is None and core.status("done")
        for queue in Queue:
            words = sum(isinstance(word, isa.Run) and word.queue == queue for word in program)
            assert core.read(COUNTERS[CounterKind.WORDS, queue]) == words


def test_signals_wait_where_a_semaphore_is_full() -> None:
    # 40 signals that nobody takes until the vector queue has done its long word.
    program = [*SETUPS.values(), run_word(Queue.VEC, 0, 2, 400)]
    program += [word for _ in range(40) for word in (run_word(Queue.MAC, 0, 1), run_word(Queue.STORE, 0, 1))]
    program += [run_word(Queue.VEC, 2)] + [run_word(Queue.VEC, 1) for _ in range(80)] + [isa.End()]
    with core_model(SemaphoreMax=20) as found:
        core = Core(found)
        # The fetcher would wait for room in the MAC queue before it reaches the words that take.
        core.run(program)
        failure = core.failure()
        assert failure is not None and failure.cause == Cause.DEADLOCK
        blocked = registers.ERROR_STATE.mask("blocked")
        assert failure.state & blocked == (1 << Queue.MAC | 1 << Queue.STORE) << 4
        core.run(program[:4] + [run_word(Queue.VEC, 0, 0, 400)] + [run_word(Queue.VEC, 1)] * 3
                 + [run_word(Queue.MAC, 0, 1)] * 23 + [isa.End()])  # fmt: skip
        assert core.failure() is None


def test_a_word_follows_its_signal_in_two_cycles(core: Core) -> None:
    core.load(isa.encode_program([*SETUPS.values(), run_word(Queue.MAC, 0, 1, 100), run_word(Queue.VEC, 1), isa.End()]))
    core.start()
    cycles = watch(core.model, 400)
    done = next(at for at, events in enumerate(cycles) if ("done", Queue.MAC, 0) in events)
    begun = [at for at, events in enumerate(cycles) for event in events if event[:2] == ("word", Queue.VEC)]
    assert begun[-1] - done == 2


@pytest.mark.parametrize("bytes_in_beat", [8, 16])
def test_the_fetcher_keeps_up_with_the_bus(bytes_in_beat: int) -> None:
    with core_model(AxiBytes=bytes_in_beat) as found:
        core = Core(found, latency_cycles=50)
        cycles = []
        for words in (25, 125):
            core.run(end_of(words))
            assert core.failure() is None
            cycles.append(core.read(CYCLES))
    assert (cycles[1] - cycles[0]) / 400 == pytest.approx(16 / bytes_in_beat, rel=0.02)
    assert cycles[0] < 50 + 100 * 16 / bytes_in_beat + 30


# ---- registers


def test_registers_keep_what_is_written(core: Core) -> None:
    assert core.read(registers.IDENTIFICATION) == registers.IDENTIFICATION_VALUE
    assert core.read(registers.VERSION) == registers.VERSION_VALUE
    assert f"{core.read(registers.CONFIG_HASH):016x}" == TINY.hash
    masks = {registers.EXPECTED_HASH: (1 << 64) - 1, registers.PROGRAM_WORDS: (1 << 24) - 1}
    places = [item for item in registers.REGISTERS if item.access == registers.Access.READ_WRITE]
    values = {}
    for at, register in enumerate(places):
        values[register] = 0x0123_4567_89AB_CDEF * (at + 1) & ((1 << 32 * register.words) - 1)
        core.write(register, values[register])
    for register in places:
        # Addresses are multiples of 16, of 32 bits.
        assert core.read(register) == values[register] & masks.get(register, 0xFFFF_FFF0), register.name
    for offset in (0x02C, 0x068, 0x1A0, 0x200, 0xFFC):
        core.registers.write(offset, 0xFFFF_FFFF)
        assert core.registers.read(offset) == 0
    core.registers.write(registers.EXPECTED_HASH.offset, 0, strobes=0b0101)
    assert core.read(registers.EXPECTED_HASH) == values[registers.EXPECTED_HASH] & ~0x00FF_00FF


def test_settings_are_locked_while_a_program_runs(core: Core) -> None:
    core.load(isa.encode_program([*SETUPS.values(), run_word(Queue.MAC, 0, 0, 500), isa.End()]))
    core.start()
    assert core.status("running") and not core.status("idle") and not core.status("done")
    core.write(registers.PROGRAM_BASE, 0)
    core.write(registers.SEGMENTS[1], 0)
    core.start()
    core.finish()
    assert core.read(registers.PROGRAM_BASE) == PROGRAM and core.read(registers.SEGMENTS[1]) == DATA
    assert core.status("done") and core.status("idle") and core.failure() is None


def test_interrupt_follows_the_end(core: Core) -> None:
    core.load(isa.encode_program(end_of(1)))
    core.start("interrupt_enable")
    assert core.model["irq_o"] == 0
    core.finish()
    assert core.status("interrupt") and core.model["irq_o"] == 1
    core.write(registers.CONTROL, registers.CONTROL.mask("interrupt_enable") | 8)
    core.model.step(4)
    assert not core.status("interrupt") and core.model["irq_o"] == 0 and core.status("done")
    core.start()
    core.finish()
    assert core.status("interrupt") and core.model["irq_o"] == 0


def test_counters_count_cycles(core: Core) -> None:
    program = [*SETUPS.values(), run_word(Queue.MAC, 0, 1, 300), run_word(Queue.VEC, 1, 2, 100), isa.End(wait=2)]
    for _ in range(2):  # the second run begins at 0 again
        core.run(program)
        assert core.failure() is None
        busy = {queue: core.read(COUNTERS[CounterKind.BUSY, queue]) for queue in Queue}
        waits = {queue: core.read(COUNTERS[CounterKind.WAIT_SEMAPHORE, queue]) for queue in Queue}
        assert busy[Queue.LOAD] == 0 and busy[Queue.STORE] == 0
        assert 300 <= busy[Queue.MAC] <= 305 and 100 <= busy[Queue.VEC] <= 105
        assert 295 <= waits[Queue.VEC] <= 310 and 395 <= waits[Queue.STORE] <= 420
        assert 400 < core.read(CYCLES) < 450
        assert core.read(COUNTERS[CounterKind.WORDS, Queue.STORE]) == 1


# ---- how a run fails


def failure_of(core: Core, program: list[isa.Instruction] | bytes) -> Failure:
    core.run(program)
    failure = core.failure()
    assert failure is not None and not core.status("done") and core.status("interrupt")
    return failure


def recovers(core: Core) -> None:
    core.run(random_program(11, 40))
    assert core.failure() is None and core.status("done")


def test_another_configuration_is_refused(core: Core) -> None:
    core.load(isa.encode_program(end_of(1)))
    core.write(registers.EXPECTED_HASH, 1)
    core.start()
    core.finish()
    assert core.failure() == Failure(Cause.CONFIG_MISMATCH, 0, 0, 0, 0)
    recovers(core)


@pytest.mark.parametrize(
    "word",
    [
        bytes(16),
        isa.End(tag=1).encode()[:-1] + b"\x01",
        isa.ConvWindow(1, 1, 1, 1, 1, 1, 0, 1, 1, 1).encode(),
        isa.LoadConstants(memory=3, count=1).encode(),
        isa.Vec(operation=7).encode(),
        isa.Conv(skip=1).encode(),
        isa.LoadPatch().encode(),
        isa.Vec(operation=isa.VecOperation.SUM).encode(),
    ],
    ids=["opcode", "unused bits", "zero count", "memory", "operation", "skip", "shape", "window"],
)
def test_a_malformed_word_is_named(core: Core, word: bytes) -> None:
    before = isa.encode_program([*SETUPS.values(), *[run_word(Queue.MAC)] * 7])
    failure = failure_of(core, before + word + isa.End().encode())
    assert (failure.cause, failure.queue, failure.word) == (Cause.MALFORMED_WORD, word[0] >> 4 & 3, 11)
    recovers(core)


@pytest.mark.parametrize("words", [0, 1, 9])
def test_a_program_without_end_is_an_error(core: Core, words: int) -> None:
    failure = failure_of(core, isa.encode_program([isa.LoadShape(1, 1, 1)] * words))
    assert (failure.cause, failure.queue, failure.word) == (Cause.MISSING_END, registers.FETCHER, words)
    recovers(core)


def test_words_behind_end_are_not_looked_at(core: Core) -> None:
    core.run(isa.encode_program(end_of(3)) + bytes(16 * 100))
    assert core.failure() is None and core.status("done")


def test_deadlock_is_found(core: Core) -> None:
    program = [*SETUPS.values(), run_word(Queue.VEC, 4), run_word(Queue.MAC, 2, 4), isa.End()]
    failure = failure_of(core, program)
    assert (failure.cause, failure.queue) == (Cause.DEADLOCK, Queue.MAC)
    assert failure.state == 1 << Queue.MAC | 1 << Queue.VEC
    assert 1024 < core.read(CYCLES) < 1200
    recovers(core)


def test_a_full_queue_shows_in_a_deadlock(core: Core) -> None:
    program = [*SETUPS.values(), *[run_word(Queue.MAC, 2)] * 20, run_word(Queue.VEC, 0, 2), isa.End()]
    failure = failure_of(core, program)
    full = 1 << Queue.MAC + 12
    assert failure.cause == Cause.DEADLOCK and failure.state == full | 1 << Queue.MAC
    assert failure.word == len(SETUPS) + TINY.queue_words + 1
    recovers(core)


def test_errors_on_the_bus_are_named(core: Core) -> None:
    core.load(isa.encode_program(random_program(3, 200)))
    core.dram.fault(PROGRAM + 16 * 30)
    core.start()
    core.finish()
    failure = core.failure()
    assert failure is not None and (failure.cause, failure.queue) == (Cause.READ_SLAVE_ERROR, registers.FETCHER)
    assert failure.address == PROGRAM + 16 * 24 and failure.word <= 30
    loads = [isa.LoadShape(1, 1, 1), isa.Load(offset=8), isa.Load(offset=DATA_BYTES // 16), isa.End()]
    failure = failure_of(core, loads)
    assert (failure.cause, failure.queue) == (Cause.READ_DECODE_ERROR, Queue.LOAD)
    assert failure.address == DATA + DATA_BYTES
    core.load(isa.encode_program(loads))
    core.dram.fault(DATA + 8 * 16, response=DECERR)
    core.start()
    core.finish()
    failure = core.failure()
    assert failure is not None and failure.address == DATA + 8 * 16
    recovers(core)


@pytest.mark.parametrize("after", [1, 7, 60, 130, 700])
def test_a_soft_reset_stops_a_program(core: Core, after: int) -> None:
    loads = [isa.LoadShape(1, 1, 1)] + [isa.Load(offset=8 * at, tag=20) for at in range(60)]
    core.load(isa.encode_program([*loads, isa.End()]))
    core.start()
    core.model.step(after)
    core.write(registers.CONTROL, registers.CONTROL.mask("soft_reset"))
    core.finish()
    assert core.dram.idle
    assert core.failure() is None and not core.status("done") and not core.status("interrupt")
    recovers(core)


def test_a_word_that_is_done_before_it_began_is_noticed() -> None:
    with module("ia_issue", QueueWords=4) as issue, pytest.raises(ModelError, match="DoneWordsWereInFlight"):
        issue.reset()
        issue["done_i"] = 1
        issue.step(2)
