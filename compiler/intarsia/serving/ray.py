"""A deployment of Ray Serve: the server's HTTP application, in as many replicas on as many machines as Ray has.

serve run intarsia.serving.ray:deployment artifacts=resnet8.intarsia workers=2
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ray import serve

from intarsia.serving.app import App, Send
from intarsia.serving.bodies import Limits, Message, Receive
from intarsia.serving.metrics import Metrics
from intarsia.serving.model import Options
from intarsia.serving.repository import Repository


class _Lived:
    """The application, with the beginning and the end that Ray tells it of; at the end it lets go of its models."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)
            return
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self._app.draining = True
        self._app.repository.close(1.0)
        await send({"type": "lifespan.shutdown.complete"})


def deployment(arguments: Mapping[str, Any]) -> Any:
    """The application that `serve run` and `serve deploy` ask for.

    arguments  artifacts: paths with commas between, or a list, as `intarsia serve` takes them, where the replicas run;
               workers: runs at a time in a replica, 1 by default, and as many processors are asked of Ray for each;
               replicas: how many, 1 by default; queue: requests that may wait in each, 256 by default
    """
    listed = arguments["artifacts"]
    paths = listed.split(",") if isinstance(listed, str) else list(listed)
    workers = int(arguments.get("workers", 1))
    queue = int(arguments.get("queue", 256))
    options = Options(workers=workers, most_queued=queue)

    def application() -> _Lived:
        metrics = Metrics()
        repository = Repository(paths, options, metrics, changing=False)
        repository.open()
        return _Lived(App(repository, Limits(), metrics))

    class Replica:
        """Only what Ray holds; the application answers."""

    return serve.deployment(
        serve.ingress(application)(Replica),
        name="intarsia",
        num_replicas=int(arguments.get("replicas", 1)),
        # Requests wait in the batcher, which knows deadlines and priorities, rather than in Ray's proxy.
        max_ongoing_requests=workers + queue,
        ray_actor_options={"num_cpus": workers},
    ).bind()
