"""A connection over HTTP that no client can hold for long: uvicorn's, with limits in time, size and number."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from intarsia.serving.app import GONE


@dataclass(frozen=True)
class ConnectionLimits:
    """connections     at a time; further ones are answered 503 and closed
    head_bytes       of the first line and the headers of a request
    receive_seconds  from the first byte of a request to its last, and from a connection to its first
    send_seconds     that an answer may stand still because its reader does
    """

    connections: int = 1024
    head_bytes: int = 32 << 10
    receive_seconds: float = 30.0
    send_seconds: float = 30.0


def protocol(limits: ConnectionLimits) -> type[asyncio.Protocol]:
    """The class of connections with these limits, as `uvicorn.Config(http=...)` takes it."""

    class Limited(Connection):
        _limits = limits

    return Limited


class Connection(HttpToolsProtocol):
    """One connection. It tells the application when its client goes: see `intarsia.serving.app.GONE`."""

    _limits = ConnectionLimits()

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._gone: list[Callable[[], None]] = []
        self._receiving = self._in_head = False
        self._head_bytes = 0
        self._receive_timer: asyncio.TimerHandle | None = None
        self._send_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if len(self.connections) > self._limits.connections:
            self._refuse(
                b"503 Service Unavailable", b'{"error":"there are too many connections"}', b"retry-after: 1\r\n"
            )
            return
        self._receive_timer = self.loop.call_later(self._limits.receive_seconds, self._too_slow)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        if self._in_head:
            self._head_bytes += len(data)
        else:
            self._head_bytes = len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > self._limits.head_bytes:
            self._refuse(b"431 Request Header Fields Too Large", b'{"error":"the headers are too long"}')
        elif self._receiving and self._receive_timer is None:
            self._receive_timer = self.loop.call_later(self._limits.receive_seconds, self._too_slow)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._receiving = self._in_head = True
        self._unset_receive_timer()
        scope: Any = self.scope
        scope["extensions"] = {GONE: self._gone}

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._receiving = False
        self._unset_receive_timer()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._send_timer is None:
            self._send_timer = self.loop.call_later(self._limits.send_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._send_timer is not None:
            self._send_timer.cancel()
            self._send_timer = None

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._unset_receive_timer()
        if self._send_timer is not None:
            self._send_timer.cancel()
            self._send_timer = None
        self._unset_keepalive_if_required()  # uvicorn leaves it running after a reset
        for tell in tuple(self._gone):
            tell()

    def _unset_receive_timer(self) -> None:
        if self._receive_timer is not None:
            self._receive_timer.cancel()
            self._receive_timer = None

    def _too_slow(self) -> None:
        self._receive_timer = None
        if self._receiving and (self.cycle is None or self.cycle.response_complete or not self.cycle.response_started):
            self._refuse(b"408 Request Timeout", b'{"error":"the request took too long to arrive"}')
        else:
            self.transport.close()

    def _refuse(self, status: bytes, body: bytes, more: bytes = b"") -> None:
        """Answer without the application, and close."""
        if self.cycle is not None and not self.cycle.response_complete and self.cycle.response_started:
            self.transport.abort()  # an answer is half written: nothing can follow it
            return
        head = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\n%bconnection: close\r\ncontent-length: %d\r\n\r\n"
        self.transport.write(head % (status, more, len(body)) + body)
        self.transport.close()
