"""The Open Inference Protocol v2 over gRPC: on threads, each of which waits for the answer to one request."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from google.protobuf.json_format import ParseDict

from intarsia.errors import RunError
from intarsia.serving.app import App
from intarsia.serving.bodies import Limits
from intarsia.serving.control import CLIENT, Control, load, unload
from intarsia.serving.grpc_arrival import Arrival
from intarsia.serving.grpc_call import Call, stream
from intarsia.serving.grpc_messages import CLASSES, SERVICE, parameters, reader
from intarsia.serving.grpc_table import DATA_TYPES
from intarsia.serving.metrics import Metrics
from intarsia.serving.refusal import Outcome, Refusal
from intarsia.serving.requests import deadline_of
from intarsia.serving.tls import Tls
from intarsia.version import __version__

EXTENSIONS = (
    "classification",
    "parameters",
    "schedule_policy",
    "model_configuration",
    "model_repository",
    "statistics",
)


class GrpcService:
    """The service and its port.

    app       whose models are served, and who knows whether they are
    host      address that it listens on
    port      0 for any that is free
    guard     an interceptor that says which calls may come here; None for all
    tls       the certificate to show; None to speak without
    requests  at a time; further ones are refused as RESOURCE_EXHAUSTED
    arrival_seconds
              in which the message of a call must arrive
    control   whether clients load and unload models

    Raises RunError where the port cannot be had.
    """

    def __init__(
        self,
        app: App,
        metrics: Metrics,
        limits: Limits,
        host: str,
        port: int,
        *,
        guard: Any = None,
        tls: Tls | None = None,
        requests: int = 256,
        arrival_seconds: float = 30.0,
        control: Control = Control.NONE,
    ) -> None:
        self._repository, self._limits = app.repository, limits
        self._control = control
        self._streams = threading.BoundedSemaphore(max(1, requests // 4))
        self._others = metrics.of_requests("", "", "grpc")
        self._arrival = Arrival(arrival_seconds)
        self._server = grpc.server(
            ThreadPoolExecutor(requests, "intarsia-grpc"),
            handlers=[self._handlers()],
            interceptors=[] if guard is None else [guard],
            options=[
                ("grpc.max_receive_message_length", limits.body_bytes),
                ("grpc.max_send_message_length", -1),
                ("grpc.so_reuseport", 0),
                ("grpc.max_metadata_size", 32 << 10),
                ("grpc.max_concurrent_streams", requests),  # of one connection
                ("grpc.keepalive_time_ms", 60_000),  # who has gone without a word is cut off
            ],
            maximum_concurrent_rpcs=requests,
        )
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            if tls is None:
                self.port: int = self._server.add_insecure_port(address)
            else:
                shown = grpc.ssl_server_credentials([(tls.key, tls.certificate)])
                self.port = self._server.add_secure_port(address, shown)
        except RuntimeError as error:
            self.port = 0
            cause: Exception | None = error
        else:
            cause = None
        if not self.port:
            raise RunError(
                where=f"gRPC on {address}", what="the address cannot be listened on", help="give another --grpc-port"
            ) from cause

    def start(self) -> None:
        """Listen."""
        self._server.start()

    def stop(self, seconds: float) -> None:
        """Take no more calls, and wait for those that there are; after so many seconds they are cut off."""
        self._server.stop(seconds).wait()
        self._arrival.close()

    def _handlers(self) -> Any:
        handlers = {name: self._handler(name, _telling(name, tell)) for name, tell in self._looks().items()}
        handlers["ModelInfer"] = self._handler("ModelInfer", self._infer)
        handlers["ModelStreamInfer"] = grpc.stream_stream_rpc_method_handler(
            self._stream,
            request_deserializer=CLASSES["ModelInferRequest"].FromString,
            response_serializer=CLASSES["ModelStreamInferResponse"].SerializeToString,
        )
        return grpc.method_handlers_generic_handler(SERVICE, handlers)

    def _looks(self) -> dict[str, Callable[[Any, Any], dict[str, Any]]]:
        there = self._repository

        def change(act: Callable[..., None]) -> Callable[[Any, Any], dict[str, Any]]:
            def changed(message: Any, context: Any) -> dict[str, Any]:
                client = next((str(value) for key, value in context.invocation_metadata() if key == CLIENT), "")
                act(there, self._control, message.model_name, client, parameters(message))
                return {}

            return changed

        return {
            "ServerLive": lambda message, context: {"live": True},
            "ServerReady": lambda message, context: {"ready": there.ready},
            "ServerMetadata": lambda message, context: {
                "name": "intarsia",
                "version": __version__,
                "extensions": list(EXTENSIONS),
            },
            "ModelReady": lambda message, context: {"ready": there.is_ready(message.name, message.version)},
            "ModelMetadata": lambda message, context: there.metadata(message.name, message.version),
            "ModelConfig": lambda message, context: {
                "config": _config(there.find(message.name, message.version).config)
            },
            "ModelStatistics": lambda message, context: {
                "model_stats": there.statistics(message.name, message.version)
            },
            "RepositoryIndex": lambda message, context: {"models": there.index(message.ready)},
            "RepositoryModelLoad": change(load),
            "RepositoryModelUnload": change(unload),
        }

    def _handler(self, name: str, call: Callable[[Any, Any], Any]) -> Any:
        return self._arrival.handler(call, reader(f"{name}Request"), CLASSES[f"{name}Response"].SerializeToString)

    # ---- inference

    def _infer(self, message: Any, context: Any) -> Any:
        call = Call(self._repository, self._others, message)
        if not context.add_callback(call.cancel):
            _abort(context, Refusal(Outcome.CANCELLED, "the client has gone"))
        try:
            deadline = min(deadline_of(parameters(message), self._limits.seconds), _deadline(context))
        except Refusal as error:
            call.refuse(error)
        else:
            call.begin(deadline)
        try:
            return call.answer()
        except Refusal as error:
            return _abort(context, error)

    def _stream(self, messages: Any, context: Any) -> Iterator[Any]:
        if not self._streams.acquire(blocking=False):
            _abort(context, Refusal(Outcome.FULL, "there are too many streams", 1))
        try:
            yield from stream(self._repository, self._others, self._limits.seconds, messages, context)
        finally:
            self._streams.release()


def _deadline(context: Any) -> float:
    left: float | None = context.time_remaining()
    return float("inf") if left is None else time.monotonic() + left


def _telling(name: str, tell: Callable[[Any, Any], dict[str, Any]]) -> Callable[[Any, Any], Any]:
    def told(message: Any, context: Any) -> Any:
        try:
            return ParseDict(tell(message, context), CLASSES[f"{name}Response"]())
        except Refusal as error:
            return _abort(context, error)

    return told


def _config(config: Mapping[str, Any]) -> dict[str, Any]:
    """As the message has it: element types by number."""
    numbered = {
        kind: [{**item, "data_type": DATA_TYPES[item["data_type"]]} for item in config[kind]]
        for kind in ("input", "output")
    }
    return {**config, **numbered}


def _abort(context: Any, error: Refusal) -> Any:
    if error.retry_after is not None:
        context.set_trailing_metadata((("retry-after", str(error.retry_after)),))
    context.abort(getattr(grpc.StatusCode, error.outcome.code), error.what)
