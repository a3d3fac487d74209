"""The rules of the protocol over HTTP, by requests that are right: what is there, and tensors in JSON and in binary."""

from __future__ import annotations

import json
from typing import Any

import pytest
from oip_server import Answers, Target, as_binary, as_json


def test_health(target: Target) -> None:
    for path in ("/v2/health/live", "/v2/health/ready", f"{target.path}/ready"):
        assert target.ask(path).status == 200, path


def test_the_server_describes_itself(target: Target) -> None:
    told = target.ask("/v2").data
    assert isinstance(told["name"], str) and isinstance(told["version"], str)
    assert all(isinstance(name, str) for name in told["extensions"])


def test_the_model_is_described(target: Target) -> None:
    told = target.metadata
    assert told["name"] == target.model and isinstance(told["platform"], str)
    for tensor in (*told["inputs"], *told["outputs"]):
        assert isinstance(tensor["name"], str) and isinstance(tensor["datatype"], str)
        assert all(isinstance(size, int) and size >= -1 for size in tensor["shape"])


def test_every_version_is_an_address_of_its_own(target: Target, answers: Answers) -> None:
    for version in target.metadata.get("versions", ()):
        path = f"{target.path}/versions/{version}"
        assert target.ask(path).data["name"] == target.model
        assert target.ask(f"{path}/ready").status == 200
        request = {"inputs": [as_json(*item) for item in answers.inputs().items()]}
        reply = target.ask(f"{path}/infer", json.dumps(request).encode())
        assert reply.status == 200 and reply.data["model_version"] == version


@pytest.mark.parametrize("path", ["/v2/models/no-such-model", "/v2/models/no-such-model/ready", "/v2/no-such-path"])
def test_what_is_not_there_is_refused(target: Target, path: str) -> None:
    assert 400 <= target.ask(path).status < 500


def test_a_version_that_is_not_there_is_refused(target: Target) -> None:
    assert 400 <= target.ask(f"{target.path}/versions/4711").status < 500


# ---- inference


def request(answers: Answers, seed: int = 0, **more: Any) -> dict[str, Any]:
    return {"inputs": [as_json(*item) for item in answers.inputs(seed).items()], **more}


@pytest.mark.parametrize("seed", range(3))
def test_json_in_json_out(target: Target, answers: Answers, seed: int) -> None:
    reply = target.infer(request(answers, seed))
    assert reply.status == 200 and reply.headers["content-type"].startswith("application/json")
    assert reply.data["model_name"] == target.model
    answers.check(reply.arrays(), seed)


def test_nested_lists_are_the_same_tensors(target: Target, answers: Answers) -> None:
    inputs = [{**as_json(name, array), "data": array.tolist()} for name, array in answers.inputs().items()]
    answers.check(target.infer({"inputs": inputs}).arrays())


def test_the_id_comes_back(target: Target, answers: Answers) -> None:
    assert target.infer(request(answers, id="the 1st ü")).data["id"] == "the 1st ü"


def test_outputs_that_are_named_are_those_that_come(target: Target, answers: Answers) -> None:
    name = target.outputs[-1].name
    assert list(target.infer(request(answers, outputs=[{"name": name}])).arrays()) == [name]


@pytest.mark.parametrize("seed", range(3))
def test_binary_in_binary_out(target: Target, answers: Answers, seed: int) -> None:
    target.need("binary_tensor_data")
    arrays = answers.inputs(seed)
    asked = {"inputs": [as_binary(*item) for item in arrays.items()], "parameters": {"binary_data_output": True}}
    reply = target.infer(asked, b"".join(array.tobytes() for array in arrays.values()))
    assert reply.status == 200 and "inference-header-content-length" in reply.headers
    answers.check(reply.arrays(), seed)


def test_binary_in_json_out_and_the_reverse(target: Target, answers: Answers) -> None:
    target.need("binary_tensor_data")
    arrays = answers.inputs()
    reply = target.infer(
        {"inputs": [as_binary(*item) for item in arrays.items()]}, b"".join(item.tobytes() for item in arrays.values())
    )
    assert "inference-header-content-length" not in reply.headers
    answers.check(reply.arrays())
    outputs = [{"name": tensor.name, "parameters": {"binary_data": True}} for tensor in target.outputs]
    reply = target.infer(request(answers, outputs=outputs))
    assert "inference-header-content-length" in reply.headers
    answers.check(reply.arrays())


def test_one_connection_serves_many_requests(target: Target, answers: Answers) -> None:
    connection = target.connect()
    for seed in range(5):
        body = json.dumps(request(answers, seed)).encode()
        answers.check(target.ask_on(connection, f"{target.path}/infer", body).arrays(), seed)
        assert 400 <= target.ask_on(connection, f"{target.path}/infer", b"{}").status < 500
    connection.close()
