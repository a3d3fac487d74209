"""Requests that are wrong: each is refused with a status of the client's fault, and the next one is served."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from oip_server import Answers, Reply, Target, as_binary, as_json

Change = Callable[[dict[str, Any]], None]


@pytest.fixture(autouse=True)
def still_right(target: Target, answers: Answers) -> Iterator[None]:
    """Whatever was sent, the next request has the right answer."""
    yield
    answers.check(target.infer({"inputs": [as_json(*item) for item in answers.inputs(7).items()]}).arrays(), 7)


def refused(reply: Reply) -> None:
    assert 400 <= reply.status < 500, reply
    assert b"Traceback" not in reply.body


def test_a_refusal_says_in_words_what_was_wrong(target: Target, answers: Answers) -> None:
    """Under the name `error`, as the protocol has it."""
    asked = request(answers)
    WRONG["an input that is not there"](asked)
    for reply in (target.infer(b"{"), target.infer({}), target.infer(asked), target.ask("/v2/models/no-such-model")):
        assert isinstance(reply.data["error"], str) and reply.data["error"], reply


def request(answers: Answers) -> dict[str, Any]:
    return {"inputs": [as_json(*item) for item in answers.inputs().items()]}


def first(**changes: Any) -> Change:
    """Change fields of the first input; None takes one away."""

    def change(asked: dict[str, Any]) -> None:
        item = asked["inputs"][0]
        item.update(changes)
        for name in [name for name, value in changes.items() if value is None]:
            del item[name]

    return change


WRONG: dict[str, Change] = {
    "no inputs": lambda asked: asked.clear(),
    "inputs are no list": lambda asked: asked.update(inputs={}),
    "inputs are null": lambda asked: asked.update(inputs=None),
    "inputs are texts": lambda asked: asked.update(inputs=["x"]),
    "no input at all": lambda asked: asked.update(inputs=[]),
    "an input twice": lambda asked: asked["inputs"].append(asked["inputs"][0]),
    "an input that is not there": first(name="no such input"),
    "an input without a name": first(name=None),
    "an input whose name is a number": first(name=1),
    "no shape": first(shape=None),
    "a shape that is no list": first(shape=4),
    "a shape of texts": first(shape=["1"]),
    "a shape of fractions": first(shape=[1.5]),
    "a negative size": first(shape=[-1]),
    "a huge size": first(shape=[1 << 62, 4]),
    "an overflow to the right size": first(shape=[1 << 63, 2]),
    "a shape of another rank": first(shape=[1] * 31),
    "a type that is none": first(datatype="FP31"),
    "a type that is a list": first(datatype=[]),
    "no type": first(datatype=None),
    "no data": first(data=None),
    "too little data": first(data=[]),
    "data of texts": lambda asked: asked["inputs"][0].update(data=["x"] * len(asked["inputs"][0]["data"])),
    "data of nulls": lambda asked: asked["inputs"][0].update(data=[None] * len(asked["inputs"][0]["data"])),
    "data of objects": lambda asked: asked["inputs"][0].update(data=[{}] * len(asked["inputs"][0]["data"])),
    "ragged data": lambda asked: asked["inputs"][0].update(data=[[1], [1, 2]]),
    "data that is a text": first(data="1, 2, 3"),
    "one element too many": lambda asked: asked["inputs"][0]["data"].append(0),
    "an output that is not there": lambda asked: asked.update(outputs=[{"name": "no such output"}]),
    "an output without a name": lambda asked: asked.update(outputs=[{}]),
    "outputs that are a number": lambda asked: asked.update(outputs=0),
    "outputs that are texts": lambda asked: asked.update(outputs=["x"]),
    "binary data that is not there": lambda asked: asked["inputs"][0].update(
        data=None, parameters={"binary_data_size": 4}
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_request_is_refused(target: Target, answers: Answers, wrong: str) -> None:
    asked = request(answers)
    WRONG[wrong](asked)
    refused(target.infer(asked))


def test_another_type_is_refused_or_meant(target: Target, answers: Answers) -> None:
    """A server may convert numbers: then it answers for them, and never with a fault of its own."""
    asked = request(answers)
    asked["inputs"][0]["datatype"] = "INT64" if asked["inputs"][0]["datatype"] != "INT64" else "FP64"
    reply = target.infer(asked)
    assert reply.status == 200 or 400 <= reply.status < 500


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"1",
        b'"inputs"',
        b"\xff\xfe",
        b"\x00",
        b'{"inputs": [NaN]}',
        b"[" * 50_000,
        b'{"inputs":' * 20_000,
        b"9" * 10_000,
        b'{"id": "\\ud800", "inputs": []}',
        b'{"inputs": []} more',
    ],
    ids=lambda body: repr(body[:12]),
)
def test_what_is_no_json_of_a_request_is_refused(target: Target, body: bytes) -> None:
    refused(target.infer(body))


# ---- binary tensors


def binary(answers: Answers) -> tuple[list[dict[str, Any]], bytes]:
    arrays = answers.inputs()
    return [as_binary(*item) for item in arrays.items()], b"".join(array.tobytes() for array in arrays.values())


@pytest.mark.parametrize("cut", [1, 3, 4])
def test_binary_tensors_that_are_cut_short(target: Target, answers: Answers, cut: int) -> None:
    target.need("binary_tensor_data")
    items, data = binary(answers)
    refused(target.infer({"inputs": items}, data[:-cut]))
    items[-1]["parameters"]["binary_data_size"] -= cut
    refused(target.infer({"inputs": items}, data[:-cut]))


def test_bytes_that_belong_to_no_input(target: Target, answers: Answers) -> None:
    target.need("binary_tensor_data")
    items, data = binary(answers)
    refused(target.infer({"inputs": items}, data + b"more"))


@pytest.mark.parametrize("size", [-1, 1 << 40, 1 << 70, "4", 1.5, True, [], {}], ids=repr)
def test_sizes_of_binary_tensors_that_are_none(target: Target, answers: Answers, size: object) -> None:
    target.need("binary_tensor_data")
    items, data = binary(answers)
    items[0]["parameters"]["binary_data_size"] = size
    refused(target.infer({"inputs": items}, data))


@pytest.mark.parametrize("length", ["-1", "1e2", "x", "", "999999999", "9" * 40, "1, 2", "0"])
def test_lengths_of_the_json_that_are_none(target: Target, answers: Answers, length: str) -> None:
    target.need("binary_tensor_data")
    items, data = binary(answers)
    refused(target.infer({"inputs": items}, data, inference_header_content_length=length))


def test_a_length_that_cuts_the_json(target: Target, answers: Answers) -> None:
    target.need("binary_tensor_data")
    items, data = binary(answers)
    length = len(json.dumps({"inputs": items}))
    for wrong in (length - 1, length + 1):
        refused(target.infer({"inputs": items}, data, inference_header_content_length=str(wrong)))


# ---- methods, paths and headers


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_inference_by_another_method(target: Target, method: str) -> None:
    reply = target.ask(f"{target.path}/infer", method=method)
    assert reply.status in (404, 405) and reply.status != 200


@pytest.mark.parametrize(
    "path",
    [
        "/v2/models/../../etc/passwd/infer",
        "/v2/models/%2e%2e%2fetc/infer",
        "/v2/models/%00/infer",
        "/v2/models/" + "x" * 5000 + "/infer",
        "/v2/models//infer",
        "/v2/models/%ff%fe/infer",
    ],
    ids=lambda path: path[:30],
)
def test_paths_of_no_model(target: Target, answers: Answers, path: str) -> None:
    reply = target.ask(path, json.dumps(request(answers)).encode())
    assert 400 <= reply.status < 500


def test_an_encoding_that_is_none(target: Target, answers: Answers) -> None:
    reply = target.ask(f"{target.path}/infer", json.dumps(request(answers)).encode(), content_encoding="rot13")
    assert 400 <= reply.status < 500


def test_a_body_that_is_not_what_its_encoding_says(target: Target, answers: Answers) -> None:
    reply = target.ask(f"{target.path}/infer", json.dumps(request(answers)).encode(), content_encoding="gzip")
    assert 400 <= reply.status < 500
