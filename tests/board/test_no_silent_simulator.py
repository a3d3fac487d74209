"""On a board the simulator never takes the FPGA's place unsaid; elsewhere there is nothing to say."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from board_regions import region_of, small_graph
from click.testing import CliRunner

import intarsia
from intarsia.artifact import Artifact
from intarsia.cli.commands import intarsia as command
from intarsia.errors import IntarsiaWarning, RunError
from intarsia_backends.overlay.machine.config import PYNQ_Z2
from intarsia_backends.pynq import design, device
from intarsia_backends.pynq.device import PynqDevice

MODELS = Path(__file__).parents[1] / "models"
IMAGES = np.load(MODELS / "digits_test_450.npz")["x"].astype(np.float32)


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    return intarsia.compile_model(MODELS / "digits_cnn.onnx", target="pynq-z2", calibration=IMAGES[:32], host_only=True)


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A PYNQ-Z2 where all is as it should be, as far as that is looked at before pynq is imported."""
    manager, bitstreams = tmp_path / "fpga0", tmp_path / "bitstreams"
    manager.mkdir()
    bitstreams.mkdir()
    (manager / "name").write_text("Xilinx Zynq FPGA Manager\n")
    for name in ("pynq-z2.bit", "pynq-z2.hwh"):
        (bitstreams / name).touch()
    monkeypatch.setattr(device, "FPGA_MANAGER", manager)
    monkeypatch.setattr(device, "find_spec", lambda name: object())
    monkeypatch.setattr(device, "_device_of_pynq", lambda: False)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(design, "PACKAGED", tmp_path / "nothing")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XILINX_XRT", "/usr")
    monkeypatch.setenv("INTARSIA_BITSTREAM", str(bitstreams))
    return bitstreams


Change = Callable[[pytest.MonkeyPatch], None]

LACKS: dict[str, tuple[Change, str]] = {
    "pynq": (lambda patch: patch.setattr(device, "find_spec", lambda name: None), "the package pynq is not installed"),
    "root": (lambda patch: patch.setattr("os.geteuid", lambda: 1000), "loading the FPGA needs root"),
    "xrt": (lambda patch: patch.delenv("XILINX_XRT"), "XILINX_XRT is not set"),
    "bitstream": (lambda patch: patch.delenv("INTARSIA_BITSTREAM"), "there is none at "),
}


def test_a_board_that_lacks_nothing_is_chosen(board: Path) -> None:
    found = PynqDevice()
    assert found.expected() and found.absent() is None and found.unfit(region_of(small_graph(), PYNQ_Z2)) is None


@pytest.mark.parametrize("lack", LACKS)
def test_a_board_that_cannot_be_used_is_a_warning(
    lack: str, board: Path, artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    change, reason = LACKS[lack]
    change(monkeypatch)
    with pytest.warns(IntarsiaWarning) as caught:
        session = intarsia.load(artifact)
    assert len(caught) == 1 and caught[0].filename == __file__
    text = str(caught[0].message)
    assert reason in text and "device 'simulator' runs it" in text and "\n  help: mend that" in text
    assert session.notes == (text,) and "simulator" in session.devices.values()
    assert (
        session.run(IMAGES[:1])[0].tobytes() == intarsia.load(artifact, device="simulator").run(IMAGES[:1])[0].tobytes()
    )


@pytest.mark.parametrize("lack", LACKS)
def test_the_board_by_name_is_never_another_device(
    lack: str, board: Path, artifact: Artifact, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    change, reason = LACKS[lack]
    change(monkeypatch)
    with pytest.raises(RunError, match=f"device 'pynq': it cannot be used here: .*{reason}"):
        intarsia.load(artifact, device="pynq")
    artifact.save(tmp_path / "model.intarsia")
    np.save(tmp_path / "x.npy", IMAGES[:1])
    words = ["run", str(tmp_path / "model.intarsia"), "--input", str(tmp_path / "x.npy"), "--device", "pynq"]
    result = CliRunner().invoke(command, words)
    assert result.exit_code == 2 and reason in result.stderr and result.stdout == ""


def test_letters_of_a_board_that_cannot_be_used(
    board: Path, artifact: Artifact, monkeypatch: pytest.MonkeyPatch, golden: Callable[[str], None], tmp_path: Path
) -> None:
    texts = []
    for change, _ in LACKS.values():
        with monkeypatch.context() as patch:
            change(patch)
            patch.setattr("platform.machine", lambda: "armv7l")
            with pytest.warns(IntarsiaWarning):
                texts += [note for note in intarsia.load(artifact, native=False).notes]
    golden("\n".join(texts).replace(str(tmp_path), "/folder") + "\n")


def test_a_bitstream_of_another_configuration(board: Path, artifact: Artifact) -> None:
    for path in board.iterdir():
        path.rename(path.with_name(path.name.replace("pynq-z2", "kv260")))
    assert PynqDevice().absent() is None
    with pytest.warns(IntarsiaWarning, match=r"there is none at .*pynq-z2\.bit.*; device 'simulator' runs it"):
        intarsia.load(artifact)
    with pytest.raises(RunError, match=r"bitstream for overlay 'pynq-z2'|pynq cannot be imported"):
        intarsia.load(artifact, device="pynq")


def test_the_simulator_by_name_is_meant(
    board: Path, artifact: Artifact, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert intarsia.load(artifact, device="simulator").notes == () and not recwarn.list


@pytest.mark.parametrize("name", [None, "Altera SOCFPGA FPGA Manager\n"])
def test_a_machine_that_is_no_board_says_nothing(
    name: str | None,
    board: Path,
    artifact: Artifact,
    monkeypatch: pytest.MonkeyPatch,
    recwarn: pytest.WarningsRecorder,
) -> None:
    (device.FPGA_MANAGER / "name").unlink()
    if name is not None:
        (device.FPGA_MANAGER / "name").write_text(name)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert not PynqDevice().expected() and PynqDevice().absent() is not None
    assert intarsia.load(artifact).notes == () and not recwarn.list


def test_commands_show_the_reason(
    board: Path, artifact: Artifact, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    path = tmp_path / "model.intarsia"
    artifact.save(path)
    rows: Any = json.loads(CliRunner().invoke(command, ["devices", "--json"]).stdout)["devices"]
    assert "needs root" in next(row["absent"] for row in rows if row["name"] == "pynq")
    result = CliRunner().invoke(command, ["verify", str(path)])
    assert result.exit_code == 0 and result.stderr.count("loading the FPGA needs root") == 1
    report = json.loads(CliRunner().invoke(command, ["report", str(path), "--json"]).stdout)
    assert "needs root" in report["notes"][0]
