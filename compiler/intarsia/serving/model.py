"""An artifact that is served: its session, its tensors as clients see them, and its batcher."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from intarsia.artifact.parts import whole_graph
from intarsia.artifact.signatures import TrustedKeys
from intarsia.dtypes import Array
from intarsia.errors import RunError
from intarsia.ir.facts import is_random
from intarsia.processors import usable
from intarsia.runtime.session import Session
from intarsia.runtime.vectors import read_vectors, verify_vectors
from intarsia.serving.batcher import Batcher, Job, Result
from intarsia.serving.endpoint import Endpoint
from intarsia.serving.metrics import Metrics
from intarsia.serving.model_settings import ModelSettings
from intarsia.serving.pace import Pace, measure
from intarsia.serving.refusal import Refusal, invalid
from intarsia.serving.response_cache import Key, ResponseCache
from intarsia.serving.tensors import served


@dataclass(frozen=True)
class Options:
    """How models are loaded and run.

    device        as of `intarsia.load`; so are native and trusted_keys
    threads       of the CPU, for one run
    workers       runs at a time; None for one for every processor that the process may use
    most_rows     rows of requests that are run together; None for what measurements say
    most_queued   requests to one model that may wait
    verify        whether an artifact must give its own test vectors before it is served
    """

    device: str | None = None
    native: bool = True
    trusted_keys: TrustedKeys | None = None
    threads: int = 1
    workers: int | None = None
    most_rows: int | None = None
    most_queued: int = 256
    verify: bool = True


class ServedModel(Endpoint):
    """One artifact, ready to answer. Its session is its own, and closed with it.

    batched  whether clients may send any number of rows, which may then run beside those of others. It is for models
             that were compiled for a batch of 1, whose rows keep their bytes in any company; others take what they were
             compiled for, and every request runs alone
    """

    def __init__(
        self,
        name: str,
        version: str,
        session: Session,
        options: Options,
        metrics: Metrics,
        settings: ModelSettings | None = None,
        cache: ResponseCache | None = None,
    ) -> None:
        settings = settings or ModelSettings()
        self.session = session
        self.batched = is_batched(session)
        super().__init__(
            name,
            version,
            [served(info, self.batched) for info in session.inputs],
            [served(info, self.batched) for info in session.outputs],
            metrics,
            settings.labels,
        )
        if options.verify:
            _verify(name, session)
        pace = self._pace(options.most_rows)
        self._warm_up(settings.warmup, pace.most_rows)
        self._metrics = metrics
        self._cache = cache if cache is not None and settings.cache and not _is_random(session) else None
        self._cache_owner = 0 if self._cache is None else self._cache.new_owner()
        self.batcher = Batcher(
            self._run,
            workers=options.workers or usable(),
            most_rows=pace.most_rows,
            most_queued=options.most_queued,
            row_seconds=pace.row_seconds,
            watch=self.statistics,
        )

    def serve(self) -> None:
        """It takes the place that it was loaded for: its queue is the one that metrics tell of."""
        self._metrics.watch_queue(self.name, self.version, self._queued)

    def rows(self, arrays: Sequence[Array]) -> int:
        """How many rows a request has; a Refusal where its inputs differ in that, or have none."""
        if not self.batched:
            return 1
        lengths = {len(array) for array in arrays}
        if len(lengths) != 1:
            raise invalid(f"the inputs hold different numbers of rows: {', '.join(map(str, sorted(lengths)))}")
        (rows,) = lengths
        if not rows:
            raise invalid("the inputs hold no rows")
        return rows

    def submit(self, job: Job) -> None:
        """Run a request, or answer it at once where its answer is kept."""
        cache, key = self._cache, None
        if cache is not None:
            began = time.monotonic()
            key = cache.key(self._cache_owner, job.arrays)
            found = None if key is None else cache.get(key)
            self.statistics.looked_up(found is not None, time.monotonic() - began)
            if found is not None and self.batcher.ready and not job.settled:
                job.settled = True
                job.done(found)
                return
        if cache is not None and key is not None:
            job.done = _keeping(cache, key, job.done)
        self.batcher.submit(job)

    def cancel(self, job: Job) -> None:
        """See `Endpoint`."""
        self.batcher.cancel(job)

    @property
    def ready(self) -> bool:
        """See `Endpoint`."""
        return self.batcher.ready

    def give_up(self) -> None:
        """See `Endpoint`."""
        self.batcher.give_up()

    def close(self, seconds: float | None = None) -> bool:
        """Answer what was taken and let go of the devices; False where that takes longer than so many seconds."""
        ended = self.batcher.close(seconds)
        if ended:
            self.session.close()
            self._metrics.unwatch_queue(self.name, self.version, self._queued)
            if self._cache is not None:
                self._cache.forget(self._cache_owner)
        return ended

    def _queued(self) -> int:
        return self.batcher.queued

    def _run(self, arrays: Sequence[Array]) -> Sequence[Array]:
        return self.session.run(*arrays)

    def _warm_up(self, runs: int, most_rows: int) -> None:
        row = _example(self.session) if runs else None
        if row is None:
            return
        for _ in range(runs):
            for rows in sorted({1, most_rows}):
                self._run([np.repeat(array, rows, axis=0) if rows > 1 else array for array in row])

    def _pace(self, most_rows: int | None) -> Pace:
        row = _example(self.session)
        if row is None:
            return Pace(1, 0.0)
        if not self.batched:
            return measure(self._run, row, (1,))
        if most_rows is None:
            return measure(self._run, row)
        return Pace(most_rows, measure(self._run, row, (1,)).row_seconds)


def is_batched(session: Session) -> bool:
    """Whether rows of several requests may run together: it was compiled for 1, which is every tensor's first size."""
    contents = session.artifact.contents
    return contents.batch == 1 and all(
        info.is_tensor and info.shape is not None and info.shape[:1] == (1,) and None not in info.shape
        for info in (*session.inputs, *session.outputs)
    )


def _verify(name: str, session: Session) -> None:
    wrong = [result for result in verify_vectors(session) if not result.ok]
    if wrong:
        raise RunError(
            where=f"model '{name}'",
            what=f"output '{wrong[0].output}' of its test vector {wrong[0].vector} is not what was recorded",
            help="it would answer wrongly here; `intarsia verify` says more, and --no-verify serves it none the less",
        )


def _is_random(session: Session) -> bool:
    """Whether the same inputs may give other outputs."""
    return any(is_random(node) for node in whole_graph(session.artifact.files).nodes)


def _keeping(cache: ResponseCache, key: Key, done: Callable[[Result], None]) -> Callable[[Result], None]:
    def keep(result: Result) -> None:
        if not isinstance(result, Refusal):
            cache.keep(key, result)
        done(result)

    return keep


def _example(session: Session) -> list[Array] | None:
    """Inputs of one run: the artifact's own, else zeros; None where sizes depend on data."""
    vectors = read_vectors(session.artifact)
    if vectors:
        return vectors[0][0]
    if any(info.shape is None or None in info.shape or info.dtype == "string" for info in session.inputs):
        return None
    return [np.zeros(info.dims, served(info, False).numpy) for info in session.inputs]
