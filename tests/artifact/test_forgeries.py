"""A few of the forgeries that `forgeries.py` makes by thousands, and that its verdicts are those of what happened."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import forgeries
import pytest
from forged_subjects import SUBJECTS, Subject, subject_of
from forgeries import FAULTS, Verdict, answer, run
from forging import Forgery

from intarsia.errors import RunError
from intarsia.runtime.session import load as really


@pytest.fixture(scope="module")
def verdicts() -> list[Verdict]:
    return list(run(20261130, 220))


def test_each_is_refused_or_runs(verdicts: list[Verdict]) -> None:
    assert [verdict.index for verdict in verdicts] == list(range(220))
    assert [verdict for verdict in verdicts if verdict.outcome in FAULTS] == []
    assert {verdict.subject for verdict in verdicts} == set(SUBJECTS)


def test_edits_are_of_every_outcome(verdicts: list[Verdict]) -> None:
    """A tool whose every forgery is refused for one reason looks at nothing else."""
    outcomes = Counter(verdict.outcome for verdict in verdicts)
    assert outcomes["refused"] > 100 and outcomes["same"] > 20
    reasons = {verdict.said.split(":")[0] for verdict in verdicts if verdict.outcome == "refused"}
    assert len(reasons) > 40


def test_a_forgery_is_made_again_by_its_number(verdicts: list[Verdict]) -> None:
    again = list(run(20261130, 3, first=40))
    assert [(v.index, v.subject, v.edits) for v in again] == [(v.index, v.subject, v.edits) for v in verdicts[40:43]]


def test_verdicts_are_told_apart() -> None:
    """What ends a process, or never ends, is noticed; the next forgery is looked at by a new process."""

    def strange(path: Path, subject: Subject, wanted: list[bytes], forgery: Forgery) -> tuple[str, str]:
        number = int(path.stem)
        if number == 1:
            os.kill(os.getpid(), signal.SIGUSR1)
        if number == 2:
            time.sleep(60)
        if number == 3:
            os._exit(7)
        return "same", ""

    found = [(v.outcome, v.said) for v in run(1, 5, only="by_hand", seconds=2.0, answer=strange)]
    assert found == [("same", ""), ("signal", "SIGUSR1"), ("hang", "SIGKILL"), ("signal", "exit code 7"), ("same", "")]


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (RunError(where="artifact a, file 'b'", what="c", help="d"), "refused"),
        (RunError(where="somewhere", what="something", help="d"), "nameless"),
        (ZeroDivisionError(), "foreign"),
        (AssertionError(), "foreign"),
        (MemoryError(), "memory"),
        (None, "same"),
    ],
)
def test_outcomes(error: Exception | None, outcome: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken(*arguments: Any, **named: Any) -> Any:
        if error is not None:
            raise error
        return really(*arguments, **named)

    subject = subject_of("by_hand")
    with really(subject[0]) as session:
        wanted = forgeries._outputs(session, subject[1])
    forgeries._outputs_before(*subject)
    subject[0].save(tmp_path / "a")
    monkeypatch.setattr(forgeries, "load", broken)
    assert answer(tmp_path / "a", subject, wanted, Forgery(subject[0], random.Random(0)))[0] == outcome
    if error is None:
        assert answer(tmp_path / "a", subject, [b"?"], Forgery(subject[0], random.Random(0)))[0] == "wrong"
