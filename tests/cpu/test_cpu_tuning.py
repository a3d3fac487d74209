"""The search for faster configs: what it chooses, when it ends, what it keeps. Nothing here depends on real times."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from cpu_regions import Layers
from test_cpu_tuning_tasks import asked_of, convolution

from intarsia.targets import Target
from intarsia_backends.cpu.link import c_compiler
from intarsia_backends.cpu.machine import machine_of, this_machine
from intarsia_backends.cpu.target import CpuTarget, armv7
from intarsia_backends.cpu.tuning.cache import ConfigCache, Found, context_of
from intarsia_backends.cpu.tuning.regions import tune_regions
from intarsia_backends.cpu.tuning.search import Outcome, search
from intarsia_backends.cpu.tuning.trial import TrialTimer
from intarsia_backends.cpu.tuning_tasks import CACHE, HEURISTIC, SEARCH, AskedTask, TuningTask
from intarsia_backends.lowering.expressions import Constant
from intarsia_backends.lowering.program import Buffer, Program

CONTEXT = {"processor": "one", "threads": "1"}


@dataclass(frozen=True)
class Numbered(TuningTask):
    """A task whose configs are numbers; the heuristic says 0."""

    name: str
    count: int = 3

    @property
    def key(self) -> str:
        return self.name

    def heuristic(self) -> int:
        return 0

    def alternatives(self) -> Sequence[int]:
        return range(1, self.count + 1)


def asked(name: str, work: int = 1, count: int = 3) -> AskedTask:
    def make(builder: Any, config: Any) -> Any:
        raise AssertionError("nothing is made")

    return AskedTask(Numbered(name, count), make, Buffer("output", 4), Program(), work)


class Clock:
    """A clock that only races move."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Races:
    """A timer: how long each config takes, by name of the layer; a race takes a second."""

    def __init__(self, seconds: dict[str, list[float]], clock: Clock | None = None) -> None:
        self.seconds, self.clock, self.raced = seconds, clock or Clock(), list[str]()

    def __call__(self, asked: AskedTask, configs: Sequence[Any]) -> list[float]:
        self.raced.append(asked.task.key)
        self.clock.now += 1
        return [self.seconds[asked.task.key][config] for config in configs]


def searched(folder: Path, races: Races, items: Sequence[AskedTask], seconds: float = 100.0, **more: Any) -> Outcome:
    cache = ConfigCache(more.pop("context", CONTEXT), folder)
    return search(items, races, cache, seconds, clock=races.clock, **more)


# ---- what is chosen


def test_the_fastest_is_chosen_where_it_is_faster_than_noise(tmp_path: Path) -> None:
    races = Races({"a": [1.0, 0.9, 0.5, 0.7], "b": [1.0, 0.98, 1.1, math.inf]})
    outcome = searched(tmp_path, races, [asked("a"), asked("b"), asked("a")])
    assert {task.key: choice.config for task, choice in outcome.choices.items()} == {"a": 2}
    assert all(choice.source == SEARCH for choice in outcome.choices.values())
    assert outcome.layers == outcome.timed == 2 and outcome.unfinished == outcome.known == 0
    assert outcome.gain == pytest.approx(1 / 3)  # two calls of a, one of b
    assert "for 1 something is faster than the rule, about 33.3%" in outcome.text(2.0)


def test_what_was_fastest_races_against_those_that_follow(tmp_path: Path) -> None:
    races = Races({"a": [1.0, 0.9, 0.8, 0.95, 1.2, 1.3, 0.7, 1.0]})
    outcome = searched(tmp_path, races, [asked("a", count=7)])
    assert races.raced == ["a", "a"]
    assert [choice.config for choice in outcome.choices.values()] == [6]


def test_layers_with_most_work_come_first_and_all_come_before_any_comes_again(tmp_path: Path) -> None:
    times = {name: [1.0] * 9 for name in "abc"}
    races = Races(times)
    searched(tmp_path, races, [asked("a", 5, 8), asked("b", 20), asked("c", 3, 8), asked("c", 3, 8)])
    assert races.raced == ["b", "c", "a", "c", "a"]


# ---- the budget


def test_no_race_begins_that_the_budget_has_no_room_for(tmp_path: Path) -> None:
    races = Races({name: [1.0] * 4 for name in "abcd"})
    told: list[tuple[str, int, int]] = []
    outcome = searched(tmp_path, races, [asked(name) for name in "abcd"], 2.5, progress=lambda *step: told.append(step))
    assert races.raced == ["a", "b"] and outcome.timed == 2 and outcome.unfinished == 2
    assert told == [("tuning", 1, 4), ("tuning", 2, 4)]
    assert "for 2 the budget ended" in outcome.text(2.0)


def test_a_later_search_goes_on_where_the_budget_ended(tmp_path: Path) -> None:
    items, times = [asked("a"), asked("b")], {"a": [1.0, 0.5, 1.0, 1.0], "b": [1.0, 1.0, 1.0, 0.6]}
    searched(tmp_path, Races(times), items, 1.5)
    races = Races(times)
    outcome = searched(tmp_path, races, items)
    assert races.raced == ["b"] and outcome.known == 1 and outcome.timed == 1
    assert {choice.source: choice.config for choice in outcome.choices.values()} == {CACHE: 1, SEARCH: 3}


# ---- the cache


def test_a_filled_cache_leaves_nothing_to_time(tmp_path: Path) -> None:
    items, times = [asked("a"), asked("b")], {"a": [1.0, 0.5, 1.0, 1.0], "b": [1.0] * 4}
    first = searched(tmp_path, Races(times), items)
    races = Races({})
    again = searched(tmp_path, races, items)
    assert races.raced == [] and again.known == 2 and again.gain == pytest.approx(first.gain)
    assert [(choice.config, choice.source) for choice in again.choices.values()] == [(1, CACHE)]


def test_another_processor_or_version_has_a_cache_of_its_own(tmp_path: Path) -> None:
    items, times = [asked("a")], {"a": [1.0, 0.5, 1.0, 1.0]}
    searched(tmp_path, Races(times), items)
    races = Races(times)
    searched(tmp_path, races, items, context={**CONTEXT, "processor": "two"})
    assert races.raced == ["a"] and len([*tmp_path.iterdir()]) == 2


def test_the_context_says_processor_level_threads_and_what_makes_code() -> None:
    here = context_of(this_machine(), 1)
    assert here != context_of(this_machine(), 2)
    assert here != context_of(this_machine(portable=True), 1) or this_machine() == this_machine(portable=True)
    assert here.keys() == {"processor", "machine", "threads", "intarsia", "tvm", "emitters"}
    assert all(here.values())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"context": {}}',
        '{"context": {"processor": "other"}, "entries": {}}',
        json.dumps({"context": CONTEXT, "entries": {"a": {"config": 3}}}),
        json.dumps({"context": CONTEXT, "entries": {"a": [1]}}),
        "\x80",
    ],
)
def test_a_damaged_cache_is_not_used_and_written_anew(text: str, tmp_path: Path) -> None:
    cache = ConfigCache(CONTEXT, tmp_path)
    cache.path.write_bytes(text.encode("latin-1"))
    damaged = ConfigCache(CONTEXT, tmp_path)
    assert damaged.get("a") is None
    assert len(damaged.notes) == 1 and str(cache.path) in damaged.notes[0]
    damaged.add("a", Found("1", ("1",), 0.5, 1.0))
    damaged.save()
    repaired = ConfigCache(CONTEXT, tmp_path)
    assert repaired.get("a") == Found("1", ("1",), 0.5, 1.0) and repaired.notes == []


def test_a_config_that_there_is_no_longer_is_not_used(tmp_path: Path) -> None:
    cache = ConfigCache(CONTEXT, tmp_path)
    cache.add("a", Found("77", ("1", "2", "3"), 0.5, 1.0))
    cache.save()
    races = Races({"a": [1.0] * 4})
    outcome = searched(tmp_path, races, [asked("a")])
    assert races.raced == ["a"] and not outcome.choices


def test_two_processes_keep_what_both_found(tmp_path: Path) -> None:
    one, other = ConfigCache(CONTEXT, tmp_path), ConfigCache(CONTEXT, tmp_path)
    one.add("a", Found("1", ("1",), 0.5, 1.0))
    other.add("b", Found("2", ("2",), 0.5, 1.0))
    one.save()
    other.save()
    both = ConfigCache(CONTEXT, tmp_path)
    assert both.get("a") is not None and both.get("b") is not None
    assert [path.suffix for path in tmp_path.iterdir()] == [".json"]


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = ConfigCache(CONTEXT, tmp_path / "file")
    cache.add("a", Found("1", ("1",), 0.5, 1.0))
    cache.save()
    assert "INTARSIA_CACHE" in cache.notes[-1]


def test_what_was_found_is_kept_when_a_search_is_interrupted(tmp_path: Path) -> None:
    class Interrupted(Races):
        def __call__(self, asked: AskedTask, configs: Sequence[Any]) -> list[float]:
            if self.raced:
                raise KeyboardInterrupt
            return super().__call__(asked, configs)

    with pytest.raises(KeyboardInterrupt):
        searched(tmp_path, Interrupted({"a": [1.0, 0.5, 1.0, 1.0]}), [asked("a"), asked("b")])
    assert ConfigCache(CONTEXT, tmp_path).get("a") is not None


# ---- regions and targets


def small_layers() -> Layers:
    layers = Layers(5)
    convolution(layers, 16, 24, 3, 10)
    convolution(layers, 16, 24, 1, 10)
    return layers


class LastIsFastest:
    """A timer by which the last of the configs takes half of the others' time."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, asked: AskedTask, configs: Sequence[Any]) -> list[float]:
        self.calls += 1
        return [1.0] * (len(configs) - 1) + [0.5]


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("INTARSIA_CACHE", str(tmp_path))
    return tmp_path


def test_regions_are_compiled_with_what_was_found(cached: Path) -> None:
    layers, timer = small_layers(), LastIsFastest()
    plain = CpuTarget().compile(layers.graph)
    for source in (SEARCH, CACHE):
        found = tune_regions([layers.graph], this_machine(), c_compiler(), 100.0, timer=timer)
        target = CpuTarget()
        target.configs = found.configs
        assert target.compile(layers.graph).metadata["blockings"] == {HEURISTIC: 0, SEARCH: 0, CACHE: 0, source: 2}
        layers.check(target=target)
    calls = timer.calls
    tune_regions([layers.graph], this_machine(), c_compiler(), 100.0, timer=timer)
    assert timer.calls == calls, "a filled cache leaves nothing to time"
    # Without a search the cache is not even read: the same model gives the same bytes, here and elsewhere.
    again = CpuTarget().compile(layers.graph)
    assert again.files == plain.files
    assert again.metadata["blockings"] == {HEURISTIC: 2, SEARCH: 0, CACHE: 0}


def test_a_target_that_is_tuned_leaves_the_one_that_was_asked_as_it_is(cached: Path) -> None:
    target = CpuTarget()
    tuned = target.tuned([small_layers().graph], 1e-6)
    assert tuned is not None and tuned.target is not target
    assert tuned.notes[0].startswith("of 2 different layers 0 were timed")


def test_regions_without_choices_are_told(cached: Path) -> None:
    layers = Layers()
    layers.add("Relu", [layers.floats(3, 4)])
    tuned = CpuTarget().tuned([layers.graph], 1.0)
    assert tuned is not None and tuned.notes == ("no layer has a choice: there is nothing to time",)


def test_code_for_another_machine_is_not_timed(cached: Path) -> None:
    target = armv7()
    tuned = target.tuned([small_layers().graph], 100.0)
    assert tuned is not None and tuned.target is target
    assert "'cpu-armv7' cannot be timed on this machine" in tuned.notes[0]
    assert [*cached.iterdir()] == []


def test_a_target_has_nothing_to_search_for_unless_it_says_so() -> None:
    class Plain(Target):
        name, description = "plain", "nothing"

        def supports(self, node: Any) -> Any:
            raise AssertionError

        def compile(self, region: Any) -> Any:
            raise AssertionError

    assert Plain().tuned([], 1.0) is None


# ---- kernels


def timer_of(change: Callable[[Any], Any]) -> tuple[list[float], list[str], AskedTask]:
    """Times of the heuristic's config and two others of a layer, of whose kernels the second is changed."""
    (item,) = (item for item in asked_of(small_layers().graph) if "kernel 1x1" in item.task.key)
    heuristic, *others = item.task.heuristic(), *item.task.alternatives()[:2]

    def make(builder: Any, config: Any) -> Any:
        kernel, operands = item.make(builder, config)
        return (change(kernel) if config == others[0] else kernel), operands

    timer = TrialTimer(this_machine(), c_compiler(), 0)
    return timer(replace(item, make=make), [heuristic, *others]), timer.notes, item


def test_kernels_are_timed() -> None:
    seconds, notes, _ = timer_of(lambda kernel: kernel)
    assert notes == [] and len(seconds) == 3
    assert all(0 < spent < 1 for spent in seconds)


def test_a_kernel_with_another_result_is_left_out() -> None:
    def wrong(kernel: Any) -> Any:
        return replace(kernel, epilogue=((kernel.epilogue) + Constant("float32", 1.0)))

    seconds, notes, item = timer_of(wrong)
    assert math.isinf(seconds[1]) and math.isfinite(seconds[0] + seconds[2])
    assert len(notes) == 1 and item.task.key in notes[0] and "other results" in notes[0]


def test_a_kernel_that_cannot_be_made_is_left_out() -> None:
    def broken(kernel: Any) -> Any:
        raise ValueError("no such tile")

    seconds, notes, _ = timer_of(broken)
    assert math.isinf(seconds[1]) and math.isfinite(seconds[0] + seconds[2])
    assert len(notes) == 1 and "no such tile" in notes[0]


def test_kernels_of_every_kind_agree_with_the_rule() -> None:
    layers = Layers(7)
    convolution(layers, 16, 32, 3, 12)
    convolution(layers, 16, 16, 3, 29, group=16)
    layers.add("MatMul", [layers.floats(20, 64), layers.floats(64, 48)], constants=(1,))
    layers.add("MatMul", [layers.floats(2, 20, 33), layers.floats(2, 33, 21)])
    timer = TrialTimer(this_machine(), c_compiler(), 1 << 20)
    for item in asked_of(layers.graph):
        seconds = timer(item, [item.task.heuristic(), *item.task.alternatives()[:2]])
        assert all(map(math.isfinite, seconds))
    assert timer.notes == []


def test_other_machines_have_questions_of_their_own() -> None:
    keys = {
        (item.task.machine, item.task.key)
        for machine in (this_machine(), machine_of("armv7l", "neon"))
        for item in asked_of(small_layers().graph, machine)
    }
    assert len(keys) == 4 or this_machine().name == "armv7l"
