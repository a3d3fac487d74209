"""Servers for tests, each a process of its own on ports that were free, and requests to them, byte by byte."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from artifact_examples import evaluator_artifact, small_graph
from intarsia.dtypes import Array
from intarsia.serving.tensors import DATATYPES

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Reply:
    """An answer over HTTP."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def data(self) -> Any:
        """Its JSON, without the binary tensors that may follow."""
        end = self.headers.get("inference-header-content-length")
        return json.loads(self.body if end is None else self.body[: int(end)])

    @property
    def error(self) -> str:
        """The letter of a request that was refused."""
        text: str = self.data["error"]
        return text


class Served:
    """A running server."""

    def __init__(self, process: subprocess.Popen[str], port: int, grpc_port: int | None) -> None:
        self.process = process
        self.port = port
        self.grpc_port = grpc_port

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)

    def ask(self, path: str, body: bytes | None = None, method: str | None = None, **headers: str) -> Reply:
        """One request on a connection of its own. Names of headers are spelled with _ for -."""
        connection = self.connect()
        try:
            return ask_on(connection, path, body, method, **headers)
        finally:
            connection.close()

    def infer(self, request: Any, binary: bytes | None = None, model: str = "small") -> Reply:
        """An inference request: its JSON, and the binary tensors that follow it."""
        head = request if isinstance(request, bytes) else json.dumps(request).encode()
        headers = {} if binary is None else {"inference_header_content_length": str(len(head))}
        return self.ask(f"/v2/models/{model}/infer", head + (binary or b""), **headers)

    def figure(self, name: str) -> float:
        """A figure of /metrics, by its name and labels as they stand there; 0 for one that is not there yet."""
        for line in self.ask("/metrics").body.decode().splitlines():
            found, _, value = line.rpartition(" ")
            if found == name:
                return float(value)
        return 0.0

    def stop(self) -> tuple[int, str]:
        """Tell it to end; its exit code and what it wrote to stderr."""
        self.process.terminate()
        _, errors = self.process.communicate(timeout=30)
        return self.process.returncode, errors


def ask_on(
    connection: http.client.HTTPConnection,
    path: str,
    body: bytes | None = None,
    method: str | None = None,
    **headers: str,
) -> Reply:
    """One request on a connection that may serve more."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method or ("GET" if body is None else "POST"), path, body, named)
    answer = connection.getresponse()
    return Reply(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())


@contextmanager
def served(*arguments: str, run_seconds: float = 0.0) -> Iterator[Served]:
    """A server, ended when the block is left.

    run_seconds  what every run of a model takes at least, for tests of what happens meanwhile
    """
    program = [sys.executable, str(HERE / "serve_slowly.py"), str(run_seconds)]
    common = ["--port", "0", "--grpc-port", "0", "--linger", "0", "--json"]
    process = subprocess.Popen(
        [*program, "serve", *common, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stderr is not None
    try:
        lines: list[str] = []
        while not lines or lines[-1] != "}\n":
            lines.append(process.stdout.readline())
            assert lines[-1], process.stderr.read()
        where = json.loads("".join(lines))
        yield Served(process, where["port"], where["grpc_port"])
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(30)
        process.stdout.close()
        process.stderr.close()


def small_artifact(folder: Path, batch: int = 1) -> Path:
    """An artifact of int8 convolution: "image" FP32 [batch, 2, 5, 5] to "scores" FP32 [batch, 3, 5, 5]."""
    path = folder / "small.intarsia"
    evaluator_artifact(small_graph(batch), batch=batch).save(path)
    return path


def images(count: int = 1, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal((count, 2, 5, 5)).astype(np.float32)


def as_json(name: str, array: Array) -> dict[str, Any]:
    """An input whose elements stand in the JSON."""
    return {
        "name": name,
        "datatype": DATATYPES[array.dtype.name],
        "shape": list(array.shape),
        "data": array.ravel().tolist(),
    }


def as_binary(name: str, array: Array) -> dict[str, Any]:
    """An input whose elements follow the JSON."""
    item = as_json(name, array)
    del item["data"]
    return {**item, "parameters": {"binary_data_size": array.nbytes}}


def from_json(item: Mapping[str, Any], dtype: Any = np.float32) -> Array:
    """An output whose elements stand in the JSON."""
    return np.array(item["data"], dtype).reshape(item["shape"])


def from_binary(reply: Reply, dtype: Any = np.float32) -> dict[str, Array]:
    """All outputs of an answer in binary."""
    at = int(reply.headers["inference-header-content-length"])
    found = {}
    for item in reply.data["outputs"]:
        size = item["parameters"]["binary_data_size"]
        found[item["name"]] = np.frombuffer(reply.body[at : at + size], dtype).reshape(item["shape"])
        at += size
    assert at == len(reply.body)
    return found


def wait_for(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Until something has come to be."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came to be"
        time.sleep(0.01)
