"""Runs that nobody waits for: requests of one session on threads of its own, each a future.

A request runs whole on one thread. What a device can do beside others is left to the devices: while the overlay works
for one request, whose thread waits, another one's regions have the processor.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from intarsia.arguments import shown
from intarsia.dtypes import Array
from intarsia.errors import RunError
from intarsia.runtime.limits import CancellationToken, Limit

Outputs = list[Array]
Run = Callable[[Limit], Outputs]

MOST = 65536
"""Items that `map` draws ahead."""


class RunFuture(Future[Outputs]):
    """What a submitted run will give.

    It can be cancelled as long as it is not done: before it has begun it never runs, and one that has begun stops
    before its next region, while whoever waits for it is told at once.
    """

    def __init__(self, token: CancellationToken) -> None:
        super().__init__()
        self._token = token
        self._ending = threading.Lock()
        self._told = False
        self.has_begun = False

    def cancel(self) -> bool:
        """Give it up; False where it is done already."""
        given_up = super().cancel()
        if given_up:
            self._token.cancel()
            self.settle(None, None)  # who waits for several is told, too
        return given_up

    def settle(self, outputs: Outputs | None, error: BaseException | None) -> None:
        """Its end: outputs or an error, unless it has ended otherwise."""
        with self._ending:
            told, self._told = self._told, True
            if told or not self.set_running_or_notify_cancel():
                return
        if error is not None:
            self.set_exception(error)
        elif outputs is not None:
            self.set_result(outputs)

    def running(self) -> bool:
        """Whether it has begun and is not done."""
        return self.has_begun and not self.done()


class _Either(CancellationToken):
    """A token of one run, beside that which the caller has for several."""

    __slots__ = ("_given",)

    def __init__(self, given: CancellationToken | None) -> None:
        super().__init__()
        self._given = given

    @property
    def cancelled(self) -> bool:
        return self._cancelled or (self._given is not None and self._given.cancelled)


class Submissions:
    """Threads for the requests of a session, begun with the first of them.

    workers  how many run at a time at most
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._lock = threading.Lock()
        self._ended = threading.Condition(self._lock)
        self._executor: ThreadPoolExecutor | None = None
        self._open: set[RunFuture] = set()
        self._process = os.getpid()
        self._closed = False
        self._here = threading.local()

    def submit(self, run: Run, timeout: float | None, cancellation: CancellationToken | None) -> RunFuture:
        """Have it run when its turn comes. The time-out begins now; what has waited too long is told so in its turn.

        Raises RunError for what is no time or no token, and when all is closed.
        """
        Limit(timeout, cancellation)  # says what is wrong with them
        token = _Either(cancellation)
        limit, future = Limit(timeout, token), RunFuture(token)
        with self._lock:
            if self._closed:
                raise _closed()
            if self._executor is None or self._process != os.getpid():  # threads do not come along into a fork
                self._executor = ThreadPoolExecutor(self.workers, "intarsia-submitted")
                self._process = os.getpid()
                self._open = set()
            self._open.add(future)
            self._executor.submit(self._work, future, run, limit)
        return future

    def close(self) -> None:
        """Wait for what has begun; what has not fails."""
        with self._lock:
            self._closed = True
            executor, self._executor = self._executor, None
            if executor is None or self._process != os.getpid():
                return
        # What is called when a request is done runs on its thread, which cannot wait for its own end.
        executor.shutdown(wait=not getattr(self._here, "works", False), cancel_futures=True)
        with self._lock:
            self._ended.wait_for(lambda: not any(future.has_begun for future in self._open))
            left, self._open = self._open, set()
        for future in left:
            future.settle(None, _closed())

    def _work(self, future: RunFuture, run: Run, limit: Limit) -> None:
        self._here.works = True
        outputs: Outputs = []
        error: BaseException | None = None
        with self._lock:
            future.has_begun = not future.done()
        try:
            if future.has_begun:
                outputs = run(limit)
        except BaseException as fault:  # whoever waits for it is told
            error = fault
        with self._lock:
            self._open.discard(future)
            self._ended.notify_all()
        # Not before: as long as it is not done, whoever has it may cancel it.
        future.settle(outputs, error)


def in_order(submit: Callable[[Any], RunFuture], items: Iterable[Any], ahead: int) -> Iterator[Outputs]:
    """What items give, in their order; of the items no more than so many are drawn before the first is given.

    Whoever stops early, or meets an error, leaves nothing running.
    """
    waiting: deque[RunFuture] = deque()
    try:
        for item in items:
            waiting.append(submit(item))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def check_ahead(in_flight: Any) -> int:
    """How many items `map` draws ahead. RunError for what is no such number."""
    if not isinstance(in_flight, int) or isinstance(in_flight, bool) or not 1 <= in_flight <= MOST:
        raise RunError(
            where="in_flight",
            what=f"{shown(in_flight)} is no whole number from 1 to {MOST}",
            help="leave it out for twice as many as run at a time",
        )
    return in_flight


def _closed() -> RunError:
    return RunError(where="submit()", what="the session is closed", help="load the artifact again")
