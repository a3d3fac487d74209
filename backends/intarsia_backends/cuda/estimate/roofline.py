"""The least time that a card takes for work: as long as its memory needs for the bytes, or its multipliers for the
operations. Launches, waits and what reads again from a cache come on top, so nothing runs as fast."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from intarsia.ir.graph import Graph
from intarsia_backends.cuda.estimate.cards import Card
from intarsia_backends.cuda.estimate.necessary import Group, necessary
from intarsia_backends.cuda.estimate.work import Work


@dataclass(frozen=True)
class Roofline:
    """A region on a card.

    necessary_seconds, necessary_bytes, necessary_operations
                 of what the region is
    issued_seconds, issued_bytes, issued_operations
                 of what its kernels do
    brought_bytes
                 what their blocks bring to shared memory, the same numbers again and again, mostly from the cache
    beyond_cache launches that touch more than the cache holds: they may read some of it again from memory
    """

    card: Card
    necessary_seconds: float
    necessary_bytes: int
    necessary_operations: int
    issued_seconds: float
    issued_bytes: int
    issued_operations: int
    brought_bytes: int
    beyond_cache: int

    @property
    def bytes_ratio(self) -> float:
        return self.issued_bytes / max(1, self.necessary_bytes)

    @property
    def operations_ratio(self) -> float:
        return self.issued_operations / max(1, self.necessary_operations)


def bound_seconds(work: Work | Group, card: Card) -> float:
    """The least time for a launch, or for a group of ops."""
    return max(work.size_bytes / card.bandwidth, work.operations / card.peaks[work.dtype])


def roofline(graph: Graph, launches: Sequence[Work], card: Card, halves: bool = False) -> Roofline:
    """A region, and its launches, on a card."""
    groups = necessary(graph, halves)
    return Roofline(
        card,
        sum(bound_seconds(group, card) for group in groups),
        sum(group.size_bytes for group in groups),
        sum(group.operations for group in groups),
        sum(bound_seconds(work, card) for work in launches),
        sum(work.size_bytes for work in launches),
        sum(work.operations for work in launches),
        sum(work.brought_bytes for work in launches),
        sum(work.size_bytes > card.cache_bytes for work in launches),
    )
