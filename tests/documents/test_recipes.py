"""Recipes keep their word: every path exists, and two are carried out line by line on a copy of the repository."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from recipes import PACKAGES, ROOT, Recipe, carry_out, paths_in, read_recipes

RECIPES = read_recipes()
OP, PASS = "Add an op, with code for the CPU", "Add a pass"


def test_there_is_a_recipe_for_each_kind_of_work() -> None:
    wanted = (OP, PASS, "Add a backend", "Add an instruction", "Add a front-end", "Add a compression method")
    assert tuple(RECIPES) == wanted


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=lambda recipe: recipe.title)
def test_every_file_of_a_recipe_exists(recipe: Recipe) -> None:
    assert [number for number, _ in recipe.rows] == list(range(1, len(recipe.rows) + 1)), "steps are in order"
    made = {path for path, hunks in recipe.edits if all(line.startswith("+") for line in hunks[0].split("\n"))}
    for number, files in recipe.rows:
        assert "`" in files, f"step {number} names no file"
    for path in {*paths_in(" ".join(files for _, files in recipe.rows)), *(path for path, _ in recipe.edits)} - made:
        assert (ROOT / path).exists(), f"{recipe.title}: there is no {path}"


@pytest.mark.parametrize("title", [OP, PASS])
def test_edits_are_among_the_files_that_the_table_names(title: str) -> None:
    named = paths_in(" ".join(files for _, files in RECIPES[title].rows))
    for path, _ in RECIPES[title].edits:
        assert any(path == name or (name.endswith("/") and path.startswith(name)) for name in named), path


def run(folder: Path, *arguments: str) -> str:
    """A Python in which the packages of the copy are imported, not those of the repository."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(str((folder / name).parent) for name in PACKAGES)}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def lint(folder: Path, files: list[str]) -> None:
    for words in (("check", "--quiet"), ("format", "--check", "--quiet")):
        run(folder, "-m", "ruff", *words, "--no-cache", "--config", "pyproject.toml", *files)


COMPILE_SHRINK = """
import numpy as np
import onnx.parser

import intarsia
from intarsia.importer import import_model
from intarsia.ir.evaluate import evaluate

model = onnx.parser.parse_model('''<ir_version: 9, opset_import: ["" : 18]>
  tiny (float[2,40] x) => (float[2,40] y) { s = Shrink <lambd = 0.5, bias = 0.125> (x) y = Mul (s, x) }''')
x = np.random.default_rng(0).standard_normal((2, 40)).astype(np.float32)
assert {row.place for row in intarsia.explain(model, target="cpu").rows} == {"cpu"}
(y,) = intarsia.load(intarsia.compile_model(model, target="cpu")).run(x)
(expected,) = evaluate(import_model(model), {"x": x})
np.testing.assert_array_equal(y, expected)
print(intarsia.__file__)
"""


def test_op_recipe_makes_an_op(tmp_path: Path) -> None:
    edited = carry_out(RECIPES[OP], tmp_path)
    lint(tmp_path, edited)
    assert run(tmp_path, "-c", COMPILE_SHRINK).startswith(str(tmp_path))
    against_onnx, own = "tests/ir/test_onnx_operators.py::test_row_agrees_with_onnx[Shrink]", edited[-1]
    assert "2 passed" in run(tmp_path, "-m", "pytest", "-p", "no:cacheprovider", against_onnx, f"{own}::test_shrink")


RUN_PASS = """
import onnx.parser

import intarsia
from intarsia.importer import import_model
from intarsia.passes import run_passes, simplify_passes
from intarsia.passes.pipeline import parse_pipeline, pipeline_text

model = onnx.parser.parse_model('''<ir_version: 9, opset_import: ["" : 18]>
  tiny (float[4] x) => (float[4] y) { a = Neg (x) b = Neg (a) y = Relu (b) }''')
graph = import_model(model)
assert run_passes(graph, parse_pipeline("remove-double-negation")).changes == 1
assert "remove-double-negation" in pipeline_text(simplify_passes())
assert [row.op for row in intarsia.explain(model, target="cpu").rows] == ["Relu"]
print(intarsia.__file__)
"""


def test_pass_recipe_makes_a_pass(tmp_path: Path) -> None:
    edited = carry_out(RECIPES[PASS], tmp_path)
    lint(tmp_path, edited)
    assert run(tmp_path, "-c", RUN_PASS).startswith(str(tmp_path))
    assert "2 passed" in run(tmp_path, "-m", "pytest", "-p", "no:cacheprovider", edited[-1])
