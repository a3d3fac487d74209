"""How a table is laid out: what is shortened, wrapped or left out until it is no wider than there is room."""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

NAME_LETTERS = 47
"""A name has at most so many letters in a pipe, and where a terminal has no room for more."""

_LEAST_NAME, _LEAST_PROSE, _GAP = 16, 20, 2


@dataclass(frozen=True)
class Column:
    """A column of a table.

    figures  its cells stand at the right
    names    its cells are names out of the model, some of which are hundreds of letters long: the middle is left out
    prose    its cells are sentences, wrapped where they are longer than there is room
    spare    left out where even then there is no room; of several, the last first
    """

    title: str
    figures: bool = False
    names: bool = False
    prose: bool = False
    spare: bool = False


@dataclass(frozen=True)
class Layout:
    """Lines of a table, titles first; all lines of one table row follow each other.

    left_out  titles of the columns for which there was no room
    """

    lines: tuple[str, ...]
    width: int
    left_out: tuple[str, ...]


def lay_out(columns: Sequence[Column], cells: Sequence[Sequence[str]], room: int | None) -> Layout:
    """Put a table into `room` letters; None lets names and figures be as wide as they are, and wraps prose at 80."""
    kept = list(range(len(columns)))
    while True:
        shown = [columns[index] for index in kept]
        rows = [[row[index] for index in kept] for row in cells]
        widths = _fitted(shown, rows, room)
        spare = [index for index in kept if columns[index].spare]
        if room is None or _total(widths) <= room or not spare:
            break
        kept.remove(spare[-1])
    lines = _lines(shown, widths, [item.title for item in shown])
    for row in rows:
        lines += _lines(shown, widths, row)
    left_out = tuple(item.title for index, item in enumerate(columns) if index not in kept)
    return Layout(tuple(lines), _total(widths), left_out)


def shorten(name: str, letters: int = NAME_LETTERS) -> str:
    """A name with at most so many letters; of longer ones the middle is left out."""
    if len(name) <= letters:
        return name
    keep = letters - 3
    return f"{name[: (keep + 1) // 2]}...{name[len(name) - keep // 2 :]}"


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + _GAP * (len(widths) - 1)


def _fitted(columns: Sequence[Column], rows: Sequence[Sequence[str]], room: int | None) -> list[int]:
    """Widths of the columns: very long names give room first, then prose, then other names."""
    widths = [max(map(_wide, column)) for column in zip([item.title for item in columns], *rows)]
    for flag, least in (("names", NAME_LETTERS), ("prose", _LEAST_PROSE), ("names", _LEAST_NAME)):
        if room is None and least == _LEAST_NAME:
            continue
        flexible = [index for index, item in enumerate(columns) if getattr(item, flag)]
        for index in sorted(flexible, key=lambda index: -widths[index]):
            excess = _total(widths) - (80 if room is None else room)
            if room is None and flag == "names":
                excess = widths[index] - NAME_LETTERS
            if excess > 0:
                bound = max(least, _wide(columns[index].title))
                widths[index] = min(widths[index], max(bound, widths[index] - excess))
    return widths


def _lines(columns: Sequence[Column], widths: Sequence[int], row: Sequence[str]) -> list[str]:
    """The lines of one row: one, save where prose is wrapped."""
    parts = []
    for item, width, text in zip(columns, widths, row):
        if item.prose:
            parts.append(textwrap.wrap(text, width, break_on_hyphens=False) or [""])
        else:
            parts.append([shorten(text, width) if item.names and _wide(text) > width else text])
    lines = []
    for index in range(max(map(len, parts))):
        found = [part[index] if index < len(part) else "" for part in parts]
        lines.append((" " * _GAP).join(map(_padded, columns, widths, found)).rstrip())
    return lines


def _padded(item: Column, width: int, text: str) -> str:
    blank = " " * (width - _wide(text))
    return blank + text if item.figures else text + blank


def _wide(text: str) -> int:
    """How many places a text takes: two for a letter of East Asia, none for an accent of its own."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in text
    )
