"""The shape of the house: what imports what. Layers and forbidden imports are contracts in pyproject.toml."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

import grimp
import networkx

ROOT = Path(__file__).parent.parent.parent


def test_no_module_waits_for_itself() -> None:
    """Imports inside functions count too: a circle is one wherever its imports stand."""
    imports = grimp.build_graph("intarsia", "intarsia_backends", "intarsia_hw", cache_dir=None)
    edges = [(name, found) for name in imports.modules for found in imports.find_modules_directly_imported_by(name)]
    assert len(edges) > 500
    groups = networkx.strongly_connected_components(networkx.DiGraph(edges))
    assert [sorted(group) for group in groups if len(group) > 1] == []


def test_public_functions_and_classes_say_what_they_are_for() -> None:
    silent = [
        f"{path.relative_to(ROOT)}:{item.lineno} {item.name}"
        for path in sorted((ROOT / "compiler" / "intarsia").rglob("*.py"))
        for item in ast.parse(path.read_text()).body
        if isinstance(item, (ast.FunctionDef, ast.ClassDef))
        and not item.name.startswith("_")
        and ast.get_docstring(item) is None
    ]
    assert silent == []


def test_files_have_at_most_600_lines() -> None:
    folders = [ROOT / name for name in ("compiler", "backends", "hw", "tests", "tutorials")]
    files = [path for folder in folders for kind in ("*.py", "*.c", "*.h", "*.sv") for path in folder.rglob(kind)]
    long = {str(path.relative_to(ROOT)) for path in files if len(path.read_text().splitlines()) > 600}
    assert long == set()


def test_no_two_files_of_tests_have_one_name() -> None:
    """pytest imports them by their bare names, and their golden files lie in a folder of that name."""
    stems = [path.stem for path in (ROOT / "tests").rglob("*.py") if path.stem not in ("conftest", "__init__")]
    assert [stem for stem, count in Counter(stems).items() if count > 1] == []


def test_the_page_of_the_architecture_names_the_floors_of_the_contract() -> None:
    """compiler/README.md lists, from the top, what the exhaustive contract of pyproject.toml lists."""
    contract = re.search(
        r'containers = \["intarsia"\].*?layers = \[\n(.*?)\n\]', (ROOT / "pyproject.toml").read_text(), re.S
    )
    page = re.search(r"\| floor \|.*?\n\n", (ROOT / "compiler" / "README.md").read_text(), re.S)
    assert contract is not None and page is not None
    floors = [set(re.findall(r"\w+", line)) for line in contract[1].splitlines()]
    floors[:2] = [floors[0] | floors[1]]  # `python -m intarsia` only calls the command line
    rows: dict[str, set[str]] = {}
    for floor, rooms in re.findall(r"^\| (\d) \| (.*?) \|", page[0], re.M):
        rows.setdefault(floor, set()).update(re.findall(r"`(\w+)`", rooms))
    assert list(rows.values()) == [floor | ({"intarsia"} if "cli" in floor else set()) for floor in floors]
