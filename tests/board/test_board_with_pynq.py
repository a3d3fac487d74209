"""Runs tests/board/on_pynq in an environment that has pynq, on artifacts that are compiled here.

pynq pins NumPy below 2 and more, so that it has an environment of its own: `tests/board/make_environment` makes it.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

import intarsia

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "tests" / "models"


def pynq_python() -> str:
    """The interpreter of the environment: INTARSIA_PYNQ_PYTHON, else .venv-pynq."""
    python = os.environ.get("INTARSIA_PYNQ_PYTHON", str(ROOT / ".venv-pynq" / "bin" / "python"))
    if not Path(python).exists():
        pytest.skip("needs an environment with pynq: tests/board/make_environment makes one in .venv-pynq")
    return python


def test_boards_with_pynq(tmp_path: Path) -> None:
    python = pynq_python()
    with np.load(MODELS / "digits_test_450.npz") as data:
        images = data["x"].astype(np.float32)
    artifact = intarsia.compile_model(MODELS / "digits_cnn.onnx", target="tiny", calibration=images[:32])
    artifact.save(tmp_path / "digits.intarsia")
    np.save(tmp_path / "images.npy", images[32:36])
    done = subprocess.run(
        [python, "-m", "pytest", str(Path(__file__).parent / "on_pynq"), "-p", "no:cacheprovider", "-W", "ignore"],
        capture_output=True,
        text=True,
        timeout=1800,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": "", "INTARSIA_BOARD_ARTIFACTS": str(tmp_path)},
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
