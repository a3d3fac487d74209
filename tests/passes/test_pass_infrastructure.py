"""Passes as text, what runs between them, and what is left behind when one fails."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from pass_cases import model, random_inputs

from intarsia.driver import default_passes
from intarsia.errors import CompileError
from intarsia.ir.graph import Graph, Node
from intarsia.passes import Hook, Pass, all_passes, fuse_passes, run_passes, simplify_passes
from intarsia.passes.base import CHANGED, DataPass, Outcome, Refusal, Refused, Rewrite, Rewriter, refuse
from intarsia.passes.calibration import read_ranges
from intarsia.passes.context import Context
from intarsia.passes.instruments import Compare, Dump, Hooks, Log, Timing, VerifyEach, relative_drift, replay
from intarsia.passes.pipeline import parse_pipeline, pipeline_text
from intarsia.passes.quantize import Calibrate, Quantize


@dataclass(frozen=True)
class Sample(Pass):
    """Does nothing, with options of every kind."""

    name: ClassVar[str] = "sample"
    count: int = 1
    ratio: float = 0.5
    on: bool = False
    word: str = "a, b"
    sizes: tuple[int, ...] = (1, 2)

    def run(self, graph: Graph) -> int:
        return 0


@dataclass(frozen=True)
class Double(Pass):
    """Breaks the meaning: adds a value to itself where it was read."""

    name: ClassVar[str] = "double"

    def run(self, graph: Graph) -> int:
        node = graph.nodes[0]
        node.op, node.attributes = "Add", {}
        node.set_inputs([node.input(0), node.input(0)])
        return 1


@dataclass(frozen=True)
class Fall(Pass):
    """Raises after it has changed the graph."""

    name: ClassVar[str] = "fall"
    depth: int = 3

    def run(self, graph: Graph) -> int:
        graph.nodes[0].op = "Broken"
        raise RuntimeError("fell")


def two_relus() -> Graph:
    return model("(float[4] x) => (float[4] y) { a = Relu (x) b = Identity (a) y = Neg (b) }")


# ---- text


def test_a_pass_prints_its_options() -> None:
    assert str(Sample()) == "sample{count=1, ratio=0.5, on=False, word='a, b', sizes=(1, 2)}"


def test_every_pipeline_parses_back() -> None:
    for precision in ("float32", "int8"):
        for prequantized in (False, True):
            for calibrate in (None, Calibrate("percentile", 99.5)):
                passes = default_passes(precision, prequantized=prequantized, calibrate=calibrate)
                assert parse_pipeline(pipeline_text(passes)) == passes
                assert parse_pipeline(",\n".join(map(str, passes)) + "\n") == passes


def test_options_of_every_kind_parse_back() -> None:
    step = Sample(count=-3, ratio=1e-9, on=True, word="x", sizes=(4, 5, 6))
    assert parse_pipeline(pipeline_text([step, Sample()]), [Sample]) == (step, Sample())


def test_options_left_out_keep_their_defaults() -> None:
    assert parse_pipeline("sample, sample{count=2}", [Sample]) == (Sample(), Sample(count=2))
    assert parse_pipeline("sample{ratio=1}", [Sample]) == (Sample(ratio=1.0),)
    assert parse_pipeline("  ", [Sample]) == ()


@pytest.mark.parametrize(
    "text",
    [
        "smaple",
        "sample{size=1}",
        "sample{count=}",
        "sample{count=x}",
        "sample sample",
        "{}",
        "sample{count=0.5}",
        "sample{on=1}",
    ],
)
def test_wrong_pipelines_are_refused(text: str, golden: Callable[[str], None]) -> None:
    with pytest.raises(CompileError) as caught:
        parse_pipeline(text, [Sample])
    golden(str(caught.value) + "\n")


def test_names_of_passes_are_unique_and_documented() -> None:
    names = [kind.name for kind in all_passes()]
    assert len(set(names)) == len(names)
    assert all(kind.__doc__ for kind in all_passes())


# ---- rules


@dataclass(frozen=True)
class DropIdentity(Rewrite):
    """Takes Identity out unless it feeds a Neg."""

    name: ClassVar[str] = "drop-identity"
    ops: ClassVar[tuple[str, ...]] = ("Identity",)

    def rewrite(self, node: Node, rewriter: Rewriter) -> bool | Refused | None:
        if any(user.op == "Neg" for user in node.output.users):
            return refuse("a Neg reads it")
        rewriter.replace(node.output, node.input(0))
        return CHANGED


def test_rule_runs_until_nothing_changes_and_says_why_it_stops() -> None:
    graph = model("(float[4] x) => (float[4] y) { a = Identity (x) b = Identity (a) c = Identity (b) y = Neg (c) }")
    assert [str(refusal) for refusal in DropIdentity().refusals(graph)] == ["Identity 'c': a Neg reads it"]
    assert len(graph.nodes) == 4, "asking for reasons changes nothing"
    assert DropIdentity().run(graph) == 2
    assert [node.name for node in graph.nodes] == ["c", "y"]
    (refusal,) = DropIdentity().refusals(graph)
    assert refusal.node is graph.nodes[0]


# ---- hooks


def test_dump_writes_only_what_changed(tmp_path: Path) -> None:
    run_passes(two_relus(), simplify_passes(), hook=Dump(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00_imported.txt", "01_remove-noops.txt"]
    assert "Identity" in (tmp_path / "00_imported.txt").read_text()
    assert "Identity" not in (tmp_path / "01_remove-noops.txt").read_text()


def test_crash_leaves_a_folder_that_replays_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = model("(float[64] x, float[64] w) => (float[64] y) { a = Add (x, w) y = Relu (a) }", random="w")
    monkeypatch.setattr("intarsia.passes.all_passes", lambda: (Fall,))
    with pytest.raises(RuntimeError, match="fell"):
        run_passes(graph, [Sample(), Fall(depth=5)], hook=Hooks(Timing(), Dump(tmp_path)))
    crash = tmp_path / "crash"
    assert (crash / "pass.txt").read_text() == "fall{depth=5}\n"
    assert "Broken" not in (crash / "graph.txt").read_text(), "the graph is the one before the pass"
    assert "RuntimeError: fell" in (crash / "traceback.txt").read_text()
    assert json.loads((crash / "graph.json").read_text())["name"] == "tiny"
    with pytest.raises(RuntimeError, match="fell"):
        replay(crash)


def test_replay_of_a_mended_pass_gives_the_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True)
    class Mended(Fall):
        """Fall, repaired."""

        def run(self, graph: Graph) -> int:
            return 0

    graph = two_relus()
    with pytest.raises(RuntimeError):
        run_passes(graph, [Fall()], hook=Dump(tmp_path))
    monkeypatch.setattr("intarsia.passes.all_passes", lambda: (Mended,))
    assert [node.op for node in replay(tmp_path / "crash").nodes] == ["Relu", "Identity", "Neg"]


def test_replay_of_no_crash_says_so(tmp_path: Path, golden: Callable[[str], None]) -> None:
    with pytest.raises(CompileError) as caught:
        replay(tmp_path)
    golden(str(caught.value).replace(str(tmp_path), "FOLDER") + "\n")


def test_timing_has_a_row_for_every_pass() -> None:
    timing = Timing()
    passes = simplify_passes()
    run_passes(two_relus(), passes, hook=timing)
    assert [row.step for row in timing.rows] == [str(step) for step in passes]
    assert sum(row.changes or 0 for row in timing.rows) == 1
    assert timing.table().count("\n") == len(passes)
    timing.did("import", 2.0)
    assert timing.rows[-1].changes is None and timing.table().splitlines()[0] == f"{2000:9.1f} ms {'':14}  import"


def test_verify_finds_a_broken_graph() -> None:
    @dataclass(frozen=True)
    class Break(Pass):
        """Puts the nodes in the wrong order."""

        name: ClassVar[str] = "break"

        def run(self, graph: Graph) -> int:
            graph.nodes.reverse()
            return 1

    with pytest.raises(AssertionError):
        run_passes(two_relus(), [Break()], hook=VerifyEach("simplified"))


def test_compare_names_the_value_that_drifts(golden: Callable[[str], None]) -> None:
    graph = two_relus()
    with pytest.raises(CompileError) as caught:
        run_passes(graph, [*simplify_passes(), Double()], hook=Compare(random_inputs(graph)))
    golden(str(caught.value) + "\n")


def test_compare_lets_a_correct_pipeline_pass() -> None:
    graph = model("(float[3,4] x, float[4,5] w) => (float[3,5] y) { a = MatMul (x, w) y = Relu (a) }", random="w")
    compare = Compare(random_inputs(graph))
    run_passes(graph, (*simplify_passes(), *fuse_passes()), hook=compare)
    assert set(compare.drifts) == {"make-dense", "fuse-activation"}


def test_a_hook_hears_everything_in_order() -> None:
    heard = []

    class Ear(Hook):
        def start(self, graph: Graph) -> None:
            heard.append("start")

        def before(self, step: Pass, graph: Graph) -> None:
            heard.append(f"before {step.name}")

        def after(self, step: Pass, graph: Graph, changes: int, seconds: float) -> None:
            heard.append(f"after {step.name} {changes}")

        def failed(self, step: Pass, graph: Graph, error: Exception) -> None:
            heard.append(f"failed {step.name} {error}")

        def did(self, what: str, seconds: float) -> None:
            heard.append(what)

    Hooks(Ear(), Timing()).did("import", 0.5)
    assert heard.pop() == "import"
    with pytest.raises(RuntimeError):
        run_passes(two_relus(), [Sample(), Fall()], hook=Hooks(Ear()))
    assert heard == ["start", "before sample", "after sample 0", "before fall", "failed fall fell"]


def test_what_was_done_is_logged_for_those_who_ask(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "intarsia"):
        run_passes(two_relus(), [Sample(), *simplify_passes()], hook=Hooks(Log()))
        Log().did("import", 0.25)
    assert [record.name for record in caplog.records] == ["intarsia.passes", "intarsia.driver"]
    assert re.fullmatch(r"remove-noops: 1 changes, 2 nodes, [0-9.]+ ms", caplog.messages[0])
    assert caplog.messages[1] == "import: 250.0 ms"


# ---- passes that take or leave data


@dataclass(frozen=True)
class Teller(DataPass):
    """Changes nothing and has something to say of it."""

    name: ClassVar[str] = "teller"

    def apply(self, graph: Graph, context: Context) -> Outcome:
        return Outcome(0, (Refusal(graph.nodes[0], "not this one"),), ((graph.nodes[0].name, f"in {context.model}"),))


def float_net() -> Graph:
    graph = model("(float[2,4] x, float[4,5] w) => (float[2,5] y) { a = MatMul (x, w) y = Relu (a) }", random="w")
    run_passes(graph, (*simplify_passes(), *fuse_passes()))
    return graph


def test_what_passes_tell_is_collected() -> None:
    graph = two_relus()
    outcome = run_passes(graph, [Teller(), *simplify_passes(), Teller()], context=Context("net"))
    assert outcome.changes == 1 and len(outcome.refusals) == 2
    assert outcome.notes == ((graph.nodes[0].name, "in net"),) * 2
    assert Teller().run(graph) == 0


def test_quantizers_are_passes_like_all_others(tmp_path: Path) -> None:
    graph = float_net()
    inputs = random_inputs(graph)
    context = Context("net", [inputs])
    timing, compare = Timing(), Compare(inputs)
    hook = Hooks(timing, compare, Dump(tmp_path, "fused", context), VerifyEach("quantized"))
    run_passes(graph, [Calibrate(), Quantize(), Sample()], hook=hook, context=context)
    assert [row.step for row in timing.rows] == [str(Calibrate()), str(Quantize()), str(Sample())]
    assert timing.rows[1].changes == 1
    assert compare.drifts == {}, "float and int8 have no common measure"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00_fused.txt", "01_quantize.txt", "ranges.json"]
    assert read_ranges(tmp_path / "ranges.json") == context.ranges
    assert context.ranges is not None and context.ranges.model == "net" and context.ranges.samples == 1


def test_passes_after_the_quantizer_are_compared_with_what_it_made() -> None:
    graph = float_net()
    inputs = random_inputs(graph)

    @dataclass(frozen=True)
    class Invert(Pass):
        """Breaks the meaning of integers."""

        name: ClassVar[str] = "invert"

        def run(self, graph: Graph) -> int:
            (node,) = (node for node in graph.nodes if node.op == "qmatmul")
            weights = node.input(1)
            assert weights.data is not None
            node.replace_input(weights, graph.add_constant("inverted", ~weights.data))
            return 1

    context = Context("net", [inputs])
    with pytest.raises(CompileError, match="after pass invert"):
        run_passes(graph, [Calibrate(), Quantize(), Invert()], hook=Compare(inputs), context=context)


def test_a_failed_quantizer_replays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = float_net()
    context = Context("net", [random_inputs(graph)])
    with monkeypatch.context() as broken:
        broken.setattr("intarsia.passes.quantize.lower.make_plan", lambda *given: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            run_passes(graph, [Calibrate(), Quantize()], hook=Dump(tmp_path, context=context), context=context)
    crash = tmp_path / "crash"
    assert (crash / "pass.txt").read_text() == "quantize\n"
    assert read_ranges(crash / "ranges.json") == context.ranges
    assert "qmatmul" in [node.op for node in replay(crash).nodes]


def test_a_failed_calibration_replays_with_its_data(tmp_path: Path) -> None:
    graph = float_net()
    inputs = random_inputs(graph)
    context = Context("net", [{"another": inputs["x"]}])
    with pytest.raises(CompileError, match="it has no array for the input 'x'"):
        run_passes(graph, [Calibrate()], hook=Dump(tmp_path, context=context), context=context)
    with pytest.raises(CompileError, match="no calibration data was given"):
        replay(tmp_path / "crash")
    assert len(replay(tmp_path / "crash", calibration=[inputs]).nodes) == len(graph.nodes)


def test_ranges_must_come_from_somewhere(golden: Callable[[str], None]) -> None:
    with pytest.raises(CompileError) as caught:
        run_passes(float_net(), [Quantize()])
    golden(str(caught.value) + "\n")
    assert Quantize().refusals(float_net()) == []


# ---- drift


@pytest.mark.parametrize(
    ("before", "after", "drift"),
    [
        ([1.0, -4.0], [1.0, -4.0], 0.0),
        ([1.0, -4.0], [2.0, -4.0], 0.25),
        ([np.inf, 1.0], [np.inf, 1.0], 0.0),
        ([np.nan, 1.0], [np.nan, 1.0], 0.0),
        ([np.inf, 1.0], [1.0, 1.0], np.inf),
        ([1.0], [1.0, 1.0], np.inf),
        ([], [], 0.0),
    ],
)
def test_drift_is_relative_to_the_range(before: list[float], after: list[float], drift: float) -> None:
    assert relative_drift(np.array(before, np.float32), np.array(after, np.float32)) == drift


def test_integers_drift_not_at_all_or_infinitely() -> None:
    assert relative_drift(np.array([1, 2]), np.array([1, 2])) == 0
    assert relative_drift(np.array([1, 2]), np.array([1, 3])) == np.inf


def test_listings_go_into_folders_alone(tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.write_text("mine")
    for folder in (place, place / "below"):
        with pytest.raises(CompileError, match="cannot be written"):
            Dump(folder).write("imported", Graph("g"))
    assert place.read_text() == "mine"
