"""Ways to wait for the core: looking at its status, or letting the interrupt wake us."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

Result = TypeVar("Result")

SPIN_SECONDS = 0.002
"""How long the status is read without a pause: most regions are done by then, and a sleep costs more."""

PAUSE_SECONDS = 0.0005


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


class InterruptPin(Protocol):
    """pynq.Interrupt, as far as it is used."""

    def wait(self) -> Awaitable[None]:
        """Done at the next interrupt."""
        ...


class InterruptThread:
    """A thread with an event loop of its own, where pynq listens for interrupts.

    pynq asks the thread that loads a design for its event loop. Threads other than the main one have none, and that of
    a notebook is busy running the very cell that waits.
    """

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._listen, name="intarsia-interrupts", daemon=True).start()

    def _listen(self) -> None:
        self._loop.run_forever()
        self._loop.close()

    def call(self, function: Callable[[], Result]) -> Result:
        """What the function gives, called in the thread."""

        async def called() -> Result:
            return function()

        return asyncio.run_coroutine_threadsafe(called(), self._loop).result()

    def wait(self, pin: InterruptPin, finished: Callable[[], bool], seconds: float) -> bool:
        """Sleep until the interrupt comes and the status says finished. False where `seconds` passed before."""

        async def waited() -> bool:
            end = self._loop.time() + seconds
            while not finished():
                left = end - self._loop.time()
                try:
                    await asyncio.wait_for(pin.wait(), max(left, 0.0))
                except asyncio.TimeoutError:  # not the built-in one before Python 3.11
                    return finished()
            return True

        future = asyncio.run_coroutine_threadsafe(waited(), self._loop)
        try:
            return future.result()
        except BaseException:  # an interrupt from the keyboard
            future.cancel()
            raise

    def close(self) -> None:
        """End the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
