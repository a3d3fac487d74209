"""Inputs cut into batches, the last one filled up; results in one object; reports and noise from the library."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest

from artifact_examples import evaluator_artifact, small_graph
from intarsia.artifact import Artifact
from intarsia.errors import RunError
from intarsia.ir.graph import Graph
from intarsia.ir.types import TensorType
from intarsia.runtime.arguments import TensorInfo
from intarsia.runtime.batches import batches_of, join_batches, split_batches
from intarsia.runtime.reports import measured_report, modelled_report
from intarsia.runtime.session import load
from intarsia.runtime.sqnr import decibels, sqnr_db
from intarsia.runtime.vectors import verify_samples


def doubling(batch: int) -> Artifact:
    """2 * x: float32 [batch, 3]."""
    graph = Graph("double")
    x = graph.add_input("x", TensorType("float32", (batch, 3)))
    graph.outputs = [graph.add_node("Add", [x, x], [x.type], output_names=["y"], opset=18).output]
    return evaluator_artifact(graph, batch=batch)


@pytest.mark.parametrize("samples", [0, 1, 3, 4, 5, 8, 11])
def test_the_last_batch_is_filled_up(samples: int) -> None:
    x = np.arange(samples * 3, dtype=np.float32).reshape(samples, 3)
    steps: list[tuple[str, int, int]] = []
    result = load(doubling(4)).execute([x], pad_last=True, progress=lambda *told: steps.append(told))
    assert result.outputs[0].tobytes() == (2 * x).tobytes() and result.outputs[0].shape == x.shape
    assert result.images == result.counters["images"] == samples
    runs = -(-samples // 4)
    assert steps == ([] if samples == 4 else [("running", index, runs) for index in range(runs + 1)])


def test_without_filling_up_the_number_must_fit() -> None:
    with pytest.raises(RunError, match="5 samples are no multiple of the batch of 4"):
        load(doubling(4)).execute([np.zeros((5, 3), np.float32)])


def test_batches_are_views_where_they_can_be() -> None:
    x, y = np.arange(10).reshape(5, 2), np.arange(5)
    parts = list(split_batches([x, y], 2))
    assert [part[1].tolist() for part in parts] == [[0, 1], [2, 3], [4, 4]]
    assert parts[0][0].base is not None and parts[2][0].tolist() == [[8, 9], [8, 9]]
    infos = (TensorInfo("x", "int64", (2, 2)), TensorInfo("y", "int64", (2,)))
    assert batches_of(infos, [x, y], 2, pad_last=True) == 3
    joined = join_batches(infos, parts, 5)
    assert joined[0].tolist() == x.tolist() and joined[1].tolist() == y.tolist()
    assert [array.shape for array in join_batches(infos, [], 0)] == [(0, 2), (0,)]


def test_a_session_cuts_inputs_for_others() -> None:
    session = load(doubling(2))
    x = np.arange(12, dtype=np.float32).reshape(4, 3)
    assert [sample["x"].tolist() for sample in session.batches([x])] == [x[:2].tolist(), x[2:].tolist()]
    assert [sample["x"].tolist() for sample in session.batches({"x": x[:2]})] == [x[:2].tolist()]
    results = verify_samples(session, session.batches([x]))
    assert [result.ok for result in results] == [True, True]


def test_results_belong_to_their_run() -> None:
    session = load(evaluator_artifact(small_graph()))
    results = [session.execute([np.zeros((count, 2, 5, 5), np.float32)]) for count in (1, 3)]
    assert [result.counters["images"] for result in results] == [1, 3]
    assert all(result.seconds >= result.counters["seconds"] > 0 for result in results)
    counters = results[0].counters
    assert counters is results[0].counters and json.loads(json.dumps(counters)) == counters
    with pytest.raises(dataclasses.FrozenInstanceError):
        results[0].images = 7  # type: ignore[misc]


def test_reports_come_from_the_library() -> None:
    session = load(evaluator_artifact(small_graph()))
    assert measured_report(session).rows == modelled_report(session).rows
    bare = session.artifact.manifest
    empty = load(Artifact({**bare, "vectors": []}, session.artifact.files))
    with pytest.raises(RunError, match="artifact 'small': it has no test vectors to run"):
        measured_report(empty)


def test_noise_in_decibels() -> None:
    x = np.array([3.0, -4.0])
    assert sqnr_db(x, x * 0.9) == pytest.approx(20.0)
    assert sqnr_db(x, x) == math.inf and math.isnan(sqnr_db(0 * x, x))
    assert decibels(1000.0, 1.0) == pytest.approx(30.0)
    wave = np.sin(np.linspace(0, 100 * np.pi, 100_000))
    noise = [sqnr_db(wave, np.round(wave * 2.0**bits) / 2.0**bits) for bits in (7, 8)]
    assert noise[1] - noise[0] == pytest.approx(6.02, abs=0.2)
