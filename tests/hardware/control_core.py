"""The core with engines that only take time, and programs for it: what the tests of control share."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from harness import integers, module, parameters

from intarsia_backends.overlay.machine import isa, registers
from intarsia_backends.overlay.machine.config import TINY
from intarsia_backends.overlay.machine.registers import CONTROL, STATUS, Cause, Register
from intarsia_backends.rtl.attachments import Dram
from intarsia_backends.rtl.model import Model

PROGRAM = 0x1000_0000
DATA = 0x2000_0000
DATA_BYTES = 1 << 16

RUN_WORDS: dict[isa.Queue, type[isa.Run]] = {
    isa.Queue.LOAD: isa.LoadConstants,
    isa.Queue.MAC: isa.Conv,
    isa.Queue.VEC: isa.Vec,
    isa.Queue.STORE: isa.Store,
}
SETUPS: dict[isa.Queue, isa.Instruction] = {
    isa.Queue.LOAD: isa.LoadShape(blocks=1, rows=1, columns=1),
    isa.Queue.MAC: isa.ConvWindow(1, 1, 1, 1, 1, 1, 1, 1, 1, 1),
    isa.Queue.VEC: isa.VecTarget(blocks=1, rows=1, columns=1),
    isa.Queue.STORE: isa.StoreShape(blocks=1, rows=1, columns=1),
}


def run_word(queue: isa.Queue, wait: int = 0, signal: int = 0, cycles: int = 0) -> isa.Run:
    """A run word that keeps its queue's stub at work for `cycles`, and does not touch DRAM."""
    more = {"count": 1} if queue == isa.Queue.LOAD else {}
    return RUN_WORDS[queue](wait=wait, signal=signal, tag=cycles, **more)


def random_program(seed: int, words: int, longest: int = 12) -> list[isa.Instruction]:
    """Words whose waits are met by words before them, so that it ends however the queues are timed."""
    draw = np.random.default_rng(seed)
    owner = draw.integers(0, len(isa.Queue), isa.SEMAPHORES)  # the queue that waits for each semaphore
    made = np.zeros(isa.SEMAPHORES, int)
    program: list[isa.Instruction] = list(SETUPS.values())
    for _ in range(words):
        queue = isa.Queue(int(draw.integers(0, len(isa.Queue))))
        if draw.random() < 0.3:
            program.append(SETUPS[queue])
            continue
        wait, signal = 0, 0
        for number in range(isa.SEMAPHORES):
            if owner[number] == queue and made[number] and draw.random() < 0.5:
                wait |= 1 << number
                made[number] -= 1
        for number in draw.choice(isa.SEMAPHORES, int(draw.integers(0, 4)), replace=False):
            signal |= 1 << int(number)
            made[number] += 1
        program.append(run_word(queue, wait, signal, int(draw.integers(0, longest))))
    return [*program, isa.End()]


@dataclass
class Failure:
    """What the error registers say."""

    cause: Cause
    queue: int
    word: int
    state: int
    address: int


class Core:
    """ia_core with stubs, its registers and DRAM."""

    def __init__(self, model: Model, **dram: object) -> None:
        self.model = model
        self.dram: Dram = model.dram(["m_fetch", "m_load"], ["m_store"], **dram)
        self.dram.region(DATA, np.zeros(DATA_BYTES, np.uint8))
        self.registers = model.registers()
        model.reset()

    def read(self, register: Register) -> int:
        low = self.registers.read(register.offset)
        return low if register.words == 1 else low | self.registers.read(register.offset + 4) << 32

    def write(self, register: Register, value: int) -> None:
        self.registers.write(register.offset, value & 0xFFFF_FFFF)
        if register.words == 2:
            self.registers.write(register.offset + 4, value >> 32)

    def load(self, program: bytes, words: int | None = None) -> None:
        """Put a program in DRAM and its settings in the registers."""
        self.dram.clear()
        self.dram.region(DATA, np.zeros(DATA_BYTES, np.uint8))
        self.dram.region(PROGRAM, np.frombuffer(bytearray(program.ljust(16, b"\0")), np.uint8))
        self.write(registers.EXPECTED_HASH, int(TINY.hash, 16))
        self.write(registers.PROGRAM_BASE, PROGRAM)
        self.write(registers.PROGRAM_WORDS, len(program) // isa.WORD_BYTES if words is None else words)
        for segment in registers.SEGMENTS:
            self.write(segment, DATA)

    def start(self, *more: str) -> None:
        self.write(CONTROL, CONTROL.mask("start") | sum(CONTROL.mask(name) for name in more))

    def status(self, name: str) -> bool:
        return bool(self.read(STATUS) & STATUS.mask(name))

    def finish(self, limit: int = 100_000) -> None:
        """Let it run until it has stopped."""
        end = self.model.cycle + limit
        while self.status("running"):
            assert self.model.cycle < end, "the program does not end"
            self.model.step(20)
        assert not self.dram.violations

    def run(self, program: Sequence[isa.Instruction] | bytes) -> None:
        """Run a program to its end, whatever that is."""
        self.load(program if isinstance(program, bytes) else isa.encode_program(program))
        self.start()
        self.finish()

    def failure(self) -> Failure | None:
        if not self.status("error"):
            assert self.read(registers.ERROR_CAUSE) == Cause.NONE
            return None
        return Failure(
            Cause(self.read(registers.ERROR_CAUSE)),
            self.read(registers.ERROR_QUEUE),
            self.read(registers.ERROR_WORD),
            self.read(registers.ERROR_STATE),
            self.read(registers.ERROR_ADDRESS),
        )


SIGNALS = (
    "word_valid",
    "word_ready",
    "words",
    "engine_done",
    "take_valid",
    "take_grant",
    "signal_valid",
    "signal_ready",
)


def core_model(**changed: int) -> Model:
    """The core with stubs of its engines, and signals to see what the queues do."""
    return module(
        "ia_core",
        sources=["modules/stub_engines.sv"],
        signals=[f"ia_core.{name}" for name in SIGNALS],
        **{**parameters(TINY), **changed},
    )


def watch(model: Model, cycles: int) -> list[list[tuple[str, isa.Queue, int]]]:
    """What each cycle brings: ("word", queue, its bits), ("take", ...), ("signal", ...) and ("done", queue, 0)."""
    seen = {name: integers(rows) for name, rows in model.play({}, watch=SIGNALS, cycles=cycles).items()}
    found = []
    for at in range(cycles):
        events = []
        for queue in isa.Queue:
            for name, masks in (
                ("word", ("word_valid", "word_ready")),
                ("take", ("take_valid", "take_grant")),
                ("done", ("engine_done",)),
                ("signal", ("signal_valid", "signal_ready")),
            ):
                if all(seen[mask][at] >> queue & 1 for mask in masks):
                    word = seen["words"][at] >> (128 * queue) & ((1 << 128) - 1) if name == "word" else 0
                    events.append((name, queue, word))
        found.append(events)
    return found


def check_order(program: Sequence[isa.Instruction], cycles: list[list[tuple[str, isa.Queue, int]]]) -> None:
    """Every queue sees its words in order, and takes and signals agree with the semaphores."""
    words = {queue: deque(word for word in program if word.queue == queue) for queue in isa.Queue}
    runs = {queue: [word for word in items if isinstance(word, isa.Run)] for queue, items in words.items()}
    taken, signalled = dict.fromkeys(isa.Queue, 0), dict.fromkeys(isa.Queue, 0)
    offered, done = dict.fromkeys(isa.Queue, 0), dict.fromkeys(isa.Queue, 0)
    counts = [0] * isa.SEMAPHORES
    for events in cycles:
        change = [0] * isa.SEMAPHORES
        for name, queue, bits in events:
            if name == "word":
                word = words[queue].popleft()
                assert bits == int.from_bytes(word.encode(), "little")
                offered[queue] += isinstance(word, isa.Run)
                assert offered[queue] <= taken[queue], f"{word} before it took its semaphores"
            elif name == "take":
                word = runs[queue][taken[queue]]
                taken[queue] += 1
                for number in range(isa.SEMAPHORES):
                    if word.wait >> number & 1:
                        assert counts[number] > 0, f"{word} takes semaphore {number} at 0"
                        change[number] -= 1
            elif name == "done":
                done[queue] += 1
                assert done[queue] <= offered[queue]
            elif name == "signal":
                word = runs[queue][signalled[queue]]
                signalled[queue] += 1
                assert isinstance(word, isa.End) or signalled[queue] <= done[queue], f"{word} signals before it is done"
                for number in range(isa.SEMAPHORES):
                    change[number] += word.signal >> number & 1
        counts = [count + more for count, more in zip(counts, change)]
    left = {queue: list(items) for queue, items in words.items() if items}
    assert left == {isa.Queue.STORE: [isa.End()]}, "words were not handed to their engines"
    assert {queue: len(items) for queue, items in runs.items()} == taken == signalled
