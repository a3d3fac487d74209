"""Requests as fast as one process can send them, by HTTP and gRPC, each with what it may end in and nothing else."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
from oip_server import Array, as_binary, as_json

MODEL = "small"

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]

_IDLE_SECONDS = 2.0
"""Servers close connections that idle: what is sent at that moment is nobody's fault, and no test of ours."""

_SECONDS = 30


class Instance:
    """One server of ours, as a client of several sees it.

    ended    whether it was told to end, so that connections may be refused
    killed   whether it was killed, so that requests under way are lost with it, and sent again to another
    """

    def __init__(self, process: Any, port: int, grpc_port: int) -> None:
        self.process, self.port = process, port
        self.ended = self.killed = False
        self.open = True
        self.memory_bytes: list[int] = []
        self._idle: list[tuple[float, Connection]] = []
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{grpc_port}")
        self._infer = self._channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")

    async def connection(self) -> Connection:
        """One that nobody uses, and that the server still keeps for sure."""
        while self._idle:
            since, connection = self._idle.pop()
            if time.monotonic() - since < _IDLE_SECONDS:
                return connection
            connection[1].close()
        return await asyncio.open_connection("127.0.0.1", self.port)

    def keep(self, connection: Connection) -> None:
        """Its request has been answered."""
        self._idle.append((time.monotonic(), connection))

    def call(self, message: bytes) -> Any:
        """ModelInfer."""
        return self._infer(message, timeout=_SECONDS)

    async def close(self) -> None:
        """Let go of all connections."""
        for _, (_, writer) in self._idle:
            writer.transport.abort()
        await self._channel.close()


@dataclass
class Tally:
    """What became of requests."""

    right: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    given_up: int = 0
    sent_again: int = 0
    wrong: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    @property
    def total(self) -> int:
        """All that had an end."""
        return self.right + sum(self.refused.values()) + self.given_up + len(self.wrong) + len(self.lost)


class NotTaken(Exception):
    """The server is gone, and the request may be sent to another."""


class Requests:
    """Requests by their number, which is their id too, and the outputs that belong to them."""

    def __init__(self, session: Any, count: int = 16) -> None:
        from tritonclient.grpc import service_pb2

        self._answer: Any = service_pb2.ModelInferResponse
        self._request: Any = service_pb2.ModelInferRequest
        info, made = session.inputs[0], session.outputs[0]
        self._output = made.name
        self._inputs: list[Array] = []
        self._outputs: list[bytes] = []
        self._lists: list[list[float]] = []
        for seed in range(count):
            shape = (1 + seed % 3, *info.shape[1:])  # of 1 to 3 rows
            array = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
            output = session.run(array)[0]
            self._inputs.append(array)
            self._outputs.append(output.tobytes())
            self._lists.append(output.ravel().tolist())
        self._name = info.name
        self._count = count

    def http(self, number: int, binary: bool) -> bytes:
        """The whole request."""
        array = self._inputs[number % self._count]
        item = (as_binary if binary else as_json)(self._name, array)
        asked: dict[str, Any] = {"id": str(number), "inputs": [item]}
        tail, more = b"", []
        if binary:
            asked["parameters"] = {"binary_data_output": True}
            tail = array.tobytes()
        head = json.dumps(asked).encode()
        if binary:
            more = [f"inference-header-content-length: {len(head)}"]
        length = f"content-length: {len(head) + len(tail)}"
        lines = (f"POST /v2/models/{MODEL}/infer HTTP/1.1", "host: x", *more, length, "", "")
        return "\r\n".join(lines).encode() + head + tail

    def message(self, number: int) -> bytes:
        """The request over gRPC."""
        array = self._inputs[number % self._count]
        made = self._request(model_name=MODEL, id=str(number), raw_input_contents=[array.tobytes()])
        made.inputs.add(name=self._name, datatype="FP32", shape=array.shape)
        return bytes(made.SerializeToString())

    def fault_http(self, number: int, headers: dict[str, str], body: bytes) -> str:
        """What is wrong with an answer of status 200; nothing where it is right."""
        wanted, end = self._outputs[number % self._count], headers.get("inference-header-content-length")
        told = json.loads(body if end is None else body[: int(end)])
        if told.get("id") != str(number):
            return f"request {number} has the answer to {told.get('id')}"
        if [item["name"] for item in told["outputs"]] != [self._output]:
            return f"request {number} has other outputs"
        if end is None:
            right = told["outputs"][0]["data"] == self._lists[number % self._count]
        else:
            right = body[int(end) :] == wanted
        return "" if right else f"request {number} has other bytes"

    def fault_grpc(self, number: int, message: bytes) -> str:
        """What is wrong with an answer over gRPC; nothing where it is right."""
        told = self._answer.FromString(message)
        if told.id != str(number):
            return f"request {number} has the answer to {told.id}"
        right = list(told.raw_output_contents) == [self._outputs[number % self._count]]
        return "" if right else f"request {number} has other bytes"


async def send_http(instance: Instance, requests: Requests, number: int, tally: Tally, give_up: float | None) -> None:
    """One request over HTTP to its end.

    give_up  seconds after which the client goes; None for never
    """
    started = time.monotonic()
    try:
        connection = await instance.connection()
    except OSError as error:
        if instance.ended or instance.killed:
            raise NotTaken from error
        tally.lost.append(f"request {number}: {error!r}")
        return
    reader, writer = connection
    try:
        writer.write(requests.http(number, binary=number % 4 != 0))
        if give_up is not None:
            await asyncio.sleep(give_up)
            writer.transport.abort()
            tally.given_up += 1
            return
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        body = await reader.readexactly(int(headers["content-length"]))
    except (OSError, asyncio.IncompleteReadError) as error:
        writer.transport.abort()
        if instance.killed:
            raise NotTaken from error
        tally.lost.append(f"request {number}: {error!r}")
        return
    status = int(head[0].split()[1])
    if status == 200:
        _count(tally, requests.fault_http(number, headers, body), started)
    elif status in (429, 503) and int(headers.get("retry-after", 0)) >= 1 and json.loads(body)["error"]:
        tally.refused[str(status)] += 1
    else:
        tally.wrong.append(f"request {number}: {status} {body[:200]!r}")
    if headers.get("connection", "").lower() == "close":
        writer.close()
    else:
        instance.keep(connection)


async def send_grpc(instance: Instance, requests: Requests, number: int, tally: Tally, give_up: float | None) -> None:
    """One request over gRPC to its end; see `send_http`."""
    started = time.monotonic()
    call = instance.call(requests.message(number))
    if give_up is not None:
        await asyncio.sleep(give_up)
        call.cancel()
        tally.given_up += 1
        return
    try:
        answer = await call
    except grpc.aio.AioRpcError as error:
        code, words = error.code().name, error.details() or ""
        if code == "UNAVAILABLE" and ("shutting down" in words or "not to wait" in words):
            tally.refused["UNAVAILABLE"] += 1
        elif code == "RESOURCE_EXHAUSTED" or code == "DEADLINE_EXCEEDED":
            tally.refused[code] += 1
        elif instance.killed or (instance.ended and "connect" in words.lower()):
            raise NotTaken from error
        else:
            tally.lost.append(f"request {number}: {code} {words}")
        return
    _count(tally, requests.fault_grpc(number, answer), started)


def _count(tally: Tally, fault: str, started: float) -> None:
    if fault:
        tally.wrong.append(fault)
        return
    tally.right += 1
    tally.seconds.append(time.monotonic() - started)
