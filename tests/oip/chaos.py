"""Requests at twice the capacity of two servers while models are reloaded, clients go, and servers end and are killed.

    python tests/oip/chaos.py                      # 200,000 requests
    python tests/oip/chaos.py --requests 20000     # what the tests run

Each request has exactly one answer, which is that of `Session.run` byte for byte, or a clean refusal. Exit code 1, with
the first faults, where one has not, or where the memory of a server grew.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import neighbours  # noqa: F401
import uvloop
from chaos_client import MODEL, Instance, NotTaken, Requests, Tally, send_grpc, send_http
from served import served, small_artifact

import intarsia

CLIENTS = 40
GROWTH_BYTES = 24 << 20
"""Of a server's memory between the first half of its life and the last quarter; allocators keep some of a burst."""

_END_AT, _KILL_AT = 0.15, 0.4
_RUN_SECONDS = 0.002
"""What a run takes at least: so long that the servers are what is short, not the client beside them."""


@dataclass
class Report:
    """What became of it all."""

    requests: int
    capacity: float = 0.0
    offered: float = 0.0
    unloaded_ms: float = 0.0
    tally: Tally = field(default_factory=Tally)
    reloads: int = 0
    ended_code: int | None = None
    growth_bytes: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """In one table."""
        tally, taken = self.tally, sorted(self.tally.seconds)
        return {
            "requests": self.requests,
            "capacity per second": round(self.capacity),
            "offered per second": round(self.offered),
            "right": tally.right,
            "refused": dict(tally.refused),
            "given up by clients": tally.given_up,
            "sent again after a kill": tally.sent_again,
            "lost": len(tally.lost),
            "wrong": len(tally.wrong),
            "reloads": self.reloads,
            "exit code of the server that ended": self.ended_code,
            "ms unloaded, median, p99": [
                round(self.unloaded_ms, 2),
                *(round(taken[int(len(taken) * part)] * 1e3, 2) for part in (0.5, 0.99)),
            ],
            "memory grown, KiB": {name: grown >> 10 for name, grown in self.growth_bytes.items()},
            "faults": self.faults[:5],
        }


class Chaos:
    """Two servers, what is done to them, and the clients."""

    def __init__(self, folder: Path, requests: int, seed: int, stack: ExitStack) -> None:
        self._artifact = small_artifact(folder)
        with intarsia.load(self._artifact) as session:
            self._requests = Requests(session)
        self._stack, self._random = stack, random.Random(seed)
        self._all: list[Instance] = []
        self._next = 0
        self.report = Report(requests)

    async def run(self) -> Report:
        """All of it."""
        await asyncio.gather(self._start(), self._start())
        await self._measure()
        watchers = [asyncio.create_task(watch()) for watch in (self._watch, self._remember, self._reload)]
        await self._load()
        for watcher in watchers:
            watcher.cancel()
        for instance in self._all:
            await instance.close()
        self._judge()
        return self.report

    # ---- servers

    async def _start(self) -> None:
        arguments = [str(self._artifact), "--workers", "1", "--rows", "1", "--queue", "2", "--linger", "0.5"]
        arguments += ["--control", "api"]
        made = await asyncio.to_thread(lambda: self._stack.enter_context(served(*arguments, run_seconds=_RUN_SECONDS)))
        assert made.grpc_port is not None
        self._all.append(Instance(made.process, made.port, made.grpc_port))

    def _open(self) -> Instance:
        """One that is thought to take requests, in turn."""
        known = [instance for instance in self._all if instance.open]
        self._next += 1
        return known[self._next % len(known)]

    async def _end(self) -> None:
        """SIGTERM: who watches its readiness sends it no further requests; another takes its place."""
        instance = self._all[0]
        instance.ended = True
        instance.process.terminate()
        await self._start()
        self.report.ended_code = await asyncio.to_thread(instance.process.wait, 30)

    async def _kill(self) -> None:
        instance = self._all[1]
        instance.killed = True
        instance.open = False
        instance.process.kill()
        await self._start()

    async def _get(self, instance: Instance, method: str, path: str) -> tuple[int, bytes]:
        reader, writer = await asyncio.open_connection("127.0.0.1", instance.port)
        try:
            writer.write(
                f"{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode()
            )
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
            return int(head.split()[1]), body
        finally:
            writer.close()

    async def _watch(self) -> None:
        """Ask each server whether it is ready, as what shares requests out does."""
        while True:
            for instance in self._all:
                if instance.open and instance.ended:
                    try:
                        status, _ = await self._get(instance, "GET", "/v2/health/ready")
                    except (OSError, IndexError):
                        status = 0
                    instance.open = status == 200
            await asyncio.sleep(0.02)

    async def _remember(self) -> None:
        while True:
            for instance in self._all:
                with suppress(OSError, ValueError, IndexError):
                    pages = int(Path(f"/proc/{instance.process.pid}/statm").read_text().split()[1])
                    if pages:
                        instance.memory_bytes.append(pages * os.sysconf("SC_PAGE_SIZE"))
            await asyncio.sleep(0.25)

    async def _reload(self) -> None:
        """Every second, where the server can."""
        _, told = await self._get(self._all[0], "GET", "/v2")
        if "model_repository" not in json.loads(told)["extensions"]:
            return
        while True:
            await asyncio.sleep(1)
            for instance in [item for item in self._all if item.open and not item.ended]:
                with suppress(OSError, IndexError):
                    status, body = await self._get(instance, "POST", f"/v2/repository/models/{MODEL}/load")
                    self.report.reloads += status == 200
                    if status != 200 and not (instance.ended or instance.killed):
                        self.report.faults.append(f"a reload: {status} {body[:200]!r}")

    # ---- clients

    async def _send(self, number: int, tally: Tally, *, give_up: float | None = None) -> None:
        """One request, to another server where the first was gone before it could answer."""
        send: Callable[..., Any] = send_grpc if number % 5 == 4 else send_http
        for _ in range(20):
            instance = self._open()
            try:
                await send(instance, self._requests, number, tally, give_up)
                return
            except NotTaken:
                instance.open = False
                tally.sent_again += 1
        tally.lost.append(f"request {number}: no server takes it")

    async def _measure(self) -> None:
        """What one request takes alone, and how many a second the servers answer."""
        alone = Tally()
        for number in range(100):
            await self._send(number * 5 + 1, alone)
        self.report.unloaded_ms = sorted(alone.seconds)[len(alone.seconds) // 2] * 1e3
        full, end = Tally(), time.monotonic() + 2

        async def client() -> None:
            while time.monotonic() < end:
                await self._send(1, full)

        await asyncio.gather(*(client() for _ in range(6)))
        self.report.capacity = full.right / 2
        assert not (alone.wrong or alone.lost or full.wrong or full.lost), (alone, full)

    async def _load(self) -> None:
        tally, total, rate = self.report.tally, self.report.requests, 2 * self.report.capacity
        numbers = iter(range(total))
        started = time.monotonic()

        async def client() -> None:
            for number in numbers:
                wait = started + number / rate - time.monotonic()
                if wait > 0:
                    await asyncio.sleep(wait)
                give_up = self._random.uniform(0, 0.004) if number % 50 == 7 else None
                await self._send(number, tally, give_up=give_up)

        async def at(part: float, act: Callable[[], Any]) -> None:
            await asyncio.sleep(max(0.0, started + part * total / rate - time.monotonic()))
            await act()

        acts = [asyncio.create_task(at(_END_AT, self._end)), asyncio.create_task(at(_KILL_AT, self._kill))]
        await asyncio.gather(*(client() for _ in range(CLIENTS)))
        self.report.offered = total / (time.monotonic() - started)
        await asyncio.gather(*acts)

    def _judge(self) -> None:
        report = self.report
        report.faults += [*report.tally.lost, *report.tally.wrong]
        if report.tally.total != report.requests:
            report.faults.append(f"{report.requests} requests, {report.tally.total} ends")
        if report.ended_code != 0:
            report.faults.append(f"the server that was told to end has exit code {report.ended_code}")
        for index, instance in enumerate(self._all):
            samples = instance.memory_bytes
            if len(samples) >= 12:
                quarter = len(samples) // 4
                grown = max(samples[-quarter:]) - max(samples[: 2 * quarter])
                report.growth_bytes[f"server {index}"] = grown
                if grown > GROWTH_BYTES:
                    report.faults.append(f"server {index} took {grown >> 20} MiB more")


def run(requests: int, seed: int = 0) -> Report:
    """All of it, on servers that are started for it."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        chaos = Chaos(Path(folder), requests, seed, stack)
        loop = uvloop.new_event_loop()
        try:
            return loop.run_until_complete(chaos.run())
        finally:
            loop.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    report = run(given.requests, given.seed)
    print(json.dumps(report.summary(), indent=2))
    sys.exit(bool(report.faults))


if __name__ == "__main__":
    main()
