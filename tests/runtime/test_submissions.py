"""Runs that nobody waits for: what futures, awaiting and mapping give; what is cancelled, late, wrong, or cut short."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, wait
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import intarsia
from adders import Adder, Entry
from artifact_examples import chain
from intarsia.errors import RunError
from intarsia.runtime import devices
from intarsia.runtime.limits import CancellationToken, RunCancelled, RunTimeout
from intarsia.runtime.session import Session, load

SECONDS = 30
"""That a test waits for what should come at once."""


def x(number: int = 0) -> Any:
    return np.full((1, 3), number, np.float32)


class Gate:
    """Holds a region until it is opened, and says when it was reached."""

    def __init__(self, adder: Adder, region: str) -> None:
        self.reached, self._open, self._region = threading.Event(), threading.Event(), region
        adder.reached = self._hold

    def _hold(self, region: str) -> None:
        if region == self._region:
            self.reached.set()
            assert self._open.wait(SECONDS)

    def open(self) -> None:
        self._open.set()


@pytest.fixture
def session(adder: Adder) -> Iterator[Session]:
    """Three regions, one request at a time."""
    with load(chain(3), threads=len(os.sched_getaffinity(0))) as opened:
        assert opened.workers == 1
        yield opened


def threads() -> int:
    return sum(thread.name.startswith("intarsia-submitted") for thread in threading.enumerate())


def test_a_future_gives_what_run_gives(session: Session) -> None:
    futures = [session.submit(x(number)) for number in range(5)] + [session.submit(x=x(5))]
    for number, future in enumerate(futures):
        (found,) = future.result(SECONDS)
        np.testing.assert_array_equal(found, x(number + 3))
    (batch,) = session.submit(np.concatenate([x(0), x(7)])).result(SECONDS)
    np.testing.assert_array_equal(batch, np.concatenate([x(3), x(10)]))


def test_an_error_is_that_of_its_request_alone(session: Session) -> None:
    wrong, right = session.submit(np.zeros((1, 4), np.float32)), session.submit(x(1))
    with pytest.raises(RunError, match="shape"):
        wrong.result(SECONDS)
    np.testing.assert_array_equal(right.result(SECONDS)[0], x(4))


def test_cancelled_before_it_begins(session: Session, adder: Adder) -> None:
    gate = Gate(adder, "0_add")
    first, second = session.submit(x()), session.submit(x())
    assert gate.reached.wait(SECONDS) and first.running() and not second.running()
    assert second.cancel() and second.cancelled()
    assert wait([second], SECONDS).done == {second}  # though its turn has not come
    gate.open()
    first.result(SECONDS)
    session.submit(x()).result(SECONDS)
    assert adder.ran.count("0_add") == 2
    assert not first.cancel() and not first.cancelled()


def test_cancelled_while_it_runs(session: Session, adder: Adder) -> None:
    gate = Gate(adder, "1_add")
    future = session.submit(x())
    assert gate.reached.wait(SECONDS) and future.cancel()
    with pytest.raises(CancelledError):
        future.result(SECONDS)  # at once, though its region still runs
    gate.open()
    np.testing.assert_array_equal(session.submit(x()).result(SECONDS)[0], x(3))
    assert adder.ran == ["0_add", "1_add", "0_add", "1_add", "2_add"]


def test_a_token_for_several(session: Session, adder: Adder) -> None:
    gate, token = Gate(adder, "1_add"), CancellationToken()
    futures = [session.submit(x(), cancellation=token) for _ in range(3)]
    other = session.submit(x())
    assert gate.reached.wait(SECONDS)
    token.cancel()
    gate.open()
    for future in futures:
        with pytest.raises(RunCancelled):
            future.result(SECONDS)
    np.testing.assert_array_equal(other.result(SECONDS)[0], x(3))
    assert adder.ran == ["0_add", "1_add", "0_add", "1_add", "2_add"]


def test_time_that_is_spent_waiting_counts(session: Session, adder: Adder) -> None:
    gate = Gate(adder, "0_add")
    first, late = session.submit(x()), session.submit(x(), timeout=0.001)
    assert gate.reached.wait(SECONDS)
    threading.Event().wait(0.01)
    gate.open()
    first.result(SECONDS)
    with pytest.raises(RunTimeout, match=r"region '0_add'.*0.001 s"):
        late.result(SECONDS)


@pytest.mark.parametrize(
    ("named", "where"), [({"timeout": "soon"}, "timeout"), ({"cancellation": True}, "cancellation")]
)
def test_what_is_no_limit_is_refused_at_once(session: Session, named: dict[str, Any], where: str) -> None:
    with pytest.raises(RunError, match=where):
        session.submit(x(), **named)
    assert threads() == 0


def test_closing_waits_for_what_has_begun_and_refuses_the_rest(adder: Adder) -> None:
    session = load(chain(2), threads=len(os.sched_getaffinity(0)))
    gate = Gate(adder, "0_add")
    begun, waiting = session.submit(x()), session.submit(x())
    assert gate.reached.wait(SECONDS)
    closing = threading.Thread(target=session.close)
    closing.start()
    gate.open()
    closing.join(SECONDS)
    assert not closing.is_alive() and threads() == 0
    np.testing.assert_array_equal(begun.result(0)[0], x(2))
    with pytest.raises(RunError, match="closed"):
        waiting.result(0)
    with pytest.raises(RunError, match="closed"):
        session.submit(x())
    session.close()


def test_a_request_may_close_its_session(adder: Adder) -> None:
    session = load(chain(1))
    done = threading.Event()

    def close(future: Any) -> None:
        session.close()
        done.set()

    future = session.submit(x())
    future.add_done_callback(close)
    assert done.wait(SECONDS) and future.result()[0][0, 0] == 1


def test_a_request_that_closes_waits_for_the_others(adder: Adder, monkeypatch: pytest.MonkeyPatch) -> None:
    session = load(chain(2))
    monkeypatch.setattr(session._submissions, "workers", 2)
    inside, go, closed = threading.Event(), threading.Event(), threading.Event()

    def hold_the_first(region: str) -> None:
        if not inside.is_set():
            inside.set()
            assert go.wait(SECONDS)

    def close(future: Any) -> None:
        session.close()
        closed.set()

    adder.reached = hold_the_first
    held = session.submit(x(1))
    assert inside.wait(SECONDS)
    session.submit(x(2)).add_done_callback(close)
    assert not closed.wait(0.05) and not held.done()
    go.set()
    assert closed.wait(SECONDS) and held.result(0)[0][0, 0] == 3


def test_awaited(session: Session, adder: Adder) -> None:
    async def several() -> list[Any]:
        return await asyncio.gather(*(session.run_async(x(number)) for number in range(4)))

    for number, (found,) in enumerate(asyncio.run(several())):
        np.testing.assert_array_equal(found, x(number + 3))


def test_a_task_that_is_cancelled_takes_its_request_along(session: Session, adder: Adder) -> None:
    gate = Gate(adder, "1_add")

    async def give_up() -> None:
        task = asyncio.ensure_future(session.run_async(x()))
        while not gate.reached.is_set():
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(give_up())
    gate.open()
    session.submit(x()).result(SECONDS)
    assert adder.ran == ["0_add", "1_add", "0_add", "1_add", "2_add"]


def test_map_keeps_the_order_and_draws_no_further_than_told(session: Session) -> None:
    drawn: list[int] = []

    def items() -> Iterator[Any]:
        for number in range(10):
            drawn.append(number)
            yield {"x": x(number)} if number % 2 else x(number)

    for number, (found,) in enumerate(session.map(items(), in_flight=3)):
        np.testing.assert_array_equal(found, x(number + 3))
        assert len(drawn) <= number + 3
    assert len(drawn) == 10
    assert list(session.map([])) == []


def test_map_ends_with_the_first_error_and_leaves_nothing_running(session: Session, adder: Adder) -> None:
    found = session.map([x(0), np.zeros(3, np.float32), *[x(1)] * 50], in_flight=20)
    assert next(found)[0][0, 0] == 3
    with pytest.raises(RunError):
        next(found)
    session.submit(x()).result(SECONDS)
    assert adder.ran.count("0_add") <= 21, "of 52 items"


@pytest.mark.parametrize("number", [0, -1, 1.5, True, "4", 10**9])
def test_in_flight_is_a_number(session: Session, number: Any) -> None:
    with pytest.raises(RunError, match="in_flight"):
        session.map([x()], in_flight=number)


def test_after_a_fork_there_are_threads_again(session: Session) -> None:
    session.submit(x()).result(SECONDS)
    child = os.fork()
    if child == 0:
        os._exit(int(session.submit(x(2)).result(SECONDS)[0][0, 0]))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5


def test_regions_of_one_request_run_beside_those_of_another(adder: Adder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two requests meet in two regions at once: neither could go on alone."""
    with load(chain(2), threads=1) as session:
        if session.workers < 2:
            monkeypatch.setattr(session._submissions, "workers", 2)
        meeting = threading.Barrier(2)

        def meet(region: str) -> None:
            meeting.wait(SECONDS)

        adder.reached = meet
        both = [session.submit(x(number)) for number in (0, 10)]
        assert [future.result(SECONDS)[0][0, 0] for future in both] == [2, 12]


STEPS = st.lists(
    st.tuples(st.sampled_from(["submit", "wrong", "late", "cancel", "wait"]), st.integers(0, 30)), max_size=40
)


@settings(max_examples=60, deadline=None)
@given(STEPS, st.integers(1, 4), st.booleans())
def test_every_request_ends_once_and_rightly(steps: list[tuple[str, int]], workers: int, waits: bool) -> None:
    adder = Adder()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(devices, "entry_points", lambda group: [Entry(adder)])
        session = load(chain(2))
    session._submissions.workers = workers
    submitted: list[tuple[str, int, Any]] = []
    cancelled = set()
    ends: list[Any] = []
    for kind, number in steps:
        if kind in ("submit", "wrong", "late"):
            data = x(number) if kind != "wrong" else np.zeros((1, 9), np.float32)
            future = session.submit(data, timeout=-1 if kind == "late" else None)
            future.add_done_callback(ends.append)
            submitted.append((kind, number, future))
        elif submitted and kind == "cancel":
            future = submitted[number % len(submitted)][2]
            if future.cancel():
                cancelled.add(future)
        elif submitted:
            wait([submitted[number % len(submitted)][2]], SECONDS)
    if waits:
        wait([future for _, _, future in submitted], SECONDS)
    session.close()
    assert len(ends) == len(submitted) == len(set(ends))
    for kind, number, future in submitted:
        assert future.done() and future.cancelled() == (future in cancelled)
        if future.cancelled():
            continue
        error = future.exception()
        if error is None:
            assert kind == "submit" and (future.result()[0] == number + 2).all()
        else:
            reasons = {"wrong": "shape", "late": "were over"}
            assert ("closed" in str(error) and not waits) or (kind in reasons and reasons[kind] in str(error))


def test_a_real_model_gives_the_same_bytes() -> None:
    """The overlay's simulator between two regions of the CPU."""
    from pathlib import Path

    models = Path(__file__).parent.parent / "models"
    images = np.load(models / "digits_test_450.npz")["x"]
    artifact = intarsia.compile_model(models / "digits_cnn.onnx", target="tiny", calibration=images[:100])
    with intarsia.load(artifact) as session:
        assert session.workers >= 2
        wanted = [session.run(image[None])[0] for image in images[:24]]
        for one, (other,) in zip(wanted, session.map(image[None] for image in images[:24]), strict=True):
            assert one.tobytes() == other.tobytes()
