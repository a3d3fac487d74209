"""Requests to one model, run by threads that never wait while there is one: what waits together runs together."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from intarsia.dtypes import Array
from intarsia.errors import IntarsiaError
from intarsia.serving.refusal import Outcome, Refusal

LEVELS = 3
"""Queues, first to last: what waits in an earlier one runs first."""

Run = Callable[[Sequence[Array]], Sequence[Array]]
"""Inputs to outputs. Where requests are put together all have rows along their first axes."""

Result = Sequence[Array] | Refusal

_log = logging.getLogger(__name__)


class Watch(Protocol):
    """Who hears of every run: on the thread that ran it, quickly."""

    def ran(self, rows: int, seconds: float, waits: Sequence[float]) -> None:
        """So many rows took so long; what each of the requests had waited before."""


class Job:
    """One request.

    arrays    inputs, in order
    rows      how many along their first axes; 1 where they have no such axis
    done      called once, from any thread: with the outputs, or why there are none
    level     its queue, from 0
    deadline  of `time.monotonic`; inf for none
    """

    __slots__ = ("arrays", "arrived", "deadline", "done", "level", "rows", "settled", "waiting")

    def __init__(
        self,
        arrays: Sequence[Array],
        rows: int,
        done: Callable[[Result], None],
        level: int = 1,
        deadline: float = math.inf,
    ) -> None:
        self.arrays = arrays
        self.rows = rows
        self.done = done
        self.level = level
        self.deadline = deadline
        self.arrived = time.monotonic()
        self.waiting = False
        self.settled = False


class Batcher:
    """A bounded queue for each level, and threads that run what waits in them.

    run          runs a batch; may be called from several threads at once
    workers      threads
    most_rows    rows of requests that are run together at most; a longer request runs alone. 1 puts none together
    most_queued  requests that may wait
    row_seconds  what a row is thought to take before one has run; measured from then on
    watch        hears of every run

    A request that could not be answered by its deadline is refused at once, and one whose deadline passes while it
    waits is not run. Whenever a thread idles, a request is let in unless not even the quickest run so far would do: a
    slow spell must not keep out the request that would show that it is over.
    """

    def __init__(
        self,
        run: Run,
        *,
        workers: int,
        most_rows: int,
        most_queued: int,
        row_seconds: float,
        watch: Watch | None = None,
    ) -> None:
        self._run = run
        self._most_rows, self._most_queued = most_rows, most_queued
        self._row_seconds = self._least_row_seconds = row_seconds
        self._watch = watch
        self._lock = threading.Lock()
        self._came = threading.Condition(self._lock)
        self._queues: tuple[deque[Job], ...] = tuple(deque() for _ in range(LEVELS))
        self._queued_rows = [0] * LEVELS
        self._queued = self._running_rows = self._idle = 0
        self._running: set[Job] = set()
        self._draining = self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"intarsia-run-{index}", daemon=True) for index in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def queued(self) -> int:
        """Requests that wait."""
        return self._queued

    @property
    def pending(self) -> int:
        """Requests that wait or run."""
        with self._lock:
            return self._queued + len(self._running)

    @property
    def ready(self) -> bool:
        """Whether requests are taken, and all threads are there to run them."""
        return not self._draining and all(thread.is_alive() for thread in self._threads)

    def submit(self, job: Job) -> None:
        """Queue a request. Raises Refusal where the queue is full, its deadline too near, or the server stops."""
        with self._lock:
            if self._draining:
                raise Refusal(Outcome.DRAINING, "the server is shutting down", 1)
            ahead = sum(self._queued_rows[: job.level + 1]) + self._running_rows
            wait = ahead * self._row_seconds / len(self._threads)
            if self._queued >= self._most_queued:
                raise Refusal(Outcome.FULL, f"{self._queued} requests wait already", max(1, math.ceil(wait)))
            if job.deadline != math.inf:
                self._admit(job, wait)
            if job.settled:
                raise Refusal(Outcome.CANCELLED, "the client has gone")
            self._queues[job.level].append(job)
            job.waiting = True
            self._queued += 1
            self._queued_rows[job.level] += job.rows
            if self._idle:
                self._came.notify()

    def _admit(self, job: Job, wait: float) -> None:
        idle = self._idle > self._queued
        takes = job.rows * self._least_row_seconds if idle else wait + job.rows * self._row_seconds
        left = job.deadline - time.monotonic()
        if takes > left:
            what = f"it would take {takes:.3g} s from now, and its deadline is {max(left, 0):.3g} s away"
            raise Refusal(Outcome.LATE, what, max(1, math.ceil(wait)))

    def cancel(self, job: Job) -> None:
        """Give up a request, whose `done` is told so. One that runs goes on, and its outputs are dropped."""
        with self._lock:
            if job.settled:
                return
            job.settled = True
            if job.waiting:
                self._unqueue(job)
        job.done(Refusal(Outcome.CANCELLED, "the client has gone"))

    def drain(self) -> None:
        """Take no further requests; those that were taken are run."""
        self._draining = True

    def give_up(self) -> None:
        """Take no further requests, and refuse those that were taken and have no answer yet."""
        with self._lock:
            self._draining = True
            left = [
                job for job in (*self._running, *(job for queue in self._queues for job in queue)) if not job.settled
            ]
            for job in left:
                job.settled = True
                if job.waiting:
                    self._unqueue(job)
        for job in left:
            job.done(Refusal(Outcome.DRAINING, "the server was told not to wait for this request", 1))

    def close(self, seconds: float | None = None) -> bool:
        """Drain, and wait until the threads have ended; False where that took longer than so many seconds."""
        with self._lock:
            self._draining = self._closed = True
            self._came.notify_all()
        end = None if seconds is None else time.monotonic() + seconds
        for thread in self._threads:
            thread.join(None if end is None else max(0.0, end - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    # ---- the threads

    def _work(self) -> None:
        while batch := self._take():
            rows = sum(job.rows for job in batch)
            began = time.monotonic()
            try:
                settled = self._outputs(batch)
            finally:
                with self._lock:
                    self._running.difference_update(batch)
                    self._running_rows -= rows
                    self._learn(rows, time.monotonic() - began)
            if self._watch is not None:
                self._watch.ran(rows, time.monotonic() - began, [began - job.arrived for job in batch])
            for job, result in settled:
                self._settle(job, result)

    def _take(self) -> list[Job]:
        """What to run next; waits for it. Nothing once there will be nothing more."""
        while True:
            late: list[Job] = []
            with self._lock:
                batch = self._gather(late)
                if not batch and not late:
                    if self._closed:
                        return []
                    self._idle += 1
                    self._came.wait()
                    self._idle -= 1
                    continue
            for job in late:
                job.done(Refusal(Outcome.LATE, "its deadline passed while it waited", 1))
            if batch:
                return batch

    def _gather(self, late: list[Job]) -> list[Job]:
        batch: list[Job] = []
        rows, now = 0, time.monotonic()
        for queue in self._queues:
            while queue:
                job = queue[0]
                if job.settled:
                    queue.popleft()  # cancelled; it is counted no more
                elif job.deadline - now < job.rows * self._least_row_seconds:
                    queue.popleft()
                    self._unqueue(job)
                    job.settled = True
                    late.append(job)
                elif batch and rows + job.rows > self._most_rows:
                    return batch
                else:
                    queue.popleft()
                    self._unqueue(job)
                    self._running.add(job)
                    self._running_rows += job.rows
                    batch.append(job)
                    rows += job.rows
        return batch

    def _unqueue(self, job: Job) -> None:
        job.waiting = False
        self._queued -= 1
        self._queued_rows[job.level] -= job.rows

    def _learn(self, rows: int, seconds: float) -> None:
        each = seconds / rows
        self._row_seconds += 0.1 * (each - self._row_seconds)
        self._least_row_seconds = min(self._least_row_seconds, each)

    def _outputs(self, batch: Sequence[Job]) -> list[tuple[Job, Result]]:
        """Each request with its own outputs. Where a batch fails its requests run alone, and only the guilty fail."""
        try:
            if len(batch) == 1:
                return [(batch[0], self._run(batch[0].arrays))]
            joined = [np.concatenate(parts) for parts in zip(*(job.arrays for job in batch))]
            outputs = self._run(joined)
            settled: list[tuple[Job, Result]] = []
            at = 0
            for job in batch:
                settled.append((job, [array[at : at + job.rows] for array in outputs]))
                at += job.rows
            return settled
        except Exception as error:
            if len(batch) > 1:
                return [pair for job in batch for pair in self._outputs([job])]
            _log.exception("a run failed")
            what = f"{error.where}: {error.what}" if isinstance(error, IntarsiaError) else "the run failed"
            return [(batch[0], Refusal(Outcome.FAILED, what))]

    def _settle(self, job: Job, result: Result) -> None:
        with self._lock:
            if job.settled:
                return
            job.settled = True
        job.done(result)
