"""What commands write: names that move cursors or look like markup, and outputs that cannot be written."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from click.testing import CliRunner, Result
from onnx import parser

from intarsia.cli import logs, main, output, streams
from intarsia.cli.commands import intarsia
from intarsia.cli.tables import Column
from intarsia.errors import CompileError, printable
from intarsia.passes.simplify.noops import RemoveNoOps

EVIL = "\x1b[2K\rall is well\x1b]0;title\x07\u202e[bold]:smile:\nerror: no"
PROGRAM = [sys.executable, "-c", "from intarsia.cli.main import main; main()"]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    made = parser.parse_model(
        '<ir_version: 9, opset_import: ["" : 17]> g (float[1,4] x) => (float[1,4] y) { y = Softmax (x) }'
    )
    made.graph.node[0].name = EVIL
    onnx.save(made, tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def test_printable_spells_what_moves_a_terminal() -> None:
    assert printable("a\x1b[0m\n\tb\x7f\x9b\u202e\ud800é") == r"a\x1b[0m\n\tb\x7f\x9b\u202e\ud800é"
    assert printable("a\r\n\tb", lines=True) == "a\\r\n\tb"
    letter = str(CompileError(where="Relu 'x\ny'", what="one\ntwo\n  three", help="do"))
    assert letter == "Relu 'x\\ny': one\n  two\n  three\n  help: do"


def _harmless(text: str) -> None:
    assert "all is well" in text
    assert not [letter for letter in text if (letter < " " and letter != "\n") or letter in "\x7f\x9b\u202e"]
    assert "\nerror: no" not in text and "[bold]:smile:" in text


@pytest.mark.parametrize("more", [[], ["--all"], ["--json"]])
def test_names_in_explain(model: Path, more: list[str]) -> None:
    result = CliRunner().invoke(intarsia, ["explain", str(model), "--target", "tiny", *more])
    assert result.exit_code == 0
    if "--json" not in more:
        _harmless(result.stdout)
    assert "\x1b" not in result.stdout


def test_names_in_errors(model: Path) -> None:
    made = onnx.load(model)
    made.graph.node[0].input[0] = "nowhere"
    onnx.save(made, model)
    result = CliRunner().invoke(intarsia, ["explain", str(model), "--target", "tiny"])
    assert result.exit_code == 2
    _harmless(result.output)


def test_names_in_a_ruled_table_and_in_progress(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    leader, follower = pty.openpty()
    with os.fdopen(follower, "w") as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        monkeypatch.setattr(sys, "stderr", terminal)
        output.write_table([Column("name", names=True)], [["[bold]\x1b[31m:smile:"]])
        with output.progress() as step:
            step("[red]compiling\x1b]0;t\x07", 1, 2)
    seen = ""
    with contextlib.suppress(OSError):  # Linux tells so that the other end is closed
        while part := os.read(leader, 65536):
            seen += part.decode(errors="replace")
    os.close(leader)
    assert r"[bold]\x1b[31m:smile:" in seen and r"[red]compiling\x1b]0;t\x07" in seen


def test_names_in_the_log() -> None:
    record = logging.LogRecord("intarsia", logging.INFO, "", 0, "region %s", ("\x1b[2K",), None)
    assert logs._formatter().format(record) == r"intarsia: region \x1b[2K"


# ---- outputs that cannot be written


def test_a_reader_that_ends_first_is_no_error() -> None:
    process = subprocess.Popen([*PROGRAM, "targets", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert (process.stderr.read(), process.wait()) == (b"", streams.BROKEN_PIPE)


@pytest.mark.parametrize("arguments", [["targets"], ["--help"], ["explain", "--help"], ["--version"]], ids=" ".join)
def test_a_closed_output_is_told(arguments: list[str]) -> None:
    command = " ".join(f"'{part}'" for part in (*PROGRAM, *arguments))
    result = subprocess.run(f"{command} >&-", shell=True, stderr=subprocess.PIPE, text=True, check=False)
    assert result.returncode == 2 and result.stderr.startswith("error: standard output: it cannot be written")
    assert "Traceback" not in result.stderr


class Full:
    """A stream on a disk that is full: what is written is held back, and cannot be flushed."""

    encoding, errors = "utf-8", "strict"

    def __init__(self) -> None:
        self.held = ""

    def write(self, text: str) -> int:
        self.held += text
        return len(text)

    def flush(self) -> None:
        if self.held:
            raise OSError(errno.ENOSPC, "No space left on device")

    def isatty(self) -> bool:
        return False


def test_a_full_output_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], golden: Callable[[str], None]
) -> None:
    monkeypatch.setattr(sys, "argv", ["intarsia", "targets"])
    monkeypatch.setattr(sys, "stdout", Full())
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)
    with pytest.raises(SystemExit) as caught:
        main.main()
    assert caught.value.code == 2
    golden(capsys.readouterr().err)


# ---- faults of ours


def _failing(model: Path, monkeypatch: pytest.MonkeyPatch, *more: str) -> Result:
    monkeypatch.setattr(RemoveNoOps, "run", lambda self, graph: dict[str, int]()["no such value"])
    return CliRunner().invoke(intarsia, ["explain", str(model), "--target", "cpu", *more])


def test_a_fault_of_ours_is_a_letter_and_a_traceback_with_v(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = _failing(model, monkeypatch)
    assert plain.exit_code == 2 and "Traceback" not in plain.output
    assert "KeyError: no 'no such value'" in plain.output and "this is a fault of intarsia" in plain.output
    verbose = _failing(model, monkeypatch, "-v")
    assert verbose.exit_code == 2 and "Traceback" in verbose.output and "in _failing" not in plain.output
