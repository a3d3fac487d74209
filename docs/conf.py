"""Settings of Sphinx, and the pages of the reference, one for each room of the compiler. `docs/build` runs it."""

from __future__ import annotations

import pkgutil
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import version as installed_version
from pathlib import Path
from types import ModuleType
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import intarsia  # noqa: E402
from docstrings import to_restructured_text  # noqa: E402

project = "intarsia"
author = "the authors of intarsia"
project_copyright = "the authors of intarsia"
version = release = installed_version("intarsia")

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["README.md", "html"]
html_theme = "alabaster"
html_theme_options = {"description": "Compiles ONNX models for small FPGA boards", "page_width": "1100px"}
autodoc_default_options = {
    "members": True,
    "show-inheritance": True,
    "member-order": "bysource",
    "ignore-module-all": True,  # what a package passes on is told once, where it is made
}
autodoc_preserve_defaults = True
suppress_warnings = ["ref.python"]  # classes of one name in several rooms, where a type says the name alone
smartquotes = False  # they would make one dash of the two in --target
python_maximum_signature_line_length = 100

LEFT_OUT = ("cli", "demo")
"""Rooms of `intarsia` that nobody imports: the commands tell of themselves."""

SHARED = ("intarsia_backends.lowering",)
"""What backends share, beside the compiler's own rooms."""


GUESTS = ("intarsia.serving.kserve", "intarsia.serving.ray")
"""What stands in servers of others, whose packages are too large to be here; docs/serving.md tells of them."""


def rooms() -> Iterator[str]:
    """Names of the modules and packages that have a page."""
    for found in pkgutil.iter_modules(intarsia.__path__):
        if found.name not in LEFT_OUT and not found.name.startswith("_"):
            yield f"intarsia.{found.name}"
    yield from SHARED


def modules(room: str) -> Iterator[ModuleType]:
    """A package and all that is in it, or a module alone."""
    module = import_module(room)
    yield module
    for found in pkgutil.walk_packages(getattr(module, "__path__", ()), f"{room}."):
        if found.name not in GUESTS:
            yield import_module(found.name)


def write_reference(app: Any) -> None:
    """Write the pages. Those that are as they were are left alone, so that Sphinx need not read them again."""
    folder = HERE / "reference"
    pages = {"intarsia": _face(), **{room: _page(room) for room in rooms()}}
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.rst"):
        if old.stem not in pages:
            old.unlink()
    for name, text in pages.items():
        path = folder / f"{name}.rst"
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def _face() -> str:
    """The page of what `import intarsia` gives."""
    lines = [*_title("intarsia"), ".. automodule:: intarsia", "   :no-members:", "", ".. currentmodule:: intarsia", ""]
    for name in intarsia.__all__:
        found = getattr(intarsia, name)
        if isinstance(found, ModuleType):
            continue  # it has a page of its own
        if isinstance(found, type):
            kind = "autoexception" if issubclass(found, BaseException) else "autoclass"
        else:
            kind = "autofunction" if callable(found) else "autodata"
        lines += [f".. {kind}:: intarsia.{name}", ""]
    return "\n".join(lines)


def _page(room: str) -> str:
    lines = _title(room)
    for module in modules(room):
        if module.__name__ != room:
            lines += [module.__name__, "-" * len(module.__name__), ""]
        lines += [f".. automodule:: {module.__name__}", ""]
    return "\n".join(lines)


def _title(text: str) -> list[str]:
    return [text, "=" * len(text), ""]


def rewrite(app: Any, what: str, name: str, found: Any, options: Any, lines: list[str]) -> None:
    """Called by autodoc for each docstring."""
    lines[:] = to_restructured_text(lines)


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("builder-inited", write_reference)
    app.connect("autodoc-process-docstring", rewrite)
