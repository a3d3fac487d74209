"""The device for boards as far as it works without pynq: where it is absent, waiting, bitstreams."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from board_regions import region_of, small_graph

from intarsia.errors import RunError
from intarsia.runtime.devices import choose_devices, installed_devices
from intarsia_backends.overlay.machine.config import PYNQ_Z2
from intarsia_backends.pynq import device, waiting
from intarsia_backends.pynq.design import find_bitstream
from intarsia_backends.pynq.device import PynqDevice
from intarsia_backends.simulator.device import SimulatorDevice


@pytest.fixture
def with_pynq(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine where pynq is installed but cannot be imported; no board."""
    (tmp_path / "pynq.py").write_text("raise ImportError('no library of XRT')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(device, "FPGA_MANAGER", tmp_path / "fpga0")
    monkeypatch.delitem(sys.modules, "pynq", raising=False)


def test_absent_without_pynq(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "find_spec", lambda name: None)
    assert PynqDevice().absent() == "the package pynq is not installed"


def test_absent_without_a_board(with_pynq: None) -> None:
    assert "has no FPGA that Linux can load" in (PynqDevice().absent() or "")
    assert "pynq" not in sys.modules, "asking must stay cheap"


def test_absent_without_root(with_pynq: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(device, "FPGA_MANAGER", tmp_path)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setenv("XILINX_XRT", "/usr")
    assert "needs root" in (PynqDevice().absent() or "")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setenv("INTARSIA_BITSTREAM", str(tmp_path))
    assert "there is none at" in (PynqDevice().absent() or "")
    for name in ("kv260.bit", "kv260.hwh"):
        (tmp_path / name).touch()
    assert PynqDevice().absent() is None


def test_absent_without_the_variable_that_sudo_drops(
    with_pynq: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(device, "FPGA_MANAGER", tmp_path)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    for value in (None, ""):  # pynq takes an empty one for none
        monkeypatch.delenv("XILINX_XRT", raising=False) if value is None else monkeypatch.setenv("XILINX_XRT", value)
        assert "XILINX_XRT is not set" in (PynqDevice().absent() or "")


def test_absent_where_pynq_has_found_no_board(with_pynq: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("tiny.bit", "tiny.hwh"):
        (tmp_path / name).touch()
    monkeypatch.setenv("INTARSIA_BITSTREAM", str(tmp_path))
    card, board = SimpleNamespace(arch="x86_64"), SimpleNamespace(arch="armv7l")
    monkeypatch.setitem(sys.modules, "pynq", SimpleNamespace(Device=SimpleNamespace(devices=[card]), __spec__=object()))
    assert PynqDevice().absent() is not None
    sys.modules["pynq"].Device.devices.append(board)
    assert PynqDevice().absent() is None


def test_a_broken_pynq_is_a_letter(with_pynq: None) -> None:
    with pytest.raises(RunError, match="pynq cannot be imported: no library of XRT"):
        PynqDevice().load(region_of(small_graph()))


def test_a_board_goes_before_the_simulator() -> None:
    found = {item.name: item for item in installed_devices()}
    if "pynq" not in found:
        pytest.skip("needs intarsia installed with its entry points of today")
    assert found["pynq"].absent is not None and found["pynq"].priority == PynqDevice.priority
    assert PynqDevice.priority > SimulatorDevice.priority and PynqDevice.kinds == SimulatorDevice.kinds
    assert choose_devices(["overlay"], None, "model")["overlay"][0].name != "pynq"


# ---- bitstreams


def test_bitstream_by_environment(tmp_path: Path) -> None:
    for name in ("pynq-z2.bit", "pynq-z2.hwh", "mine.bit", "mine.hwh"):
        (tmp_path / name).touch()
    assert find_bitstream(PYNQ_Z2, {"INTARSIA_BITSTREAM": str(tmp_path)}) == tmp_path / "pynq-z2.bit"
    assert find_bitstream(PYNQ_Z2, {"INTARSIA_BITSTREAM": str(tmp_path / "mine.bit")}) == tmp_path / "mine.bit"


def test_bitstream_beside_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pynq-z2.bit", "pynq-z2.hwh"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    assert find_bitstream(PYNQ_Z2, {}) == tmp_path / "pynq-z2.bit"


def test_no_bitstream(tmp_path: Path, golden: Callable[[str], None]) -> None:
    letters = []
    for environment in ({}, {"INTARSIA_BITSTREAM": str(tmp_path)}, {"INTARSIA_BITSTREAM": str(tmp_path / "my.bit")}):
        with pytest.raises(RunError) as caught:
            find_bitstream(PYNQ_Z2, environment, (tmp_path / "here", tmp_path / "package"))
        letters.append(str(caught.value).replace(str(tmp_path), "/folder"))
    (tmp_path / "my.bit").touch()
    with pytest.raises(RunError) as caught:
        find_bitstream(PYNQ_Z2, {"INTARSIA_BITSTREAM": str(tmp_path / "my.bit")})
    letters.append(str(caught.value).replace(str(tmp_path), "/folder"))
    golden("\n".join(letters) + "\n")


# ---- waiting


def test_polling_ends_with_the_program_or_the_time() -> None:
    looks = iter([False, False, True])
    assert waiting.poll(lambda: next(looks), 10.0)
    assert not waiting.poll(lambda: False, 0.01)


def test_polling_looks_once_more_after_the_time() -> None:
    times, looks = iter([0.0, 100.0]), iter([False, True])
    assert waiting.poll(lambda: next(looks), 10.0, clock=lambda: next(times))


class Pin:
    """An interrupt that comes after some seconds, or never."""

    def __init__(self, seconds: float | None) -> None:
        self.seconds, self.came = seconds, False

    async def wait(self) -> None:
        await asyncio.sleep(60.0 if self.seconds is None else self.seconds)
        self.came = True


@pytest.fixture
def thread() -> Iterator[waiting.InterruptThread]:
    started = waiting.InterruptThread()
    yield started
    started.close()


def test_interrupt_wakes(thread: waiting.InterruptThread) -> None:
    pin = Pin(0.01)
    assert thread.wait(pin, lambda: pin.came, 10.0)


def test_interrupt_that_never_comes(thread: waiting.InterruptThread) -> None:
    assert not thread.wait(Pin(None), lambda: False, 0.02)
    looks = iter([False, True])
    assert thread.wait(Pin(None), lambda: next(looks), 0.02), "the status has the last word"


def test_interrupts_are_listened_for_in_a_loop_that_runs(thread: waiting.InterruptThread) -> None:
    assert thread.call(asyncio.get_event_loop).is_running()
    with pytest.raises(ZeroDivisionError):
        thread.call(lambda: 1 // 0)
