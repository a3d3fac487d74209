"""Small graphs of models and steps in one request: their answers, their mistakes, and models that change below them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from served import Served, as_json, from_json, images, served, small_artifact

import intarsia
from artifact_examples import evaluator_artifact, small_graph
from intarsia.errors import RunError
from intarsia.serving.ensemble_steps import StepError, make
from intarsia.serving.metrics import Metrics
from intarsia.serving.model import Options
from intarsia.serving.repository import Repository
from intarsia.serving.tensors import ServedTensor

GOOD: dict[str, Any] = {
    "inputs": [{"name": "picture", "datatype": "UINT8", "shape": [-1, 5, 5, 2]}],
    "outputs": ["place", "again", "likely"],
    "steps": [
        {"op": "argmax", "inputs": "likely", "outputs": "place", "axis": 1},
        {"op": "softmax", "inputs": "first", "outputs": "likely", "axis": 1},
        {"op": "scale", "inputs": "channels", "outputs": "x", "factor": 0.01, "offset": -1},
        {"op": "transpose", "inputs": "picture", "outputs": "channels", "axes": [0, 3, 1, 2]},
        {"model": "small", "inputs": {"image": "x"}, "outputs": {"scores": "first"}},
        {"model": "small", "version": 1, "inputs": {"image": "x"}, "outputs": {"scores": "again"}},
    ],
}


def changed(**parts: Any) -> dict[str, Any]:
    return {**GOOD, **parts}


def with_step(index: int, **parts: Any) -> dict[str, Any]:
    steps = [dict(step) for step in GOOD["steps"]]
    steps[index] = {name: value for name, value in {**steps[index], **parts}.items() if value is not None}
    return changed(steps=steps)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("ensembles")
    small_artifact(place)
    (place / "whole.ensemble.json").write_text(json.dumps(GOOD))
    return place


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Served]:
    with served(str(folder), "--control", "api", "--workers", "2") as running:
        yield running


def picture(rows: int) -> Any:
    return np.random.default_rng(rows).integers(0, 256, (rows, 5, 5, 2), dtype=np.uint8)


@pytest.mark.parametrize("rows", [1, 3])
def test_answers_are_those_of_the_steps_by_hand(server: Served, folder: Path, rows: int) -> None:
    reply = server.infer({"id": "e", "inputs": [as_json("picture", picture(rows))]}, model="whole")
    assert reply.status == 200, reply.body
    x = picture(rows).transpose(0, 3, 1, 2).astype(np.float32) * np.float32(0.01) + np.float32(-1)
    (first,) = intarsia.load(folder / "small.intarsia").run(np.ascontiguousarray(x))
    place, again, likely = reply.data["outputs"]
    assert from_json(again).tobytes() == first.tobytes()
    e = np.exp(first - first.max(axis=1, keepdims=True))
    np.testing.assert_allclose(from_json(likely), e / e.sum(axis=1, keepdims=True), rtol=1e-5)
    assert (from_json(place, np.int64) == from_json(likely).argmax(axis=1)).all()
    assert (place["datatype"], place["shape"]) == ("INT64", [rows, 5, 5]) and reply.data["id"] == "e"


def test_an_ensemble_is_described_and_counted(server: Served) -> None:
    told = server.ask("/v2/models/whole").data
    assert told["inputs"] == [{"name": "picture", "datatype": "UINT8", "shape": [-1, 5, 5, 2]}]
    assert [item["shape"] for item in told["outputs"]] == [[-1, 5, 5], [-1, 3, 5, 5], [-1, 3, 5, 5]]
    assert server.ask("/v2/models/whole/ready").status == 200
    assert server.ask("/v2/models/whole/stats").data["model_stats"][0]["name"] == "whole"


def test_requests_that_do_not_fit_are_refused(server: Served) -> None:
    wrong = as_json("picture", np.zeros((1, 5, 5, 3), np.uint8))
    assert "the model takes UINT8[-1, 5, 5, 2]" in server.infer({"inputs": [wrong]}, model="whole").error
    none = as_json("picture", np.zeros((0, 5, 5, 2), np.uint8))
    reply = server.infer({"inputs": [none]}, model="whole")
    assert reply.status == 400 and reply.error == "step 5, model 'small': the inputs hold no rows"
    late = {"inputs": [as_json("picture", picture(1))], "parameters": {"timeout": 1}}
    assert server.infer(late, model="whole").status == 503


def test_its_models_stay_while_it_is_served(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        shutil.copy(file, tmp_path)
    with served(str(tmp_path), "--control", "api") as server:
        change = "/v2/repository/models/%s/%s"
        assert server.ask(change % ("small", "unload"), b"").status == 200
        reply = server.ask(change % ("small", "unload"), b"")
        assert reply.status == 409 and reply.error == "model 'small' is held by 'ensemble whole'"
        assert server.infer({"inputs": [as_json("picture", picture(2))]}, model="whole").status == 200
        other = small_graph()
        other.inputs[0].name = "photo"
        evaluator_artifact(other).save(tmp_path / "small.intarsia")  # which does not fit: it does not take the place
        reply = server.ask(change % ("small", "load"), b"")
        assert reply.status == 400 and "step 5, model 'small': it has no input 'image'" in reply.error
        assert server.infer({"inputs": [as_json("picture", picture(2))]}, model="whole").status == 200
        small_artifact(tmp_path)
        assert server.ask(change % ("whole", "unload"), b"").status == 200
        assert {item["state"] for item in server.ask("/v2/repository/index", b"").data} == {"UNAVAILABLE"}
        assert server.ask(change % ("whole", "load"), b"").status == 200
        assert server.infer({"inputs": [as_json("image", images())]}).status == 200


BAD: dict[str, tuple[Any, str]] = {
    "no JSON": ("{", "it is no JSON"),
    "a part of no ensemble": (changed(more=1), "'more' is no part of an ensemble"),
    "no outputs": (changed(outputs=[]), "outputs is no list, or an empty one"),
    "an unknown type": (
        changed(inputs=[{"name": "picture", "datatype": "UINT9", "shape": [1]}]),
        "datatype is 'UINT9'",
    ),
    "an unknown value": (changed(outputs=["nothing"]), "an output takes 'nothing', which nothing makes"),
    "a value twice": (with_step(0, outputs="x"), "'x' is made twice"),
    "a circle": (with_step(3, inputs="likely"), "waits for what comes of itself"),
    "an unknown model": (with_step(4, model="large"), "it names the model 'large', which the repository does not have"),
    "itself": (with_step(4, model="whole"), "it is a member of itself: whole of whole"),
    "an unknown version": (with_step(5, version=2), "names its version 2, which is not served"),
    "an unknown input": (with_step(4, inputs={"picture": "x"}), "it has no input 'picture'"),
    "an unknown output": (with_step(4, outputs={"labels": "first"}), "it has no output 'labels'"),
    "another type": (
        with_step(4, inputs={"image": "channels"}),
        "'channels' is UINT8[-1, 2, 5, 5], its input 'image' is",
    ),
    "neither op nor model": (with_step(0, op=None), "step 1 has not just one of 'model' and 'op'"),
    "an unknown op": (with_step(0, op="sort"), "there is no op 'sort'"),
    "an unknown option": (with_step(0, k=1), "the op argmax has no option 'k'"),
    "an axis too far": (with_step(0, axis=4), "axis is 4, 'likely' has 4 axes"),
    "axes that are none": (with_step(3, axes=[0, 1]), "axes is [0, 1], 'picture' has 4 axes"),
    "factors that do not fit": (with_step(2, factor=[1, 2]), "factor has 2 numbers, the last axis of 'channels' has 5"),
    "softmax of integers": (with_step(1, inputs="picture"), "the op softmax takes floats, 'picture' is UINT8"),
}


@pytest.mark.parametrize("what", BAD)
def test_mistakes_in_a_description_are_told(folder: Path, tmp_path: Path, what: str) -> None:
    described, letter = BAD[what]
    shutil.copy(folder / "small.intarsia", tmp_path)
    text = described if isinstance(described, str) else json.dumps(described)
    (tmp_path / "whole.ensemble.json").write_text(text)
    repository = Repository([str(tmp_path)], Options(workers=1, most_rows=1), Metrics())
    try:
        with pytest.raises(RunError) as told:
            repository.open()
        assert letter in told.value.what and told.value.help
    finally:
        assert repository.close(10)


def test_casts_round_to_even_and_stay_in_range() -> None:
    op = make("cast", {"to": "INT8"}, ServedTensor("x", "float32", (None,)))
    found = op.run(np.array([0.5, 1.5, -2.5, 300, -300, np.nan, np.inf], np.float32))
    assert (op.dtype, found.tolist()) == ("int8", [0, 2, -2, 127, -128, 0, 127])
    with pytest.raises(StepError, match="to is 'BYTES'"):
        make("cast", {"to": "BYTES"}, ServedTensor("x", "float32", (None,)))


def test_an_ensemble_is_loaded_after_its_models_whatever_they_are_called(tmp_path: Path) -> None:
    evaluator_artifact(small_graph()).save(tmp_path / "z.intarsia")
    described = {
        "inputs": [{"name": "i", "datatype": "FP32", "shape": [-1, 2, 5, 5]}],
        "outputs": ["o"],
        "steps": [{"model": "z", "inputs": {"image": "i"}, "outputs": {"scores": "o"}}],
    }
    (tmp_path / "a.ensemble.json").write_text(json.dumps(described))
    repository = Repository([str(tmp_path)], Options(workers=1, most_rows=1), Metrics())
    repository.open()
    assert set(repository.names) == {"a", "z"} and repository.ready
    assert repository.close(10)
