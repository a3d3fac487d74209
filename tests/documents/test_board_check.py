"""tutorials/board_check.py: what is missing comes first, each with a letter; where nothing is, the artifact runs."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import intarsia
from intarsia_backends.pynq import device

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "tutorials" / "board_check.py"


def _script() -> Any:
    spec = importlib.util.spec_from_file_location("board_check", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


board_check = _script()

VERSIONS = {"numpy": "1.21.5", "intarsia": "0.1.0", "pynq": "3.1.2"}


def with_versions(**changes: str | None) -> Callable[[str], str | None]:
    found: Mapping[str, str | None] = {**VERSIONS, **changes}
    return found.get


def modules(pynq_lib: Exception | None = None, arch: str | None = "armv7l") -> Callable[[str], Any]:
    """Imports: pynq is a stand-in, all else is what is installed here."""

    def load(name: str) -> Any:
        if name == "pynq.lib" and pynq_lib is not None:
            raise pynq_lib
        if name.startswith("pynq"):
            devices = [] if arch is None else [SimpleNamespace(arch=arch)]
            return SimpleNamespace(Device=SimpleNamespace(devices=devices))
        return import_module(name)

    return load


@pytest.fixture
def ready(tmp_path: Path) -> Any:
    """A PYNQ-Z2 on which nothing is missing."""
    for name in ("pynq-z2.bit", "pynq-z2.hwh", "kv260.bit", "kv260.hwh"):
        (tmp_path / name).touch()
    environment = {"XILINX_XRT": "/usr", "INTARSIA_BITSTREAM": str(tmp_path)}
    return board_check.Machine("armv7l", (3, 10), 0, environment, tmp_path, with_versions(), modules())


def test_a_ready_board(ready: Any, capsys: pytest.CaptureFixture[str], golden: Callable[[str], None]) -> None:
    assert board_check.main([], ready) == 0
    printed = capsys.readouterr()
    assert not printed.err
    golden(printed.out.replace(ready.environment["INTARSIA_BITSTREAM"], "/folder"))


def test_a_ready_kria(ready: Any, capsys: pytest.CaptureFixture[str]) -> None:
    kria = replace(ready, name="aarch64", version_of=with_versions(pynq="4.0.0"), load=modules(arch="aarch64"))
    assert board_check.main([], kria) == 0
    assert "kv260.bit" in capsys.readouterr().out


CASES: dict[str, Callable[[Any], Any]] = {
    "old_python": lambda ready: replace(ready, python=(3, 8)),
    "no_numpy": lambda ready: replace(ready, version_of=with_versions(numpy=None)),
    "old_numpy": lambda ready: replace(ready, version_of=with_versions(numpy="1.17.4")),
    "new_numpy": lambda ready: replace(ready, version_of=with_versions(numpy="2.0rc1")),
    "no_intarsia": lambda ready: replace(ready, version_of=with_versions(intarsia=None)),
    "no_board": lambda ready: replace(ready, name="x86_64", fpga_manager=Path("/sys/class/fpga_manager/none")),
    "board_without_fpga": lambda ready: replace(ready, fpga_manager=Path("/sys/class/fpga_manager/none")),
    "no_root": lambda ready: replace(ready, user=1000),
    "no_xrt": lambda ready: replace(ready, environment={**ready.environment, "XILINX_XRT": ""}),
    "no_pynq": lambda ready: replace(ready, version_of=with_versions(pynq=None)),
    "old_pynq": lambda ready: replace(ready, version_of=with_versions(pynq="3.0.1")),
    "pynq_4_on_zynq": lambda ready: replace(ready, version_of=with_versions(pynq="4.0.0")),
    "broken_pynq": lambda ready: replace(
        ready, load=modules(ModuleNotFoundError("No module named 'pycparser.plyparser'"))
    ),
    "no_device": lambda ready: replace(ready, load=modules(arch=None)),
    "no_bitstream": lambda ready: replace(
        ready, environment={**ready.environment, "INTARSIA_BITSTREAM": "/folder/of/none.bit"}
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_missing(
    case: str, ready: Any, capsys: pytest.CaptureFixture[str], golden: Callable[[str], None]
) -> None:
    assert board_check.main(["never-read.intarsia"], CASES[case](ready)) == 2
    printed = capsys.readouterr()
    golden((printed.out + printed.err).replace(ready.environment["INTARSIA_BITSTREAM"], "/folder"))


def test_each_check_needs_only_those_before_it() -> None:
    seen: set[str] = set()
    for check in board_check.CHECKS:
        assert seen.issuperset(check.needs), check.title
        seen.add(check.title)
    assert {name.removeprefix("check_") for name in dir(board_check) if name.startswith("check_")} == {
        check.look.__name__.removeprefix("check_") for check in board_check.CHECKS
    }


def test_it_looks_where_the_driver_looks() -> None:
    machine = board_check.this_machine()
    assert machine.fpga_manager == device.FPGA_MANAGER
    assert tuple(board_check.BOARDS) == device.BOARD_MACHINES
    assert device.XRT_VARIABLE in SCRIPT.read_text()


def test_here_it_says_that_no_board_is_here() -> None:
    done = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True, timeout=60)
    if board_check.this_machine().fpga_manager.exists():
        pytest.skip("this machine has an FPGA")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert done.stderr.startswith("error: board: no board is here: ") and "\n  help: " in done.stderr
    assert "board      missing\n" in done.stdout


def test_it_begins_with_the_standard_library_alone() -> None:
    program = "import sys; sys.path.insert(0, sys.argv[1]); import board_check; print(*sys.modules)"
    command = [sys.executable, "-S", "-c", program, str(SCRIPT.parent)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert not {"numpy", "intarsia", "pynq"} & set(done.stdout.split())


@pytest.mark.parametrize("arguments", [["--help"], ["a.intarsia", "b.intarsia"]])
def test_wrong_arguments(arguments: list[str], ready: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert board_check.main(arguments, ready) == 2
    assert "one artifact at most" in capsys.readouterr().err


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with np.load(ROOT / "tests" / "models" / "digits_test_450.npz") as data:
        images = data["x"].astype(np.float32)
    path = tmp_path_factory.mktemp("artifact") / "digits.intarsia"
    model = ROOT / "tests" / "models" / "digits_cnn.onnx"
    intarsia.compile_model(model, target="tiny", calibration=images[:32]).save(path)
    return path


def test_an_artifact_runs(artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert board_check.run_artifact(str(artifact), "simulator") == 0
    printed = capsys.readouterr().out
    assert "simulator" in printed and "as recorded" in printed and "counted by device 'simulator'" in printed


def test_outputs_that_differ_are_said(
    artifact: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run: Callable[..., list[Any]] = intarsia.Session.run
    monkeypatch.setattr(intarsia.Session, "run", lambda self, *given, **rest: [y + 1 for y in run(self, *given)])
    assert board_check.run_artifact(str(artifact), "simulator") == 1
    assert "10 of 10 elements DIFFER" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["missing.intarsia", "digits.intarsia"])
def test_an_artifact_that_cannot_run_is_a_letter(
    name: str, artifact: Path, ready: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second is whole, and wants the device pynq: the simulator never takes its place."""
    if device.PynqDevice().absent() is None:
        pytest.skip("this machine is a board")
    assert board_check.main([str(artifact.with_name(name))], ready) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("error: ") and "\n  help: " in printed.err and "runs on" not in printed.out
