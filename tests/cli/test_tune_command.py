"""`--tune`: how long a search may take, and what the user is told of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from intarsia.cli.commands import intarsia
from intarsia.cli.compile import seconds_of
from intarsia.driver import compile_model
from intarsia.errors import CompileError
from intarsia.targets import Tuned
from intarsia_backends.cpu.target import CpuTarget

MODEL = str(Path(__file__).parents[1] / "models" / "digits_cnn.onnx")


def test_times() -> None:
    texts = {"20s": 20.0, "500ms": 0.5, "2m": 120.0, "20": 20.0, "1.5m": 90.0, "0.25": 0.25}
    assert {text: seconds_of(text) for text in texts} == texts


@pytest.mark.parametrize("text", ["", "s", "0", "0s", "-3s", "20h", "20 minutes", "1mss", "nan", "inf", "1e999", "2mm"])
def test_what_is_no_time_is_refused(text: str) -> None:
    result = CliRunner().invoke(intarsia, ["compile", MODEL, "--target", "cpu", "--tune", text])
    assert result.exit_code == 2
    assert "'--tune'" in result.output and "20s, 500ms, 2m" in result.output


@pytest.mark.parametrize("seconds", [0, -1.0, float("nan"), float("inf")])
def test_what_is_no_number_of_seconds_is_refused(seconds: float) -> None:
    with pytest.raises(CompileError, match="no number of seconds above 0"):
        compile_model(MODEL, target="cpu", precision="float32", tune=seconds)


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("INTARSIA_CACHE", str(tmp_path / "cache"))
    return tmp_path


def told_by_compiling(folder: Path, *arguments: str) -> Any:
    place = str(folder / "digits.intarsia")
    result = CliRunner().invoke(intarsia, ["compile", MODEL, "-o", place, "--json", *arguments])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_what_was_tried_is_told(cached: Path) -> None:
    told = told_by_compiling(cached, "--target", "cpu", "--precision", "float32", "--tune", "1ms")
    (text,) = (text for topic, text in told["notes"] if topic == "tune")
    assert "different layers" in text and "the budget ended" in text
    report = CliRunner().invoke(intarsia, ["report", str(cached / "digits.intarsia"), "--json"])
    configs = json.loads(report.stdout)["blockings"]
    assert configs["rule"] > 0 and configs["search"] == configs["cache"] == 0


def test_found_blockings_are_in_the_report(cached: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from intarsia_backends.cpu.tuning import regions

    class SecondIsFastest:
        notes = ()

        def __init__(self, *facts: Any) -> None:
            pass

        def __call__(self, asked: Any, configs: Any) -> list[float]:
            return [1.0, 0.5, *[1.0] * (len(configs) - 2)]

    monkeypatch.setattr(regions, "TrialTimer", SecondIsFastest)
    for source, words in (
        ("search", "as timed by --tune: "),
        ("cache", "as timed by --tune of an earlier compilation"),
    ):
        told_by_compiling(cached, "--target", "cpu", "--precision", "float32", "--tune", "20s")
        report = CliRunner().invoke(intarsia, ["report", str(cached / "digits.intarsia"), "--json"])
        configs = json.loads(report.stdout)["blockings"]
        assert configs[source] == sum(configs.values()) > 0
        assert words in CliRunner().invoke(intarsia, ["report", str(cached / "digits.intarsia")]).stdout


def test_nothing_to_time_is_told(cached: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CpuTarget, "tuned", lambda *arguments: None)
    told = told_by_compiling(cached, "--target", "cpu", "--precision", "float32", "--tune", "1ms")
    (text,) = (text for topic, text in told["notes"] if topic == "tune")
    assert text.startswith("no part of the model runs on a target that has something to time")


def test_the_regions_of_a_target_are_tuned_together(cached: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, float]] = []

    def tuned(target: CpuTarget, regions: Any, seconds: float, progress: Any = None) -> Tuned:
        seen.append((len(regions), seconds))
        return Tuned(target, ("searched",))

    monkeypatch.setattr(CpuTarget, "tuned", tuned)
    made = compile_model(MODEL, target="cpu", precision="float32", tune=5.0)
    assert len(seen) == 1 and seen[0][0] == len(made.manifest["regions"]) and seen[0][1] <= 5.0
    assert ["tune", "searched"] in made.manifest["metadata"]["notes"]
