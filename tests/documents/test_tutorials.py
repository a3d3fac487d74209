"""Tutorials run and print what they say that they print; notebooks are what is made of them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from tutorial_cells import alike, cells_of, notebook, run, updated

ROOT = Path(__file__).parents[2]
TUTORIALS = sorted((ROOT / "tutorials").glob("[0-9]*.py"))
NOTEBOOKS = ("02_own_model", "04_where_accuracy_goes")
"""Those that people expect to run cell by cell."""

PACKAGES = {"08_five_devices": ("jaxlib", "pyopencl", "cuda.bindings")}
"""Of extras, which not every Python and processor has."""

each_tutorial = pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)


@each_tutorial
def test_it_prints_what_it_says(path: Path, request: pytest.FixtureRequest) -> None:
    text = path.read_text()
    for package in PACKAGES.get(path.stem, ()):
        pytest.importorskip(package)
    cells = cells_of(text)
    # A notebook stands in its own folder, a script where the reader calls it.
    printed = run(cells, ROOT / "tutorials" if path.stem in NOTEBOOKS else ROOT)
    if request.config.getoption("--update-golden"):
        path.write_text(updated(text, printed))
        cells = cells_of(path.read_text())
    for cell, lines in zip(cells, printed):
        assert alike(cell.printed, lines), f"{cell.words}\n\nprints\n\n" + "\n".join(lines)
    assert any(printed)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebooks_are_made_of_scripts(name: str, request: pytest.FixtureRequest) -> None:
    made = notebook(cells_of((ROOT / "tutorials" / f"{name}.py").read_text()))
    place = ROOT / "tutorials" / f"{name}.ipynb"
    if request.config.getoption("--update-golden"):
        place.write_text(made)
    assert place.read_text() == made, f"make it anew: pytest {Path(__file__).relative_to(ROOT)} --update-golden"


@each_tutorial
def test_it_names_itself_and_where_to_go(path: Path) -> None:
    words = "\n".join(cell.words for cell in cells_of(path.read_text()))
    assert words.startswith(f"# Tutorial {int(path.stem[:2])}: ") and f"python tutorials/{path.name}" in words
    if path.stem in NOTEBOOKS:
        assert f"tutorials/{path.stem}.ipynb" in words
    assert f"({path.name})" in (ROOT / "tutorials" / "README.md").read_text()


PAGES = ("06_ci_without_a_board/README.md", "07_bitstream.md")


@pytest.mark.parametrize("name", PAGES)
def test_commands_of_pages_print_what_is_said(name: str, tmp_path: Path) -> None:
    """Blocks that are marked: run as they stand, in a folder that looks like the repository's root."""
    text = (ROOT / "tutorials" / name).read_text()
    blocks = re.findall(r"<!-- run -->\n```sh\n(.*?)```\n\n```text\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == text.count("<!-- run -->") > 0
    for folder in ("hw", "tests", "tutorials"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    surroundings = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTEST_ADDOPTS": "-p no:cacheprovider",
    }
    for commands, printed in blocks:
        if "tclsh" in commands and shutil.which("tclsh") is None:
            pytest.skip("needs tclsh: apt-get install tcl")
        shell = ["bash", "-euo", "pipefail", "-c", commands]
        done = subprocess.run(shell, capture_output=True, text=True, timeout=600, cwd=tmp_path, env=surroundings)
        assert done.returncode == 0, done.stdout + done.stderr
        assert alike(printed.splitlines(), done.stdout.splitlines()), done.stdout


def test_the_workflow_runs_the_tests_that_are_there() -> None:
    folder = ROOT / "tutorials" / "06_ci_without_a_board"
    steps = yaml.safe_load((folder / "model.yml").read_text())["jobs"]["model"]["steps"]
    assert all(("uses" in step) != ("run" in step) for step in steps)
    command = steps[-1]["run"].split()
    assert command[:3] == ["python", "-m", "pytest"] and (folder / command[-1]).exists()


def test_a_change_of_words_or_figures_is_seen() -> None:
    said = ("float32 99.1 %, int8 13.3 %", "2,797 cycles")
    assert alike(said, said) and alike(said, ("float32 98.9 %,  int8 14 %", "2,850 cycles"))
    assert not alike(said, said[:1])
    assert not alike(said, ("float32 99.1 %, int8 33.3 %", said[1]))
    assert not alike(said, (said[0], "2,797 turns")) and not alike(said, (said[0], "3,100 cycles"))
    text = '"""Tutorial 0: of nothing."""\n\nimport math\n\n# ---- 1. Say it ----\n# In words.\n\nprint(1)\n\n# > 2\n'
    (first, second) = cells_of(text)
    assert (first.words, first.code) == ("# Tutorial 0: of nothing", "import math")
    assert (second.words, second.code, second.printed) == ("## 1. Say it\n\nIn words.", "print(1)", ("2",))
    assert updated(text, [(), ("1",)]) == text.replace("# > 2", "# > 1")
    assert run([first, replace(second, code="print(math.pi > 3)")], ROOT) == [(), ("True",)]
