"""What boards have: Python 3.10, NumPy 1.21, and nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import intarsia
from artifact_examples import evaluator_artifact, small_graph
from intarsia.artifact import Artifact
from intarsia.dtypes import Array
from intarsia.importer import import_model
from intarsia.ir.facts import needs_onnx
from intarsia.runtime.session import load

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "tests" / "models"

SCRIPT = """
import sys
import numpy as np
import intarsia
from intarsia.runtime.devices import installed_devices
from intarsia.runtime.vectors import verify_vectors
session = intarsia.load(sys.argv[1])
assert all(result.ok for result in verify_vectors(session))
np.save(sys.argv[2], session.run(np.load(sys.argv[3]))[0])
print(",".join(found.name for found in installed_devices()))
heavy = {"onnx", "tvm", "networkx", "click", "rich", "ml_dtypes"} & set(sys.modules)
assert not heavy, heavy
"""

BLOCK = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("onnx", "tvm", "tvm_ffi", "networkx", "click", "rich", "ml_dtypes"):
            raise ImportError(f"blocked: {name}")
sys.meta_path.insert(0, Blocked())
"""


def run_there(python: str, script: str, artifact: Artifact, x: Array, folder: Path, **environment: str) -> str:
    """Run an artifact in another interpreter, compare its outputs with ours, give what it printed."""
    artifact.save(folder / "model.intarsia")
    np.save(folder / "x.npy", x)
    arguments = [str(folder / name) for name in ("model.intarsia", "y.npy", "x.npy")]
    done = subprocess.run(
        [python, "-c", script, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=folder,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    (wanted,) = load(folder / "model.intarsia").run(x)
    assert np.load(folder / "y.npy").tobytes() == wanted.tobytes()
    return done.stdout


def random_images() -> Array:
    return np.random.default_rng(5).standard_normal((4, 2, 5, 5)).astype(np.float32)


@pytest.fixture(scope="module")
def compiled() -> tuple[Artifact, Array]:
    """The shipped digits model for the PYNQ-Z2, with its regions for the CPU and the overlay, and images."""
    with np.load(MODELS / "digits_test_450.npz") as data:
        x = data["x"].astype(np.float32)
    return intarsia.compile_model(MODELS / "digits_cnn.onnx", target="pynq-z2", calibration=x[:32]), x[32:36]


def test_running_imports_numpy_alone(compiled: tuple[Artifact, Array], tmp_path: Path) -> None:
    devices = run_there(sys.executable, BLOCK + SCRIPT, *compiled, tmp_path)
    assert "simulator" in devices
    run_there(sys.executable, BLOCK + SCRIPT, evaluator_artifact(small_graph()), random_images(), tmp_path)
    run_there(sys.executable, BLOCK + SCRIPT, *tail_of_a_detector(), tmp_path)


TAIL = """<ir_version: 8, opset_import: ["" : 17]> g (float[1,24] x) => (float[k] y) {
  rows = Reshape (x, four)  p = Sigmoid (rows)  boxes = Unsqueeze (p, zero)  s = ReduceMax <axes = [1]> (p)
  scores = Reshape (s, row)  picked = NonMaxSuppression (boxes, scores, most, limit)
  flat = Reshape (picked, all)  u = Unique <sorted = 0> (flat)  uf = Cast <to = 1> (u)
  image = Reshape (x, square)  ends = Slice (p, zero, two)  batch = Cast <to = 7> (pair)
  r = RoiAlign <output_height = 2, output_width = 2> (image, ends, batch)
  g0 = Reshape (p, grid)  g = GridSample (image, g0)
  m = ReduceMean <keepdims = 0> (g)  c = Less (m, half)
  z = If (c) <then_branch = t () => (float[j] a) { a = Loop (most, , uf) <body =
                b (int64 i, bool o, float[l] v) => (bool o2, float[l2] v2)
                { o2 = Identity (o)  v2 = Concat <axis = 0> (v, uf) }> },
              else_branch = e () => (float[j] d) { d = Neg (uf) }>
  rf = Reshape (r, all)  y = Concat <axis = 0> (z, rf)
}"""


def tail_of_a_detector() -> tuple[Artifact, Array]:
    """Control flow and what detectors end with, all of it for the evaluator."""
    model = onnx.parser.parse_model(TAIL)
    whole = {"four": [-1, 4], "zero": [0], "two": [2], "row": [1, 1, -1], "all": [-1], "square": [1, 2, 3, 4]}
    for name, numbers in {**whole, "grid": [1, 3, 4, 2], "most": 3}.items():
        model.graph.initializer.append(numpy_helper.from_array(np.array(numbers, np.int64), name))
    for name, number in {"limit": 0.5, "half": 0.5, "pair": [0.0, 0.0]}.items():
        model.graph.initializer.append(numpy_helper.from_array(np.array(number, np.float32), name))
    graph = import_model(model)
    assert not any(needs_onnx(node) for node in graph.nodes)
    x = np.random.default_rng(1).standard_normal((1, 24)).astype(np.float32)
    return evaluator_artifact(graph), x


def board_python() -> str:
    """A Python 3.10: INTARSIA_PYTHON310, or one that is installed; else the test is skipped."""
    candidates = [os.environ.get("INTARSIA_PYTHON310"), shutil.which("python3.10")]
    candidates += map(str, sorted(Path.home().glob(".pyenv/versions/3.10*/bin/python")))
    for candidate in candidates:
        if candidate is None:
            continue
        check = [candidate, "-c", "import sys, venv; sys.exit(sys.version_info[:2] != (3, 10))"]
        if subprocess.run(check, capture_output=True).returncode == 0:
            return candidate
    pytest.skip("needs a Python 3.10: set INTARSIA_PYTHON310 to one")


@pytest.fixture(scope="session")
def board(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An interpreter with NumPy 1.21 and the built wheel of intarsia, without its dependencies."""
    original, folder = board_python(), tmp_path_factory.mktemp("board")
    wheels = folder / "wheels"
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(wheels)]
    done = subprocess.run(build, capture_output=True, text=True, cwd=ROOT)
    if "No module named hatchling" in done.stderr:
        pytest.skip("needs hatchling, to build the wheel")
    assert done.returncode == 0, done.stderr
    subprocess.run([original, "-m", "venv", str(folder / "venv")], check=True, capture_output=True)
    python = str(folder / "venv/bin/python")
    pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    numpy = subprocess.run([*pip, "numpy==1.21.6"], capture_output=True, text=True)
    if numpy.returncode:
        pytest.skip(f"needs NumPy 1.21.6 from a package index: {numpy.stderr.strip().splitlines()[-1]}")
    subprocess.run([*pip, "--no-deps", *map(str, wheels.glob("*.whl"))], check=True, capture_output=True)
    return python


def test_artifacts_run_on_what_a_board_has(board: str, compiled: tuple[Artifact, Array], tmp_path: Path) -> None:
    version = subprocess.run([board, "-c", "import numpy; print(numpy.__version__)"], capture_output=True, text=True)
    assert version.stdout.strip() == "1.21.6"
    run_there(board, SCRIPT, evaluator_artifact(small_graph()), random_images(), tmp_path, PYTHONPATH="")
    run_there(board, SCRIPT, *tail_of_a_detector(), tmp_path, PYTHONPATH="")
    devices = run_there(board, SCRIPT, *compiled, tmp_path, PYTHONPATH="")
    assert {"cpu", "pynq", "simulator"} <= set(devices.strip().split(","))
