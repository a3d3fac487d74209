"""DRAM as the cycle model sees it: a bandwidth that all ports share, a latency, and a number of requests in flight."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from intarsia_backends.overlay.config import OverlayConfig

_DUST_BYTES = 1e-6


@dataclass(frozen=True)
class MemoryModel:
    """Figures of the memory behind the AXI ports.

    bytes_per_cycle   sustained traffic, reads and writes together
    latency_cycles    from the request of a burst to its first bytes; from the last byte written to the response
    burst_bytes       longest burst
    outstanding       bursts that one port keeps requested ahead
    """

    bytes_per_cycle: float
    latency_cycles: int
    burst_bytes: int
    outstanding: int = 8

    @classmethod
    def of(cls, config: OverlayConfig) -> MemoryModel:
        """The memory of a configuration's board."""
        return cls(config.dram_bytes_per_cycle, config.dram_latency_cycles, config.dram_burst_bytes)


@dataclass
class Transfer:
    """Bytes that one word moves.

    remaining    bytes still to move
    limit        bytes a cycle at most: the pace of the engine, or of its requests in flight
    begins       cycle from which data can flow
    early_bytes  `on_early` is called when no more than so many bytes remain: all requests are out
    """

    remaining: float
    limit: float
    begins: float
    early_bytes: float
    on_early: Callable[[float], None] | None
    on_done: Callable[[float], None]


class Dram:
    """Ports with queues of transfers; the heads of all queues share the bandwidth evenly, each up to its limit."""

    def __init__(self, model: MemoryModel, ports: int) -> None:
        self.model = model
        self.now = 0.0
        self._ports: list[deque[Transfer]] = [deque() for _ in range(ports)]

    def request(self, port: int, transfer: Transfer) -> None:
        self._ports[port].append(transfer)

    def _rates(self) -> list[tuple[Transfer, float]]:
        heads = [port[0] for port in self._ports if port and port[0].begins <= self.now]
        heads.sort(key=lambda transfer: transfer.limit)
        rates, left = [], self.model.bytes_per_cycle
        for index, transfer in enumerate(heads):
            rate = min(transfer.limit, left / (len(heads) - index))
            rates.append((transfer, rate))
            left -= rate
        return rates

    def next_time(self) -> float:
        """When something happens next: data begins to flow, requests are all out, a transfer is done."""
        times = [port[0].begins for port in self._ports if port and port[0].begins > self.now]
        for transfer, rate in self._rates():
            goal = 0.0 if transfer.on_early is None else min(transfer.early_bytes, transfer.remaining)
            times.append(self.now + (transfer.remaining - goal) / rate)
        return min(times, default=math.inf)

    def advance(self, time: float) -> None:
        """Move data until `time`, which is not later than `next_time()`, and tell those who wait for it."""
        for transfer, rate in self._rates():
            transfer.remaining -= rate * (time - self.now)
        self.now = time
        for port in self._ports:
            while port and port[0].begins <= time:
                head = port[0]
                early = head.on_early
                if early is not None and head.remaining <= head.early_bytes + _DUST_BYTES:
                    head.on_early = None
                    early(time)
                if head.remaining > _DUST_BYTES:
                    break
                port.popleft()
                head.on_done(time)
