"""`--level LEVEL`: the tests as on an x86 processor of another level, which an emulator stands in for."""

from __future__ import annotations

import pytest

WRONG = {"test_division_and_bits[int64]": "vpsravq by 64 places, which Bochs takes for none"}
"""Tests that fail by a mistake of the emulator."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--level", help="instructions that this machine is to have, such as avx512; emulated where missing"
    )


def pytest_configure(config: pytest.Config) -> None:
    level = config.getoption("--level")
    if level:
        # Before the tests come, and the parts that they import.
        import emulated

        emulated.install(level)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--level"):
        for item in items:
            if item.name in WRONG:
                item.add_marker(pytest.mark.xfail(reason=WRONG[item.name]))
