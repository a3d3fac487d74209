"""Commands on a small artifact: text, JSON, exit codes, letters instead of tracebacks."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from artifact_examples import evaluator_artifact, small_graph
from intarsia.artifact import Artifact
from intarsia.artifact.parts import vector
from intarsia.cli.commands import COMMANDS, intarsia
from intarsia.cli.tables import shorten
from intarsia.ir.evaluate import evaluate


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with an artifact and inputs for it."""
    monkeypatch.chdir(tmp_path)
    evaluator_artifact(small_graph(), vectors=2).save("small.intarsia")
    x = np.random.default_rng(5).standard_normal((3, 2, 5, 5)).astype(np.float32)
    np.save("x.npy", x)
    np.savez("x.npz", image=x, labels=np.arange(3))
    return tmp_path


def call(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(intarsia, arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def as_json(*arguments: str, code: int = 0) -> Any:
    return json.loads(call(*arguments, "--json", code=code).stdout)


# ---- run


def test_run_writes_what_the_graph_gives(folder: Path) -> None:
    x = np.load("x.npy")
    (wanted,) = evaluate(small_graph(3), {"image": x})
    for given in ("x.npy", "x.npz", "image=x.npy"):
        call("run", "small.intarsia", "--input", given, "--output", "new/y.npz")
        with np.load("new/y.npz") as found:
            assert found.files == ["scores"] and found["scores"].tobytes() == wanted.tobytes()
    call("run", "small.intarsia", "--input", "x.npy", "--output", "y.npy")
    assert np.load("y.npy").tobytes() == wanted.tobytes()


def test_run_says_what_came_out(folder: Path) -> None:
    text = call("run", "small.intarsia", "--input", "x.npz")
    assert re.search(r"scores +float32\[3,3,5,5\]", text.stdout)
    assert "3 images in" in text.stdout and "on evaluator" in text.stdout
    assert text.stderr == "not inputs of the model, left aside: labels\n"
    data = as_json("run", "small.intarsia", "--input", "x.npy")
    assert data["counters"]["images"] == 3 and data["outputs"][0]["shape"] == [3, 3, 5, 5]


def test_run_is_told_how_many_threads_and_where(folder: Path) -> None:
    last = max(os.sched_getaffinity(0))
    for options in (("--threads", "3"), ("--pin", str(last)), ("--threads", "2", "--pin", f"{last},{last + 1}")):
        call("run", "small.intarsia", "--input", "x.npy", *options)
    for options in (("--threads", "0"), ("--pin", "zero"), ("--pin", "0,0"), ("--threads", "9", "--pin", "0")):
        assert "help" in call("run", "small.intarsia", "--input", "x.npy", *options, code=2).stderr.lower()


def test_run_takes_a_batch_of_nothing(folder: Path) -> None:
    np.save("none.npy", np.zeros((0, 2, 5, 5), np.float32))
    call("run", "small.intarsia", "--input", "none.npy", "--output", "y.npy")
    assert np.load("y.npy").shape == (0, 3, 5, 5)


# ---- report, dump, targets


def test_report_text(folder: Path, golden: Callable[[str], None]) -> None:
    golden(call("report", "small.intarsia").stdout)


def test_report_tables_agree(folder: Path) -> None:
    data = as_json("report", "small.intarsia")
    rows = list(csv.DictReader(io.StringIO(call("report", "small.intarsia", "--csv").stdout)))
    assert [row["name"] for row in rows] == [row["name"] for row in data["rows"]]
    assert [int(row["macs"]) for row in rows] == [row["macs"] for row in data["rows"]] == [0, 1350, 0]
    assert data["summary"]["macs"] == 1350
    assert as_json("report", "small.intarsia", "--run")["rows"] == data["rows"]


def test_dump(folder: Path, golden: Callable[[str], None]) -> None:
    shown = call("dump", "small.intarsia").stdout
    assert "graph/weights.bin" in shown
    golden(re.sub(r"(?m)^made by.*\n|\nfile (.*\n)*", "", shown).replace("1,251", "#"))
    graph = call("dump", "small.intarsia", "--graph").stdout
    assert graph.startswith("graph small (") and "qconv" in graph
    assert call("dump", "small.intarsia", "--region", "0_evaluator").stdout == graph
    assert as_json("dump", "small.intarsia")["manifest"]["model_name"] == "small"
    call("dump", "small.intarsia", "--extract", "folder")
    assert Artifact.read("folder").manifest == Artifact.read("small.intarsia").manifest


def test_targets() -> None:
    text = call("targets").stdout
    assert "pynq-z2" in text and "simulator" in text
    data = as_json("targets")
    assert {row["name"]: row["processor"] for row in data["targets"] if row["processor"]} == {
        "pynq-z2": "cpu-armv7",
        "kv260": "cpu-aarch64",
    }
    assert {"cpu", "pynq-z2", "kv260", "tiny"} <= {row["name"] for row in data["targets"]}
    options = {row["name"]: {option["name"]: option for option in row["options"]} for row in data["targets"]}
    assert options["tiny"] == {} and options["cpu"]["level"]["choices"] == ["native", "portable"]
    assert options["cpu-armv7"]["strict"]["default"] is False and re.search(r"cpu +strict +true or false +false", text)
    simulator = next(row for row in data["devices"] if row["name"] == "simulator")
    assert simulator["absent"] is None and simulator["kinds"] == ["overlay"]


def test_long_names_are_shortened_in_text_alone() -> None:
    assert shorten("a" * 47) == "a" * 47
    assert shorten("head" + "x" * 300 + "tail") == "head" + "x" * 18 + "..." + "x" * 18 + "tail"


# ---- verify


def test_verify(folder: Path, golden: Callable[[str], None]) -> None:
    golden(call("verify", "small.intarsia").stdout)
    data = as_json("verify", "small.intarsia")
    assert data["ok"] and len(data["vectors"]) == 2


def test_verify_fails_where_outputs_differ(folder: Path) -> None:
    made = evaluator_artifact(small_graph())
    x = np.zeros((1, 2, 5, 5), np.float32)
    (right,) = evaluate(small_graph(), {"image": x})
    wrong = right.copy()
    wrong.reshape(-1)[7] += 0.1
    entry, files = vector(0, [x], [wrong])
    Artifact({**made.manifest, "vectors": [entry]}, {**made.files, **files}).save("wrong.intarsia")
    assert "FAILED" in call("verify", "wrong.intarsia", code=1).stdout
    (result,) = as_json("verify", "wrong.intarsia", code=1)["vectors"]
    assert not result["ok"] and result["different"] == 1


# ---- letters


REFUSED = {
    "no-such-artifact": ("run", "nowhere.intarsia", "--input", "x.npy"),
    "no-such-input": ("run", "small.intarsia", "--input", "nowhere.npy"),
    "no-input": ("run", "small.intarsia"),
    "no-arrays": ("run", "small.intarsia", "--input", "text.npy"),
    "an-artifact-as-input": ("run", "small.intarsia", "--input", "small.intarsia"),
    "other-names": ("run", "small.intarsia", "--input", "others.npz"),
    "given-twice": ("run", "small.intarsia", "--input", "image=x.npy", "--input", "x.npz"),
    "wrong-type": ("run", "small.intarsia", "--input", "double.npy"),
    "no-device": ("run", "small.intarsia", "--input", "x.npy", "--device", "fpga"),
    "output-name": ("run", "small.intarsia", "--input", "x.npy", "--output", "y.txt"),
    "output-place": ("run", "small.intarsia", "--input", "x.npy", "--output", "x.npy/y.npz"),
    "not-an-artifact": ("report", "x.npy"),
    "no-region": ("dump", "small.intarsia", "--region", "1_fpga"),
    "no-model": ("compile", "nowhere.onnx", "--target", "cpu"),
    "not-a-model": ("compile", "text.npy", "--target", "cpu"),
    "no-target": ("explain", "text.npy", "--target", "vta"),
    "images-without-scale": ("compile", "text.npy", "--target", "cpu", "--precision", "int8", "--calibration", "."),
}


@pytest.mark.parametrize("case", REFUSED)
def test_letters(case: str, folder: Path, golden: Callable[[str], None]) -> None:
    Path("text.npy").write_text("hello")
    np.savez("others.npz", left=np.zeros(3), right=np.zeros(3))
    np.save("double.npy", np.load("x.npy").astype(np.float64))
    result = call(*REFUSED[case], code=2)
    assert result.stdout == ""
    lines = [line for line in result.stderr.splitlines() if not line.startswith("    ")]  # the list of devices
    golden("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ("report", "small.intarsia", "--csv", "--json"),
        ("verify", "small.intarsia", "--min-sqnr", "20"),
        ("verify", "small.intarsia", "--min-accuracy", "90"),
        ("verify", "small.intarsia", "--labels", "y.npy"),
        ("compile", "m.onnx"),
        ("compile", "m.onnx", "--target", "cpu", "--precision", "int3"),
        ("compile", "m.onnx", "--target", "cpu", "--batch", "0"),
        ("compile", "m.onnx", "--target", "cpu", "--dimension", "width"),
        ("compile", "m.onnx", "--target", "cpu", "--scale", "one"),
        ("demo", "--images", "401"),
        ("polish",),
    ],
)
def test_wrong_options_are_explained(arguments: tuple[str, ...], folder: Path) -> None:
    result = call(*arguments, code=2)
    assert result.stdout == "" and "Error: " in result.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_helps(command: str) -> None:
    text = call(command, "--help").stdout
    assert text.startswith(f"Usage: intarsia {command}") and "--json" in text


# ---- the program


def run_program(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    program = "from intarsia.cli.main import main; main()"
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environment},
    )


def test_help_imports_nothing_heavy() -> None:
    program = "import sys; sys.argv = ['intarsia', '--help']; from intarsia.cli.main import main\n"
    check = (
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print('heavy:', sorted({'numpy', 'onnx', 'tvm', 'networkx', 'rich', 'intarsia.driver'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program + check], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "heavy: []", done.stderr
    assert all(name in done.stdout for name in COMMANDS)


def test_the_program_says_its_version() -> None:
    assert call("--version").stdout == f"intarsia {version('intarsia')}\n"


def test_without_click_the_program_says_so() -> None:
    program = "import sys; sys.modules['click'] = None; from intarsia.cli.main import main; main()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "pip install click" in done.stderr and "Traceback" not in done.stderr


def test_pipes_get_no_colours_and_no_bars(folder: Path) -> None:
    done = run_program("run", "small.intarsia", "--input", "x.npy")
    assert done.returncode == 0 and done.stderr == "" and "\x1b" not in done.stdout
