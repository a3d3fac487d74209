"""Ways to wait for the core: looking at its status, or letting the interrupt wake us."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

SPIN_SECONDS = 0.002
"""How long the status is read without a pause: most regions are done by then, and a sleep costs more."""

PAUSE_SECONDS = 0.0005


class InterruptPin(Protocol):
    """pynq.Interrupt, as far as it is used."""

    def wait(self) -> Awaitable[None]: ...


def poll(finished: Callable[[], bool], seconds: float, clock: Callable[[], float] = time.perf_counter) -> bool:
    """Look at the status until it says finished. False where `seconds` passed before."""
    start = clock()
    while not finished():
        waited = clock() - start
        if waited > seconds:
            return finished()  # once more: this process may have slept through the end
        if waited > SPIN_SECONDS:
            time.sleep(PAUSE_SECONDS)
    return True


def wait_for_interrupt(
    pin: InterruptPin, loop: asyncio.AbstractEventLoop, finished: Callable[[], bool], seconds: float
) -> bool:
    """Sleep until the interrupt comes or the status says finished. False where `seconds` passed before.

    loop  the one that pynq's UIO reader was registered with; it must not be running already
    """

    async def wait() -> bool:
        end = loop.time() + seconds
        while not finished():
            left = end - loop.time()
            if left <= 0:
                return False
            try:
                await asyncio.wait_for(pin.wait(), left)
            except asyncio.TimeoutError:  # not the built-in one before Python 3.11
                return finished()
        return True

    return loop.run_until_complete(wait())
