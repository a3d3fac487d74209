"""DRAM as the cycle model sees it: a bandwidth that all ports share, a latency, and a number of requests in flight."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from intarsia_backends.overlay.machine.config import OverlayConfig

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
    burst_bytes  bytes in a request, on average
    """

    remaining: float
    limit: float
    begins: float
    burst_bytes: float
    on_done: Callable[[float], None]

    @property
    def bursts(self) -> float:
        """Requests that have not been answered yet."""
        return self.remaining / self.burst_bytes


class _Port:
    """Transfers in order, and who waits until all requests are out."""

    def __init__(self) -> None:
        self.transfers: deque[Transfer] = deque()
        self.on_requested: Callable[[float], None] | None = None

    def surplus(self, outstanding: int) -> float:
        """Requests by which the transfers together exceed those that may be in flight."""
        return sum(transfer.bursts for transfer in self.transfers) - outstanding


class Dram:
    """Ports with queues of transfers; the heads of all queues share the bandwidth evenly, each up to its limit."""

    def __init__(self, model: MemoryModel, ports: int) -> None:
        self.model = model
        self.now = 0.0
        self._ports = [_Port() for _ in range(ports)]

    def request(self, port: int, transfer: Transfer, on_requested: Callable[[float], None] | None = None) -> None:
        """Queue a transfer; `on_requested` is called once its last request is out, at the earliest at once.

        The transfer before on the same port has been requested in full by then.
        """
        queue = self._ports[port]
        assert queue.on_requested is None
        queue.transfers.append(transfer)
        if on_requested is None:
            return
        if queue.surplus(self.model.outstanding) <= 0:
            on_requested(self.now)
        else:
            queue.on_requested = on_requested

    def _rates(self) -> list[tuple[_Port, float]]:
        heads = [port for port in self._ports if port.transfers and port.transfers[0].begins <= self.now]
        heads.sort(key=lambda port: port.transfers[0].limit)
        rates, left = [], self.model.bytes_per_cycle
        for index, port in enumerate(heads):
            rate = min(port.transfers[0].limit, left / (len(heads) - index))
            rates.append((port, rate))
            left -= rate
        return rates

    def next_time(self) -> float:
        """When something happens next: data begins to flow, requests are all out, a transfer is done."""
        heads = [port.transfers[0] for port in self._ports if port.transfers]
        times = [head.begins for head in heads if head.begins > self.now]
        for port, rate in self._rates():
            head = port.transfers[0]
            goal = head.remaining
            if port.on_requested is not None:
                goal = min(goal, max(port.surplus(self.model.outstanding) * head.burst_bytes, 0.0))
            times.append(self.now + goal / rate)
        return min(times, default=math.inf)

    def advance(self, time: float) -> None:
        """Move data until `time`, which is not later than `next_time()`, and tell those who wait for it."""
        for port, rate in self._rates():
            port.transfers[0].remaining -= rate * (time - self.now)
        self.now = time
        for port in self._ports:
            while port.transfers and port.transfers[0].begins <= time:
                head = port.transfers[0]
                requested = port.on_requested
                if requested is not None and port.surplus(self.model.outstanding) <= _DUST_BYTES:
                    port.on_requested = None
                    requested(time)
                if head.remaining > _DUST_BYTES:
                    break
                port.transfers.popleft()
                head.on_done(time)
