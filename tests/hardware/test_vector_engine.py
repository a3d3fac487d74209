"""The vector unit against the NumPy machine: the same bytes for random words and for the extremes of every field."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest
from harness import module, needs_verilator

from intarsia.errors import RunError
from intarsia_backends.overlay.machine import isa
from intarsia_backends.overlay.machine.config import PYNQ_Z2, OverlayConfig
from intarsia_backends.overlay.machine.isa import VecOperation
from intarsia_backends.rtl.model import Model
from intarsia_backends.simulator.bounds import check_bounds, memory_sizes
from intarsia_backends.simulator.costs import vector_cost
from intarsia_backends.simulator.decoded import Operation
from intarsia_backends.simulator.fields import check_fields
from intarsia_backends.simulator.state import State
from intarsia_backends.simulator.vector import bind_vec

pytestmark = [pytest.mark.rtl, needs_verilator]

WORDS = 1024
CONFIG: OverlayConfig = replace(PYNQ_Z2, activation_banks=1, activation_bank_bytes=WORDS * 16)
LARGEST = (1 << isa.MULTIPLIER_BITS) - 1
"""Multiplier."""
SIZES = memory_sizes(CONFIG, {})
SETUPS = (isa.VecSource, isa.VecSecond, isa.VecTarget, isa.VecWindow, isa.VecScale)


class Machine:
    """The RTL and the NumPy machine side by side, with the same memories."""

    def __init__(self, model: Model, stall: float = 0.0) -> None:
        """stall  share of cycles in which no new word is offered"""
        self.model = model
        self.source = model.source("word_i", stall=stall)
        self.dones = model.sink("word_i", valid="done_o", ready=None)
        self.state = State(CONFIG, np.zeros((0, 16), np.int8), {})
        self.registers: dict[type[isa.Instruction], isa.Instruction] = {}
        self.queue: list[isa.Instruction] = []
        self.act, self.tab = model.memory("activations"), model.memory("entries")

    def fill(self, rng: np.random.Generator, extremes: bool = False) -> None:
        """New contents of the memories."""
        shape = self.state.act.shape
        values = rng.choice([-128, -127, -1, 0, 1, 127], shape) if extremes else rng.integers(-128, 128, shape)
        self.state.act[...] = values
        self.state.tab[...] = rng.integers(-128, 128, self.state.tab.shape)
        self.act[...] = self.state.act.view(np.uint8)
        self.tab[...] = self.state.tab.view(np.uint8).reshape(-1, 1)

    def operation(self, word: isa.Vec, setups: Sequence[isa.Instruction]) -> Operation:
        """A Vec after setup words; RunError where it is wrong."""
        registers = {**self.registers, **{type(item): item for item in setups}}
        found = Operation(0, word, registers)
        check_fields(found, CONFIG)
        check_bounds(found, SIZES)
        target = word.target_rectangle(found.registers)
        if target.addresses().size < target.words:
            raise found.fault("writes a word twice: NumPy has no order for that")
        return found

    def add(self, word: isa.Vec, *setups: isa.Instruction) -> Operation:
        """Execute a Vec in NumPy, and put its words into the queue of the RTL."""
        operation = self.operation(word, setups)
        self.registers.update({type(item): item for item in setups})
        bind_vec(operation, self.state)()
        self.queue += [*setups, word]
        return operation

    def run(self) -> int:
        """Execute what is in the queue, compare the memories; the cycles from the first word to the last `done`."""
        begin, runs = self.model.cycle, len(self.dones.cycles)
        runs += sum(isinstance(word, isa.Vec) for word in self.queue)
        self.source.add([int.from_bytes(word.encode(), "little") for word in self.queue])
        self.queue = []
        for _ in range(100_000):
            if len(self.dones.cycles) >= runs:
                break
            self.model.step(100)
        self.model.step(10)
        assert len(self.dones.cycles) == runs and self.source.left == 0 and self.model["busy_o"] == 0
        wrong = np.argwhere(self.act != self.state.act.view(np.uint8))
        assert not len(wrong), f"{len(wrong)} bytes differ, first [word, lane] {wrong[:4].tolist()}"
        return int(self.dones.cycles[-1]) - begin


def bench(stall: float = 0.0) -> Machine:
    """A machine after reset."""
    model = module(
        "vector_bench",
        sources=["modules/vector_bench.sv"],
        signals=["vector_bench.activations", "vector_bench.entries"],
        Words=WORDS,
        Tables=CONFIG.tables,
    )
    model.reset()
    return Machine(model, stall)


@pytest.fixture
def machine() -> Iterator[Machine]:
    found = bench()
    yield found
    assert found.model["stray_o"] == 0
    found.model.close()


def small(rng: np.random.Generator, most: int) -> int:
    """1 to `most`, mostly small."""
    return int(min(rng.integers(1, most + 1), rng.integers(1, most + 1)))


def random_scale(rng: np.random.Generator) -> isa.VecScale:
    """Results of about the right size mostly; any values at times."""
    wild = rng.random() < 0.3
    extreme = [0, 1, 65535, 65536, LARGEST]

    def byte() -> int:
        return int(rng.choice([-128, -1, 0, 127]) if rng.random() < 0.4 else rng.integers(-128, 128))

    def multiplier() -> int:
        return int(rng.choice(extreme) if wild else rng.integers(LARGEST // 2, LARGEST + 1))

    low, high = sorted((byte(), byte())) if rng.random() < 0.5 else (-128, 127)
    if wild and rng.random() < 0.2:
        low, high = high, low
    return isa.VecScale(
        zero_point=byte(),
        multiplier=multiplier(),
        second_zero_point=byte(),
        second_multiplier=multiplier(),
        shift=int(rng.integers(0, 64) if wild else rng.integers(18, 32)),
        output_zero_point=byte(),
        clamp_min=low,
        clamp_max=high,
    )


def random_word(rng: np.random.Generator, operation: VecOperation) -> tuple[isa.Vec, list[isa.Instruction]]:
    """A Vec and all its setup words; often one that `check_fields` or `check_bounds` refuses."""
    windowed = operation in (VecOperation.MAXIMUM, VecOperation.SUM)
    rows, columns, blocks = small(rng, 8), small(rng, 8), small(rng, 3)
    kernel = (small(rng, 5), small(rng, 5)) if windowed else (1, 1)
    if windowed and rng.random() < 0.1:
        kernel = (int(rng.integers(1, 22)), int(rng.integers(1, 22)))
        rows, columns = small(rng, 3), small(rng, 3)
    strides = (small(rng, 4), small(rng, 4)) if windowed else (1, 1)
    height, width = int(rng.integers(0, 14)), int(rng.integers(1, 14))
    pitch = width + int(rng.integers(0, 3))
    source = isa.VecSource(
        base=int(rng.integers(0, 500)),
        row_pitch=pitch,
        block_pitch=pitch * height + int(rng.integers(0, 3)),
        height=height,
        width=width,
        pad_top=int(rng.integers(-3, 4)),
        pad_left=int(rng.integers(-3, 4)),
        fill=int(rng.integers(-128, 128)),
    )
    target_pitch = columns + int(rng.integers(0, 3))
    target = isa.VecTarget(
        base=int(rng.integers(500, 1000)),
        row_pitch=target_pitch,
        block_pitch=target_pitch * rows + int(rng.integers(0, 3)),
        blocks=blocks,
        rows=rows,
        columns=columns,
    )
    second = isa.VecSecond(
        int(rng.integers(0, 500)), target.row_pitch, target.block_pitch, column_pitch=int(rng.random() < 0.8)
    )
    if rng.random() < 0.3:
        second = replace(second, row_pitch=0, column_pitch=0)
    if rng.random() < 0.3:  # in place
        target = replace(target, base=source.base, row_pitch=source.row_pitch, block_pitch=source.block_pitch)
        source = replace(source, pad_top=0, pad_left=0, height=max(height, rows), width=max(width, columns))
    elif rng.random() < 0.2:
        second = replace(
            second, base=target.base, row_pitch=target.row_pitch, block_pitch=target.block_pitch, column_pitch=1
        )
    lanes = (0, 0, 16)
    if operation == VecOperation.COPY and rng.random() < 0.6:
        count = int(rng.integers(1, 17))
        lanes = (int(rng.integers(0, 17 - count)), int(rng.integers(0, 17 - count)), count)
    word = isa.Vec(
        operation=operation,
        upsample=int(operation == VecOperation.COPY and rng.random() < 0.3),
        table=int(rng.integers(0, CONFIG.tables)),
        lane_from=lanes[0],
        lane_to=lanes[1],
        lane_count=lanes[2],
    )
    return word, [source, second, target, isa.VecWindow(*kernel, *strides), random_scale(rng)]


def add_random(machine: Machine, rng: np.random.Generator, operation: VecOperation) -> Operation:
    """A random word that is right; setup words that are at their value already are left out at times."""
    while True:
        word, setups = random_word(rng, operation)
        if rng.random() < 0.5:
            setups = [item for item in setups if rng.random() < 0.7 or type(item) not in machine.registers]
        order = rng.permutation(len(setups))
        try:
            return machine.add(word, *(setups[index] for index in order))
        except RunError:
            continue


@pytest.mark.parametrize("operation", list(VecOperation), ids=lambda item: item.name.lower())
def test_random_words_of_one_operation(machine: Machine, operation: VecOperation) -> None:
    rng = np.random.default_rng(int(operation))
    for extremes in (False, True):
        machine.fill(rng, extremes)
        for _ in range(60):
            add_random(machine, rng, operation)
        machine.run()


@pytest.mark.parametrize("stall", [0.0, 0.6, 0.95])
def test_operations_follow_each_other(stall: float) -> None:
    machine = bench(stall)
    rng = np.random.default_rng(int(stall * 100) + 7)
    for _ in range(6):
        machine.fill(rng)
        for _ in range(40):
            add_random(machine, rng, VecOperation(int(rng.integers(0, len(VecOperation)))))
        machine.run()


def test_sums_over_several_words(machine: Machine) -> None:
    rng = np.random.default_rng(3)
    for _ in range(12):
        machine.fill(rng, extremes=bool(rng.random() < 0.5))
        count = int(rng.integers(1, 5))
        scale = random_scale(rng)
        for index in range(count):
            height, width = int(rng.integers(1, 24)), int(rng.integers(1, 24))
            machine.add(
                isa.Vec(operation=VecOperation.SUM, start=int(index == 0), finish=int(index == count - 1)),
                isa.VecSource(
                    base=int(rng.integers(0, 400)), row_pitch=width, height=height, width=width, pad_top=1, fill=9
                ),
                isa.VecTarget(base=900, blocks=1, rows=1, columns=1),
                isa.VecWindow(height + 1, width, 1, 1),
                scale,
            )
        machine.run()


@pytest.mark.slow
def test_sums_of_more_than_32_bits_wrap(machine: Machine) -> None:
    """The window lies in the padding: 2,106 x 4,000 pixels of 255 are more than 2**31."""
    machine.fill(np.random.default_rng(0))
    for index in range(2):
        machine.add(
            isa.Vec(operation=VecOperation.SUM, start=int(index == 0), finish=index),
            isa.VecSource(fill=127),
            isa.VecTarget(base=900, blocks=1, rows=1, columns=1),
            isa.VecWindow(2106, 4000, 1, 1) if index == 0 else isa.VecWindow(1, 57, 1, 1),
            isa.VecScale(zero_point=-128, multiplier=LARGEST, shift=46, clamp_min=-128, clamp_max=127),
        )
    machine.run()
    assert machine.state.act[900].max() < 0


@pytest.mark.parametrize("shift", range(64))
def test_every_shift_rounds_half_to_even(machine: Machine, shift: int) -> None:
    rng = np.random.default_rng(shift)
    machine.fill(rng, extremes=True)
    plain = isa.VecTarget(base=600, row_pitch=8, blocks=1, rows=8, columns=8)
    source = isa.VecSource(base=0, row_pitch=20, height=30, width=20, fill=0)
    second = isa.VecSecond(base=300, row_pitch=8, column_pitch=1)
    for operation in (VecOperation.ADD, VecOperation.MULTIPLY, VecOperation.SUM):
        for multiplier in (1, 3, 1 << min(max(shift - 1, 0), 20), 65537, LARGEST):
            scale = isa.VecScale(
                zero_point=int(rng.integers(-128, 128)),
                multiplier=multiplier,
                second_zero_point=int(rng.integers(-128, 128)),
                second_multiplier=int(rng.choice([1, 2, 65536, LARGEST])),
                shift=shift,
                output_zero_point=int(rng.choice([-128, 0, 127])),
                clamp_min=-128,
                clamp_max=127,
            )
            machine.add(isa.Vec(operation=operation), source, second, plain, isa.VecWindow(2, 2, 2, 2), scale)
    # Sums that need more than 17 bits
    for multiplier in (1, 2, 1 << min(shift, 20), LARGEST):
        scale = isa.VecScale(
            zero_point=int(rng.choice([-128, 127])), multiplier=multiplier, shift=shift, clamp_min=-128, clamp_max=127
        )
        machine.add(
            isa.Vec(operation=VecOperation.SUM),
            source,
            replace(plain, rows=2, columns=2),
            isa.VecWindow(23, 19, 3, 3),
            scale,
        )
    machine.run()


def cycles_of(machine: Machine, word: isa.Vec, *setups: isa.Instruction) -> int:
    """What a word takes where it stands among its like."""
    machine.add(word, *setups)
    first = machine.run() - len(setups)
    for _ in range(4):
        machine.add(word)
    taken, rest = divmod(machine.run() - first, 3)
    assert not rest
    return taken


def test_cycles_are_those_of_the_cost_model(machine: Machine) -> None:
    """Random words, each repeated: the engine takes a run word every `cycles` of its cost, exactly."""
    rng = np.random.default_rng(11)
    machine.fill(rng)
    done = 0
    while done < 200:
        word, setups = random_word(rng, VecOperation(int(rng.integers(0, len(VecOperation)))))
        try:
            operation = machine.operation(word, setups)
        except RunError:
            continue
        assert cycles_of(machine, word, *setups) == vector_cost(operation).cycles, operation.where
        done += 1


def test_sums_over_several_words_cost_what_the_model_says(machine: Machine) -> None:
    rng = np.random.default_rng(2)
    machine.fill(rng)
    setups = (
        isa.VecSource(base=0, row_pitch=3, height=3, width=3),
        isa.VecTarget(base=900, blocks=1, rows=1, columns=1),
        isa.VecWindow(1, 2, 1, 1),
        random_scale(rng),
    )
    word = isa.Vec(operation=VecOperation.SUM, start=0)
    machine.add(replace(word, start=1, finish=0), *setups)
    machine.run()
    machine.add(replace(word, finish=0))
    first = machine.run()
    for _ in range(3):
        machine.add(replace(word, finish=0))
    operation = machine.add(word)
    assert machine.run() - first == 3 * vector_cost(operation).cycles
