"""The batcher alone: what runs together, what is refused, and that every request is answered once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from intarsia.dtypes import Array
from intarsia.errors import RunError
from intarsia.serving.batcher import LEVELS, Batcher, Job, Result
from intarsia.serving.pace import measure
from intarsia.serving.refusal import Outcome, Refusal


class Gate:
    """A model that doubles its input and keeps note of the batches; it runs while the gate is open."""

    def __init__(self, open: bool = True) -> None:
        self.gate = threading.Event()
        self.began = threading.Semaphore(0)
        self.batches: list[list[float]] = []
        self.bad = float("nan")
        if open:
            self.gate.set()

    def __call__(self, arrays: Sequence[Array]) -> Sequence[Array]:
        (array,) = arrays
        self.batches.append(array[:, 0].tolist())
        self.began.release()
        assert self.gate.wait(10)
        if self.bad in array[:, 0]:
            raise RunError(where="the model", what="it does not like this", help="")
        return [array * 2]


@contextmanager
def batcher(run: Gate, **options: Any) -> Iterator[Batcher]:
    made = Batcher(run, **{"workers": 1, "most_rows": 4, "most_queued": 100, "row_seconds": 0.0, **options})
    try:
        yield made
    finally:
        run.gate.set()
        assert made.close(10)


class Asked:
    """A request, and what came of it."""

    def __init__(self, number: float, rows: int = 1, **options: Any) -> None:
        self.answers: list[Result] = []
        self.answered = threading.Event()
        self.job = Job([np.full((rows, 1), number, np.float32)], rows, self._done, **options)

    def _done(self, result: Result) -> None:
        self.answers.append(result)
        self.answered.set()

    @property
    def answer(self) -> Any:
        """The one answer: the first element of the output, or the outcome of a refusal."""
        assert self.answered.wait(10)
        (result,) = self.answers
        if isinstance(result, Refusal):
            return result.outcome
        assert result[0].shape == self.job.arrays[0].shape
        return float(result[0][0, 0])


def hold(made: Batcher, run: Gate) -> Asked:
    """Keep the one thread busy with a request."""
    first = Asked(-1)
    made.submit(first.job)
    assert run.began.acquire(timeout=10)
    return first


def test_what_waits_runs_together_as_far_as_rows_fit() -> None:
    run = Gate(open=False)
    with batcher(run) as made:
        hold(made, run)
        asked = [Asked(number, rows) for number, rows in enumerate((1, 2, 1, 3, 1, 9, 1))]
        for one in asked:
            made.submit(one.job)
        run.gate.set()
        assert [one.answer for one in asked] == [2.0 * number for number in range(7)]
    assert run.batches[1:] == [[0, 1, 1, 2], [3, 3, 3, 4], [5] * 9, [6]]


def test_an_idle_thread_does_not_wait_for_company() -> None:
    run = Gate()
    with batcher(run) as made:
        for number in range(5):
            one = Asked(number)
            made.submit(one.job)
            assert one.answer == 2 * number
    assert run.batches == [[0], [1], [2], [3], [4]]


def test_earlier_levels_run_first() -> None:
    run = Gate(open=False)
    with batcher(run, most_rows=1) as made:
        hold(made, run)
        asked = [Asked(number, level=LEVELS - 1 - number % LEVELS) for number in range(2 * LEVELS)]
        for one in asked:
            made.submit(one.job)
        run.gate.set()
        assert all(one.answer == 2 * number for number, one in enumerate(asked))
    assert run.batches[1:] == [[2], [5], [1], [4], [0], [3]]


def test_a_full_queue_refuses_at_once() -> None:
    run = Gate(open=False)
    with batcher(run, most_queued=2) as made:
        hold(made, run)
        asked = [Asked(number) for number in range(2)]
        for one in asked:
            made.submit(one.job)
        with pytest.raises(Refusal) as refused:
            made.submit(Asked(9).job)
        assert refused.value.outcome is Outcome.FULL and (refused.value.retry_after or 0) >= 1
        made.cancel(asked[0].job)  # makes room
        third = Asked(3)
        made.submit(third.job)
        run.gate.set()
        assert (asked[0].answer, asked[1].answer, third.answer) == (Outcome.CANCELLED, 2, 6)
    assert run.batches[1:] == [[1, 3]]


def test_a_deadline_that_cannot_be_met_is_refused_at_once() -> None:
    run = Gate(open=False)
    with batcher(run, row_seconds=10.0) as made:
        hold(made, run)
        with pytest.raises(Refusal) as refused:
            made.submit(Asked(1, deadline=time.monotonic() + 15).job)  # 10 s for the one that runs, 10 for itself
        assert refused.value.outcome is Outcome.LATE and refused.value.retry_after == 10
        made.submit(Asked(2, deadline=time.monotonic() + 25).job)
        made.submit(Asked(3).job)  # without one, it waits


def test_a_slow_spell_does_not_keep_requests_out() -> None:
    """Estimates learn from runs alone: where nothing ran because of them, they would stay wrong for ever."""
    run = Gate(open=False)
    with batcher(run) as made:
        first = hold(made, run)
        time.sleep(0.5)
        run.gate.set()
        assert first.answer == -2
        for number in range(3):
            one = Asked(number, deadline=time.monotonic() + 0.04)
            wait_until_idle(made)
            made.submit(one.job)
            assert one.answer in (2 * number, Outcome.LATE)


def wait_until_idle(made: Batcher) -> None:
    end = time.monotonic() + 10
    while made._idle < 1:
        assert time.monotonic() < end
        time.sleep(0.001)


def test_what_is_late_in_the_queue_is_not_run() -> None:
    run = Gate(open=False)
    with batcher(run) as made:
        hold(made, run)
        late, other = Asked(1, deadline=time.monotonic() + 0.05), Asked(2)
        made.submit(late.job)
        made.submit(other.job)
        time.sleep(0.1)
        run.gate.set()
        assert (late.answer, other.answer) == (Outcome.LATE, 4)
    assert run.batches[1:] == [[2]]


def test_cancelling_answers_once_and_drops_the_outputs() -> None:
    run = Gate(open=False)
    with batcher(run) as made:
        first = hold(made, run)
        waiting, before = Asked(1), Asked(2)
        made.submit(waiting.job)
        made.cancel(before.job)
        with pytest.raises(Refusal):
            made.submit(before.job)
        for one in (first, waiting):
            made.cancel(one.job)
            made.cancel(one.job)
        run.gate.set()
    assert [one.answer for one in (first, waiting, before)] == [Outcome.CANCELLED] * 3
    assert made.pending == made.queued == 0 and len(run.batches) == 1


def test_one_bad_request_does_not_take_the_others_along(caplog: pytest.LogCaptureFixture) -> None:
    run = Gate(open=False)
    with batcher(run) as made:
        hold(made, run)
        asked = [Asked(number) for number in range(4)]
        run.bad = 2
        for one in asked:
            made.submit(one.job)
        run.gate.set()
        assert [one.answer for one in asked] == [0, 2, Outcome.FAILED, 6]
        assert (
            isinstance(asked[2].answers[0], Refusal) and asked[2].answers[0].what == "the model: it does not like this"
        )


def test_draining_answers_what_was_taken_and_nothing_else() -> None:
    run = Gate(open=False)
    with batcher(run) as made:
        asked = [hold(made, run), Asked(1)]
        made.submit(asked[1].job)
        states = [made.ready]
        assert made.pending == 2
        made.drain()
        states.append(made.ready)
        assert states == [True, False]
        with pytest.raises(Refusal) as refused:
            made.submit(Asked(2).job)
        assert refused.value.outcome is Outcome.DRAINING
        assert not made.close(0.01)
        run.gate.set()
        assert made.close(10)
        assert [one.answer for one in asked] == [-2, 2] and made.pending == 0


def test_many_threads_each_get_their_own_answer_once() -> None:
    run = Gate()
    with batcher(run, workers=3, most_queued=10_000) as made:
        asked = [[Asked(1000 * thread + number, rows=1 + number % 3) for number in range(200)] for thread in range(6)]

        def ask(mine: list[Asked]) -> None:
            for index, one in enumerate(mine):
                made.submit(one.job)
                if index % 7 == 0:
                    made.cancel(one.job)

        threads = [threading.Thread(target=ask, args=(mine,)) for mine in asked]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for mine in asked:
            for index, one in enumerate(mine):
                number = 2 * float(one.job.arrays[0][0, 0])
                assert one.answer == number if index % 7 else one.answer in (number, Outcome.CANCELLED)
    assert made.pending == made.queued == 0 and made._queued_rows == [0] * LEVELS


# ---- how many rows pay


@pytest.mark.parametrize(
    ("fixed", "each", "most"),
    [(0.0, 1e-3, 1), (1e-3, 1e-4, 64), (1e-3, 1e-3, 8), (1.0, 1e-3, 1)],
    ids=["nothing is gained", "much is gained", "little is gained", "a run takes long"],
)
def test_rows_run_together_where_that_pays(fixed: float, each: float, most: int) -> None:
    now = 0.0

    def run(arrays: Sequence[Array]) -> Sequence[Array]:
        nonlocal now
        now += fixed + each * len(arrays[0])
        return arrays

    pace = measure(run, [np.zeros((1, 3), np.float32)], clock=lambda: now)
    assert pace.most_rows == most
    assert pace.row_seconds == pytest.approx(fixed / most + each)
