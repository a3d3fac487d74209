"""The recipes of CONTRIBUTING.md: the files that each names, and the edits that it shows, carried out on a copy."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
CONTRIBUTING = ROOT / "CONTRIBUTING.md"

PACKAGES = ("compiler/intarsia", "backends/intarsia_backends")


@dataclass(frozen=True)
class Recipe:
    """One section.

    title  its heading, e.g. "Add a pass"
    rows   the first two cells of each row of its tables: number of the step, files
    edits  diff blocks, each a file and the hunks for it
    """

    title: str
    rows: tuple[tuple[int, str], ...]
    edits: tuple[tuple[str, tuple[str, ...]], ...]


def read_recipes() -> dict[str, Recipe]:
    """Every section of CONTRIBUTING.md whose heading begins with "Add"."""
    sections = re.split(r"^## ", CONTRIBUTING.read_text(), flags=re.MULTILINE)[1:]
    recipes = [_recipe(section) for section in sections if section.startswith("Add ")]
    return {recipe.title: recipe for recipe in recipes}


def _recipe(section: str) -> Recipe:
    rows = tuple(
        (int(number), files) for number, files in re.findall(r"^\| (\d+) \| (.*?) \|", section, flags=re.MULTILINE)
    )
    edits = tuple(
        (path, tuple(hunk.rstrip("\n") for hunk in re.split(r"^@@\n", hunks, flags=re.MULTILINE)))
        for path, hunks in re.findall(r"^```diff\n\+\+\+ (\S+)\n(.*?)^```$", section, flags=re.MULTILINE | re.DOTALL)
    )
    return Recipe(section.split("\n", 1)[0], rows, edits)


def paths_in(text: str) -> list[str]:
    """What stands in backticks and is a path from the root of the repository."""
    return [word for word in re.findall(r"`([^`\s]+)`", text) if "/" in word]


def apply(folder: Path, path: str, hunk: str) -> None:
    """Carry out one hunk: lines that stay or go must stand in the file once; one that only adds goes to the end.

    Blank lines may be written without the space that marks them as lines that stay.
    """
    lines = [line or " " for line in hunk.split("\n")]
    assert all(line[0] in " +-" for line in lines), f"{path}: a line of the edit has no mark"
    before = "".join(f"{line[1:]}\n" for line in lines if line[0] != "+")
    after = "".join(f"{line[1:]}\n" for line in lines if line[0] != "-")
    file = folder / path
    if not before:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a") as stream:
            stream.write(after)
        return
    assert file.exists(), f"there is no {path} for the recipe to edit"
    text = file.read_text()
    kept = [line[1:] for line in lines if line[0] != "+"]
    assert text.count(f"\n{before}") == 1, f"{path}: {kept} must stand in it once, for the recipe to find its place"
    file.write_text(text.replace(f"\n{before}", f"\n{after}"))


def carry_out(recipe: Recipe, folder: Path) -> list[str]:
    """Copy the packages and the folders of tests, and carry out the edits; returns the files edited, in order."""
    files = [path for path, _ in recipe.edits]
    tests = {str(Path(path).parent) for path in files if path.startswith("tests/")}
    leave = shutil.ignore_patterns("__pycache__", "*.onnx", "*.npz")
    for name in sorted({*PACKAGES, *tests, "tests/ir"}):
        shutil.copytree(ROOT / name, folder / name, ignore=leave)
    shared = [path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").glob("*.py")]
    for name in ("pyproject.toml", *shared):
        shutil.copy(ROOT / name, folder / name)
    for path, hunks in recipe.edits:
        for hunk in hunks:
            apply(folder, path, hunk)
    return [path for path, _ in groupby(files)]
