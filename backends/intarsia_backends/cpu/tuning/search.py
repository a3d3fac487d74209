"""The search: for the layers that take most of the time, a few configs at a time, while the budget lasts."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from intarsia.targets import Progress
from intarsia_backends.cpu.tuning.cache import ConfigCache, Found
from intarsia_backends.cpu.tuning_tasks import CACHE, SEARCH, AskedTask, Choice, Config, TuningTask

MARGIN = 0.97
"""Share of the heuristic's time that another config may take at most to be chosen: less of a gain may be noise."""

_TOGETHER = 5
"""Configs in a race, beside the heuristic's and the fastest so far."""


class Timer(Protocol):
    """Seconds of a call of each config of a layer, timed against each other; infinity where one is no good."""

    def __call__(self, asked: AskedTask, configs: Sequence[Config]) -> list[float]: ...


@dataclass(frozen=True)
class Outcome:
    """What a search came to.

    choices     by task, what is faster than the heuristic
    layers      tasks there were
    timed       how many of these were timed now
    known       how many were found in the cache with nothing left to time
    unfinished  how many have configs that were never timed
    gain        estimated share of the time of the layers that were ever timed which is won
    """

    choices: dict[TuningTask, Choice]
    layers: int
    timed: int
    known: int
    unfinished: int
    gain: float

    def text(self, seconds: float) -> str:
        """One sentence for the user."""
        parts = [f"of {self.layers} different layers {self.timed} were timed in {seconds:.1f} s"]
        if self.known:
            parts.append(f"{self.known} were known from the cache")
        if self.unfinished:
            parts.append(f"for {self.unfinished} the budget ended before all was tried: another run goes on there")
        parts.append(f"for {len(self.choices)} something is faster than the rule, about {self.gain:.1%} of their time")
        return "; ".join(parts)


class _Layer:
    """A task, what is known of it, and what is still to be tried."""

    def __init__(self, asked: AskedTask, calls: int, work: int, cache: ConfigCache) -> None:
        self.asked, self.calls, self.work = asked, calls, work
        self.task = asked.task
        self.heuristic = self.task.heuristic()
        self.alternatives: list[Any] = list(self.task.alternatives())
        self.best, self.ratio, self.heuristic_seconds = self.heuristic, 1.0, math.nan
        self.tried: list[str] = []
        self.timed = False
        found = cache.get(self.task.key)
        named = None if found is None else self.task.named(found.config)
        if found is not None and named is not None:
            self.best, self.heuristic_seconds, self.tried = named, found.heuristic_seconds, list(found.tried)
            self.ratio = found.seconds / found.heuristic_seconds if found.heuristic_seconds > 0 else 1.0
        self.known = found is not None and named is not None
        self.left = [config for config in self.alternatives if str(config) not in self.tried]

    def race(self, timer: Timer) -> None:
        """Time the next few."""
        next, self.left = self.left[:_TOGETHER], self.left[_TOGETHER:]
        others = [self.best] if self.best != self.heuristic else []
        racing = [self.heuristic, *others, *next]
        seconds = timer(self.asked, racing)
        self.timed = True
        self.tried += map(str, next)
        self.heuristic_seconds = seconds[0]
        fastest = min(range(1, len(racing)), key=lambda index: seconds[index])
        ratio = seconds[fastest] / seconds[0]
        self.best, self.ratio = (racing[fastest], ratio) if ratio <= MARGIN else (self.heuristic, 1.0)

    @property
    def found(self) -> Found:
        return Found(str(self.best), tuple(self.tried), self.ratio * self.heuristic_seconds, self.heuristic_seconds)

    @property
    def choice(self) -> Choice | None:
        """None where nothing is known to be faster than the heuristic's."""
        if self.best == self.heuristic:
            return None
        return Choice(self.best, SEARCH if self.timed else CACHE)


def search(
    asked: Sequence[AskedTask],
    timer: Timer,
    cache: ConfigCache,
    seconds: float,
    *,
    first: float = 0.0,
    clock: Callable[[], float] = time.monotonic,
    progress: Progress | None = None,
) -> Outcome:
    """Time configs, layers with most work first, and one race after the other for all before any gets another.

    seconds   budget of the clock; a race that has begun is ended, and none begins that would likely take longer than
              what is left
    first     about how long the first race takes, which none before it can tell
    progress  called with ("tuning", races done, races there would be)
    """
    end = clock() + seconds
    layers = sorted(_layers(asked, cache), key=lambda layer: -layer.work)
    races = sum(-(-len(layer.left) // _TOGETHER) for layer in layers)
    done, spent = 0, 0.0
    try:
        while any(layer.left for layer in layers):
            for layer in [layer for layer in layers if layer.left]:
                begun = clock()
                if begun + (spent / done if done else first) >= end:
                    return _outcome(layers)
                layer.race(timer)
                cache.add(layer.task.key, layer.found)
                done, spent = done + 1, spent + clock() - begun
                if progress is not None:
                    progress("tuning", done, races)
        return _outcome(layers)
    finally:
        cache.save()


def _layers(asked: Sequence[AskedTask], cache: ConfigCache) -> list[_Layer]:
    first: dict[TuningTask, AskedTask] = {}
    calls: dict[TuningTask, int] = {}
    for item in asked:
        first.setdefault(item.task, item)
        calls[item.task] = calls.get(item.task, 0) + 1
    return [_Layer(item, calls[task], calls[task] * item.work, cache) for task, item in first.items()]


def _outcome(layers: Sequence[_Layer]) -> Outcome:
    measured = [layer for layer in layers if layer.heuristic_seconds > 0]
    before = sum(layer.calls * layer.heuristic_seconds for layer in measured)
    after = sum(layer.calls * layer.heuristic_seconds * layer.ratio for layer in measured)
    return Outcome(
        {layer.task: layer.choice for layer in layers if layer.choice is not None},
        len(layers),
        sum(layer.timed for layer in layers),
        sum(layer.known and not layer.timed and not layer.left for layer in layers),
        sum(bool(layer.left) for layer in layers),
        1 - after / before if before else 0.0,
    )
