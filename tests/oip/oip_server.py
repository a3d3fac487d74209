"""A server that speaks the Open Inference Protocol v2, asked byte by byte, and the right answers."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np
import pytest

Array = np.ndarray[Any, np.dtype[Any]]

NUMPY = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
}
"""Element types that the kit sends and reads; a model of others is not for it."""

_SECONDS = 30


@dataclass(frozen=True)
class Reply:
    """An answer over HTTP. Names of headers are in small letters."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @cached_property
    def data(self) -> Any:
        """Its JSON, without the binary tensors that may follow."""
        end = self.headers.get("inference-header-content-length")
        return json.loads(self.body if end is None else self.body[: int(end)])

    def arrays(self) -> dict[str, Array]:
        """The outputs by name, from JSON or binary."""
        at = int(self.headers.get("inference-header-content-length", len(self.body)))
        found: dict[str, Array] = {}
        for item in self.data["outputs"]:
            dtype, size = NUMPY[item["datatype"]], item.get("parameters", {}).get("binary_data_size")
            if size is None:
                found[item["name"]] = np.array(item["data"], dtype).reshape(item["shape"])
                continue
            found[item["name"]] = np.frombuffer(self.body[at : at + size], dtype).reshape(item["shape"])
            at += size
        assert at == len(self.body), "bytes that belong to no output"
        return found


@dataclass(frozen=True)
class Tensor:
    """An input or output as the server describes it; sizes that may be any are -1."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Target:
    """The server under test.

    url       http://HOST:PORT, where /v2 is
    grpc      HOST:PORT, None where gRPC is not tested
    model     one that takes any small numbers
    token     bearer token for every request
    artifact  what it serves, where that is ours
    """

    url: str
    grpc: str | None
    model: str
    token: str | None = None
    artifact: Path | None = field(default=None, compare=False)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of HTTP."""
        parts = urlsplit(self.url)
        assert parts.hostname is not None
        return parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)

    @property
    def authority(self) -> str:
        """As clients of Triton want it: without http://."""
        return urlsplit(self.url).netloc

    @property
    def headers(self) -> dict[str, str]:
        """What every request carries."""
        return {} if self.token is None else {"authorization": f"Bearer {self.token}"}

    @property
    def path(self) -> str:
        """Of the model."""
        return f"/v2/models/{quote(self.model, safe='')}"

    def connect(self) -> http.client.HTTPConnection:
        """A connection over HTTP."""
        kind = http.client.HTTPSConnection if self.url.startswith("https") else http.client.HTTPConnection
        return kind(*self.address, timeout=_SECONDS)

    def ask(self, path: str, body: bytes | None = None, method: str | None = None, **headers: str) -> Reply:
        """One request on a connection of its own. Names of headers are spelled with _ for -."""
        connection = self.connect()
        try:
            return self.ask_on(connection, path, body, method, **headers)
        finally:
            connection.close()

    def ask_on(
        self,
        connection: http.client.HTTPConnection,
        path: str,
        body: bytes | None = None,
        method: str | None = None,
        **headers: str,
    ) -> Reply:
        """One request on a connection that may serve more."""
        named = self.headers | {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method or ("GET" if body is None else "POST"), path, body, named)
        answer = connection.getresponse()
        return Reply(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())

    def infer(self, request: Any, binary: bytes | None = None, **headers: str) -> Reply:
        """An inference request: its JSON, and the binary tensors that follow it."""
        head = request if isinstance(request, bytes) else json.dumps(request).encode()
        if binary is not None:
            headers.setdefault("inference_header_content_length", str(len(head)))
        headers.setdefault("content_type", "application/json" if binary is None else "application/octet-stream")
        return self.ask(f"{self.path}/infer", head + (binary or b""), **headers)

    def raw(self, data: bytes, *, close: bool = False) -> bytes:
        """Everything that comes back for these bytes, until the server closes or is silent for a second.

        close  whether no further byte is announced, as by a client that has sent all
        """
        if self.url.startswith("https"):
            pytest.skip("raw requests are sent without TLS alone")
        with socket.create_connection(self.address, _SECONDS) as connection:
            with suppress(OSError):  # the server may close before it has read all
                connection.sendall(data)
                if close:
                    connection.shutdown(socket.SHUT_WR)
            connection.settimeout(1.0)
            got = b""
            with suppress(TimeoutError, OSError):
                while part := connection.recv(65536):
                    got += part
            return got

    @cached_property
    def extensions(self) -> frozenset[str]:
        """Names of the extensions that the server says it has."""
        return frozenset(self.ask("/v2").data.get("extensions", ()))

    def need(self, extension: str) -> None:
        """Skip a test of an extension that the server does not claim."""
        if extension not in self.extensions:
            pytest.skip(f"the server does not claim the extension {extension}")

    @cached_property
    def metadata(self) -> Any:
        """Of the model."""
        reply = self.ask(self.path)
        assert reply.status == 200, reply
        return reply.data

    @cached_property
    def inputs(self) -> tuple[Tensor, ...]:
        """Of the model."""
        return _tensors(self.metadata["inputs"])

    @cached_property
    def outputs(self) -> tuple[Tensor, ...]:
        """Of the model."""
        return _tensors(self.metadata["outputs"])


def _tensors(described: Sequence[Any]) -> tuple[Tensor, ...]:
    return tuple(Tensor(item["name"], item["datatype"], tuple(item["shape"])) for item in described)


class Answers:
    """Inputs by their seed, and the outputs that belong to them.

    Without the artifact the server's own first answer is the right one: later ones, by all other ways, are to be equal.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._known: dict[int, dict[str, Array]] = {}
        for tensor in target.inputs:
            if tensor.datatype not in NUMPY:
                pytest.skip(f"input {tensor.name} is {tensor.datatype}, for which the kit makes no values")

    def inputs(self, seed: int = 0) -> dict[str, Array]:
        """Small numbers, other ones for every seed; sizes that may be any are 1."""
        random = np.random.default_rng(seed)
        made: dict[str, Array] = {}
        for tensor in self._target.inputs:
            shape = [1 if size < 0 else size for size in tensor.shape]
            dtype = np.dtype(NUMPY[tensor.datatype])
            if dtype.kind == "f":
                made[tensor.name] = random.standard_normal(shape).astype(dtype)
            else:
                made[tensor.name] = random.integers(0, 2, shape).astype(dtype)
        return made

    def outputs(self, seed: int = 0) -> dict[str, Array]:
        """What belongs to the inputs of that seed."""
        if seed not in self._known:
            self._known[seed] = self._ask(seed)
        return self._known[seed]

    def _ask(self, seed: int) -> dict[str, Array]:
        reply = self._target.infer({"inputs": [as_json(*item) for item in self.inputs(seed).items()]})
        assert reply.status == 200, reply
        return reply.arrays()

    def check(self, found: Mapping[str, Array], seed: int = 0) -> None:
        """That these are the outputs for the inputs of that seed: names, types, shapes and bytes."""
        wanted = self.outputs(seed)
        assert set(found) == set(wanted)
        for name, array in wanted.items():
            assert found[name].dtype == array.dtype and found[name].shape == array.shape
            assert found[name].tobytes() == array.tobytes(), f"other bytes for {name}"


class _SessionAnswers(Answers):
    def __init__(self, target: Target, session: Any) -> None:
        super().__init__(target)
        self._session = session

    def _ask(self, seed: int) -> dict[str, Array]:
        outputs = self._session.run(*self.inputs(seed).values())
        return {info.name: array for info, array in zip(self._session.outputs, outputs)}


def of_session(target: Target) -> Answers:
    """Answers of the artifact itself: those of `Session.run`."""
    import intarsia

    assert target.artifact is not None
    return _SessionAnswers(target, intarsia.load(target.artifact))


def datatype(array: Array) -> str:
    """The protocol's name of an array's element type."""
    return next(name for name, dtype in NUMPY.items() if array.dtype == dtype)


def as_json(name: str, array: Array) -> dict[str, Any]:
    """An input whose elements stand in the JSON, in a row."""
    return {"name": name, "datatype": datatype(array), "shape": list(array.shape), "data": array.ravel().tolist()}


def as_binary(name: str, array: Array) -> dict[str, Any]:
    """An input whose elements follow the JSON."""
    item = as_json(name, array)
    del item["data"]
    return {**item, "parameters": {"binary_data_size": array.nbytes}}
