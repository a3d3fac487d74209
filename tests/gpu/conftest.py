"""Where OpenCL keeps what it compiled: nowhere else than in a temporary folder, so that each run compiles. Which driver
tests of NVIDIA's GPUs meet."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from cards import Cards, of_this_machine, pretending
from fake_cuda import FakeDriver
from pocl import name_processor


@pytest.fixture(scope="session", autouse=True)
def compiled_kernels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """PoCL's cache, and the processor that it compiles for, before it is first asked for anything."""
    name_processor()
    before = os.environ.get("POCL_CACHE_DIR")
    os.environ["POCL_CACHE_DIR"] = str(tmp_path_factory.mktemp("pocl"))
    yield
    if before is None:
        del os.environ["POCL_CACHE_DIR"]
    else:
        os.environ["POCL_CACHE_DIR"] = before


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests of GPUs meet one driver in a process: that of this machine's GPU by -m cuda, else one that pretends."""
    if "driver_of_cards" in metafunc.fixturenames:
        real = pytest.param("real", marks=pytest.mark.cuda)
        chosen = real if metafunc.config.getoption("-m") == "cuda" else "pretended"
        metafunc.parametrize("driver_of_cards", [chosen], indirect=True, scope="session")


@pytest.fixture(scope="session")
def driver_of_cards(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Cards:
    """The driver of this process."""
    return of_this_machine() if request.param == "real" else pretending(tmp_path_factory.mktemp("cuda"))


@pytest.fixture
def cards(driver_of_cards: Cards) -> Iterator[Cards]:
    """The driver, as if the process had just begun; in the end, all that it gave was given back."""
    if driver_of_cards.fake is not None:
        driver_of_cards.fake.reset()
    yield driver_of_cards
    assert driver_of_cards.is_clean(), driver_of_cards.fake and driver_of_cards.fake.alive()


@pytest.fixture
def fake(cards: Cards) -> FakeDriver:
    """The driver that pretends."""
    if cards.fake is None:
        pytest.skip("needs a driver that fails on demand: pytest without -m cuda")
    return cards.fake
