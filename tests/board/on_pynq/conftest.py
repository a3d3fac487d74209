"""What the tests on pynq's classes share: a machine with bitstreams of every configuration, and cores behind them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench_device import DRAM_BASE, PYNQ_MAJOR, BenchDevice, bench
from fixture_hwh import write_hwh
from register_model import RegisterModel

from intarsia.runtime.device import LoadedRegion, RegionFiles
from intarsia_backends.overlay.machine.config import CONFIGS
from intarsia_backends.overlay.machine.parameters import VLNV
from intarsia_backends.overlay.machine.region import read_region
from intarsia_backends.pynq import board
from intarsia_backends.pynq.device import PynqDevice


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[BenchDevice]:
    """A board that has just booted; a Kria where pynq no longer loads anything else."""
    kind = "pynq-z2" if PYNQ_MAJOR < 4 else "kv260"
    for name in CONFIGS:
        (tmp_path / f"{name}.bit").touch()
        (tmp_path / f"{name}.hwh").write_text(write_hwh(kind, VLNV))
    monkeypatch.setenv("INTARSIA_BITSTREAM", str(tmp_path))
    monkeypatch.setattr(board, "LOCK_FILE", tmp_path / "lock")
    bench.be(kind)
    bench.evicts_late = False
    bench.downloads.clear()
    yield bench
    bench.core = None
    loaded, board._loaded.board, board._loaded.users = board._loaded.board, None, 0
    if loaded is not None:
        loaded.release()


@pytest.fixture
def load(machine: BenchDevice) -> Iterator[Callable[[RegionFiles], LoadedRegion]]:
    """Load a region on a core in Python that executes it. Closed when the test ends."""
    loaded = []

    def load_region(files: RegionFiles) -> LoadedRegion:
        described = read_region(files)
        if not isinstance(machine.core, RegisterModel):
            machine.core = RegisterModel(described.config, machine.dram, DRAM_BASE)
        machine.core.sizes = described.segments
        loaded.append(PynqDevice().load(files))
        return loaded[-1]

    yield load_region
    for region in loaded:
        region.close()


@pytest.fixture(scope="session")
def artifacts() -> Path:
    """A folder with artifacts and inputs, compiled where the compiler's dependencies are."""
    folder = os.environ.get("INTARSIA_BOARD_ARTIFACTS")
    if folder is None:
        pytest.skip("needs compiled artifacts: tests/board/test_board_with_pynq.py makes them and runs this")
    return Path(folder)
