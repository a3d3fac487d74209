"""The whole server: HTTP by uvicorn, gRPC beside it, and an orderly end."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from types import FrameType
from typing import Any

import uvicorn
import uvloop

from intarsia.errors import RunError, warn
from intarsia.serving.access import Access, is_loopback
from intarsia.serving.app import App
from intarsia.serving.audit import Audit
from intarsia.serving.bodies import Limits
from intarsia.serving.connection import ConnectionLimits, protocol
from intarsia.serving.control import Control
from intarsia.serving.grpc_guard import GrpcGuard
from intarsia.serving.grpc_service import GrpcService
from intarsia.serving.guard import Guard
from intarsia.serving.metrics import Metrics
from intarsia.serving.model import Options
from intarsia.serving.repository import Repository
from intarsia.serving.response_cache import ResponseCache
from intarsia.serving.tls import Tls, read_tls
from intarsia.serving.watcher import Watcher

_SWITCH_SECONDS = 0.0005
"""How long a thread keeps the interpreter while another waits for it. A small model runs in less than Python's 5 ms."""

_LOOK_SECONDS = 0.02

_HANDSHAKE_SECONDS = 10.0

_LAST_SECONDS = 1
"""For answers on their way, after all else has ended."""


@dataclass(frozen=True)
class Settings:
    """Where and how to serve.

    host          address that is listened on; others than this machine's own are for who means it
    port          of HTTP; 0 for any that is free
    grpc_port     of gRPC; None for no gRPC
    tls           certificate and key, both files; None to speak without
    tokens        the file of those that may ask, see `intarsia.serving.tokens`; None for everyone
    anonymous     whether everyone may ask though other machines reach the address
    audit_log     file that gets a line for each request; None for none
    grace_seconds for requests that were taken, once the server is told to end
    linger_seconds
                  for which it then still answers that it is not ready, before it stops listening: whoever sends
                  requests here needs a moment to see it
    control       who says which models are served
    poll_seconds  between two looks into the folders, where they say it
    cache_bytes   of answers that are kept; 0 for none
    """

    host: str = "127.0.0.1"
    port: int = 8000
    grpc_port: int | None = 8001
    tls: tuple[str, str] | None = None
    tokens: str | None = None
    anonymous: bool = False
    audit_log: str | None = None
    grace_seconds: float = 30.0
    linger_seconds: float = 1.0
    control: Control = Control.NONE
    poll_seconds: float = 1.0
    cache_bytes: int = 0
    limits: Limits = field(default_factory=Limits)
    connections: ConnectionLimits = field(default_factory=ConnectionLimits)
    models: Options = field(default_factory=Options)


@dataclass(frozen=True)
class Listening:
    """Where a server listens. grpc_port is None without gRPC."""

    host: str
    port: int
    grpc_port: int | None
    tls: bool
    models: tuple[str, ...]


def serve(paths: Sequence[str], settings: Settings, told: Callable[[Listening], None]) -> bool:
    """Load, listen, and serve until SIGTERM or SIGINT; a second one of these ends it without waiting.

    paths    see `intarsia.serving.sources.find_sources`
    told     called once requests are taken
    returns  whether every request that was taken was answered

    Raises RunError for what cannot be loaded or listened on. Called on the main thread of a process of its own: it
    sets how threads of the interpreter take turns.
    """
    metrics = Metrics()
    tls = None if settings.tls is None else read_tls(*settings.tls)
    with _listen(settings.host, settings.port) as listener:
        access = _access(settings, is_loopback(str(listener.getsockname()[0])))
        audit = None if settings.audit_log is None else Audit(settings.audit_log)
        repository = Repository(
            paths,
            settings.models,
            metrics,
            changing=settings.control is not Control.NONE,
            cache=ResponseCache(settings.cache_bytes) if settings.cache_bytes else None,
        )
        watcher = Watcher(repository, settings.poll_seconds)
        app = App(repository, settings.limits, metrics, settings.control)
        before = sys.getswitchinterval()
        try:
            repository.open(all_of_them=settings.control is not Control.POLL)
            sys.setswitchinterval(_SWITCH_SECONDS)
            rpc = None
            if settings.grpc_port is not None:
                rpc = GrpcService(
                    app,
                    metrics,
                    settings.limits,
                    settings.host,
                    settings.grpc_port,
                    guard=GrpcGuard(access, audit) if settings.tokens is not None or audit is not None else None,
                    tls=tls,
                    arrival_seconds=settings.connections.receive_seconds,
                    control=settings.control,
                )
            where = Listening(
                settings.host,
                listener.getsockname()[1],
                None if rpc is None else rpc.port,
                tls is not None,
                repository.names,
            )
            if settings.control is Control.POLL:
                watcher.start()
            ender = _Server(app, Guard(app, access, audit), rpc, settings, tls, lambda: told(where))
            if audit is not None:
                audit.event("start", **asdict(where))
            _run(ender.serve(sockets=[listener]))
            in_time = not ender.cut
        finally:
            sys.setswitchinterval(before)
            watcher.stop()
            closed = repository.close(1.0)
            if audit is not None:
                audit.event("end")
                audit.close()
    return in_time and closed


def _run(main: Any) -> None:
    """Run a coroutine on uvloop; what it leaves running is cancelled."""
    loop = _Loop()
    try:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(main)
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        asyncio.set_event_loop(None)
        loop.close()


class _Loop(uvloop.Loop):
    """Uvloop's, with a limit to how long a client may take to agree on keys."""

    async def create_server(self, *arguments: Any, **named: Any) -> Any:
        if named.get("ssl") is not None:
            named["ssl_handshake_timeout"] = _HANDSHAKE_SECONDS
        return await super().create_server(*arguments, **named)


class _Server(uvicorn.Server):
    """Uvicorn's, with an end in steps: say so, answer what was taken, then stop to listen.

    cut  whether it ended before everything that was taken was answered
    """

    def __init__(
        self,
        app: App,
        guard: Guard,
        rpc: GrpcService | None,
        settings: Settings,
        tls: Tls | None,
        told: Callable[[], None],
    ) -> None:
        super().__init__(
            uvicorn.Config(
                guard,
                http=protocol(settings.connections),
                ws="none",
                lifespan="off",
                loop="none",
                log_config=None,
                log_level="error",  # what strangers send is no news
                access_log=False,
                server_header=False,
                proxy_headers=False,
            )
        )
        if tls is not None:
            self.config.load()
            self.config.ssl = tls.context
        self.cut = False
        self._app, self._rpc, self._settings, self._told = app, rpc, settings, told
        self._ending: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._rpc is not None:
            self._rpc.start()
        self._loop = asyncio.get_running_loop()
        self._told()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal came: the first begins the end, a second one is the end."""
        if self._app.draining:
            self._loop.call_soon_threadsafe(self._cut)  # not here: this thread may hold a lock that it takes
            self.should_exit = True
            return
        self._app.draining = True
        self._app.repository.drain()
        self._loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        self._ending = self._loop.create_task(self._drain())

    async def _drain(self) -> None:
        start = self._loop.time()
        while not self.cut:
            seconds = self._loop.time() - start
            busy = self._app.active or self._app.repository.users
            if not busy and seconds >= self._settings.linger_seconds:
                break
            if seconds >= self._settings.grace_seconds:
                self._cut()
                break
            await asyncio.sleep(_LOOK_SECONDS)
        if self._rpc is not None:
            # What was taken is answered, so that a moment is enough: unless a client is slow to take its answer.
            await self._loop.run_in_executor(None, self._rpc.stop, _LAST_SECONDS)
        self.config.timeout_graceful_shutdown = _LAST_SECONDS
        self.should_exit = True

    def _cut(self) -> None:
        self.cut = True
        self._app.repository.give_up()


def _listen(host: str, port: int) -> socket.socket:
    """A socket that is bound, so that a taken port is told before models are loaded; it listens when they are."""
    try:
        family, kind, protocol_number, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        made = socket.socket(family, kind, protocol_number)
    except (OSError, UnicodeError) as error:
        raise _not_here(host, port, error) from error
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
    except (OSError, OverflowError) as error:
        made.close()
        raise _not_here(host, port, error) from error
    return made


def _access(settings: Settings, loopback: bool) -> Access:
    """Who may ask; RunError where that would be everyone on other machines, and nobody said so."""
    if not loopback and settings.tokens is None and not settings.anonymous:
        raise RunError(
            where=f"--host {settings.host}",
            what="other machines reach it, and everyone there could ask, as no tokens are given",
            help="give --tokens, which `intarsia token` makes, or --allow-anonymous where everyone may",
        )
    if not loopback and settings.tokens is not None and settings.tls is None:
        warn(f"tokens are sent to {settings.host} readably: give --tls-cert and --tls-key, or put a proxy in front")
    return Access(settings.tokens, loopback=loopback)


def _not_here(host: str, port: int, error: Exception) -> RunError:
    what = getattr(error, "strerror", None) or str(error)
    return RunError(
        where=f"{host}:{port}", what=f"it cannot be listened on: {what}", help="give another --host or --port"
    )
