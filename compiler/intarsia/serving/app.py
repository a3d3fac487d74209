"""The Open Inference Protocol v2 over HTTP as a plain ASGI application."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from intarsia.serving.batcher import Job, Result
from intarsia.serving.bodies import Bodies, Held, Limits, Message, Receive, discard
from intarsia.serving.classification import classified
from intarsia.serving.compression import compressed
from intarsia.serving.control import Control
from intarsia.serving.endpoint import Endpoint
from intarsia.serving.http_answers import Answer, refused
from intarsia.serving.metrics import Metrics
from intarsia.serving.refusal import Outcome, Refusal
from intarsia.serving.repository import Repository
from intarsia.serving.requests import deadline_of, level_of
from intarsia.serving.rest_messages import answer_parts, parse_request
from intarsia.serving.routes import Routes
from intarsia.serving.tensors import Data, ServedTensor

Send = Callable[[Message], Awaitable[None]]

GONE = "intarsia.gone"
"""Key of a scope's extensions: a list of functions that are called when the client goes, where the server has it."""

_log = logging.getLogger(__name__)


class App:
    """The application. Once it drains it says that it is not ready, and every answer closes its connection.

    repository  of models
    limits      what clients may ask for
    metrics     where requests are counted
    control     whether clients load and unload models
    """

    def __init__(
        self, repository: Repository, limits: Limits, metrics: Metrics, control: Control = Control.NONE
    ) -> None:
        self.repository = repository
        self.draining = False
        self.active = 0
        self._limits = limits
        self._bodies = Bodies(limits)
        self._routes = Routes(repository, metrics, control, self._bodies)
        self._others = metrics.of_requests("", "", "http")
        metrics.watch_ready(lambda: repository.ready)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(f"this application serves HTTP, not {scope['type']}")
        self.active += 1
        try:
            answer = await self._answer(scope, receive)
            if answer is not None:
                await self._send(answer, scope, receive, send)
        finally:
            self.active -= 1

    async def refuse(self, error: Refusal, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request that was refused before it came here."""
        self._others.ended(error.outcome, 0.0, 0, 0)
        await self._send(refused(error, unread=scope["method"] not in ("GET", "HEAD")), scope, receive, send)

    async def _answer(self, scope: Message, receive: Receive) -> Answer | None:
        path: str = scope["path"]
        try:
            if path.endswith("/infer") and scope["method"] == "POST":
                named = _model_of(path)
                if named is not None:
                    self.repository.find(*named)
                    return await self._infer(*named, scope, receive)
            return await self._routes.answer(scope, path, receive)
        except Refusal as error:
            if error.outcome is Outcome.CANCELLED:
                return None
            if path.endswith("/infer"):
                self._others.ended(error.outcome, 0.0, 0, 0)
            return refused(error, unread=scope["method"] not in ("GET", "HEAD"))

    async def _send(self, answer: Answer, scope: Message, receive: Receive, send: Send) -> None:
        body = b"".join(answer.parts)
        headers = [*answer.headers, (b"content-length", b"%d" % len(body))]
        if self.draining or answer.unread:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        if answer.unread and scope["method"] != "HEAD":
            # A connection that is closed before all was read takes the answer with it: its end is waited for a while.
            await send({"type": "http.response.body", "body": body, "more_body": True})
            await discard(receive)
            body = b""
        await send({"type": "http.response.body", "body": body})

    # ---- inference

    async def _infer(self, name: str, version: str, scope: Message, receive: Receive) -> Answer | None:
        held = Held(self._bodies)
        outcome, started, sent, unread = Outcome.FAILED, time.monotonic(), 0, True
        model: Endpoint | None = None
        try:
            headers = self._bodies.headers(scope)
            body = await held.read(receive, headers)
            unread = False
            started = time.monotonic()
            model = self.repository.take(name, version)
            arrays, wish = parse_request(model.inputs, model.outputs, body, headers.json_bytes, self._limits.json_bytes)
            rows = model.rows(arrays)
            deadline = deadline_of(wish.parameters, self._limits.seconds)
            outputs = await _run(model, arrays, rows, level_of(wish.parameters), deadline, scope, receive)
            tensors: Sequence[ServedTensor] = model.outputs
            if wish.classes:
                tensors, outputs = classified(tensors, outputs, wish.classes)
            head, binary = answer_parts(model.name, model.version, tensors, wish, outputs)
            answer = await _packed(head, binary, headers.answer)
            outcome, sent = Outcome.OK, sum(map(len, answer.parts))
            return answer
        except Refusal as error:
            outcome = error.outcome
            return None if outcome is Outcome.CANCELLED else refused(error, unread=unread)
        except asyncio.CancelledError:  # by the server, at the end of the time that was granted
            outcome = Outcome.DRAINING
            return refused(Refusal(outcome, "the server was told not to wait for this request", 1), unread=False)
        except Exception:
            _log.exception("a request failed")
            return refused(Refusal(Outcome.FAILED, "a fault of the server; its log says more"), unread=unread)
        finally:
            self._ended(model, name, version, outcome, time.monotonic() - started, held.bytes, sent)
            if model is not None:
                model.release()
            held.release()

    def _ended(
        self,
        model: Endpoint | None,
        name: str,
        version: str,
        outcome: Outcome,
        seconds: float,
        received_bytes: int,
        sent_bytes: int,
    ) -> None:
        if model is None:
            try:
                model = self.repository.find(name, version)
            except Refusal:
                self._others.ended(outcome, seconds, received_bytes, sent_bytes)
                return
        model.ended("http", outcome, seconds, received_bytes, sent_bytes)


def _model_of(path: str) -> tuple[str, str] | None:
    """Name and version, "" for the usual one, of a path for inference; None for any other path."""
    match path.split("/"):
        case ["", "v2", "models", name, "infer"]:
            return name, ""
        case ["", "v2", "models", name, "versions", version, "infer"]:
            return name, version
    return None


async def _packed(head: bytes, binary: list[Data], encoding: str) -> Answer:
    parts: list[Data] = [head, *binary]
    headers = [(b"content-type", b"application/octet-stream" if binary else b"application/json")]
    if binary:
        headers.append((b"inference-header-content-length", b"%d" % len(head)))
    if encoding:
        packed = await asyncio.get_running_loop().run_in_executor(None, compressed, parts, encoding)
        if packed is not None:
            return Answer(200, [packed], *headers, (b"content-encoding", encoding.encode()))
    return Answer(200, parts, *headers)


async def _run(
    model: Endpoint, arrays: list[Any], rows: int, level: int, deadline: float, scope: Message, receive: Receive
) -> Any:
    """The outputs, from the batcher's threads. A client that goes meanwhile takes its request along."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Result] = loop.create_future()

    def settle(result: Result) -> None:
        if not future.done():
            future.set_result(result)

    def done(result: Result) -> None:
        try:
            loop.call_soon_threadsafe(settle, result)
        except RuntimeError:  # the loop was closed: the server was told not to wait
            _log.debug("an answer came after the end")

    job = Job(arrays, rows, done, level, deadline)
    model.submit(job)

    def gone() -> None:
        model.cancel(job)

    told: list[Callable[[], None]] | None = scope.get("extensions", {}).get(GONE)
    watcher = None
    if told is None:
        watcher = loop.create_task(_watch(receive, gone))
    else:
        told.append(gone)
    try:
        result = await future
    except asyncio.CancelledError:
        gone()
        raise
    finally:
        if told is not None:
            told.remove(gone)
        if watcher is not None:
            watcher.cancel()
    if isinstance(result, Refusal):
        raise result
    return result


async def _watch(receive: Receive, gone: Callable[[], None]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    gone()
