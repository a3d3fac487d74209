"""One inference over gRPC, alone or in a stream."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

from intarsia.serving.batcher import Job, Result
from intarsia.serving.classification import classified
from intarsia.serving.endpoint import Endpoint
from intarsia.serving.grpc_messages import CLASSES, answer, parameters, parse_request
from intarsia.serving.metrics import RequestMetrics
from intarsia.serving.refusal import Outcome, Refusal
from intarsia.serving.repository import Repository
from intarsia.serving.requests import deadline_of, level_of
from intarsia.serving.tensors import ServedTensor

_AHEAD = 32
"""Requests of one stream that are under way at a time."""

_log = logging.getLogger(__name__)


class Call:
    """One request: begun on one thread, answered on another where it is of a stream.

    others  where requests to models that there are not are counted
    """

    def __init__(self, repository: Repository, others: RequestMetrics, message: Any) -> None:
        self._repository, self._others, self._message = repository, others, message
        self._started = time.monotonic()
        self._results: queue.SimpleQueue[Result] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._model: Endpoint | None = None
        self._job: Job | None = None
        self._gone = False
        self._wanted: Sequence[bool] = ()
        self._classes: dict[str, int] = {}

    def begin(self, deadline: float) -> None:
        """Submit it; what is wrong with it is told by `answer`."""
        message = self._message
        try:
            model = self._model = self._repository.take(message.model_name, message.model_version)
            arrays, self._wanted, self._classes = parse_request(model, message)
            job = Job(arrays, model.rows(arrays), self._results.put, level_of(parameters(message)), deadline)
            with self._lock:
                self._job = job
                if self._gone:
                    raise Refusal(Outcome.CANCELLED, "the client has gone")
            model.submit(job)
        except Refusal as error:
            self._results.put(error)
        except Exception:
            _log.exception("a request failed")
            self._results.put(Refusal(Outcome.FAILED, "a fault of the server; its log says more"))

    def refuse(self, error: Refusal) -> None:
        """It is not begun at all."""
        self._results.put(error)

    def cancel(self) -> None:
        """The client has gone, or the call is over."""
        with self._lock:
            self._gone = True
            job, model = self._job, self._model
        if job is not None and model is not None:
            model.cancel(job)

    def answer(self) -> Any:
        """The ModelInferResponse, when it is there; a Refusal where there is none. Called once."""
        outcome, answered = Outcome.FAILED, None
        model, message = self._model, self._message
        try:
            result = self._results.get()
            model = self._model
            if isinstance(result, Refusal):
                raise result
            assert model is not None
            tensors: Sequence[ServedTensor] = model.outputs
            if self._classes:
                tensors, result = classified(tensors, result, self._classes)
            answered = answer(model, message, tensors, self._wanted, result)
            outcome = Outcome.OK
            return answered
        except Refusal as error:
            outcome = error.outcome
            raise
        except Exception:
            _log.exception("a request failed")
            raise Refusal(outcome, "a fault of the server; its log says more") from None
        finally:
            figures = (
                time.monotonic() - self._started,
                message.ByteSize(),
                0 if answered is None else answered.ByteSize(),
            )
            if model is None:
                self._others.ended(outcome, *figures)
            else:
                model.ended("grpc", outcome, *figures)
                model.release()


def stream(
    repository: Repository, others: RequestMetrics, usual_seconds: float | None, messages: Iterator[Any], context: Any
) -> Iterator[Any]:
    """The answers to a stream of requests, in their order; what is refused is told in its place, and the rest goes on.

    Requests are read ahead, so that they fill batches as those of several clients do.
    """
    calls: queue.Queue[tuple[Call, Any] | None] = queue.Queue(_AHEAD)
    under_way: set[Call] = set()
    lock = threading.Lock()
    gone = threading.Event()

    def read() -> None:
        try:
            for message in messages:
                call = Call(repository, others, message)
                with lock:
                    under_way.add(call)
                if gone.is_set():
                    call.cancel()
                try:
                    call.begin(deadline_of(parameters(message), usual_seconds))
                except Refusal as error:
                    call.refuse(error)
                calls.put((call, message))
        except Exception:
            _log.debug("a stream broke off")  # its client has gone
        finally:
            calls.put(None)

    def cancel() -> None:
        gone.set()
        with lock:
            left = list(under_way)
        for call in left:
            call.cancel()

    context.add_callback(cancel)
    threading.Thread(target=read, name="intarsia-stream", daemon=True).start()
    ended = False
    try:
        while True:
            item = calls.get()
            if item is None:
                ended = True
                return
            call, message = item
            made = CLASSES["ModelStreamInferResponse"]()
            try:
                made.infer_response.CopyFrom(call.answer())
                made.infer_response.parameters["triton_final_response"].bool_param = True
            except Refusal as error:
                made.error_message = error.what
                made.infer_response.model_name, made.infer_response.id = message.model_name, message.id
            with lock:
                under_way.discard(call)
            yield made
    finally:
        cancel()
        if not ended:
            threading.Thread(target=_finish, args=(calls,), name="intarsia-stream-end", daemon=True).start()


def _finish(calls: queue.Queue[tuple[Call, Any] | None]) -> None:
    """What was read and is wanted no more: every request comes to its end, and lets go of its model."""
    while (item := calls.get()) is not None:
        try:
            item[0].answer()
        except Refusal as error:
            _log.debug("a request of a stream that ended: %s", error.what)
