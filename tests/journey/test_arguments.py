"""Arguments of the public interface of other types and sizes than meant: each is refused by a letter of ours."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, parser

import intarsia
from intarsia.driver import lower, replay
from intarsia.errors import CompileError, IntarsiaError, InternalError, RunError
from intarsia.passes.base import Hook, Pass
from intarsia.passes.simplify.noops import RemoveNoOps

HUGE = 10**400
DEEP = "(" * 3000 + ")" * 3000
NAMES = ["a\0b", "\ud800", "n" * 5000, ""]
NUMBERS: list[Any] = [True, 1.0, float("nan"), "1", None, HUGE, [1], 1j]


def model(size: str = "1") -> ModelProto:
    head = '<ir_version: 9, opset_import: ["" : 17]> '
    return parser.parse_model(f"{head} g (float[{size},4] x) => (float[{size},4] y) {{ y = Add (x, x) }}")


CASES: dict[str, list[Any]] = {
    "target": [None, 3, b"cpu", *NAMES, f"cpu{{level={DEEP}}}", f"cpu{{strict={'9' * 5000}}}"],
    "precision": [3, b"int8", "int3", [], ""],
    "batch": [0, -1, *NUMBERS, np.array([1, 2])],
    "dimensions": [3, "N", [1], {1: 2}, *({"N": size} for size in (*NUMBERS, -1, 2.5))],
    "shapes": [3, "x", {1: (1, 4)}, {"x": 3}, {"x": None}, {"x": "14"}, {"x": {}}, {"x": HUGE}, {"x": (1.0, 4)}],
    "values": [3, "x", {1: 2}, {"x": object()}],
    "calibrator": [3, None, "median"],
    "percentile": ["99", HUGE, float("nan"), 1j, True, [99.0], 3],
    "calibration": [3, 1j, object(), *NAMES],
    "images": [3, "RGB", {}],
    "pipeline": [3, ["remove-noops"], "simplify{x=1}", f"merge-shuffles{{limit_elements={DEEP}}}"],
    "tune": ["1", None.__class__, True, HUGE, 0, float("inf")],
    "dump": [3, [], *NAMES],
    "save_calibration": [3, b"r.json", *NAMES],
    "progress": [3, "x"],
    "hook": [3, Pass],
}


@pytest.mark.parametrize("name", CASES)
def test_arguments_of_compile_model(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = np.ones((4, 1, 4), np.float32)
    for value in CASES[name]:
        options: dict[str, Any] = {
            "target": "cpu",
            "precision": "int8",
            "calibration": data,
            "calibrator": "percentile",
            name: value,
        }
        with pytest.raises(CompileError) as caught:
            intarsia.compile_model(model("N" if name == "dimensions" else "1"), **options)
        assert not isinstance(caught.value, InternalError), (value, caught.value)
        assert len(str(caught.value)) < 6_000


@pytest.mark.parametrize("value", [None, 3, 1.5, [], {}, b"", *NAMES], ids=lambda value: repr(value)[:12])
def test_what_is_no_path(value: Any) -> None:
    for call, kind in ((intarsia.load, RunError), (intarsia.Artifact.read, RunError), (replay, CompileError)):
        with pytest.raises(kind) as caught:
            call(value)
        assert not isinstance(caught.value, InternalError)
    with pytest.raises(CompileError):
        intarsia.explain(value, target="cpu")


def test_arguments_of_sessions() -> None:
    artifact = intarsia.compile_model(model(), target="cpu")
    given: dict[str, list[Any]] = {"device": [3, b"cpu"], "threads": [*NUMBERS[:4], 0], "pin": [3, "01", [1.5], [-1]]}
    for name, values in given.items():
        for value in values:
            option: dict[str, Any] = {name: value}
            with pytest.raises(RunError):
                intarsia.load(artifact, **option)
    session, x = intarsia.load(artifact), np.ones((1, 4), np.float32)
    assert session.run(x, timeout=HUGE)[0].shape == (1, 4)
    bad: list[Callable[[], object]] = [
        lambda: session.run(x, timeout=-HUGE),
        lambda: session.run(x, timeout="1"),  # type: ignore[arg-type]
        lambda: session.batches(3),  # type: ignore[arg-type]
        lambda: session.execute({1: x}),  # type: ignore[dict-item]
        lambda: session.run(HUGE),
        lambda: session.run([[HUGE] * 4]),
    ]
    for call in bad:
        with pytest.raises(RunError):
            call()


NAN, INFINITE = float("nan"), float("inf")


@pytest.mark.parametrize("pair", [(1, 0), (NAN, 1), (0, INFINITE), None, "ab", (0, HUGE), (0, 1, 2), ("0", 1)])
def test_ranges_that_are_none(pair: Any, tmp_path: Path) -> None:
    bounds = {"x": pair, "y": (0.0, 1.0)}
    given: list[Any] = [intarsia.Ranges(bounds)]
    facts = {"format_version": 1, "model": "", "graph_sha256": "", "method": "minmax", "percentile": None}
    (tmp_path / "r.json").write_text(json.dumps({**facts, "samples": 1, "ranges": bounds}))
    for calibration in (*given, tmp_path / "r.json"):
        with pytest.raises(CompileError, match="the range of 'x' is"):
            intarsia.compile_model(model(), target="tiny", calibration=calibration)


def test_ranges_of_too_few_values_and_of_others(golden: Callable[[str], None]) -> None:
    some = {"x": (0.0, 1.0), "y": (0.0, 1.0)}
    with pytest.raises(CompileError) as caught:
        intarsia.compile_model(model(), target="tiny", calibration=intarsia.Ranges({**some, "z": (0.0, 1.0)}))
    golden(f"{caught.value}\n")
    lacking = intarsia.compile_model(model(), target="tiny", calibration=intarsia.Ranges({"y": (0.0, 1.0)}))
    ((name, note),) = lacking.contents.metadata["notes"]
    assert name == "y" and note.startswith("stays float") and "'x'" in note


def test_a_damaged_crash_folder(tmp_path: Path) -> None:
    files = {"graph.json": "{}", "weights.bin": "", "pass.txt": "remove-noops"}
    for damaged, content in (
        ("graph.json", "[1"),
        ("graph.json", "[]"),
        ("graph.json", '{"nodes": 3}'),
        ("pass.txt", "x{"),
    ):
        for name, text in {**files, damaged: content}.items():
            (tmp_path / name).write_text(text)
        with pytest.raises(CompileError) as caught:
            replay(tmp_path)
        assert not isinstance(caught.value, InternalError)


class Stop(Exception):
    """Something of the caller's."""


def test_what_callers_raise_goes_through() -> None:
    def stop(*arguments: object) -> None:
        raise Stop

    def samples() -> Iterator[dict[str, Any]]:
        yield {"x": np.ones((1, 4), np.float32)}
        raise Stop

    hook = Hook()
    hook.before = stop  # type: ignore[method-assign, assignment]
    options: list[dict[str, Any]] = [
        {"hook": hook},
        {"progress": stop},
        {"precision": "int8", "calibration": samples()},
    ]
    for option in options:
        with pytest.raises(Stop):
            intarsia.compile_model(model(), target="cpu", **option)
    with pytest.raises(TypeError, match="unexpected keyword"):
        intarsia.compile_model(model(), goal="cpu")  # type: ignore[call-arg]


def test_a_fault_of_ours_is_a_letter(monkeypatch: pytest.MonkeyPatch, golden: Callable[[str], None]) -> None:
    monkeypatch.setattr(RemoveNoOps, "run", lambda self, graph: dict[str, int]()["no such value"])
    # The letter is for what fails in our own files: this one stands in for one of them.
    monkeypatch.setitem(globals(), "__name__", "intarsia.stand_in")
    with pytest.raises(InternalError) as caught:
        intarsia.explain(model(), target="cpu")
    assert isinstance(caught.value, IntarsiaError) and isinstance(caught.value.__cause__, KeyError)
    golden(f"{caught.value}\n")


def test_stages_that_are_none() -> None:
    stages: list[Any] = [None, 3, "compiled ", []]
    for until in stages:
        with pytest.raises(CompileError, match="no stage"):
            lower(model(), target="cpu", until=until)
