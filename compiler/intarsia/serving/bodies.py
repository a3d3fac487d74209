"""Bodies of requests over HTTP: read whole, within limits, and with an account of what is kept of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from intarsia.serving.compression import decompressed, encoding_of, wished
from intarsia.serving.refusal import Outcome, Refusal, invalid

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]

_LINGER_SECONDS = 2.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """What clients may ask for.

    body_bytes    of one request, and of what it holds where it is compressed
    json_bytes    of it that may be JSON, which is read while nothing else is served
    held_bytes    of the bodies of all requests at a time
    seconds       for a request that names no time; None for no limit
    """

    body_bytes: int = 64 << 20
    json_bytes: int = 16 << 20
    held_bytes: int = 1 << 30
    seconds: float | None = None


@dataclass(frozen=True)
class BodyHeaders:
    """What headers say of a body.

    json_bytes  of it that are JSON, None for all
    length      of it as it is sent, None where no header says so
    encoding    how it is compressed, "" for not at all
    answer      how its answer may be compressed, "" for not at all
    """

    json_bytes: int | None
    length: int | None
    encoding: str
    answer: str


class Bodies:
    """The account of all bodies that are kept."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._held_bytes = 0

    def headers(self, scope: Message) -> BodyHeaders:
        """What the headers say; a Refusal for what is not taken."""
        json_bytes = length = None
        encoding = answer = ""
        for name, value in scope["headers"]:
            if name == b"content-length":
                length = _whole(name, value)
                self.check(length)
            elif name == b"inference-header-content-length":
                json_bytes = _whole(name, value)
            elif name == b"content-encoding":
                encoding = encoding_of(value)
            elif name == b"accept-encoding":
                answer = wished(value)
        return BodyHeaders(json_bytes, length, encoding, answer)

    def check(self, length: int) -> None:
        """A Refusal for a body that is too long."""
        if length > self._limits.body_bytes:
            raise Refusal(Outcome.TOO_LARGE, f"the body is larger than {self._limits.body_bytes} bytes")

    def hold(self, count: int) -> None:
        """So many more bytes are kept; a Refusal where that is too many."""
        if self._held_bytes + count > self._limits.held_bytes:
            raise Refusal(Outcome.BUSY, "the requests of others take all the memory that there is for them", 1)
        self._held_bytes += count

    def let_go(self, count: int) -> None:
        """So many bytes are kept no more."""
        self._held_bytes -= count

    @property
    def most_bytes(self) -> int:
        """Of one body."""
        return self._limits.body_bytes


class Held:
    """The body of one request."""

    __slots__ = ("_bodies", "bytes")

    def __init__(self, bodies: Bodies) -> None:
        self._bodies = bodies
        self.bytes = 0

    async def read(self, receive: Receive, headers: BodyHeaders) -> bytes:
        """The whole body. Room for a length that a header gives is taken before anything of it is read."""
        if headers.length is not None:
            self._take(headers.length)
        parts: list[bytes] = []
        count = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Refusal(Outcome.CANCELLED, "the client has gone")
            part: bytes = message.get("body", b"")
            count += len(part)
            if count > self.bytes:
                self._bodies.check(count)
                self._take(count - self.bytes)
            parts.append(part)
            if not message.get("more_body", False):
                break
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        if not headers.encoding:
            return body
        # Aside, since little may become much.
        unpack = asyncio.get_running_loop().run_in_executor
        text = await unpack(None, decompressed, body, headers.encoding, self._bodies.most_bytes)
        self._take(len(text))
        return text

    def _take(self, count: int) -> None:
        self._bodies.hold(count)
        self.bytes += count

    def release(self) -> None:
        """The request is over."""
        self._bodies.let_go(self.bytes)


async def discard(receive: Receive) -> None:
    """Read what is left of a body that nobody wants, for a short while."""

    async def read() -> None:
        while True:
            message = await receive()
            if message["type"] == "http.disconnect" or not message.get("more_body", False):
                return

    try:
        await asyncio.wait_for(read(), _LINGER_SECONDS)
    except asyncio.TimeoutError:
        _log.debug("a refused body is longer than is waited for")


def _whole(name: bytes, value: bytes) -> int:
    if not value.isdigit() or len(value) > 18:
        raise invalid(f"the header {name.decode('latin-1')} is no whole number")
    return int(value)
