"""The Open Inference Protocol v2 over HTTP as a plain ASGI application."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from intarsia.serving import metrics as metrics_text
from intarsia.serving.batcher import Job, Result
from intarsia.serving.metrics import Metrics, RequestMetrics
from intarsia.serving.model import ServedModel
from intarsia.serving.refusal import Outcome, Refusal, invalid, quoted
from intarsia.serving.requests import deadline_of, level_of
from intarsia.serving.rest_messages import answer_parts, parse_request, to_json
from intarsia.serving.tensors import Data
from intarsia.version import __version__

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

EXTENSIONS = ("binary_tensor_data", "parameters", "schedule_policy", "model_configuration")
"""Of the protocol, by the names that Triton gave them."""

GONE = "intarsia.gone"
"""Key of a scope's extensions: a list of functions that are called when the client goes, where the server has it."""

_DOCUMENT = Path(__file__).with_name("openapi.json")
_LINGER_SECONDS = 2.0
_JSON = (b"content-type", b"application/json")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """What clients may ask for.

    body_bytes    of one request
    json_bytes    of it that may be JSON, which is read while nothing else is served
    held_bytes    of the bodies of all requests at a time
    seconds       for a request that names no time; None for no limit
    """

    body_bytes: int = 64 << 20
    json_bytes: int = 16 << 20
    held_bytes: int = 1 << 30
    seconds: float | None = None


class Answer:
    """Status, headers, and the parts that are the body."""

    __slots__ = ("headers", "parts", "status", "unread")

    def __init__(self, status: int, parts: list[Data], *headers: tuple[bytes, bytes], unread: bool = False) -> None:
        self.status = status
        self.parts = parts
        self.headers = headers
        self.unread = unread  # whether the body of the request may still be on its way


class App:
    """The application. Once it drains it says that it is not ready, and every answer closes its connection.

    models   by name
    limits   what clients may ask for
    metrics  where requests are counted
    """

    def __init__(self, models: Mapping[str, ServedModel], limits: Limits, metrics: Metrics) -> None:
        self.models = models
        self.draining = False
        self.active = 0
        self._limits = limits
        self._metrics = metrics
        self._held_bytes = 0
        self._infer_paths: dict[str, tuple[ServedModel, RequestMetrics]] = {}
        for name, model in models.items():
            counted = metrics.of_requests(name, model.version, "http")
            for path in (f"/v2/models/{name}", f"/v2/models/{name}/versions/{model.version}"):
                self._infer_paths[f"{path}/infer"] = model, counted
        self._others = metrics.of_requests("", "", "http")
        metrics.watch_ready(lambda: self.ready)

    @property
    def ready(self) -> bool:
        """Whether every model takes requests."""
        return not self.draining and all(model.batcher.ready for model in self.models.values())

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
        await self._send(_refused(error, unread=scope["method"] not in ("GET", "HEAD")), scope, receive, send)

    async def _answer(self, scope: Message, receive: Receive) -> Answer | None:
        path: str = scope["path"]
        try:
            found = self._infer_paths.get(path)
            if found is not None and scope["method"] == "POST":
                return await self._infer(*found, scope, receive)
            return self._look(scope["method"], path)
        except Refusal as error:
            if path.endswith("/infer"):
                self._others.ended(error.outcome, 0.0, 0, 0)
            return _refused(error, unread=scope["method"] not in ("GET", "HEAD"))

    async def _send(self, answer: Answer, scope: Message, receive: Receive, send: Send) -> None:
        body = b"".join(answer.parts)
        headers = [*answer.headers, (b"content-length", b"%d" % len(body))]
        if self.draining or answer.unread:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        if answer.unread and scope["method"] != "HEAD":
            # A connection that is closed before all was read takes the answer with it: its end is waited for a while.
            await send({"type": "http.response.body", "body": body, "more_body": True})
            await _discard(receive)
            body = b""
        await send({"type": "http.response.body", "body": body})

    # ---- inference

    async def _infer(
        self, model: ServedModel, counted: RequestMetrics, scope: Message, receive: Receive
    ) -> Answer | None:
        held = _Held(self)
        outcome, started, sent, unread = Outcome.FAILED, time.monotonic(), 0, True
        try:
            json_bytes, length = self._lengths(scope)
            body = await held.read(receive, length)
            unread = False
            started = time.monotonic()
            arrays, wish = parse_request(model.inputs, model.outputs, body, json_bytes, self._limits.json_bytes)
            rows = model.rows(arrays)
            deadline = deadline_of(wish.parameters, self._limits.seconds)
            outputs = await _run(model, arrays, rows, level_of(wish.parameters), deadline, scope, receive)
            head, binary = answer_parts(model.name, model.version, model.outputs, wish, outputs)
            outcome, sent = Outcome.OK, len(head) + sum(map(len, binary))
            if not binary:
                return Answer(200, [head], _JSON)
            octets = (b"content-type", b"application/octet-stream")
            return Answer(200, [head, *binary], octets, (b"inference-header-content-length", b"%d" % len(head)))
        except Refusal as error:
            outcome = error.outcome
            return None if outcome is Outcome.CANCELLED else _refused(error, unread=unread)
        except asyncio.CancelledError:  # by the server, at the end of the time that was granted
            outcome = Outcome.DRAINING
            return _refused(Refusal(outcome, "the server was told not to wait for this request", 1), unread=False)
        except Exception:
            _log.exception("a request failed")
            return _refused(Refusal(Outcome.FAILED, "a fault of the server; its log says more"), unread=unread)
        finally:
            counted.ended(outcome, time.monotonic() - started, held.bytes, sent)
            held.release()

    def _lengths(self, scope: Message) -> tuple[int | None, int | None]:
        """Bytes of the JSON and of the whole body, as far as the headers say; a Refusal for what is not taken."""
        json_bytes = length = None
        for name, value in scope["headers"]:
            if name == b"content-length":
                length = _whole(name, value)
                self._check_length(length)
            elif name == b"inference-header-content-length":
                json_bytes = _whole(name, value)
            elif name == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
                raise Refusal(Outcome.ENCODED, "compressed bodies are not taken; send the body as it is")
        return json_bytes, length

    def _check_length(self, length: int) -> None:
        if length > self._limits.body_bytes:
            raise Refusal(Outcome.TOO_LARGE, f"the body is larger than {self._limits.body_bytes} bytes")

    def hold(self, count: int) -> None:
        """So many more bytes of bodies are kept; a Refusal where that is too many."""
        if self._held_bytes + count > self._limits.held_bytes:
            raise Refusal(Outcome.BUSY, "the requests of others take all the memory that there is for them", 1)
        self._held_bytes += count

    def let_go(self, count: int) -> None:
        """So many bytes are kept no more."""
        self._held_bytes -= count

    def check_read(self, count: int) -> None:
        """A Refusal for a body that is longer than is taken, though no header said so."""
        self._check_length(count)

    # ---- all else

    def _look(self, method: str, path: str) -> Answer:
        parts = path.strip("/").split("/")
        if path in self._infer_paths:
            raise Refusal(Outcome.METHOD, "inference requests are sent by POST", allow="POST")
        answer = self._found(parts, path)
        if method not in ("GET", "HEAD"):
            raise Refusal(Outcome.METHOD, f"this is asked for by GET, not by {quoted(method)}", allow="GET, HEAD")
        return answer

    def _found(self, parts: list[str], path: str) -> Answer:
        match parts:
            case ["metrics"]:
                return Answer(200, [self._metrics.text()], (b"content-type", metrics_text.CONTENT_TYPE.encode()))
            case ["v2"]:
                return _told({"name": "intarsia", "version": __version__, "extensions": list(EXTENSIONS)})
            case ["v2", "openapi.json"]:
                return Answer(200, [_DOCUMENT.read_bytes()], _JSON)
            case ["v2", "health", "live"]:
                return _told({"live": True})
            case ["v2", "health", "ready"]:
                return _told({"ready": self.ready}, 200 if self.ready else 503)
            case ["v2", "models", name, *rest]:
                return self._of_model(self.model(name), rest, path)
        raise Refusal(Outcome.UNKNOWN, f"nothing is at {quoted(path)}")

    def _of_model(self, model: ServedModel, rest: list[str], path: str) -> Answer:
        if rest[:1] == ["versions"] and len(rest) > 1:
            check_version(model, rest[1])
            rest = rest[2:]
        match rest:
            case []:
                return _told(model.metadata)
            case ["ready"]:
                ready = model.batcher.ready and not self.draining
                return _told({"name": model.name, "ready": ready}, 200 if ready else 503)
            case ["config"]:
                return _told(model.config)
        raise Refusal(Outcome.UNKNOWN, f"nothing is at {quoted(path)}")

    def model(self, name: str) -> ServedModel:
        """The model of that name; a Refusal where there is none."""
        return model_of(self.models, name)


def model_of(models: Mapping[str, ServedModel], name: str) -> ServedModel:
    """The model of that name; a Refusal where there is none."""
    model = models.get(name)
    if model is None:
        raise Refusal(Outcome.UNKNOWN, f"no model is called {quoted(name)}")
    return model


def check_version(model: ServedModel, version: str) -> None:
    """A Refusal for any version but the one that there is."""
    if version != model.version:
        raise Refusal(Outcome.UNKNOWN, f"model '{model.name}' has no version {quoted(version)}, it has {model.version}")


class _Held:
    """The body of one request, and the account that is kept of it."""

    __slots__ = ("_app", "bytes")

    def __init__(self, app: App) -> None:
        self._app = app
        self.bytes = 0

    async def read(self, receive: Receive, length: int | None) -> bytes:
        """The whole body. Room for a length that a header gives is taken before anything of it is read."""
        if length is not None:
            self._take(length)
        parts: list[bytes] = []
        count = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Refusal(Outcome.CANCELLED, "the client has gone")
            part: bytes = message.get("body", b"")
            count += len(part)
            if count > self.bytes:
                self._app.check_read(count)
                self._take(count - self.bytes)
            parts.append(part)
            if not message.get("more_body", False):
                return parts[0] if len(parts) == 1 else b"".join(parts)

    def _take(self, count: int) -> None:
        self._app.hold(count)
        self.bytes += count

    def release(self) -> None:
        """The request is over."""
        self._app.let_go(self.bytes)


async def _run(
    model: ServedModel, arrays: list[Any], rows: int, level: int, deadline: float, scope: Message, receive: Receive
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
    model.batcher.submit(job)

    def gone() -> None:
        model.batcher.cancel(job)

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


async def _discard(receive: Receive) -> None:
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


def _told(data: Any, status: int = 200) -> Answer:
    return Answer(status, [to_json(data)], _JSON)


def _refused(error: Refusal, *, unread: bool) -> Answer:
    headers = [_JSON]
    if error.retry_after is not None:
        headers.append((b"retry-after", b"%d" % error.retry_after))
    if error.outcome is Outcome.UNAUTHENTICATED:
        headers.append((b"www-authenticate", b"Bearer"))
    if error.allow:
        headers.append((b"allow", error.allow.encode()))
    return Answer(error.outcome.status, [to_json({"error": error.what})], *headers, unread=unread)
