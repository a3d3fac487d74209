"""What a type checker of somebody else's program sees of this package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
from pathlib import Path
import numpy as np
import intarsia
from intarsia import ImageOptions, Ranges

x = np.zeros((3, 4), np.float32)
intarsia.compile_model("m.onnx", target="cpu", calibration=x)
intarsia.compile_model(Path("m.onnx"), target="cpu", calibration={"a": x}, tune=20.0)
intarsia.compile_model(b"", target="cpu", calibration=[{"a": x}], save_calibration="r.json")
intarsia.compile_model(b"", target="cpu", calibration=(x for _ in range(3)))
intarsia.compile_model(b"", target="cpu", calibration=Ranges({"x": (0.0, 1.0)}), images=ImageOptions(mean=1.0))
artifact = intarsia.compile_model(b"", target="cpu", values={"n": [1, 2]}, shapes={"x": (1, 2)}, pipeline="")
told: str = intarsia.explain(b"", target="cpu", dimensions={"w": 3}).target + intarsia.__version__
intarsia.compile_model(b"", target="cpu", calibration=7)  # wrong
intarsia.compile_model(b"", target="cpu", batsch=7)  # wrong
intarsia.compile_model(b"")  # wrong
intarsia.explain(b"", target=3)  # wrong
artifact.save(3)  # wrong
"""


@pytest.mark.slow
def test_a_type_checker_knows_every_argument(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "mypy.ini").write_text("[mypy]\nstrict = true\n[mypy-onnx.*]\nignore_missing_imports = true\n")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--no-error-summary", "program.py"],
        capture_output=True, text=True, cwd=tmp_path, timeout=600,
    )  # fmt: skip
    found = {int(line.split(":")[1]) for line in done.stdout.splitlines() if ": error: " in line}
    wrong = {number for number, line in enumerate(PROGRAM.splitlines(), 1) if line.endswith("# wrong")}
    assert found == wrong, done.stdout + done.stderr
