"""`--level LEVEL`: the tests as on an x86 processor of another level, which an emulator stands in for."""

from __future__ import annotations

import pytest

FAILING = {
    "test_division_and_bits[int64]": "vpsravq by 64 places, which Bochs takes for none",
    "test_a_region_runs_without_tvm_and_onnx": "runs code in a process of its own, which has no emulator",
}
"""Tests that fail on an emulated processor, whatever the code."""


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
            if item.name in FAILING:
                item.add_marker(pytest.mark.xfail(reason=FAILING[item.name]))
            if item.path.name == "test_cpu_threads.py" or "threads" in item.name:
                item.add_marker(pytest.mark.skip(reason="an emulated processor has one thread"))
