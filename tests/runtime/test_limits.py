"""Time-outs and cancellation: between regions, named in the error, and nothing is left broken."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import intarsia
from adders import Adder
from artifact_examples import chain, evaluator_artifact, small_graph
from intarsia.errors import RunError
from intarsia.ir.graph import Graph
from intarsia.ir.types import TensorType
from intarsia.runtime.limits import CancellationToken, Limit, RunCancelled, RunStopped, RunTimeout
from intarsia.runtime.session import Session, load

X = np.zeros((1, 3), np.float32)


@pytest.fixture
def session(adder: Adder) -> Iterator[Session]:
    with load(chain(3)) as opened:
        yield opened


def still_works(session: Session) -> bool:
    return bool((session.run(X)[0] == 3).all())


def test_a_run_within_its_limits_is_as_any_other(session: Session, adder: Adder) -> None:
    limits: dict[str, Any] = {"timeout": 60, "cancellation": CancellationToken()}
    assert session.run(X, **limits)[0].tolist() == session.run(x=X, **limits)[0].tolist() == [[3, 3, 3]]
    result = session.execute({"x": X}, **limits)
    assert result.by_name["y"].tolist() == [[3, 3, 3]] and result.counters["cycles"] == 9
    assert len(adder.given) == 9 and all(0 < left <= 60 for left in adder.given)
    assert session.run(X, timeout=float("inf"))[0].tolist() == [[3, 3, 3]]


def test_a_cancelled_run_names_the_region_that_it_did_not_reach(session: Session, adder: Adder) -> None:
    token = CancellationToken()
    adder.reached = lambda name: token.cancel() if name == "1_add" else None
    with pytest.raises(RunCancelled) as caught:
        session.run(X, cancellation=token)
    assert caught.value.region == "2_add" and adder.ran == ["0_add", "1_add"]
    assert str(caught.value) == (
        "region '2_add': the run was cancelled before it began\n"
        "  help: nothing is left to mend: the session takes further runs"
    )
    with pytest.raises(RunCancelled, match="'0_add'"):
        session.run(X, cancellation=token)
    assert still_works(session)


def test_cancelling_from_another_thread(session: Session, adder: Adder) -> None:
    token, begun = CancellationToken(), threading.Event()

    def canceller() -> None:
        begun.wait(60)
        token.cancel()

    def wait_for_cancel(name: str) -> None:
        begun.set()
        thread.join(60)

    adder.reached = wait_for_cancel
    thread = threading.Thread(target=canceller)
    thread.start()
    with pytest.raises(RunStopped) as caught:
        session.execute([X], cancellation=token)
    assert caught.value.region == "1_add" and token.cancelled
    adder.reached = lambda name: None
    assert still_works(session)


def test_time_that_is_over_stops_before_the_next_region(
    session: Session, adder: Adder, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("intarsia.runtime.limits.time.monotonic", lambda: now[0])
    monkeypatch.setattr(Limit.__init__, "__defaults__", (lambda: now[0],))

    def late(name: str) -> None:
        now[0] += 0.2

    adder.reached = late
    with pytest.raises(RunTimeout) as caught:
        session.run(X, timeout=0.4)
    assert caught.value.region == "2_add" and adder.given == pytest.approx([0.4, 0.2])
    assert str(caught.value).startswith("region '2_add': the 0.4 s that the run was given were over before it began\n")
    assert session.run(X, timeout=0.5)[0].tolist() == [[3, 3, 3]], "a run whose last region ends late has its outputs"
    for seconds in (0, -1.5):
        with pytest.raises(RunTimeout, match="'0_add'"):
            session.run(X, timeout=seconds)
    assert still_works(session)


def test_batches_say_which_samples_were_not_reached(session: Session, adder: Adder) -> None:
    token = CancellationToken()
    adder.reached = lambda name: token.cancel() if len(adder.ran) == 7 else None
    with pytest.raises(RunCancelled, match=r"^region '1_add' \(sample 3 of 5\): "):
        session.execute([np.zeros((5, 3), np.float32)], cancellation=token)
    assert still_works(session)


def test_a_device_may_give_up_itself(session: Session, adder: Adder) -> None:
    def give_up(name: str) -> None:
        raise RunTimeout(where=f"region '{name}'", what="it took too long", help="wait longer", region=name)

    adder.reached = give_up
    with pytest.raises(RunTimeout) as caught:
        session.run(X, timeout=5)
    assert caught.value.region == "0_add"
    adder.reached = lambda name: None
    assert still_works(session)


def test_runs_with_and_without_limits_at_once(session: Session) -> None:
    token, wrong = CancellationToken(), []
    token.cancel()

    def work(limited: bool) -> None:
        for _ in range(50):
            try:
                (found,) = session.run(X, cancellation=token if limited else None)
                wrong.append(limited or found.tolist() != [[3, 3, 3]])
            except RunCancelled:
                wrong.append(not limited)

    threads = [threading.Thread(target=work, args=(index % 2 == 0,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wrong) == 200 and not any(wrong)


def test_a_region_of_the_evaluator_stops_too() -> None:
    token = CancellationToken()
    token.cancel()
    session = load(evaluator_artifact(small_graph()))
    with pytest.raises(RunCancelled, match="'0_evaluator'"):
        session.run(np.zeros((1, 2, 5, 5), np.float32), cancellation=token)


def test_what_is_no_limit_is_refused(session: Session, golden: Callable[[str], None]) -> None:
    calls: list[Callable[[], Any]] = [
        lambda: session.run(X, timeout="soon"),  # type: ignore[arg-type]
        lambda: session.run(X, timeout=True),
        lambda: session.run(X, timeout=float("nan")),
        lambda: session.run(timeout=X),  # type: ignore[arg-type]
        lambda: session.run(X, cancellation=X),  # type: ignore[arg-type]
        lambda: session.execute(X),  # type: ignore[arg-type]
    ]
    letters = []
    for call in calls:
        with pytest.raises(RunError) as caught:
            call()
        letters.append(str(caught.value))
    golden("\n".join(letters) + "\n")


def test_inputs_may_be_called_as_the_limits() -> None:
    graph = Graph("names")
    type = TensorType("float32", (1, 3))
    values = [graph.add_input(name, type) for name in ("timeout", "cancellation")]
    graph.outputs = [graph.add_node("Add", values, [type], output_names=["sum"], opset=18).output]
    result = load(evaluator_artifact(graph)).execute({"timeout": X + 1, "cancellation": X + 2}, timeout=60)
    assert result.by_name["sum"].tolist() == [[3, 3, 3]]


def test_the_errors_are_of_the_public_face_and_travel_between_processes() -> None:
    for kind in (intarsia.RunTimeout, intarsia.RunCancelled):
        error = kind(where="region 'a'", what="it was late", help="wait", region="a")
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is kind and again.region == "a" and str(again) == str(error)
        assert isinstance(again, intarsia.RunStopped) and isinstance(again, intarsia.RunError)
    assert repr(intarsia.CancellationToken()) == "<CancellationToken>"
