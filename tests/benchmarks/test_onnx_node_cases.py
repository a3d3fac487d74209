"""The ONNX backend's node cases on target cpu: `tests/onnx_node_failures.json` lists just those that do not pass.

The default run looks at some; all of them take half an hour:

    pytest -m slow tests/benchmarks/test_onnx_node_cases.py
"""

from __future__ import annotations

import functools
import json
from typing import Any

import onnx
import pytest
from node_case import Outcome, load_cases
from onnx_node_cases import FAILURES, ONNX_VERSION, outcomes

SHARE = 60
"""Every so many-th case runs by default."""

pytestmark = pytest.mark.skipif(onnx.__version__ != ONNX_VERSION, reason=f"the list is about onnx {ONNX_VERSION}")


@functools.cache
def cases() -> list[Any]:
    return load_cases()


def expected_failures() -> dict[str, str]:
    content: dict[str, Any] = json.loads(FAILURES.read_text())
    assert content["onnx"] == ONNX_VERSION
    found: dict[str, str] = content["cases"]
    return found


def check(found: list[Outcome]) -> None:
    listed = expected_failures()
    news = [
        f"{item.name}: {item.status}: {item.reason}" for item in found if not item.passed and item.name not in listed
    ]
    fixed = [item.name for item in found if item.passed and item.name in listed]
    assert not news, "not in the list of failures:\n" + "\n".join(news)
    assert not fixed, "these pass now; take them from the list: onnx_node_cases.py --update\n" + "\n".join(fixed)
    assert not [item.name for item in found if item.status == "crashed"]


def test_the_list_is_about_cases_that_exist() -> None:
    assert len(cases()) == 1884
    assert set(expected_failures()) <= {case.name for case in cases()}
    assert all(": " in reason for reason in expected_failures().values())
    assert len(cases()) - len(expected_failures()) > 1590  # what ONNX Runtime 1.32 passes


def test_some_cases() -> None:
    check(list(outcomes(cases()[7::SHARE], constants=False)))


@pytest.mark.slow
@pytest.mark.parametrize("constants", [False, True])
def test_all_cases(constants: bool) -> None:
    found = list(outcomes(cases(), constants))
    if constants:  # with more of the inputs known, some that the list names pass as well
        listed = expected_failures()
        found = [item for item in found if not (item.passed and item.name in listed)]
    check(found)
