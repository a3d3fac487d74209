"""Tutorials taken apart: sections of a script as cells, what each prints, and the notebook that is made of them.

A tutorial is a Python script. Its docstring and the comments behind `# ---- 1. A title ----` are words, what follows is
code, and lines that begin with `# > ` say what the code before them prints. Notebooks are made of scripts alone.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_HEAD = re.compile(r"# ---- (\d+\. .*?) -+$")
_PRINTED = "# > "

_RUN = """
import contextlib, io, json, sys
printed, names = [], {"__name__": "__main__"}
for number, code in enumerate(json.load(sys.stdin)):
    with contextlib.redirect_stdout(io.StringIO()) as stream:
        exec(compile(code, f"section {number}", "exec"), names)
    printed.append(stream.getvalue())
json.dump(printed, sys.stdout)
"""


@dataclass(frozen=True)
class Cell:
    """A section: its words as Markdown, its code, and the lines that the code prints."""

    words: str
    code: str
    printed: tuple[str, ...]


def cells_of(text: str) -> list[Cell]:
    """The sections of a script. The first is the docstring, with the code before the first title."""
    lines = text.splitlines()
    docstring = ast.parse(text).body[0]
    assert isinstance(docstring, ast.Expr) and isinstance(docstring.value, ast.Constant), "a tutorial begins with words"
    first, _, rest = str(docstring.value.value).partition("\n")
    starts = [index for index, line in enumerate(lines) if _HEAD.match(line)]
    assert starts and docstring.end_lineno is not None
    found = [_cell(f"# {first.rstrip('.')}\n{rest.rstrip()}".rstrip(), lines[docstring.end_lineno : starts[0]])]
    for start, end in zip(starts, [*starts[1:], len(lines)]):
        title = _HEAD.match(lines[start])
        assert title is not None
        words, index = [f"## {title[1]}", ""], start + 1
        while index < end and lines[index].startswith("#"):
            words.append(lines[index][2:])
            index += 1
        found.append(_cell("\n".join(words).rstrip(), lines[index:end]))
    return found


def _cell(words: str, lines: Sequence[str]) -> Cell:
    printed = tuple(line[len(_PRINTED) :] for line in lines if line.startswith(_PRINTED))
    code = "\n".join(line for line in lines if not line.startswith(_PRINTED)).strip("\n")
    return Cell(words, code, printed)


def run(cells: Sequence[Cell], folder: Path) -> list[tuple[str, ...]]:
    """What the code of each cell prints, one after the other in one process that stands in a folder."""
    done = subprocess.run(
        [sys.executable, "-c", _RUN],
        input=json.dumps([cell.code for cell in cells]),
        capture_output=True,
        text=True,
        timeout=600,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    return [tuple(line.rstrip() for line in text.splitlines()) for text in json.loads(done.stdout)]


def updated(text: str, printed: Sequence[Sequence[str]]) -> str:
    """A script whose sections say that they print these lines."""
    sections = re.split(r"(?m)^(?=# ---- \d+\. )", text)
    assert len(sections) == len(printed)
    made = ""
    for section, lines in zip(sections, printed):
        kept = "\n".join(line for line in section.splitlines() if not line.startswith(_PRINTED)).rstrip("\n")
        told = "\n".join(f"{_PRINTED}{line}" for line in lines)
        # Behind a function the formatter wants two empty lines.
        end = "\n\n\n" if section.endswith("\n\n\n") and not told else "\n\n"
        made += (f"{kept}\n\n{told}" if told else kept) + end
    return made.rstrip("\n") + "\n"


def notebook(cells: Sequence[Cell]) -> str:
    """The same as a notebook, with what is printed as the outputs of its cells."""
    made: list[dict[str, object]] = []
    count = 0
    for cell in cells:
        made.append({"cell_type": "markdown", "metadata": {}, "source": cell.words.splitlines(keepends=True)})
        if not cell.code:
            continue
        count += 1
        text = [f"{line}\n" for line in cell.printed]
        made.append(
            {
                "cell_type": "code",
                "execution_count": count,
                "metadata": {},
                "outputs": [{"name": "stdout", "output_type": "stream", "text": text}] if text else [],
                "source": cell.code.splitlines(keepends=True),
            }
        )
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    whole = {
        "cells": made,
        "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 4,
    }
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


_NUMBER = re.compile(r"-?\d+(?:,\d{3})*(?:\.\d+)?")


def alike(wanted: Sequence[str], found: Sequence[str]) -> bool:
    """Whether lines say the same: equal words, and numbers that differ by 5 % or by 2 at most.

    Another processor adds floats in another order, which may move a scale, and with it one picture of hundreds.
    """
    if len(wanted) != len(found):
        return False
    for before, after in zip(wanted, found):
        if " ".join(_NUMBER.sub("#", before).split()) != " ".join(_NUMBER.sub("#", after).split()):
            return False
        pairs = zip(_NUMBER.findall(before), _NUMBER.findall(after))
        for one, other in ((float(one.replace(",", "")), float(other.replace(",", ""))) for one, other in pairs):
            if abs(one - other) > max(2.0, 0.05 * abs(one)):
                return False
    return True
