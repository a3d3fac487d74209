"""Words that touch the same memory although nothing orders them, and words that read what nothing wrote.

Checked once, when a program is loaded, against what the semaphores guarantee: a program that passes gives the same
result in every order that the hardware may take.

What a word touches is said by the instruction set, and executed as it is said. Which words may meet is worked out a
second time here, on purpose, from the semaphores in a program's bytes: the compiler's own account of it, in its
`schedule`, is what this checks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from intarsia.dtypes import Array
from intarsia_backends.overlay.machine import isa
from intarsia_backends.overlay.machine.config import OverlayConfig
from intarsia_backends.overlay.machine.disassembler import word_text
from intarsia_backends.simulator.decoded import Operation
from intarsia_backends.simulator.order import Ordered

_GIVEN = ("CONSTANTS", "INPUTS")
"""Memories that the host fills before the start; all others hold nothing."""

_CLASH = {"source": ("source", "read", "write"), "read": ("source", "read"), "write": ("source", "write")}
"""Which accesses of two words a bank of ACT cannot serve at the same time: the array takes both ports."""


class _Track:
    """For each word of a memory and each queue: the last run word of the queue that touched it, counted from 1."""

    def __init__(self, words: int, given: bool) -> None:
        self.read = np.zeros((len(isa.Queue), words), np.int32)
        self.write = np.zeros((len(isa.Queue), words), np.int32)
        self.written = np.full(words, given)


def check_hazards(order: Sequence[Ordered], config: OverlayConfig, sizes: Mapping[str, int]) -> None:
    """Raises RunError for the first word that may meet another at the same memory.

    order  all run words, with bounds and fields checked
    sizes  words of each memory

    Three rules: words that touch the same word of a memory, one of them writing, are ordered; so are words that a bank
    of ACT cannot serve together; and a word reads only what has been written.
    """
    tracks = {name: _Track(size, name in _GIVEN) for name, size in sizes.items()}
    banks = np.zeros((3, len(isa.Queue), config.activation_banks), np.int32)
    by_queue: list[list[Operation]] = [[] for _ in isa.Queue]
    for item in order:
        by_queue[item.operation.queue].append(item.operation)
    for item in order:
        found = item.operation.accesses
        _check_own_banks(item.operation, found, config)
        for access in found:
            _check_banks(item, access, banks, by_queue, config)
            _check_words(item, access, tracks[access.place.memory], by_queue)
        for access in found:
            _note(item, access, tracks[access.place.memory], banks, config)


def _banks_of(access: isa.Access, config: OverlayConfig) -> slice:
    return slice(access.place.base // config.bank_words, access.place.last // config.bank_words + 1)


_ROLES = ("source", "read", "write")


def _check_own_banks(operation: Operation, found: Sequence[isa.Access], config: OverlayConfig) -> None:
    """The array takes both ports of its source's banks: the same Conv's residual and target must lie elsewhere."""
    for source in found:
        if source.role != "source":
            continue
        taken = _banks_of(source, config)
        for other in found:
            if other is source or other.place.memory != "ACT":
                continue
            banks = _banks_of(other, config)
            low, high = max(taken.start, banks.start), min(taken.stop, banks.stop)
            if low < high:
                raise operation.fault(f"{other.role}s {other.place} in bank {low}, both ports of which read its source")


def _check_banks(
    item: Ordered, access: isa.Access, banks: Array, by_queue: Sequence[Sequence[Operation]], config: OverlayConfig
) -> None:
    if access.place.memory != "ACT":
        return
    mine = _banks_of(access, config)
    for role in _CLASH[access.role]:
        for queue in isa.Queue:
            if queue == item.operation.queue:
                continue
            latest = banks[_ROLES.index(role), queue, mine]
            late = latest > item.before[queue]
            if late.any():
                bank = mine.start + int(np.argmax(late))
                other = by_queue[queue][int(latest.max()) - 1]
                raise item.operation.fault(
                    f"bank conflict: {_verb(access.role)} {access.place} in bank {bank}, which word {other.index}, "
                    f"{word_text(other.word)}, may be using ({role}) at the same time"
                )


def _check_words(item: Ordered, access: isa.Access, track: _Track, by_queue: Sequence[Sequence[Operation]]) -> None:
    place = access.place
    for queue in isa.Queue:
        if queue == item.operation.queue:
            continue
        for role, latest in (("writes", track.write), ("reads", track.read)):
            if role == "reads" and not access.writes:
                continue
            newest = int(place.view(latest[queue]).max())
            if newest > item.before[queue]:
                other = by_queue[queue][newest - 1]
                raise item.operation.fault(
                    f"race: {_verb(access.role)} {place}, part of which word {other.index}, {word_text(other.word)}, "
                    f"{role}, and no semaphore orders the two"
                )
    if not access.writes and not place.view(track.written).all():
        touched = place.addresses()
        at = int(touched[~track.written[touched]][0])
        raise item.operation.fault(f"reads {place}, of which word {at} was never written")


def _verb(role: str) -> str:
    return "writes" if role == "write" else "reads"


def _note(item: Ordered, access: isa.Access, track: _Track, banks: Array, config: OverlayConfig) -> None:
    queue, count = item.operation.queue, item.position + 1
    if access.place.memory == "ACT":
        banks[_ROLES.index(access.role), queue, _banks_of(access, config)] = count
    if access.writes:
        access.place.view(track.write[queue])[...] = count
        access.place.view(track.written)[...] = True
    else:
        access.place.view(track.read[queue])[...] = count
