"""The protocol as tritonclient speaks it: over HTTP and gRPC, called and awaited, all forms of tensors."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
from oip_server import Answers, Array, Target, datatype

MODULES = {
    kind: pytest.importorskip(f"tritonclient.{kind.replace(' ', '.')}", reason="needs tritonclient")
    for kind in ("http", "grpc", "http aio", "grpc aio")
}
InferenceServerException = pytest.importorskip("tritonclient.utils").InferenceServerException


class Client:
    """A client of one of the four kinds, called as if it were not awaited."""

    def __init__(self, kind: str, target: Target) -> None:
        if "grpc" in kind and target.grpc is None:
            pytest.skip("--oip-grpc is not given")
        self.target, self.module = target, MODULES[kind]
        self.rest, self.awaited = "http" in kind, "aio" in kind
        self._loop = asyncio.new_event_loop() if self.awaited else None
        address = target.authority if self.rest else target.grpc
        options = {"concurrency": 8} if kind == "http" else {}
        self._client = self.run(self._make(address, options))

    def _make(self, address: str | None, options: dict[str, int]) -> Any:
        if self._loop is None:
            return self.module.InferenceServerClient(address, **options)

        async def make() -> Any:
            return self.module.InferenceServerClient(address)

        return make()

    def run(self, result: Any) -> Any:
        return result if self._loop is None else self._loop.run_until_complete(result)

    def call(self, name: str, *arguments: Any, **named: Any) -> Any:
        """One call, awaited where it has to be; for gRPC as a dictionary, as HTTP gives it."""
        if self.target.headers:
            named["headers"] = self.target.headers
        return self.run(getattr(self._client, name)(*arguments, **named))

    @property
    def binary(self) -> bool:
        """Whether tensors are sent in binary, where nothing else is said."""
        return not self.rest or "binary_tensor_data" in self.target.extensions

    def infer(self, answers: Answers, seed: int = 0, *, binary: bool | None = None, **named: Any) -> Any:
        return self.call("infer", self.target.model, self.given(answers.inputs(seed), binary), **named)

    def given(self, arrays: dict[str, Array], binary: bool | None = None) -> list[Any]:
        made = []
        for name, array in arrays.items():
            item = self.module.InferInput(name, list(array.shape), datatype(array))
            options = {"binary_data": self.binary if binary is None else binary} if self.rest else {}
            item.set_data_from_numpy(array, **options)
            made.append(item)
        return made

    def wanted(self, name: str, binary: bool | None = None) -> Any:
        options = {"binary_data": self.binary if binary is None else binary} if self.rest else {}
        return self.module.InferRequestedOutput(name, **options)

    def found(self, result: Any) -> dict[str, Array]:
        return {tensor.name: result.as_numpy(tensor.name) for tensor in self.target.outputs}

    def gather(self, calls: Sequence[Callable[[], Awaitable[Any]]]) -> list[Any]:
        """All of them at once; of a client that is awaited."""

        async def together() -> list[Any]:
            return await asyncio.gather(*(call() for call in calls))

        assert self._loop is not None
        return self._loop.run_until_complete(together())

    def close(self) -> None:
        self.run(self._client.close())
        if self._loop is not None:
            self._loop.close()


@pytest.fixture(params=MODULES, scope="module")
def client(request: pytest.FixtureRequest, target: Target) -> Iterator[Client]:
    made = Client(request.param, target)
    yield made
    made.close()


def test_health(client: Client) -> None:
    assert client.call("is_server_live") is True and client.call("is_server_ready") is True
    assert client.call("is_model_ready", client.target.model) is True


def test_descriptions_are_those_of_http(client: Client) -> None:
    told = client.call("get_model_metadata", client.target.model)
    if not isinstance(told, dict):
        assert told.name == client.target.model
        for mine, theirs in ((told.inputs, client.target.inputs), (told.outputs, client.target.outputs)):
            found = [(item.name, item.datatype, tuple(item.shape)) for item in mine]
            assert found == [(item.name, item.datatype, item.shape) for item in theirs]
        return
    assert told == client.target.metadata


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_answers_are_right(client: Client, answers: Answers, seed: int, binary: bool) -> None:
    if client.rest and binary:
        client.target.need("binary_tensor_data")
    outputs = [client.wanted(tensor.name, binary) for tensor in client.target.outputs]
    result = client.infer(answers, seed, binary=binary, outputs=outputs)
    answers.check(client.found(result), seed)


def test_the_id_comes_back(client: Client, answers: Answers) -> None:
    told = client.infer(answers, request_id="4711").get_response()
    assert (told["id"] if isinstance(told, dict) else told.id) == "4711"


def test_outputs_that_are_named_are_those_that_come(client: Client, answers: Answers) -> None:
    name = client.target.outputs[0].name
    told = client.infer(answers, outputs=[client.wanted(name)]).get_response()
    outputs = told["outputs"] if isinstance(told, dict) else told.outputs
    assert [item["name"] if isinstance(item, dict) else item.name for item in outputs] == [name]


@pytest.mark.parametrize("change", ["model", "version", "input", "shape", "type", "output", "missing"])
def test_mistakes_are_refused_and_the_next_request_is_served(client: Client, answers: Answers, change: str) -> None:
    arrays = answers.inputs()
    name, array = next(iter(arrays.items()))
    model, version, outputs = client.target.model, "", None
    if change == "model":
        model = "no-such-model"
    elif change == "version":
        version = "4711"
    elif change == "input":
        arrays = {"no such input": array, **{key: value for key, value in arrays.items() if key != name}}
    elif change == "shape":
        arrays[name] = np.zeros((*array.shape, 3, 5, 7), array.dtype)
    elif change == "type":
        arrays[name] = np.zeros(array.shape, np.uint16 if array.dtype != np.uint16 else np.int8)
    elif change == "output":
        outputs = [client.wanted("no such output")]
    else:
        del arrays[name]
    with pytest.raises(InferenceServerException):
        client.call("infer", model, client.given(arrays), model_version=version, outputs=outputs)
    answers.check(client.found(client.infer(answers, 5)), 5)


def test_many_at_once_have_each_its_own_answer(client: Client, answers: Answers) -> None:
    """Of the complaints that one client got all the answers, and the others none."""
    named = {"headers": client.target.headers} if client.target.headers else {}
    seeds = [number % 8 for number in range(64)]
    for seed in range(8):
        answers.outputs(seed)
    model = client.target.model
    if client.awaited:
        results = client.gather(
            [partial(client._client.infer, model, client.given(answers.inputs(seed)), **named) for seed in seeds]
        )
    elif client.rest:
        asked = [client._client.async_infer(model, client.given(answers.inputs(seed)), **named) for seed in seeds]
        results = [item.get_result() for item in asked]
    else:
        came: list[queue.SimpleQueue[tuple[Any, Any]]] = [queue.SimpleQueue() for _ in seeds]
        for seed, box in zip(seeds, came):
            inputs = client.given(answers.inputs(seed))
            client._client.async_infer(model, inputs, lambda result, error, box=box: box.put((result, error)), **named)
        results = []
        for box in came:
            result, error = box.get(timeout=60)
            assert error is None
            results.append(result)
    for seed, result in zip(seeds, results):
        answers.check(client.found(result), seed)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_bodies_that_are_compressed(client: Client, answers: Answers, encoding: str) -> None:
    """Taken, or refused in words: never a wrong answer."""
    kinds = ("request_", "response_") if client.rest else ("",)
    named: dict[str, Any] = {f"{kind}compression_algorithm": encoding for kind in kinds}
    try:
        result = client.infer(answers, 3, **named)
    except InferenceServerException as error:
        assert client.rest and str(error)
        return
    answers.check(client.found(result), 3)
