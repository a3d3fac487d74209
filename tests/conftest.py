"""Fixtures that every test may use."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from skips import told

# Set before NumPy comes: threads of BLAS that wait for each other cost tens of times more than they save when all cores
# are busy, and one thread adds up floats in one order.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

settings.register_profile("intarsia", deadline=None)  # a busy machine is not a failure
settings.load_profile("intarsia")

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite tests/golden from today's output")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of the processes that share the tests, one begins with those that wait long for the C++ compiler.

    Others then find built what they need too, and none of these tests is left for the end, when there is nothing to do
    beside it.
    """
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: item.get_closest_marker("rtl") is None)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was skipped, by kind and reason."""
    reports = terminalreporter.stats.get("skipped", [])
    lines = told(report.longrepr[2] for report in reports if isinstance(report.longrepr, tuple))
    if lines:
        terminalreporter.section("skipped")
        for line in lines:
            terminalreporter.write_line(line)


@pytest.fixture(autouse=True)
def no_width(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables are as wide as in a pipe, whatever the terminal or pytest-xdist says of columns."""
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture
def mapped(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Libraries that were mapped, by anyone."""
    opened: list[str] = []
    really = ctypes.CDLL

    def counted(name: Any, *more: Any, **named: Any) -> Any:
        opened.append(str(name))
        return really(name, *more, **named)

    monkeypatch.setattr(ctypes, "CDLL", counted)
    return opened


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Compare text with the file named after the test; `--update-golden` rewrites it, and a reviewer reads it."""
    safe = "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in request.node.name)
    path = Path(__file__).parent / "golden" / request.path.stem / f"{safe}.txt"

    def check(actual: str) -> None:
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(actual)
        assert path.exists(), f"no golden file {path.name}; look at the output, then run with --update-golden"
        assert actual == path.read_text()

    return check


@pytest.fixture(scope="session")
def shared_models() -> Path:
    """The folder of large real models that the repository may not ship; a test that needs it skips without it."""
    folder = SHARED / "models"
    if not folder.is_dir():
        pytest.skip("needs the shared models, which are not part of the repository")
    return folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Labelled inputs for the shared models."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip("needs the shared data, which is not part of the repository")
    return folder
