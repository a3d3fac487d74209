"""What stands before the calls over gRPC: who asks, whether he may, and a line of it in the audit log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import unquote

import grpc

from intarsia.serving.access import Access, needed_by_call
from intarsia.serving.audit import Audit
from intarsia.serving.refusal import Refusal

_KINDS = {
    (False, False): ("unary_unary", grpc.unary_unary_rpc_method_handler),
    (False, True): ("unary_stream", grpc.unary_stream_rpc_method_handler),
    (True, False): ("stream_unary", grpc.stream_unary_rpc_method_handler),
    (True, True): ("stream_stream", grpc.stream_stream_rpc_method_handler),
}


class GrpcGuard(grpc.ServerInterceptor):  # type: ignore[misc]  # grpc has no types
    """Calls are refused before anything of their messages is read."""

    def __init__(self, access: Access, audit: Audit | None) -> None:
        self._access, self._audit = access, audit

    def intercept_service(self, continuation: Callable[[Any], Any], details: Any) -> Any:
        """See grpc.ServerInterceptor."""
        handler = continuation(details)
        if handler is None:
            return None
        call = details.method.rpartition("/")[2]
        given = [value for name, value in details.invocation_metadata if name == "authorization"]
        needed, name = needed_by_call(call), None
        kind, make = _KINDS[handler.request_streaming, handler.response_streaming]
        behave, streams = getattr(handler, kind), handler.response_streaming
        try:
            token = self._access.check(given[0] if len(given) == 1 else None, needed)
            name = None if token is None else token.name
        except Refusal as error:
            # As a stream: else grpc would wait for the message before it calls this.
            behave, make, streams = _refusing(error), grpc.stream_unary_rpc_method_handler, False
        if self._audit is not None and needed:
            behave = _told(self._audit, call, name, behave, streams=streams)
        return make(behave, handler.request_deserializer, handler.response_serializer)


def _refusing(error: Refusal) -> Callable[[Any, Any], Any]:
    def refuse(message: Any, context: Any) -> Any:
        context.abort(getattr(grpc.StatusCode, error.outcome.code), error.what)

    return refuse


def _told(
    audit: Audit, call: str, name: str | None, behave: Callable[[Any, Any], Any], *, streams: bool
) -> Callable[[Any, Any], Any]:
    """What a handler does, with a line in the log when it has done it."""

    def tell(context: Any, started: float) -> None:
        code = context.code()
        audit.asked(
            "grpc",
            unquote(context.peer()),
            name,
            call,
            "OK" if code is None else code.name,
            time.monotonic() - started,
        )

    def once(message: Any, context: Any) -> Any:
        started = time.monotonic()
        try:
            return behave(message, context)
        finally:
            tell(context, started)

    def stream(message: Any, context: Any) -> Iterator[Any]:
        started = time.monotonic()
        try:
            yield from behave(message, context)
        finally:
            tell(context, started)

    return stream if streams else once
