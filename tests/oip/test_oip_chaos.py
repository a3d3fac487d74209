"""Twice the capacity of two servers, one of which ends while one is killed: nothing lost, wrong, or leaked."""

from __future__ import annotations

import pytest

pytest.importorskip("grpc", reason="needs the extra serve")
pytest.importorskip("tritonclient.grpc", reason="needs tritonclient")
chaos = pytest.importorskip("chaos", reason="needs the extra serve")


def test_each_request_has_one_right_answer_or_a_clean_refusal(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--oip-url", default=None) is not None:
        pytest.skip("it ends servers: those of others are left alone")
    report = chaos.run(20_000)
    assert report.faults == [] and report.reloads > 5
    tally = report.tally
    assert tally.total == 20_000 and tally.wrong == tally.lost == []
    assert tally.right > 4_000 and sum(tally.refused.values()) > 1_000 and tally.given_up == 400
