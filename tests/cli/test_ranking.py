"""`intarsia run --top K --labels FILE`: the best classes of each image."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from artifact_examples import evaluator_artifact, small_graph
from intarsia.cli.commands import intarsia
from intarsia.cli.ranking import ranked
from intarsia.ir.graph import Graph
from intarsia.ir.types import TensorType


def classifier() -> Graph:
    """`scores = Relu(x)`: scores of four classes."""
    graph = Graph("classifier")
    x = graph.add_input("x", TensorType("float32", (1, 4)))
    node = graph.add_node("Relu", [x], [x.type], {}, name="relu", output_names=["scores"], opset=17)
    graph.outputs = [node.output]
    return graph


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    evaluator_artifact(classifier()).save("classes.intarsia")
    np.save("x.npy", np.array([[0.5, 3.0, 1.0, 3.0], [9.0, -1.0, 2.0, 0.0]], np.float32))
    Path("labels.txt").write_text("\ufeffcat\ndog\nsiamese cat\nhäuser\n\n", encoding="utf-8")
    Path("short.txt").write_text("cat\ndog\n")
    Path("binary.txt").write_bytes(b"\xff\xfe\x00\x01")
    return tmp_path


def call(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(intarsia, arguments)
    assert result.exit_code == code, result.output
    return result


RUN = ("run", "classes.intarsia", "--input", "x.npy")


def test_the_best_classes_are_shown(folder: Path, golden: Callable[[str], None]) -> None:
    shown = call(*RUN, "--top", "3", "--labels", "labels.txt").stdout
    golden(shown.partition("\n2 images")[0] + "\n")


def test_without_labels_there_are_numbers(folder: Path, golden: Callable[[str], None]) -> None:
    golden(call(*RUN, "--top", "9").stdout.partition("\n2 images")[0] + "\n")


def test_labels_alone_show_the_best(folder: Path) -> None:
    told: Any = json.loads(call(*RUN, "--labels", "labels.txt", "--json").stdout)
    assert told["top"]["output"] == "scores"
    assert told["top"]["images"] == [
        [{"class": 1, "label": "dog", "score": 3.0}],
        [{"class": 0, "label": "cat", "score": 9.0}],
    ]


def test_numbers_go_to_o_all_the_same(folder: Path) -> None:
    call(*RUN, "--top", "1", "-o", "y.npy")
    assert np.load("y.npy").shape == (2, 4)
    assert "reads that file" in call(*RUN, "--labels", "labels.txt", "-o", "x.npy", code=2).stderr


@pytest.mark.parametrize(
    "labels", ["short.txt", "binary.txt", "nowhere.txt", "."], ids=["short", "binary", "missing", "folder"]
)
def test_labels_that_do_not_fit_are_refused(labels: str, folder: Path, golden: Callable[[str], None]) -> None:
    result = call(*RUN, "--labels", labels, code=2)
    assert result.stdout == ""
    golden(result.stderr)


def test_what_is_no_classifier_is_refused(folder: Path, golden: Callable[[str], None]) -> None:
    evaluator_artifact(small_graph()).save("small.intarsia")
    golden(call("run", "small.intarsia", "--input", "x.npy", "--top", "2", code=2).stderr)


def test_nan_is_behind_all_numbers_and_equal_scores_keep_their_order() -> None:
    scores = np.array([[np.nan, -np.inf, 2.0, 2.0]], np.float32)
    assert [found["class"] for found in ranked(scores, 4, None)[0]] == [2, 3, 1, 0]
    assert ranked(np.array([[-128, 127, 0]], np.int8), 2, ["a", "b", "c"]) == [
        [{"class": 1, "label": "b", "score": 127}, {"class": 2, "label": "c", "score": 0}]
    ]
    assert ranked(np.zeros((0, 3), np.float32), 2, None) == []
    assert [found["class"] for found in ranked(np.zeros((1, 2, 1, 1), np.uint8), 5, None)[0]] == [0, 1]
