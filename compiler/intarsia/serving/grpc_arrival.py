"""A limit to how long the message of a call over gRPC may take to arrive.

Grpc gives each call a thread that waits for its message. As many calls as there are threads, none of which ever sends
one, would be the end of the service.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc

from intarsia.serving.refusal import Refusal


class Arrival:
    """Calls whose message has not arrived after so many seconds are cancelled. Close it when the service has ended."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._waiting: dict[int, tuple[float, Any]] = {}
        self._closed = threading.Event()
        threading.Thread(target=self._watch, name="intarsia-arrival", daemon=True).start()

    def close(self) -> None:
        """Watch no more."""
        self._closed.set()

    def handler(
        self, behave: Callable[[Any, Any], Any], read: Callable[[bytes], Any], write: Callable[[Any], bytes]
    ) -> Any:
        """The handler of a method of one message and one answer, as `grpc.unary_unary_rpc_method_handler` makes it.

        read  makes the message of its bytes; its Refusal ends the call. Grpc itself would log what a client sent
        """
        waiting, now = self._waiting, time.monotonic

        # One message and a stream of one are the same bytes, but of a stream the wait for it is ours.
        def arrive(messages: Iterator[bytes], context: Any) -> Any:
            waiting[id(context)] = now(), context
            try:
                message = next(messages, None)
            finally:
                del waiting[id(context)]
            if message is None:
                return context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the call has no message")
            try:
                asked = read(message)
            except Refusal as error:
                return context.abort(getattr(grpc.StatusCode, error.outcome.code), error.what)
            return behave(asked, context)

        return grpc.stream_unary_rpc_method_handler(arrive, None, write)

    def _watch(self) -> None:
        while not self._closed.wait(min(1.0, self._seconds / 4)):
            end = time.monotonic() - self._seconds
            for since, context in list(self._waiting.values()):
                if since < end:
                    context.cancel()
