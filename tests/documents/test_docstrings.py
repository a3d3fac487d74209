"""Docstrings as pages of the reference: rows, examples and code are seen; nothing else is markup."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from inspect import cleandoc
from pathlib import Path

import pytest

import intarsia

DOCS = Path(__file__).parent.parent.parent / "docs"


def _to_restructured_text() -> Callable[[list[str]], list[str]]:
    spec = importlib.util.spec_from_file_location("docs_docstrings", DOCS / "docstrings.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    function: Callable[[list[str]], list[str]] = module.to_restructured_text
    return function


@pytest.mark.parametrize(
    ("docstring", "page"),
    [
        (
            """Rows.

            name         what `--target` takes
            description  one line,
                         and more
            """,
            [
                "Rows.",
                "",
                "``name``",
                "    what ``--target`` takes",
                "``description``",
                "    one line,",
                "    and more",
            ],
        ),
        (
            """
            name        the longest name
            description has one space behind it
            """,
            ["``name``", "    the longest name", "``description``", "    has one space behind it"],
        ),
        (
            """An example:

                artifact = compile_model(*args)

            After it.
            """,
            ["An example:", "", "::", "", "        artifact = compile_model(*args)", "", "After it."],
        ),
        (
            """Stands on
                base + b * pitch
            with `x`s and *stars* and names_with_.
            """,
            [
                "Stands on",
                "",
                "::",
                "",
                "        base + b * pitch",
                "",
                r"with ``x``\ s and \*stars\* and names\_with\_.",
            ],
        ),
        ("Heading\n-------\nText::", ["**Heading**", "", r"Text:\:"]),
        ("- one,\n  and more\n- two", ["- one,", "  and more", "- two"]),
    ],
)
def test_docstrings_become_pages(docstring: str, page: list[str]) -> None:
    assert _to_restructured_text()(cleandoc(docstring).split("\n"))[:-1] == page


def test_every_public_name_has_something_to_say_in_the_reference() -> None:
    for name in intarsia.__all__:
        assert getattr(intarsia, name).__doc__, f"intarsia.{name} has no docstring"
