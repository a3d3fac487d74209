"""A run's time ends what the evaluator does: between ops, and between rounds of a loop that has no end."""

from __future__ import annotations

import time

import numpy as np
import pytest
from onnx import parser

import intarsia
from intarsia.importer import import_model
from intarsia.ir.budget import OverBudget, spending
from intarsia.ir.deadline import LateError, check, within
from intarsia.ir.evaluate import evaluate
from intarsia.ir.work import allow
from intarsia.runtime.limits import RunTimeout
from intarsia.runtime.session import Session

LOOP = """<ir_version: 9, opset_import: ["" : 17]> loop (float[2] x, int64 n) => (float[2] y) {
    y = Loop (n, , x) <body = body (int64 i, bool c, float[2] s) => (bool d, float[2] t) {
        d = Identity (c)  t = Add (s, s) }> }"""


@pytest.fixture(scope="module")
def session() -> Session:
    return intarsia.load(intarsia.compile_model(parser.parse_model(LOOP), target="cpu"))


def test_a_loop_without_end(session: Session) -> None:
    x, rounds = np.ones(2, np.float32), np.array(1 << 62)
    started = time.monotonic()
    with pytest.raises(RunTimeout, match="were over before it ended") as caught:
        session.run(x, rounds, timeout=0.5)
    assert time.monotonic() - started < 10
    assert caught.value.region in session.devices
    assert session.run(x, np.array(3), timeout=30)[0].tolist() == [8.0, 8.0]
    assert session.run(x, np.array(3))[0].tolist() == [8.0, 8.0]


def test_a_loop_that_does_nothing_without_end() -> None:
    """No op stands in its body, so that rounds themselves look at the time, and pay from a budget."""
    text = """g (float[2] x, int64 n) => (float[2] y) {
        y = Loop (n, , x) <body = body (int64 i, bool c, float[2] s) => (bool c, float[2] s) { }> }"""
    model = parser.parse_model(f'<ir_version: 9, opset_import: ["" : 17]> {text}')
    graph = import_model(model)
    assert not graph.nodes[0].attributes["body"].nodes
    feeds = {"x": np.ones(2, np.float32), "n": np.array(1 << 62)}
    started = time.monotonic()
    with within(0.3), pytest.raises(LateError):
        evaluate(graph, feeds)
    with spending(allow(graph, 1 << 32, 1 << 30, "vector")), pytest.raises(OverBudget):
        evaluate(graph, feeds)
    assert time.monotonic() - started < 10
    assert evaluate(graph, {**feeds, "n": np.array(4)})[0].tolist() == [1.0, 1.0]


def test_times_nest_and_end() -> None:
    check()
    with within(60):
        check()
        with within(0), pytest.raises(LateError):
            check()
        check()
    check()
