"""Workers behind `concurrent.futures.Executor`: threads, processes, or a Dask cluster."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Protocol

from intarsia.batch.worker import Parcel, forget, prepare, run, start_process
from intarsia.dtypes import Array
from intarsia.errors import RunError

KINDS = "threads, processes, or dask://HOST:PORT"


class Pool(Protocol):
    """Workers that hold one artifact.

    room      files that are worth being under way at a time
    attempts  times that a file is given out before it is given up, where workers die of it
    lost      what a future raises when its worker died
    """

    room: int
    attempts: int
    lost: tuple[type[BaseException], ...]

    def submit(self, arrays: list[Array], *, load: bool) -> Future[Any]:
        """Run one file; see `worker.run`. load: send the artifact along, to a worker that said it has none."""

    def renew(self) -> None:
        """New workers for those that died, where nobody else sees to that."""

    def close(self) -> None:
        """End, without waiting for what has not begun."""


class LocalPool:
    """Threads or processes of this machine. Processes are spawned: nothing of this one's threads is carried over."""

    attempts = 3
    lost: tuple[type[BaseException], ...] = (BrokenExecutor, CancelledError)

    def __init__(self, parcel: Parcel, workers: int, *, processes: bool) -> None:
        self.room = 2 * workers
        self._parcel, self._workers, self._processes = parcel, workers, processes
        prepare(parcel)  # what it cannot be loaded for is told here, where there is a letter for it
        if processes:
            forget(parcel.digest)
        self._executor = self._make()

    def _make(self) -> Executor:
        if not self._processes:
            return ThreadPoolExecutor(self._workers)
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self._workers, context, initializer=start_process, initargs=(self._parcel,))

    def submit(self, arrays: list[Array], *, load: bool) -> Future[Any]:
        return self._executor.submit(run, self._parcel.digest, None, arrays)

    def renew(self) -> None:
        self._executor.shutdown(wait=True)
        self._executor = self._make()

    def close(self) -> None:
        self._executor.shutdown(wait=True, cancel_futures=True)
        forget(self._parcel.digest)


class DaskPool:
    """Workers of a Dask cluster, whose own nannies start new ones; each asks for the artifact once."""

    attempts = 2  # the scheduler itself has let several workers die before it says so

    def __init__(self, parcel: Parcel, address: str) -> None:
        where = f"--executor dask://{address}"
        try:
            from distributed import Client, KilledWorker
            from distributed.client import FutureCancelledError
        except ModuleNotFoundError as error:
            if (error.name or "").split(".")[0] not in ("distributed", "dask"):
                raise
            what = "it needs the package distributed, which is not installed here"
            raise RunError(where=where, what=what, help="pip install 'intarsia[dask]'") from error
        self.lost: tuple[type[BaseException], ...] = (KilledWorker, CancelledError, FutureCancelledError)
        self._parcel = parcel
        try:
            self._client = Client(f"tcp://{address}", timeout=5)
        except (OSError, ValueError) as error:  # its time-outs are OSErrors
            what = "no Dask scheduler answers there"
            raise RunError(where=where, what=what, help="start one with: dask scheduler; then: dask worker") from error
        threads = sum(self._client.nthreads().values())
        if not threads:
            self._client.close()
            raise RunError(where=where, what="the scheduler has no workers", help=f"start some: dask worker {address}")
        self.room = 2 * threads
        self._executor = self._client.get_executor(pure=False)  # equal inputs of two files are two runs

    def submit(self, arrays: list[Array], *, load: bool) -> Future[Any]:
        future: Future[Any] = self._executor.submit(run, self._parcel.digest, self._parcel if load else None, arrays)
        return future

    def renew(self) -> None:
        if self._client.status != "running":
            what, help = "the Dask scheduler has gone", "start it again; the same command continues"
            raise RunError(where="--executor", what=what, help=help)

    def close(self) -> None:
        with suppress(Exception):  # a scheduler that has gone already is no news here
            self._executor.shutdown(wait=False)
        self._client.close(timeout=5)


def make_pool(text: str, parcel: Parcel, workers: int) -> Pool:
    """The workers that --executor names. RunError where there are none of that name, or they cannot be reached."""
    if text in ("threads", "processes"):
        return LocalPool(parcel, workers, processes=text == "processes")
    if text.startswith("dask://"):
        return DaskPool(parcel, text[len("dask://") :])
    raise RunError(where=f"--executor {text}", what="there is no such executor", help=f"give {KINDS}")
