"""What commands write: tables for people, aligned text for pipes, JSON, errors, progress on a terminal."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TextIO

import click

from intarsia.errors import printable

Progress = Callable[[str, int, int], None]
"""Called with (what, done, total); total is 0 where it is not known."""

NAME_LETTERS = 47

json_option = click.option("--json", "as_json", is_flag=True, help="Write one JSON object instead of text.")
"""Every command that writes a table has it."""


force_option = click.option("--force", is_flag=True, help="Replace a file of another kind that stands in the way.")
"""Every command that writes files has it."""


@dataclass(frozen=True)
class Column:
    """A column of a table.

    figures  its cells stand at the right
    names    its cells are names out of the model, some of which are hundreds of letters long: the middle is left out
    """

    title: str
    figures: bool = False
    names: bool = False


def write_table(columns: Sequence[Column], rows: Sequence[Sequence[Any]]) -> None:
    """A table on stdout: ruled on a terminal, else aligned text, one line a row."""
    cells = [
        [printable(shorten(show(cell)) if item.names else show(cell)) for item, cell in zip(columns, row)]
        for row in rows
    ]
    if _is_terminal(sys.stdout):
        _write_ruled(columns, cells)
        return
    widths = [max(map(len, column)) for column in zip([item.title for item in columns], *cells)]
    for line in ([item.title for item in columns], *cells):
        aligned = [
            text.rjust(width) if item.figures else text.ljust(width) for item, text, width in zip(columns, line, widths)
        ]
        write("  ".join(aligned).rstrip())


def write(text: str = "", *, end: bool = True) -> None:
    """Text on stdout, with names out of models in it: control characters are spelled.

    end  whether a line ends with it
    """
    click.echo(printable(text, lines=True), nl=end)


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty()


def _write_ruled(columns: Sequence[Column], cells: Sequence[Sequence[str]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for item in columns:
        table.add_column(item.title, justify="right" if item.figures else "left", no_wrap=item.figures)
    for row in cells:
        table.add_row(*map(Text, row))  # no markup: names may look like it
    natural = sum(max(len(text) for text in column) + 2 for column in zip([item.title for item in columns], *cells))
    console = Console()
    # A table wider than the terminal is wrapped by the terminal: nothing is cut off.
    console.width = max(console.width, natural)
    console.print(table)


def show(cell: Any) -> str:
    """A cell as text: figures with separators, "-" for what is not known."""
    if cell is None:
        return "-"
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, int):
        return f"{cell:,}"
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)


def shorten(name: str) -> str:
    """A name with at most NAME_LETTERS letters; of longer ones the middle is left out."""
    keep = (NAME_LETTERS - 3) // 2
    return name if len(name) <= NAME_LETTERS else f"{name[:keep]}...{name[-keep:]}"


def percent(share: float | None) -> str | None:
    """A share of 0 to 1 as a cell."""
    return None if share is None else f"{share:.1%}"


def write_json(data: Any) -> None:
    """One JSON document on stdout. Numbers that JSON does not have become null."""
    click.echo(json.dumps(_plain(data), indent=2, allow_nan=False))


def _plain(data: Any) -> Any:
    if isinstance(data, Mapping):
        return {str(key): _plain(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [_plain(value) for value in data]
    if hasattr(data, "tolist"):
        return _plain(data.tolist())
    if isinstance(data, float) and not math.isfinite(data):
        return None
    return data


def note(text: str) -> None:
    """A remark on stderr, so that pipes stay clean."""
    click.echo(printable(text, lines=True), err=True)


@contextmanager
def progress() -> Iterator[Progress]:
    """A bar on stderr where that is a terminal; nothing at all in a pipe."""
    if not _is_terminal(sys.stderr):
        yield lambda what, done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, Any] = {}

        def step(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(printable(what))
            bars.update(tasks[what], completed=done, total=total or None)

        yield step
