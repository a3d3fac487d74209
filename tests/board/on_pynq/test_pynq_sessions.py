"""Whole artifacts, with regions for the CPU too, by the session's own choice of devices."""

from __future__ import annotations

import importlib.util
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bench_device import DRAM_BASE, BenchDevice
from register_model import RegisterModel

import intarsia
from intarsia.artifact import Artifact
from intarsia.dtypes import Array
from intarsia.errors import RunError
from intarsia.runtime.devices import choose_devices
from intarsia.runtime.vectors import verify_vectors
from intarsia_backends.overlay.machine.config import TINY
from intarsia_backends.overlay.machine.isa import Segment
from intarsia_backends.pynq.device import PynqDevice


@pytest.fixture
def digits(machine: BenchDevice, artifacts: Path) -> Path:
    """An artifact with one region for the overlay, and a core that can run it."""
    path = artifacts / "digits.intarsia"
    (region,) = [region for region in Artifact.read(path).contents.regions if region.kind == "overlay"]
    core = RegisterModel(TINY, machine.dram, DRAM_BASE)
    sizes = {Segment[name.upper()]: int(size) for name, size in region.metadata["segments"].items()}
    core.sizes = {**sizes, Segment.CONSTANTS: -(-sizes[Segment.CONSTANTS] // 16) * 16}
    machine.core = core
    return path


@pytest.fixture
def images(artifacts: Path) -> Array:
    return np.load(artifacts / "images.npy")  # type: ignore[no-any-return]


def test_the_board_is_chosen_before_the_simulator(machine: BenchDevice) -> None:
    assert PynqDevice().absent() is None
    assert choose_devices(["overlay"], None, "a model")["overlay"][0].name == "pynq"


def test_a_session_gives_the_bytes_of_the_simulator(digits: Path, images: Array) -> None:
    with intarsia.load(digits) as session:
        assert "pynq" in session.devices.values()
        assert all(result.ok for result in verify_vectors(session))
        result = session.execute([images])
    (found,), counters = result.outputs, result.counters
    with intarsia.load(digits, device="simulator") as session:
        assert "pynq" not in session.devices.values()
        (wanted,) = session.run(images)
    assert found.tobytes() == wanted.tobytes()
    assert counters["images"] == len(images)
    (overlay,) = [region for region in counters["regions"] if region["device"] == "pynq"]
    assert overlay["cycles"] == len(images) * 1000 and overlay["utilisation"] > 0


def test_a_closed_session_gives_memory_back(machine: BenchDevice, digits: Path, images: Array) -> None:
    session = intarsia.load(digits, device="pynq")
    session.run(images[:1])
    assert machine.default_memory.live
    session.close()
    assert not machine.default_memory.live
    with pytest.raises(RunError, match="the session is closed"):
        session.run(images[:1])


def board_check() -> Any:
    """The script of the tutorials that says what is missing on a board."""
    path = Path(__file__).parents[3] / "tutorials" / "board_check.py"
    spec = importlib.util.spec_from_file_location("board_check", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_check_script_runs_an_artifact(
    machine: BenchDevice,
    digits: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("XILINX_XRT", "/usr")
    script = board_check()
    here = replace(script.this_machine(), name=machine.arch, user=0, environment=os.environ, fpga_manager=tmp_path)
    assert script.main([str(digits)], here) == 0
    printed = capsys.readouterr()
    assert "missing" not in printed.out and not printed.err
    assert ": pynq" in printed.out and "as recorded" in printed.out and "1,000 for one run" in printed.out
