"""A program before it is encoded: run words with what they touch, and the semaphores that keep the queues in step.

The compiler emits run words in an order in which they are right one after the other. The queues run side by side; a
semaphore is put wherever two words of different queues touch the same memory such that the order matters.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from intarsia.dtypes import Array
from intarsia_backends.overlay.compiler.tensors import Tensor
from intarsia_backends.overlay.machine.config import OverlayConfig
from intarsia_backends.overlay.machine.isa import Access, End, Instruction, Queue, Run, encode_program

QUEUES = tuple(Queue)
_ON_CHIP = ("ACT", "WGT", "PAR", "TAB")


@dataclass(frozen=True)
class TensorRows:
    """Rows start to stop of blocks block0 to block1 of a tensor in DRAM, which a word reads or writes."""

    tensor: Tensor
    start: int
    stop: int
    block0: int
    block1: int
    write: bool


@dataclass(frozen=True)
class Item:
    """A run word with the setup words that it needs, and what it touches.

    on_chip  what the instruction set says that it touches in memories on chip
    rows     what it touches in DRAM, if anything: not words but rows, as tensors there are read and written by rows
    cycles   rough time, for deciding how early a load must be issued
    """

    setup: tuple[Instruction, ...]
    run: Run
    on_chip: tuple[Access, ...]
    rows: TensorRows | None
    cycles: int


def item(setup: Sequence[Instruction], run: Run, config: OverlayConfig, rows: TensorRows | None = None) -> Item:
    """A run word and its setup words, with what the instruction set says of them."""
    registers = {type(word): word for word in setup}
    on_chip = (access for access in run.accesses(registers) if access.place.memory in _ON_CHIP)
    return Item(tuple(setup), run, tuple(on_chip), rows, run.estimate_cycles(registers, config))


@dataclass
class Unit:
    """Some work, and the loads that it needs, which may be issued earlier."""

    loads: list[Item] = field(default_factory=list)
    body: list[Item] = field(default_factory=list)

    @property
    def cycles(self) -> int:
        """Rough time of the busiest queue."""
        times = dict.fromkeys(QUEUES, 0)
        for item in self.body:
            times[item.run.queue] += item.cycles
        return max(times.values())


_ROLES = ("read", "write", "source")
_RIVALS = {"read": ("read", "source"), "write": ("write", "source"), "source": _ROLES}
"""Which accesses a bank of ACT cannot serve beside one: the array takes both ports for its source."""


class _Tracker:
    """Who touched what last: gives, for a word, the latest word of each other queue that must be done before."""

    def __init__(self, config: OverlayConfig) -> None:
        self._bank_words = config.bank_words
        sizes = config.memory_words
        self._last = {name: np.full((2, len(QUEUES), size), -1, np.int32) for name, size in sizes.items()}
        self._banks = np.full((len(_ROLES), len(QUEUES), config.activation_banks), -1, np.int32)
        self._dram: dict[Tensor, Array] = {}

    def dependencies(self, item: Item) -> list[int]:
        """For each queue the latest earlier word, by its index, that this word must wait for; -1 for none."""
        found = np.full(len(QUEUES), -1, np.int32)
        for last, writes in self._touched(item):
            for kind in (0, 1) if writes else (1,):
                found = np.maximum(found, last[kind].reshape(len(QUEUES), -1).max(axis=1))
        for access in item.on_chip:
            if access.place.memory == "ACT":
                banks = self._bank_slice(access)
                for rival in _RIVALS[access.role]:
                    found = np.maximum(found, self._banks[_ROLES.index(rival)][:, banks].max(axis=1))
        found[item.run.queue] = -1
        return [int(value) for value in found]

    def record(self, index: int, item: Item) -> None:
        """Remember what the word touches."""
        queue = int(item.run.queue)
        for last, writes in self._touched(item):
            last[int(writes)][queue] = index
        for access in item.on_chip:
            if access.place.memory == "ACT":
                self._banks[_ROLES.index(access.role)][queue, self._bank_slice(access)] = index

    def _bank_slice(self, access: Access) -> slice:
        return slice(access.place.base // self._bank_words, access.place.last // self._bank_words + 1)

    def _touched(self, item: Item) -> Iterator[tuple[Array, bool]]:
        """Views [reads or writes, queue, ...] of what a word touches, and whether it writes there."""
        for access in item.on_chip:
            yield self._last[access.place.memory][:, :, access.place.base : access.place.last + 1], access.writes
        rows = item.rows
        if rows is not None and rows.start < rows.stop:
            root, first = rows.tensor.root, rows.tensor.root_block
            if root not in self._dram:
                self._dram[root] = np.full((2, len(QUEUES), root.blocks, root.height), -1, np.int32)
            yield (
                self._dram[root][:, :, first + rows.block0 : first + rows.block1, rows.start : rows.stop],
                rows.write,
            )


def hoist_loads(units: Sequence[Unit], config: OverlayConfig) -> list[Item]:
    """One list of all words, with loads moved up so far that their data is there when it is needed.

    A load moves no further up than the last word that it must wait for, and no further than it needs to: a load that
    is issued too early only stands in the way of others.
    """
    tracker = _Tracker(config)
    unit_of: list[int] = []  # unit of each word of the original order
    earliest: list[list[int]] = []
    for number, unit in enumerate(units):
        earliest.append([])
        for position, item in enumerate((*unit.loads, *unit.body)):
            needed = tracker.dependencies(item)
            tracker.record(len(unit_of), item)
            if position < len(unit.loads):
                others = [unit_of[index] + 1 for index in needed if index >= 0]
                earliest[number].append(max(others, default=0))
            unit_of.append(number)
    starts = np.concatenate([[0], np.cumsum([unit.cycles for unit in units])])
    wanted: list[list[int]] = [[] for _ in units]
    deadline = float("inf")
    for number in range(len(units) - 1, -1, -1):
        for item in reversed(units[number].loads):
            deadline = min(deadline, float(starts[number])) - item.cycles
            lead = deadline - _LEAD_CYCLES
            wanted[number].insert(0, min(int(np.searchsorted(starts, lead, side="right")) - 1, number))
    placed: list[list[Item]] = [[] for _ in units]
    floor = 0
    for number, unit in enumerate(units):
        for item, want, legal in zip(unit.loads, wanted[number], earliest[number]):
            floor = max(floor, want, min(legal, number), 0)
            placed[floor].append(item)
    return [item for number, unit in enumerate(units) for item in (*placed[number], *unit.body)]


_LEAD_CYCLES = 400
"""How much earlier than strictly needed a load is issued: DRAM latency, and traffic of stores."""


def semaphore(source: Queue, target: Queue) -> int:
    """The semaphore by which words of `source` let words of `target` go on."""
    return int(source) * len(QUEUES) + int(target)


def synchronize(items: Sequence[Item], config: OverlayConfig) -> list[Run]:
    """The run words with their semaphores.

    One semaphore serves each ordered pair of queues. A word that must wait for word j of another queue takes a token,
    j gives one; since both queues run in order, the k-th token taken is the k-th given.
    """
    tracker = _Tracker(config)
    waits, signals = [0] * len(items), [0] * len(items)
    covered = np.full((len(QUEUES), len(QUEUES)), -1, np.int64)  # [waiting queue, queue waited for]
    clocks: list[Array] = []  # for each word: the latest word of each queue known to be done when it is done
    current = np.full((len(QUEUES), len(QUEUES)), -1, np.int64)
    for index, item in enumerate(items):
        queue = item.run.queue
        for other, needed in zip(QUEUES, tracker.dependencies(item)):
            if needed < 0 or needed <= current[queue, other]:
                continue
            assert needed > covered[queue, other]
            covered[queue, other] = needed
            mask = 1 << semaphore(other, queue)
            signals[needed] |= mask
            waits[index] |= mask
            current[queue] = np.maximum(current[queue], clocks[needed])
        current[queue, queue] = index
        clocks.append(current[queue].copy())
        tracker.record(index, item)
    return [replace(item.run, wait=wait, signal=signal) for item, wait, signal in zip(items, waits, signals)]


def assemble(units: Sequence[Unit], config: OverlayConfig) -> tuple[bytes, list[Instruction]]:
    """Order, synchronize and encode: the bytes of the program and its words."""
    items = hoist_loads(units, config)
    runs = synchronize(items, config)
    registers: dict[type[Instruction], Instruction] = {}
    words: list[Instruction] = []
    for item, run in zip(items, runs):
        for setup in item.setup:
            if registers.get(type(setup)) != setup:
                registers[type(setup)] = setup
                words.append(setup)
        missing = run.missing(registers)
        assert not missing, f"{run} stands before {missing}"
        words.append(run)
    words.append(End())
    return encode_program(words), words
