"""What commands write: tables, which `cli.tables` lays out, JSON, remarks, progress on a terminal."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

import click

from intarsia.cli.logs import is_quiet
from intarsia.cli.tables import Column, lay_out
from intarsia.errors import printable

Progress = Callable[[str, int, int], None]
"""Called with (what, done, total); total is 0 where it is not known."""

json_option = click.option("--json", "as_json", is_flag=True, help="Write one JSON object instead of text.")
"""Every command that writes a table has it."""


force_option = click.option("--force", is_flag=True, help="Replace a file of another kind that stands in the way.")
"""Every command that writes files has it."""


def write_table(columns: Sequence[Column], rows: Sequence[Sequence[Any]]) -> None:
    """A table on stdout, as wide as the terminal at most; in a pipe no column is left out, and prose wrapped."""
    cells = [[printable(show(cell)) for cell in row] for row in rows]
    terminal = _is_terminal(sys.stdout)
    made = lay_out(columns, cells, _room())
    for index, line in enumerate(made.lines):
        write(click.style(line, bold=True) if terminal and not index else line, styled=True)
        if terminal and not index:
            write("-" * made.width)
    if made.left_out:
        write(f"no room here for: {', '.join(made.left_out)}; a wider terminal or --json has them")


def _room() -> int | None:
    """Letters in a line: what COLUMNS says, else what the terminal has; None in a pipe."""
    told = os.environ.get("COLUMNS", "")
    if told.isdecimal() and int(told):
        return int(told)
    if not _is_terminal(sys.stdout):
        return None
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


def write(text: str = "", *, end: bool = True, styled: bool = False) -> None:
    """Text on stdout, with names out of models in it: control characters are spelled.

    end     whether a line ends with it
    styled  whether that is done already, and letters that make it bold are in it
    """
    click.echo(text if styled else printable(text, lines=True), nl=end)


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty()


def show(cell: Any) -> str:
    """A cell as text: figures with separators, "-" for what is not known."""
    if cell is None:
        return "-"
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, int):
        return f"{cell:,}"
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)


def percent(share: float | None) -> str | None:
    """A share of 0 to 1 as a cell: below the whole at most 99.9%."""
    if share is None:
        return None
    return f"{min(share, 0.999) if share < 1 else share:.1%}"


def left_out_told(processor: str | None) -> str:
    """What follows a list of codes: which one is missing, and what that means. "" for None."""
    if processor is None:
        return ""
    return f"; none for the board itself ({processor}), as --host-only asked: there, NumPy computes it, slowly"


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
    """A remark on stderr, so that pipes stay clean; none with -q."""
    if not is_quiet():
        warn(text)


def warn(text: str) -> None:
    """A warning on stderr, with -q too."""
    click.echo(printable(text, lines=True), err=True)


@contextmanager
def progress() -> Iterator[Progress]:
    """A bar on stderr where that is a terminal; nothing at all in a pipe, and with -q."""
    if is_quiet() or not _is_terminal(sys.stderr):
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
