"""The Open Inference Protocol v2 over gRPC: on threads, each of which waits for the answer to one request."""

from __future__ import annotations

import logging
import queue
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from intarsia.errors import RunError
from intarsia.serving.app import App, Limits, check_version
from intarsia.serving.batcher import Job, Result
from intarsia.serving.grpc_arrival import Arrival
from intarsia.serving.grpc_messages import CLASSES, SERVICE, answer, parameters, parse_request, reader
from intarsia.serving.metrics import Metrics, RequestMetrics
from intarsia.serving.model import ServedModel
from intarsia.serving.refusal import Outcome, Refusal
from intarsia.serving.requests import deadline_of, level_of
from intarsia.serving.tls import Tls
from intarsia.version import __version__

EXTENSIONS = ("parameters", "schedule_policy")

_log = logging.getLogger(__name__)


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
    ) -> None:
        self._app, self._limits = app, limits
        self._counted: dict[str, RequestMetrics] = {
            name: metrics.of_requests(name, model.version, "grpc") for name, model in app.models.items()
        }
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
        calls: dict[str, Callable[[Any], dict[str, Any]]] = {
            "ServerLive": lambda message: {"live": True},
            "ServerReady": lambda message: {"ready": self._app.ready},
            "ServerMetadata": lambda message: {
                "name": "intarsia",
                "version": __version__,
                "extensions": list(EXTENSIONS),
            },
            "ModelReady": lambda message: {
                "ready": self._model(message.name, message.version).batcher.ready and not self._app.draining
            },
            "ModelMetadata": lambda message: self._model(message.name, message.version).metadata,
        }
        handlers = {name: self._handler(name, _telling(name, tell)) for name, tell in calls.items()}
        handlers["ModelInfer"] = self._handler("ModelInfer", self._infer)
        return grpc.method_handlers_generic_handler(SERVICE, handlers)

    def _handler(self, name: str, call: Callable[[Any, Any], Any]) -> Any:
        return self._arrival.handler(call, reader(f"{name}Request"), CLASSES[f"{name}Response"].SerializeToString)

    def _model(self, name: str, version: str) -> ServedModel:
        model = self._app.model(name)
        if version:
            check_version(model, version)
        return model

    def _infer(self, message: Any, context: Any) -> Any:
        started = time.monotonic()
        counted = self._counted.get(message.model_name, self._others)
        outcome, answered = Outcome.FAILED, None
        refusal: Refusal
        try:
            model = self._model(message.model_name, message.model_version)
            arrays, wanted = parse_request(model, message)
            more = parameters(message)
            deadline = min(deadline_of(more, self._limits.seconds), _deadline(context))
            outputs = _run(
                model, Job(arrays, model.rows(arrays), lambda result: None, level_of(more), deadline), context
            )
            answered = answer(model, message, wanted, outputs)
            outcome = Outcome.OK
            return answered
        except Refusal as error:
            outcome, refusal = error.outcome, error
        except Exception:
            _log.exception("a request failed")
            refusal = Refusal(Outcome.FAILED, "a fault of the server; its log says more")
        finally:
            sent = 0 if answered is None else answered.ByteSize()
            counted.ended(outcome, time.monotonic() - started, message.ByteSize(), sent)
        return _abort(context, refusal)


def _run(model: ServedModel, job: Job, context: Any) -> Any:
    box: queue.SimpleQueue[Result] = queue.SimpleQueue()
    job.done = box.put
    if not context.add_callback(lambda: model.batcher.cancel(job)):
        raise Refusal(Outcome.CANCELLED, "the client has gone")
    model.batcher.submit(job)
    result = box.get()
    if isinstance(result, Refusal):
        raise result
    return result


def _deadline(context: Any) -> float:
    left: float | None = context.time_remaining()
    return float("inf") if left is None else time.monotonic() + left


def _telling(name: str, tell: Callable[[Any], dict[str, Any]]) -> Callable[[Any, Any], Any]:
    def told(message: Any, context: Any) -> Any:
        try:
            return CLASSES[f"{name}Response"](**tell(message))
        except Refusal as error:
            return _abort(context, error)

    return told


def _abort(context: Any, error: Refusal) -> Any:
    if error.retry_after is not None:
        context.set_trailing_metadata((("retry-after", str(error.retry_after)),))
    context.abort(getattr(grpc.StatusCode, error.outcome.code), error.what)
