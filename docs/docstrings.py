"""Our docstrings as reStructuredText.

They are plain text, set for people who read the source: words of code in backticks, rows of names with aligned
explanations, and examples by their indent. Nothing in them is markup, so whatever a generator could take for it is
escaped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby

_CODE = re.compile(r"(`+)(.+?)\1", re.DOTALL)
_MARKUP = re.compile(r"([\\*_|`])")
_ROW = re.compile(r"\S.*? {2,}(?=\S)")
_ITEM = re.compile(r"(?:[-*]|\d+\.) ")


def to_restructured_text(lines: Sequence[str]) -> list[str]:
    """The lines of a docstring, its common indent taken off, as lines that Sphinx renders alike."""
    result: list[str] = []
    for blank, block in groupby(lines, key=lambda line: not line.strip()):
        if not blank:
            for part in _parts([line.rstrip() for line in block]):
                result += [*_render(part), ""]
    return result


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _parts(block: list[str]) -> Iterator[list[str]]:
    """A block without blank lines, cut where text ends and an indented example begins, or the other way round."""
    if len(block) > 1 and set(block[1]) in ({"-"}, {"="}):
        yield block[:2]
        block = block[2:]
    if not block:
        return
    if _columns(block) is not None or _ITEM.match(block[0]):
        yield block
        return
    for _, part in groupby(block, key=lambda line: _indent(line) > 0):
        yield list(part)


def _columns(block: Sequence[str]) -> int | None:
    """Where the explanations of a table of names begin; None where the block is no table."""
    base = _indent(block[0])
    for line in block:
        match = _ROW.match(line, base)
        if match is not None:
            column = match.end()
            if all(line[base:column].strip() == "" or line[column - 1] == " " for line in block if len(line) > column):
                fits = all(len(line) > column and line[column] != " " for line in block if _indent(line) < column)
                return column if fits else None
    return None


def _render(part: list[str]) -> list[str]:
    column = _columns(part)
    if column is not None:
        return _table(part, column)
    if _indent(part[0]) > 0:
        return ["::", "", *(f"    {line}" for line in part)]
    if len(part) == 2 and set(part[1]) in ({"-"}, {"="}):  # sections cannot stand inside of a docstring
        return [f"**{_escaped(part[0])}**"]
    if _ITEM.match(part[0]):
        return _items(part)
    return _text("\n".join(part)).split("\n")


def _table(part: list[str], column: int) -> list[str]:
    """Rows of names as a definition list; a row whose name is left out goes on with the one before."""
    result: list[str] = []
    for line in part:
        name = line[:column].strip()
        if name:
            result += [f"``{name.strip('`')}``" if "`" not in name.strip("`") else _text(name)]
        result.append(f"    {_text(line[column:].strip())}")
    return result


def _items(part: list[str]) -> list[str]:
    """A list; what goes on with an item is indented as its text is."""
    result: list[str] = []
    for line in part:
        match = _ITEM.match(line)
        mark = match[0] if match else "  "
        result.append(mark + _text(line[len(mark) :].strip() if match else line.strip()))
    return result


def _escaped(text: str) -> str:
    return _MARKUP.sub(r"\\\1", text)


def _text(text: str) -> str:
    """Running text: what is in backticks is code, everything else is meant as it stands."""
    result, position = "", 0
    for match in _CODE.finditer(text):
        before, after = text[position : match.start()], text[match.end() : match.end() + 1]
        result += _escaped(before)
        if result and not (result[-1].isspace() or result[-1] in "([{/'\"-:<"):
            result += "\\ "
        result += f"``{match[2].strip()}``" + ("\\ " if after.isalnum() or after in ("_", "*", "`") else "")
        position = match.end()
    result += _escaped(text[position:])
    return result[:-1] + "\\:" if result.endswith("::") else result
