"""Tables: within the room that there is, with all that it can hold."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Callable

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from intarsia.cli.commands import intarsia
from intarsia.cli.tables import NAME_LETTERS, Column, lay_out, shorten

COLUMNS = [Column("layer", names=True), Column("op"), Column("macs", True), Column("use", True, spare=True)]
ROWS = [
    ["/features/block_1/conv_0/Conv_output_0", "qconv", "118,013,952", "93.1%"],
    ["stem", "qmatmul", "320", "-"],
]


@pytest.mark.parametrize("room", [30, 44, 60, 100, None])
def test_a_table_takes_what_there_is(room: int | None, golden: Callable[[str], None]) -> None:
    made = lay_out(COLUMNS, ROWS, room)
    golden("\n".join(made.lines) + f"\nleft out: {', '.join(made.left_out) or 'nothing'}\n")


TEXTS = st.text("abc 1é字", max_size=60)


@given(rows=st.lists(st.tuples(TEXTS, TEXTS, st.integers(0, 10**9).map(str)), max_size=4), room=st.integers(48, 300))
def test_no_line_is_wider_than_the_room(rows: list[tuple[str, str, str]], room: int) -> None:
    columns = [Column("name", names=True), Column("meaning", prose=True), Column("figure", True, spare=True)]
    made = lay_out(columns, rows, room)
    narrow = all(max(map(len, text.split()), default=0) < 20 for row in rows for text in row[1:2])
    ascii_only = all(text.isascii() for row in rows for text in row)
    if narrow and ascii_only:
        assert max(map(len, made.lines)) <= room
    if made.width <= room and not made.left_out:
        assert all(row[2] in "\n".join(made.lines) for row in rows)
    if room >= 200:  # nothing needs to be cut or wrapped
        assert len(made.lines) == 1 + len(rows) and made.left_out == ()


def test_wide_letters_take_two_places() -> None:
    made = lay_out([Column("name"), Column("n", True)], [["字字", "1"], ["abcd", "2"]], 80)
    assert made.lines == ("name  n", "字字  1", "abcd  2")


def test_names_in_pipes_have_their_usual_length() -> None:
    (_, line) = lay_out([Column("name", names=True)], [["a" * 300]], None).lines
    assert line == shorten("a" * 300) and len(line) == NAME_LETTERS
    (_, line) = lay_out([Column("name", names=True)], [["a" * 300]], 400).lines
    assert line == "a" * 300


@pytest.mark.parametrize("command", ["targets", "devices"])
def test_lists_fit_80_columns(command: str) -> None:
    lines = CliRunner().invoke(intarsia, [command]).stdout.splitlines()
    assert len(lines) > 4 and max(map(len, lines)) <= 80


def test_a_terminal_of_80_columns_is_not_overrun() -> None:
    leader, follower = pty.openpty()
    program = "from intarsia.cli.main import main; main()"
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    with subprocess.Popen([sys.executable, "-c", program, "targets"], stdout=follower, env=environment) as process:
        os.close(follower)
        seen = b""
        while True:
            try:
                part = os.read(leader, 65536)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            seen += part
    os.close(leader)
    lines = seen.decode().replace("\x1b[1m", "").replace("\x1b[0m", "").splitlines()
    assert process.returncode == 0 and any(line == "-" * len(line) and line for line in lines)
    assert max(map(len, lines)) <= 80
