"""From regions to choices: what they ask is collected, timed, and looked up in the cache."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from intarsia.ir.graph import Graph
from intarsia.targets import Progress
from intarsia_backends.cpu.lower.region import lower_region
from intarsia_backends.cpu.machine import Machine
from intarsia_backends.cpu.tuning.cache import ConfigCache, context_of
from intarsia_backends.cpu.tuning.search import Outcome, Timer, search
from intarsia_backends.cpu.tuning.trial import TrialTimer
from intarsia_backends.cpu.tuning_tasks import AskedTask, Configs, OpenConfigs

THREADS = 1
"""Threads that kernels are timed on: how many will run them is not known yet."""

FIRST_SECONDS = 3.0
"""About what the first race takes: the generators are loaded, and six kernels are made and timed."""


@dataclass(frozen=True)
class TunedRegions:
    """blockings  answers for the regions; notes  what to tell the user; outcome  None where nothing was asked"""

    configs: Configs
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
    asked: list[AskedTask] = []
    cold = 0
    for region in regions:
        configs = OpenConfigs()
        cold += len(lower_region(region, machine, configs).weights)
        asked += configs.asked
    if not asked:
        return TunedRegions(Configs(), ("no layer has a choice: there is nothing to time",), None)
    cache = ConfigCache(context_of(machine, THREADS))
    trials = TrialTimer(machine, compiler, cold)
    left = seconds - (clock() - begun)
    first = FIRST_SECONDS if timer is None else 0.0
    outcome = search(asked, timer or trials, cache, left, first=first, clock=clock, progress=progress)
    short = outcome.unfinished and not outcome.timed and left <= first
    text = outcome.text(clock() - begun)
    if short:
        text += (
            f"; the {seconds:g} s that were given are less than the {first:g} s or so of a first race: give 20s or more"
        )
    notes = (text, *trials.notes, *cache.notes)
    return TunedRegions(Configs(outcome.choices), notes, outcome)
