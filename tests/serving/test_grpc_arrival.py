"""Calls over gRPC whose message never comes: they end, and others are served; without a token nobody is waited for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from served import served, small_artifact, wait_for

from intarsia.serving.tokens import Role, add_token

grpc = pytest.importorskip("grpc", reason="needs the extra serve")

from intarsia.serving.grpc_arrival import Arrival  # noqa: E402  # it needs grpc

METHOD = "/test.Service/Echo"


@pytest.fixture
def port() -> Iterator[int]:
    """A service of two threads that says what it is told, of which the word must come within half a second."""
    arrival = Arrival(0.5)
    echo = arrival.handler(lambda message, context: message, bytes, bytes)
    server = grpc.server(
        ThreadPoolExecutor(2),
        handlers=[grpc.method_handlers_generic_handler("test.Service", {"Echo": echo})],
        maximum_concurrent_rpcs=2,
    )
    number = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield number
    server.stop(0).wait()
    arrival.close()


class Silent:
    """Messages that never come, until the test ends."""

    def __init__(self) -> None:
        self.over = threading.Event()

    def __iter__(self) -> Iterator[bytes]:
        self.over.wait(30)
        return iter(())


def test_calls_that_never_say_anything_end(port: int) -> None:
    channel, silent = grpc.insecure_channel(f"127.0.0.1:{port}"), Silent()
    calls = [channel.stream_unary(METHOD).future(iter_of(silent), timeout=30) for _ in range(2)]
    for call in calls:
        assert call.code() is grpc.StatusCode.CANCELLED  # waits for its end
    wait_for(lambda: answer(channel) == b"a word")  # their threads are free a moment later
    silent.over.set()
    channel.close()


def answer(channel: Any) -> bytes | None:
    try:
        said: bytes = channel.unary_unary(METHOD)(b"a word", timeout=30)
    except grpc.RpcError:
        return None
    return said


def test_a_call_without_a_message_is_refused(port: int) -> None:
    channel = grpc.insecure_channel(f"127.0.0.1:{port}")
    with pytest.raises(grpc.RpcError) as refused:
        channel.stream_unary(METHOD)(iter(()), timeout=30)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT and "no message" in refused.value.details()
    assert channel.stream_unary(METHOD)(iter([b"a word"]), timeout=30) == b"a word"
    channel.close()


def test_bytes_that_are_no_message_are_refused_and_not_logged(tmp_path: Path) -> None:
    with served(str(small_artifact(tmp_path))) as running:
        channel = grpc.insecure_channel(f"127.0.0.1:{running.grpc_port}")
        with pytest.raises(grpc.RpcError) as refused:
            channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")(b"\xff" * 9, timeout=30)
        channel.close()
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert refused.value.details() == "the bytes of the message are no ModelInferRequest"
        assert running.stop() == (0, "")


def test_who_has_no_token_is_refused_before_his_message(tmp_path: Path) -> None:
    add_token(str(tmp_path / "tokens"), "alice", {Role.INFER})
    with served(str(small_artifact(tmp_path)), "--tokens", str(tmp_path / "tokens")) as running:
        channel, silent = grpc.insecure_channel(f"127.0.0.1:{running.grpc_port}"), Silent()
        call = channel.stream_unary("/inference.GRPCInferenceService/ModelInfer").future(iter_of(silent), timeout=20)
        assert call.code() is grpc.StatusCode.UNAUTHENTICATED
        silent.over.set()
        channel.close()


def iter_of(silent: Silent) -> Iterator[Any]:
    """Begins to wait when grpc asks for the first message, not here."""
    yield from silent
