"""What is asked over HTTP beside inference: what there is, how it does, and which models are loaded."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from intarsia.serving import metrics as metrics_text
from intarsia.serving.bodies import Bodies, Held, Message, Receive
from intarsia.serving.control import CLIENT, Control, load, unload
from intarsia.serving.http_answers import JSON, Answer, told
from intarsia.serving.metrics import Metrics
from intarsia.serving.refusal import Outcome, Refusal, invalid, quoted
from intarsia.serving.repository import Repository
from intarsia.version import __version__

EXTENSIONS = (
    "binary_tensor_data",
    "classification",
    "parameters",
    "schedule_policy",
    "model_configuration",
    "model_repository",
    "statistics",
)
"""Of the protocol, by the names that Triton gave them."""

_DOCUMENT = Path(__file__).with_name("openapi.json")
_MOST_JSON_BYTES = 64 << 10
"""Of a request to load or unload."""


class Routes:
    """All paths but those of inference."""

    def __init__(self, repository: Repository, metrics: Metrics, control: Control, bodies: Bodies) -> None:
        self._repository, self._metrics, self._control, self._bodies = repository, metrics, control, bodies
        # One thread of their own: models are loaded one at a time, and who waits for that keeps nothing else waiting.
        self._changes = ThreadPoolExecutor(1, "intarsia-control")

    async def answer(self, scope: Message, path: str, receive: Receive) -> Answer:
        """The answer to a request; a Refusal where there is none."""
        method = scope["method"]
        parts = path.strip("/").split("/")
        if parts[:2] == ["v2", "repository"]:
            return await self._repository_answer(scope, parts[2:], path, receive)
        answer = self._found(parts, path)
        if method not in ("GET", "HEAD"):
            raise Refusal(Outcome.METHOD, f"this is asked for by GET, not by {quoted(method)}", allow="GET, HEAD")
        return answer

    def _found(self, parts: list[str], path: str) -> Answer:
        repository = self._repository
        match parts:
            case ["metrics"]:
                return Answer(200, [self._metrics.text()], (b"content-type", metrics_text.CONTENT_TYPE.encode()))
            case ["v2"]:
                return told({"name": "intarsia", "version": __version__, "extensions": list(EXTENSIONS)})
            case ["v2", "openapi.json"]:
                return Answer(200, [_DOCUMENT.read_bytes()], JSON)
            case ["v2", "health", "live"]:
                return told({"live": True})
            case ["v2", "health", "ready"]:
                return told({"ready": repository.ready}, 200 if repository.ready else 503)
            case ["v2", "models", "stats"]:
                return told({"model_stats": repository.statistics()})
            case ["v2", "models", name, "versions", version, *rest]:
                return self._of_model(name, version, rest, path)
            case ["v2", "models", name, *rest]:
                return self._of_model(name, "", rest, path)
        raise Refusal(Outcome.UNKNOWN, f"nothing is at {quoted(path)}")

    def _of_model(self, name: str, version: str, rest: list[str], path: str) -> Answer:
        match rest:
            case ["infer"]:
                self._repository.find(name, version)
                raise Refusal(Outcome.METHOD, "inference requests are sent by POST", allow="POST")
            case []:
                return told(self._repository.metadata(name, version))
            case ["ready"]:
                ready = self._repository.is_ready(name, version)
                return told({"name": name, "ready": ready}, 200 if ready else 503)
            case ["config"]:
                return told(self._repository.find(name, version).config)
            case ["stats"]:
                return told({"model_stats": self._repository.statistics(name, version)})
        self._repository.find(name, version)
        raise Refusal(Outcome.UNKNOWN, f"nothing is at {quoted(path)}")

    async def _repository_answer(self, scope: Message, parts: list[str], path: str, receive: Receive) -> Answer:
        match parts:
            case ["index"] | ["models", _, "load" | "unload"] if scope["method"] != "POST":
                raise Refusal(
                    Outcome.METHOD, f"this is asked for by POST, not by {quoted(scope['method'])}", allow="POST"
                )
            case ["index"]:
                wanted = await self._json(scope, receive)
                return told(self._repository.index(wanted.get("ready") is True))
            case ["models", name, "load" | "unload" as what]:
                wanted = await self._json(scope, receive)
                parameters = wanted.get("parameters") or {}
                if not isinstance(parameters, dict):
                    raise invalid("the parameters are no JSON object")
                act = load if what == "load" else unload
                client = next(
                    (value.decode("latin-1") for key, value in scope["headers"] if key == CLIENT.encode()), ""
                )
                await asyncio.get_running_loop().run_in_executor(
                    self._changes, act, self._repository, self._control, name, client, parameters
                )
                return Answer(200, [b""], JSON)
        raise Refusal(Outcome.UNKNOWN, f"nothing is at {quoted(path)}")

    async def _json(self, scope: Message, receive: Receive) -> Mapping[str, Any]:
        headers = self._bodies.headers(scope)
        if (headers.length or 0) > _MOST_JSON_BYTES:
            raise Refusal(Outcome.TOO_LARGE, f"the body is larger than {_MOST_JSON_BYTES} bytes")
        held = Held(self._bodies)
        try:
            body = await held.read(receive, headers)
        finally:
            held.release()
        if not body:
            return {}
        if len(body) > _MOST_JSON_BYTES:
            raise Refusal(Outcome.TOO_LARGE, f"the body is larger than {_MOST_JSON_BYTES} bytes")
        try:
            found = json.loads(body)
        except (ValueError, RecursionError):
            raise invalid("the body is no JSON") from None
        if not isinstance(found, dict):
            raise invalid("the body is no JSON object")
        return found
