"""From regions to answers: what they ask is collected, timed, and looked up in the cache."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from intarsia.ir.graph import Graph
from intarsia.targets import Progress
from intarsia_backends.cpu.blockings import Asked, Blockings, OpenBlockings
from intarsia_backends.cpu.lower.region import lower_region
from intarsia_backends.cpu.machine import Machine
from intarsia_backends.cpu.tuning.cache import BlockingCache, context_of
from intarsia_backends.cpu.tuning.search import Outcome, Timer, search
from intarsia_backends.cpu.tuning.trial import TrialTimer

THREADS = 1
"""Threads that kernels are timed on: how many will run them is not known yet."""


@dataclass(frozen=True)
class TunedRegions:
    """blockings  answers for the regions; notes  what to tell the user; outcome  None where nothing was asked"""

    blockings: Blockings
    notes: tuple[str, ...]
    outcome: Outcome | None


def tune_regions(
    regions: Sequence[Graph],
    machine: Machine,
    compiler: Sequence[str],
    seconds: float,
    *,
    progress: Progress | None = None,
    timer: Timer | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> TunedRegions:
    """Answers for all that regions ask, by a search of so many seconds.

    machine   this one, or one whose code runs here
    compiler  the command that compiles C
    timer     in place of timing kernels
    """
    begun = clock()
    asked: list[Asked] = []
    cold = 0
    for region in regions:
        blockings = OpenBlockings()
        cold += len(lower_region(region, machine, blockings).weights)
        asked += blockings.asked
    if not asked:
        return TunedRegions(Blockings(), ("no layer has a choice: there is nothing to time",), None)
    cache = BlockingCache(context_of(machine, THREADS))
    trials = TrialTimer(machine, compiler, cold)
    left = seconds - (clock() - begun)
    outcome = search(asked, timer or trials, cache, left, clock=clock, progress=progress)
    notes = (outcome.text(clock() - begun), *trials.notes, *cache.notes)
    return TunedRegions(Blockings(outcome.answers), notes, outcome)
