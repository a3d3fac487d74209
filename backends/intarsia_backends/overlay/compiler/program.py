"""A program before it is encoded: run words with what they touch, and the semaphores that keep the queues in step.

The compiler emits run words in an order in which they are right one after the other. The queues run side by side; a
semaphore is put wherever two words of different queues touch the same memory such that the order matters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from intarsia.dtypes import Array
from intarsia_backends.overlay.compiler.tensors import Tensor
from intarsia_backends.overlay.machine.config import OverlayConfig
from intarsia_backends.overlay.machine.isa import End, Instruction, Queue, Run, encode_program

QUEUES = tuple(Queue)


@dataclass(frozen=True)
class Access:
    """A run of memory that a word touches.

    memory     "act" (words), "wgt" (rows), "par" (groups), "tab" (tables) or "dram" (rows of a tensor)
    exclusive  True for the source of Conv: it takes both ports of the banks
    tensor     for "dram": the tensor whose rows start to stop of blocks block0 to block1 are meant
    """

    memory: str
    start: int
    stop: int
    write: bool
    exclusive: bool = False
    tensor: Tensor | None = None
    block0: int = 0
    block1: int = 0


@dataclass(frozen=True)
class Item:
    """A run word with the setup words that it needs, and what it touches."""

    setup: tuple[Instruction, ...]
    run: Run
    accesses: tuple[Access, ...]
    cycles: int = 0  # rough time, for deciding how early a load must be issued


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


class _Tracker:
    """Who touched what last: gives, for a word, the latest word of each other queue that must be done before."""

    def __init__(self, config: OverlayConfig) -> None:
        self._bank_words = config.bank_words
        sizes = {
            "act": config.activation_words,
            "wgt": config.weight_rows,
            "par": config.parameter_groups,
            "tab": config.tables,
        }
        self._last = {name: np.full((2, len(QUEUES), size), -1, np.int32) for name, size in sizes.items()}
        self._banks = np.full((3, len(QUEUES), config.activation_banks), -1, np.int32)  # reads, writes, exclusive
        self._dram: dict[Tensor, Array] = {}

    def dependencies(self, item: Item) -> list[int]:
        """For each queue the latest earlier word, by its index, that this word must wait for; -1 for none."""
        found = np.full(len(QUEUES), -1, np.int32)
        for access in item.accesses:
            if access.start >= access.stop:
                continue
            last = self._slice(access)
            kinds = (0, 1) if access.write else (1,)
            for kind in kinds:
                found = np.maximum(found, last[kind].reshape(len(QUEUES), -1).max(axis=1))
            if access.memory == "act":
                banks = self._bank_slice(access)
                rivals = (0, 1, 2) if access.exclusive else ((1, 2) if access.write else (0, 2))
                for kind in rivals:
                    found = np.maximum(found, self._banks[kind][:, banks].max(axis=1))
        found[item.run.queue] = -1
        return [int(value) for value in found]

    def record(self, index: int, item: Item) -> None:
        """Remember what the word touches."""
        queue = int(item.run.queue)
        for access in item.accesses:
            if access.start >= access.stop:
                continue
            self._slice(access)[int(access.write)][queue] = index
            if access.memory == "act":
                kind = 2 if access.exclusive else int(access.write)
                self._banks[kind][queue, self._bank_slice(access)] = index

    def _bank_slice(self, access: Access) -> slice:
        return slice(access.start // self._bank_words, (access.stop - 1) // self._bank_words + 1)

    def _slice(self, access: Access) -> Array:
        """[reads or writes, queue, ...] of what the access covers; a view."""
        if access.memory != "dram":
            return self._last[access.memory][:, :, access.start : access.stop]
        assert access.tensor is not None
        root = access.tensor.root
        if root not in self._dram:
            self._dram[root] = np.full((2, len(QUEUES), root.blocks, root.height), -1, np.int32)
        first = access.tensor.root_block
        return self._dram[root][:, :, first + access.block0 : first + access.block1, access.start : access.stop]


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
        words.append(run)
    words.append(End())
    return encode_program(words), words
