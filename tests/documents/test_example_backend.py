"""The example backend is installed as any plug-in is, compiles a model together with the CPU, and runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
EXAMPLE = ROOT / "tutorials" / "example_backend"

MODEL = """
<ir_version: 10, opset_import: ["" : 18]>
mlp (float[2, 8] x) => (float[2, 4] y) <float[8, 4] w = {WEIGHTS}, float[4] b = {0.5, -0.5, 0.25, 0}> {
  product = MatMul (x, w)
  sum = Add (product, b)
  positive = Relu (sum)
  square = Mul (positive, positive)
  chance = Softmax (square)
  y = Add (chance, square)
}""".replace("WEIGHTS", ", ".join(str((index % 7 - 3) / 4) for index in range(32)))

PROGRAM = """
import json
import sys

import numpy as np
import onnx.parser

import intarsia
from intarsia.importer import import_model
from intarsia.ir.evaluate import evaluate

model = onnx.parser.parse_model(sys.argv[1])
x = np.random.default_rng(0).standard_normal((2, 8)).astype(np.float32)
artifact = intarsia.compile_model(model, target="example")
assert artifact.files == intarsia.compile_model(model, target="example").files
(y,) = intarsia.load(artifact).run(x)
(expected,) = evaluate(import_model(model), {"x": x})
np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
rows = intarsia.explain(model, target="example").rows
print(json.dumps([[row.op, row.place, [reason.rule for reason in row.reasons]] for row in rows]))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("example")
    offline = ("--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check")
    command = [sys.executable, "-m", "pip", "install", "-q", *offline, "--target", str(folder), str(EXAMPLE)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return folder


def run(installed: Path, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_model_runs_on_the_example_and_the_cpu(installed: Path) -> None:
    places = json.loads(run(installed, "-c", PROGRAM, MODEL))
    assert places == [
        ["dense", "example", []],
        ["Mul", "example", []],
        ["Softmax", "cpu", ["operator"]],
        ["Add", "example", []],
    ]


def test_commands_list_the_example(installed: Path) -> None:
    listed = run(installed, "-c", "from intarsia.cli.main import main; main()", "targets", "--json")
    assert '"example"' in listed and "a tutorial" in listed


def test_example_fits_on_a_screen_or_two() -> None:
    lines = sum(len(path.read_text().splitlines()) for path in EXAMPLE.rglob("*.py"))
    assert lines <= 80, f"{lines} lines; an example is read in one go"
