"""Places that commands write to: nothing that somebody else made is lost, and a refusal comes before the work."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result

from artifact_examples import evaluator_artifact, small_graph
from intarsia.artifact import Artifact
from intarsia.cli.commands import intarsia
from intarsia.errors import CompileError, RunError
from intarsia.outputs import check_output, write_output
from intarsia.passes.instruments import check_dump

COMPILE = ("compile", "model.onnx", "--target", "cpu", "-o")
LISTING = ("compile", "model.onnx", "--target", "cpu", "--stop-after", "imported", "-o")
EXTRACT = ("dump", "small.intarsia", "--extract")
RUN = ("run", "small.intarsia", "--input", "x.npy", "--output")
DRAW = ("explain", "model.onnx", "--target", "cpu", "--graph")
SAVE = (
    "compile",
    "model.onnx",
    "--target",
    "pynq-z2",
    "--calibration",
    "x.npy",
    "-o",
    "a.intarsia",
    "--save-calibration",
)
DUMP = ("compile", "model.onnx", "--target", "cpu", "-o", "a.intarsia", "--dump")

NAMES = {
    COMPILE: "artifact",
    LISTING: "listing",
    EXTRACT: "extract",
    RUN: "run",
    DRAW: "graph",
    SAVE: "ranges",
    DUMP: "dump",
}
ENDINGS = {LISTING: ".txt", RUN: ".npy", DRAW: ".svg", SAVE: ".json", COMPILE: ".intarsia"}
"""Commands that write one file, and what its name ends with."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a model, an artifact and inputs for both."""
    monkeypatch.chdir(tmp_path)
    x = np.random.default_rng(5).standard_normal((3, 2, 5, 5)).astype(np.float32)
    np.save("x.npy", x)
    evaluator_artifact(small_graph(), vectors=1).save("small.intarsia")
    text = "m (float[1,2,5,5] x) => (float[1,2,5,5] y) { y = Relu (x) }"
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> {text}')
    onnx.save(model, "model.onnx")
    return tmp_path


def call(*arguments: str, code: int) -> Result:
    result = CliRunner().invoke(intarsia, arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def contents(folder: Path) -> dict[str, bytes]:
    """What is in a folder now: regular files with their bytes, all else by its kind."""
    return {
        str(place.relative_to(folder)): place.read_bytes()
        if place.is_file() and not place.is_symlink()
        else str(stat.S_IFMT(place.lstat().st_mode)).encode()
        for place in sorted(folder.rglob("*"))
    }


def refused(folder: Path, *arguments: str) -> str:
    """The letter of a command that refuses; nothing in the folder is another than before."""
    before = contents(folder)
    text = call(*arguments, code=2).stderr
    assert contents(folder) == before and "help:" in text
    return text.replace(str(folder), "HERE")


@pytest.mark.parametrize("command", ENDINGS, ids=lambda command: NAMES[command])
def test_other_files_pipes_and_folders_are_refused(
    folder: Path, golden: Callable[[str], None], command: tuple[str, ...]
) -> None:
    ending = ENDINGS[command]
    (folder / f"notes{ending}").write_text("what I thought")
    os.mkfifo(folder / f"pipe{ending}")
    (folder / f"link{ending}").symlink_to(f"notes{ending}")
    (folder / f"pipes{ending}").symlink_to(f"pipe{ending}")
    told = [refused(folder, *command, f"{name}{ending}") for name in ("notes", "pipe", "link", "pipes")]
    if command != SAVE:  # whose folder must be there
        told.append(refused(folder, *command, f"notes{ending}/under{ending}"))
    if command != COMPILE:  # which takes a folder for the place of an artifact as folder
        (folder / f"box{ending}").mkdir()
        (folder / f"box{ending}" / "note").write_text("kept")
        told.append(refused(folder, *command, f"box{ending}"))
    golden("\n".join(told))


@pytest.mark.parametrize("command", [*ENDINGS, DUMP, EXTRACT], ids=lambda command: NAMES[command])
def test_what_a_command_reads_it_never_writes_over(folder: Path, command: tuple[str, ...]) -> None:
    ending = ENDINGS.get(command, "")
    read = {COMPILE: "model.onnx", LISTING: "model.onnx", RUN: "x.npy", DRAW: "model.onnx"}.get(command, "x.npy")
    if command in (DUMP, EXTRACT):
        refused(folder, *command, ".")
        return
    os.link(read, f"same{ending}")
    if command != SAVE:  # a link has no contents that are ranges: refused already
        assert "same command reads" in refused(folder, *command, f"same{ending}", "--force")
    if command == RUN:
        assert "same command reads" in refused(folder, *command, "x.npy")


@pytest.mark.parametrize("command", ENDINGS, ids=lambda command: NAMES[command])
def test_what_a_command_wrote_it_writes_again_and_through_links(folder: Path, command: tuple[str, ...]) -> None:
    ending = ENDINGS[command]
    made = folder / f"made{ending}"
    call(*command, made.name, code=0)
    first = made.read_bytes()
    made.chmod(0o640)
    link = folder / f"link{ending}"
    link.symlink_to(made.name)
    call(*command, link.name, code=0)
    assert link.is_symlink() and made.read_bytes() == first and stat.S_IMODE(made.stat().st_mode) == 0o640
    (folder / f"empty{ending}").touch()
    if command != SAVE:
        call(*command, f"empty{ending}", code=0)
        other = folder / f"other{ending}"
        other.write_text("mine")
        call(*command, other.name, "--force", code=0)
        assert other.read_bytes() == first
    assert not list(folder.rglob("*.part"))


def test_one_place_for_two_files(folder: Path) -> None:
    text = refused(folder, *SAVE[:-2], "ranges.json", "--save-calibration", "./ranges.json")
    assert "two names" in text


def test_a_dump_goes_into_a_folder_of_dumps_alone(folder: Path) -> None:
    call(*DUMP, "steps", code=0)
    (folder / "steps" / "17_stale.txt").write_text("of a longer pipeline")
    call(*DUMP, "steps", code=0)
    assert [place.name for place in check_dump("steps")] == ["00_imported.txt"]
    (folder / "steps" / "notes.txt").write_text("mine")
    assert "'notes.txt' is in that folder" in refused(folder, *DUMP, "steps")
    assert "Not a directory" in refused(folder, *DUMP, "x.npy")


def test_ranges_that_are_read_are_not_in_the_folder_that_a_dump_clears(folder: Path) -> None:
    (folder / "steps").mkdir()
    call(*SAVE, "steps/ranges.json", code=0)
    again = [*SAVE[:4], "--calibration", "steps/ranges.json", "-o", "b.intarsia", "--dump", "steps"]
    assert "which is read" in refused(folder, *again)


def test_little_room_on_the_disk_is_told_before_the_work(folder: Path) -> None:
    free = os.statvfs(folder)
    with pytest.raises(CompileError, match="bytes are free there"):
        check_output("new", "output", needed_bytes=free.f_blocks * free.f_frsize * 2)


def test_a_write_that_fails_leaves_what_was_there(folder: Path) -> None:
    def pieces() -> object:
        yield b"half"
        raise OSError(28, "No space left on device")

    (folder / "kept").write_text("old")
    with pytest.raises(RunError, match=r"No space left on device\n.*unharmed"):
        write_output("kept", "output", pieces(), error=RunError)  # type: ignore[arg-type]
    assert (folder / "kept").read_text() == "old" and not list(folder.glob(".*"))


def test_save_of_python_keeps_what_is_no_artifact(folder: Path) -> None:
    artifact = Artifact.read("small.intarsia")
    (folder / "mine").write_text("mine")
    with pytest.raises(RunError, match="overwrite=True"):
        artifact.save("mine")
    artifact.save("mine", overwrite=True)
    assert Artifact.read("mine").manifest == artifact.manifest
    for odd in ("nul\0byte", "mine/inside"):
        with pytest.raises(RunError):
            artifact.save(odd)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_command_that_is_stopped_leaves_nothing(folder: Path, number: int, code: int) -> None:
    """Stopped while it waits for a compiler, which is a process that never ends."""
    (folder / "tmp").mkdir()
    (folder / "bin").mkdir()
    for name in ("cc", "gcc", "clang"):
        tool = folder / "bin" / name
        tool.write_text(f"#!/bin/sh\ntouch {folder}/begun\nexec sleep 60\n")
        tool.chmod(0o755)
    surroundings = {
        **os.environ,
        "TMPDIR": str(folder / "tmp"),
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "CC": "",
    }
    before = contents(folder)
    running = subprocess.Popen(
        [sys.executable, "-m", "intarsia", *COMPILE, "out.intarsia"],
        env=surroundings,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (folder / "begun").exists() and running.poll() is None:
        time.sleep(0.02)
    assert list((folder / "tmp").iterdir())
    running.send_signal(number)
    _, told = running.communicate(timeout=60)
    (folder / "begun").unlink()
    assert running.returncode == code and "Traceback" not in told
    assert contents(folder) == before
