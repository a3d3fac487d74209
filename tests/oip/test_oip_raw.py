"""What no library sends: half requests, damaged heads, many requests at once, clients that go. By sockets."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest
from oip_server import Answers, Target, as_json


@pytest.fixture(autouse=True)
def still_right(target: Target, answers: Answers) -> Iterator[None]:
    """Whatever was sent, the next request has the right answer."""
    yield
    answers.check(target.infer(body(answers, 7)).arrays(), 7)


def body(answers: Answers, seed: int = 0, name: str = "") -> bytes:
    items = [as_json(*item) for item in answers.inputs(seed).items()]
    return json.dumps({"id": name or str(seed), "inputs": items}).encode()


def post(target: Target, content: bytes, *more: str) -> bytes:
    named = [f"{name}: {value}" for name, value in target.headers.items()]
    head = [f"POST {target.path}/infer HTTP/1.1", "host: x", f"content-length: {len(content)}", *named, *more]
    return "\r\n".join([*head, "", ""]).encode() + content


def statuses(answer: bytes) -> list[int]:
    """Of all answers in a row, whose bodies hold no such words."""
    return [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]]


def test_requests_in_a_row_are_answered_in_order(target: Target, answers: Answers) -> None:
    sent = b"".join(post(target, body(answers, seed, name=f"number {seed}")) for seed in range(4))
    got = target.raw(sent)
    assert statuses(got) == [200] * 4
    places = [got.index(f"number {seed}".encode()) for seed in range(4)]
    assert places == sorted(places)


def test_a_body_in_chunks(target: Target, answers: Answers) -> None:
    content = body(answers)
    named = "".join(f"{name}: {value}\r\n" for name, value in target.headers.items())
    head = f"POST {target.path}/infer HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n{named}\r\n".encode()
    parts = [content[at : at + 7] for at in range(0, len(content), 7)]
    got = target.raw(head + b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in [*parts, b""]))
    assert statuses(got) == [200]


def test_a_body_byte_by_byte(target: Target, answers: Answers) -> None:
    sent = post(target, body(answers))
    with socket.create_connection(target.address, 30) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(len(sent)):
            connection.sendall(sent[at : at + 1])
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "head",
    [
        b"\r\n\r\n\r\n",
        b"no request at all\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /v2 HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET /v2 HTTP/1.1\r\nhost: x\r\n: no name\r\n\r\n",
        b"POST /v2/models/x/infer HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"POST /v2/models/x/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 1e3\r\n\r\n",
        b"POST /v2/models/x/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nabcdef",
        b"POST /v2/models/x/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999999999999999\r\n\r\n",
        b"POST /v2/models/x/infer HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
        b"POST /v2/models/x/infer HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x00" * 4096,
    ],
    ids=lambda head: repr(head[-30:]),
)
def test_damaged_heads_are_refused_or_cut_off(target: Target, head: bytes) -> None:
    got = target.raw(head, close=True)
    assert all(400 <= status < 600 and status != 500 for status in statuses(got))


def test_two_lengths_are_not_two_requests(target: Target, answers: Answers) -> None:
    """A length and chunks in one head: whoever takes both lets the one behind it be read as a request."""
    hidden = b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\n\r\n"
    content = b"0\r\n\r\n" + hidden
    got = target.raw(post(target, content, "transfer-encoding: chunked"), close=True)
    assert all(status >= 400 for status in statuses(got)[:1]) and 200 not in statuses(got)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.99])
def test_a_client_that_goes_in_the_middle(target: Target, answers: Answers, part: float) -> None:
    sent = post(target, body(answers))
    for _ in range(20):
        with socket.create_connection(target.address, 30) as connection:
            connection.sendall(sent[: int(len(sent) * part)])


def test_a_client_that_goes_before_the_answer(target: Target, answers: Answers) -> None:
    sent = post(target, body(answers))
    for _ in range(50):
        with socket.create_connection(target.address, 30) as connection:
            connection.sendall(sent)


def test_long_heads_come_to_an_end(target: Target) -> None:
    got = target.raw(b"GET /v2 HTTP/1.1\r\n" + b"x: " + b"y" * 1_000_000 + b"\r\n\r\n", close=True)
    assert all(400 <= status < 500 for status in statuses(got))
