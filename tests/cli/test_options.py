"""Options of commands: whole shapes, a batch that costs, silence, -o, and letters that speak of options."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from onnx import parser

import intarsia
from artifact_examples import evaluator_artifact, small_graph
from intarsia.artifact import Artifact
from intarsia.cli import commands
from intarsia.cli.output import note, progress
from intarsia.errors import CompileError, IntarsiaError, RunError, either, on_command_line

OPEN = '<ir_version: 9, opset_import: ["" : 17]> g (float[N,3,H,W] image) => (float[N,3,H,W] y) { y = Relu (image) }'
CONVOLUTION = """
    <ir_version: 9, opset_import: ["" : 17]> g (float[N,2,6,6] x) => (float[N,4,6,6] y)
    <float[4,2,1,1] w = {1.0, -0.5, 0.25, 0.5, -1.0, 0.75, 0.1, 0.9}> { y = Conv <kernel_shape = [1,1]> (x, w) }
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    onnx.save(parser.parse_model(OPEN), "open.onnx")
    onnx.save(parser.parse_model(CONVOLUTION), "convolution.onnx")
    evaluator_artifact(small_graph(), vectors=2).save("small.intarsia")
    np.savez("x.npz", image=np.zeros((1, 2, 5, 5), np.float32), labels=np.arange(3))
    np.save("rows.npy", np.random.default_rng(1).random((8, 2, 6, 6), np.float32))
    return tmp_path


def call(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(commands.intarsia, arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


# ---- whole shapes


def test_a_shape_is_said_to_explain_and_compile(folder: Path) -> None:
    options = ("open.onnx", "--target", "tiny", "--precision", "int8", "--shape", "image=1,3,4,6", "--all")
    rows = json.loads(call("explain", *options, "--json").stdout)["rows"]
    assert any("[1,3,4,6]" in row["shape"] for row in rows)
    listing = call(
        *("compile", "open.onnx", "--target", "cpu", "--shape", "image=2,3,4,6", "--stop-after", "imported")
    ).stdout
    assert "float32[2,3,4,6]" in listing


def test_verify_takes_the_shapes_that_the_artifact_knows(folder: Path) -> None:
    np.save("pixels.npy", np.random.default_rng(2).random((4, 3, 4, 6), np.float32))
    options = ("--target", "tiny", "--calibration", "pixels.npy", "--shape", "image=1,3,4,6")
    call("compile", "open.onnx", *options, "-o", "open.intarsia")
    data = json.loads(call("verify", "open.intarsia", "--against", "open.onnx", "--json").stdout)
    assert data["ok"] and data["reference"] and data["layers"]
    model = onnx.load("open.onnx")
    for axis, size in enumerate((1, 3, 8, 8)):  # sizes that the artifact does not have
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = size
    onnx.save(model, "fixed.onnx")
    assert json.loads(call("verify", "open.intarsia", "--against", "fixed.onnx", "--json").stdout)["ok"]


@pytest.mark.parametrize("text", ["image", "image=", "image=1,a", "=1,2", "image=1,,2", "image=-1,3,4,4", "image=1.5"])
def test_what_is_no_shape_is_refused(text: str, folder: Path) -> None:
    told = call("explain", "open.onnx", "--target", "cpu", "--shape", text, code=2).stderr
    assert "NAME=N,N,..." in told and "image=1,3,32,32" in told


def test_a_shape_given_twice_is_refused(folder: Path) -> None:
    options = ("--shape", "image=1,3,4,4", "--shape", "image=1,3,8,8")
    assert "given twice" in call("explain", "open.onnx", "--target", "cpu", *options, code=2).stderr


# ---- a batch that moves ops off the accelerator


def test_compile_says_what_a_batch_costs(folder: Path, golden: Callable[[str], None]) -> None:
    options = ("convolution.onnx", "--target", "tiny", "--calibration", "rows.npy")
    shown = call("compile", *options, "--batch", "4", "-o", "four.intarsia").stdout
    golden("".join(line + "\n" for line in shown.splitlines() if line.startswith("note: batch")))
    assert [name for name, _ in json.loads(_compiled(options, "4", "--json"))["notes"] if name == "batch"] == ["batch"]
    assert "note: batch" not in _compiled(options, "4", "-q")
    assert "note: batch" not in _compiled(options, "1")


def _compiled(options: tuple[str, ...], batch: str, *more: str) -> str:
    return call("compile", *options, "--batch", batch, "-o", f"{batch}.intarsia", *more).stdout


# ---- silence


@pytest.mark.parametrize("before", [True, False])
def test_q_leaves_out_remarks_and_nothing_else(before: bool, folder: Path) -> None:
    run = ("run", "small.intarsia", "--input", "x.npz")
    assert "left aside: labels" in call(*run).stderr
    quiet = call(*(("-q", *run) if before else (*run, "--quiet")))
    assert quiet.stderr == "" and "scores" in quiet.stdout


def test_q_is_of_one_command_alone(folder: Path) -> None:
    call("-q", "devices")
    assert "left aside" in call("run", "small.intarsia", "--input", "x.npz").stderr


def test_no_bar_with_q(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("intarsia.cli.output._is_terminal", lambda stream: True)
    with commands.intarsia.make_context("intarsia", ["-q", "devices"]), progress() as step:
        step("compiling", 1, 2)
        note("a remark")
    assert capsys.readouterr().err == ""


def test_errors_are_said_with_q_too(folder: Path) -> None:
    assert "help:" in call("-q", "run", "nowhere.intarsia", code=2).stderr


# ---- -o


def test_o_is_where_every_command_writes(folder: Path) -> None:
    call("run", "small.intarsia", "--input", "x.npz", "-o", "y.npz")
    call("explain", "open.onnx", "--target", "cpu", "--shape", "image=1,3,4,4", "-o", "places.svg")
    call("dump", "small.intarsia", "-o", "folder")
    call("sign", "small.intarsia", "--new-key", "--key", "release.key", "-o", "signed.intarsia")
    for path in ("y.npz", "places.svg", "folder/manifest.json", "signed.intarsia"):
        assert os.path.getsize(path) > 0
    assert Artifact.read("signed.intarsia").signatures and not Artifact.read("small.intarsia").signatures


def test_o_of_sign_harms_no_other_file(folder: Path) -> None:
    call("sign", "--new-key", "--key", "release.key")
    key = Path("release.key").read_bytes()
    told = call("sign", "small.intarsia", "--key", "release.key", "-o", "release.key", "--force", code=2).stderr
    assert "reads that file" in told and Path("release.key").read_bytes() == key
    Path("notes.txt").write_text("mine")
    assert "--force" in call("sign", "small.intarsia", "--key", "release.key", "-o", "notes.txt", code=2).stderr
    assert "Usage" in call("sign", "--new-key", "--key", "other.key", "-o", "x.intarsia", code=2).stderr


# ---- letters speak of options here, of arguments in Python

_LETTERS: dict[str, tuple[tuple[str, ...], Callable[[], object]]] = {
    "open-size": (("explain", "open.onnx", "--target", "cpu"), lambda: intarsia.explain("open.onnx", target="cpu")),
    "wrong-shape": (
        ("explain", "open.onnx", "--target", "cpu", "--shape", "picture=1,3"),
        lambda: intarsia.explain("open.onnx", target="cpu", shapes={"picture": (1, 3)}),
    ),
    "wrong-dimension": (
        ("explain", "open.onnx", "--target", "cpu", "--dimension", "V=8"),
        lambda: intarsia.explain("open.onnx", target="cpu", dimensions={"V": 8}),
    ),
    "no-calibration": (
        ("compile", "convolution.onnx", "--target", "tiny"),
        lambda: intarsia.compile_model("convolution.onnx", target="tiny"),
    ),
    "precision": (
        ("explain", "convolution.onnx", "--target", "tiny", "--precision", "float32"),
        lambda: intarsia.explain("convolution.onnx", target="tiny", precision="float32"),
    ),
    "a-file-in-the-way": (
        ("run", "small.intarsia", "--input", "x.npz", "-o", "rows.npy"),
        lambda: Artifact.read("small.intarsia").save("rows.npy"),
    ),
    "file-size": (
        ("explain", "convolution.onnx", "--target", "cpu", "--limit", "file_bytes=10"),
        lambda: intarsia.explain("convolution.onnx", target="cpu", limits=intarsia.Limits(file_bytes=10)),
    ),
}


@pytest.mark.parametrize("case", _LETTERS)
def test_letters_speak_the_language_of_who_asked(case: str, folder: Path, golden: Callable[[str], None]) -> None:
    arguments, asked = _LETTERS[case]
    with pytest.raises(IntarsiaError) as caught:
        asked()
    command, python = call(*arguments, code=2).stderr, f"{caught.value}\n"
    assert "--" not in python and "=" not in command.replace("=...", "").replace("=64", "").replace("=N", "")
    golden(f"{command}\n{python}")


def test_which_language_is_known_while_a_command_runs() -> None:
    assert either("--batch 1", "batch=1") == "batch=1"
    with pytest.raises(CompileError), on_command_line():
        with on_command_line():
            pass
        assert either("--batch 1", "batch=1") == "--batch 1"
        raise CompileError(where="a", what="b", help="c")
    assert either("--batch 1", "batch=1") == "batch=1"


def test_a_session_and_run_say_it_each_in_their_way(folder: Path) -> None:
    with intarsia.load("small.intarsia") as session, pytest.raises(RunError) as caught:
        session.run(np.zeros((1, 2, 5, 5), np.float32), np.zeros(3))
    assert caught.value.where == "run()"
    assert "devices here" in call("run", "small.intarsia", "--input", "x.npz", "--device", "simulato", code=2).stderr
