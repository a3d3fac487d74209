"""The mistakes of a first hour: each is refused by a letter that says what to do, and nobody's file is harmed.

Rows of a table: what is typed, in a folder with a model, an artifact and data. The letters are golden; nothing may be
left behind, or be another file than before. What a row needs beside it stands in `things`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

import intarsia
from intarsia.cli.commands import intarsia as program
from intarsia.demo import Demo, load_demo
from intarsia.dtypes import Array

MODEL = """
<ir_version: 8, opset_import: ["" : 17]>
clothes (float[1,3,8,8] image) => (float[1,4] scores) {
  features = Conv <kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1]> (image, w)
  active = Relu (features)
  pooled = GlobalAveragePool (active)
  scores = Flatten (pooled)
}"""

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 46830571\n"


def model() -> onnx.ModelProto:
    made = onnx.parser.parse_model(MODEL)
    weights = np.random.default_rng(2).standard_normal((4, 3, 3, 3)).astype(np.float32)
    made.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    return made


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Files that every row may use."""
    folder = tmp_path_factory.mktemp("made")
    images = np.random.default_rng(3).standard_normal((40, 3, 8, 8)).astype(np.float32)
    onnx.save(model(), folder / "model.onnx")
    intarsia.compile_model(model(), target="cpu").save(folder / "ready.intarsia")
    np.savez(folder / "images.npz", image=images)
    np.savez(folder / "last.npz", image=images.transpose(0, 2, 3, 1))
    np.savez(folder / "double.npz", image=images.astype(np.float64))
    np.savez(folder / "pixels.npz", image=(images * 40 + 127).clip(0, 255).astype(np.uint8))
    np.savez(folder / "others.npz", pictures=images, labels=np.arange(40))
    np.savez(folder / "small.npz", image=images[:, :, :4, :4])
    np.savez(folder / "none.npz")
    np.savez(folder / "empty.npz", image=images[:0])
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def things(folder: Path) -> None:
    """What stands there besides: files of mine, models that are none, folders."""
    whole = (folder / "model.onnx").read_bytes()
    (folder / "notes.txt").write_text("what I thought")
    (folder / "notes.intarsia").write_text("what I thought")
    (folder / "text.onnx").write_text("import torch\n")
    (folder / "half.onnx").write_bytes(whole[: len(whole) // 2])
    (folder / "pointer.onnx").write_text(POINTER)
    (folder / "model.pt").write_bytes(b"PK\x03\x04 archive/data.pkl")
    (folder / "data.csv").write_text("0.1,0.2\n")
    (folder / "names.txt").write_text("shirt\nshoe\n")
    (folder / "broken.npz").write_bytes(b"PK nothing")
    (folder / "holiday").mkdir()
    (folder / "holiday" / "diary.txt").write_text("sun")
    outside = model()
    onnx.save(outside, folder / "outside.onnx", save_as_external_data=True, size_threshold=0, location="weights.bin")
    (folder / "weights.bin").unlink()


COMPILE = ("compile", "model.onnx", "--target")
INT8 = ("compile", "model.onnx", "--target", "pynq-z2", "-o", "new.intarsia", "--calibration")
RUN = ("run", "ready.intarsia", "--input")

TYPED: dict[str, tuple[str, ...]] = {
    # names and places
    "model-missing": ("compile", "modle.onnx", "--target", "cpu"),
    "model-of-pytorch": ("compile", "model.pt", "--target", "cpu"),
    "model-is-a-folder": ("compile", "holiday", "--target", "cpu"),
    "output-over-the-model": (*COMPILE, "cpu", "-o", "model.onnx"),
    "output-without-a-name": (*COMPILE, "cpu", "-o", ""),
    "output-over-a-text": (*COMPILE, "cpu", "-o", "notes.txt"),
    "output-over-a-text-of-that-name": (*COMPILE, "cpu", "-o", "notes.intarsia"),
    "output-under-a-file": (*COMPILE, "cpu", "-o", "notes.txt/new.intarsia"),
    "output-over-the-calibration": (*INT8[:4], "-o", "images.npz", "--calibration", "images.npz"),
    "output-that-no-results-go-to": (*RUN, "images.npz", "-o", "scores.csv"),
    "results-over-a-text": (*RUN, "images.npz", "-o", "notes.txt"),
    # commands, targets, options
    "command-misspelled": ("complie", "model.onnx"),
    "target-missing": ("compile", "model.onnx"),
    "target-misspelled": (*COMPILE, "pynqz2"),
    "target-option-misspelled": (*COMPILE, "cpu{levle=portable}"),
    "processor-of-another-board": (*COMPILE, "kv260+cpu-armv7"),
    "board-without-a-board": (*COMPILE, "tiny", "--host-only"),
    "option-misspelled": (*COMPILE, "cpu", "--calibraton", "images.npz"),
    "precision-unknown": (*COMPILE, "cpu", "--precision", "int4"),
    "precision-of-another-target": (*COMPILE, "pynq-z2", "--precision", "float32"),
    "batch-of-nothing": (*COMPILE, "cpu", "--batch", "0"),
    "shape-for-no-input": (*COMPILE, "cpu", "--shape", "picture=1,3,8,8"),
    "shape-that-is-none": (*COMPILE, "cpu", "--shape", "image=1x3x8x8"),
    # calibration
    "no-calibration": (*COMPILE, "pynq-z2", "-o", "new.intarsia"),
    "calibration-missing": (*INT8, "imagse.npz"),
    "calibration-of-another-suffix": (*INT8, "data.csv"),
    "calibration-with-channels-last": (*INT8, "last.npz"),
    "calibration-of-another-size": (*INT8, "small.npz"),
    "calibration-of-other-names": (*INT8, "others.npz"),
    "calibration-without-arrays": (*INT8, "none.npz"),
    "calibration-without-samples": (*INT8, "empty.npz"),
    "calibration-broken": (*INT8, "broken.npz"),
    "calibration-for-float": (*COMPILE, "cpu", "--precision", "float32", "--calibration", "images.npz"),
    "scale-for-arrays": (*INT8, "images.npz", "--mean", "127", "--scale", "0.004"),
    "mean-without-scale": (*COMPILE, "cpu", "--mean", "127"),
    "percentile-for-minmax": (*INT8, "images.npz", "--percentile", "99"),
    "folder-without-images": (*INT8, "holiday", "--scale", "0.004"),
    "folder-without-scale": (*INT8, "holiday"),
    # files that are something else
    "text-for-a-model": ("compile", "text.onnx", "--target", "cpu"),
    "half-a-model": ("compile", "half.onnx", "--target", "cpu"),
    "pointer-of-git-lfs": ("compile", "pointer.onnx", "--target", "cpu"),
    "weights-left-behind": ("compile", "outside.onnx", "--target", "cpu"),
    "artifact-for-a-model": ("compile", "ready.intarsia", "--target", "cpu", "-o", "new.intarsia"),
    "model-for-an-artifact": ("run", "model.onnx", "--input", "images.npz"),
    "data-for-an-artifact": ("report", "images.npz"),
    # runs
    "artifact-missing": ("run", "raedy.intarsia", "--input", "images.npz"),
    "no-input": ("run", "ready.intarsia"),
    "input-missing": (*RUN, "imagse.npz"),
    "input-with-channels-last": (*RUN, "last.npz"),
    "input-of-another-size": (*RUN, "small.npz"),
    "input-of-another-type": (*RUN, "double.npz"),
    "input-of-pixels": (*RUN, "pixels.npz"),
    "input-of-other-names": (*RUN, "others.npz"),
    "device-unknown": (*RUN, "images.npz", "--device", "fpga"),
    "device-that-is-not-here": (*RUN, "images.npz", "--device", "pynq"),
    "accuracy-without-labels": ("verify", "ready.intarsia", "--min-accuracy", "90"),
    "labels-of-another-model": (*RUN, "images.npz", "--labels", "names.txt"),
    "threads-of-nothing": (*RUN, "images.npz", "--threads", "0"),
}


@pytest.fixture
def folder(made: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, content in made.items():
        (tmp_path / name).write_bytes(content)
    things(tmp_path)
    return tmp_path


def contents(folder: Path) -> dict[str, bytes | None]:
    """Every file with its bytes, and every folder."""
    found = sorted(folder.rglob("*"))
    return {str(place.relative_to(folder)): place.read_bytes() if place.is_file() else None for place in found}


@pytest.mark.parametrize("mistake", TYPED)
def test_a_mistake_is_refused(mistake: str, folder: Path, golden: Callable[[str], None]) -> None:
    before = contents(folder)
    done = CliRunner().invoke(program, TYPED[mistake])
    assert done.exception is None or isinstance(done.exception, SystemExit)
    assert done.exit_code == 2 and done.stdout == "" and "Traceback" not in done.stderr
    assert contents(folder) == before
    lines = [
        line for line in done.stderr.replace(str(folder), "HERE").splitlines() if not line.startswith("    ")
    ]  # a list of devices by machine
    golden("\n".join(lines) + "\n")


# ---- data that is wrong and runs: the artifact is made, and what is suspicious about it said

DATA: dict[str, Callable[[Demo], Array]] = {
    "raw pixels": lambda demo: demo.pixels[:100, None].astype(np.float32),
    "zeros": lambda demo: np.zeros((40, 1, 28, 28), np.float32),
    "one sample": lambda demo: demo.calibration[:1],
    "one sample, again and again": lambda demo: np.repeat(demo.calibration[:1], 40, axis=0),
    "as in training": lambda demo: demo.calibration,
}


def test_data_that_is_wrong_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, golden: Callable[[str], None]
) -> None:
    monkeypatch.chdir(tmp_path)
    demo, told = load_demo(), []
    for name, make in DATA.items():
        np.save("data.npy", make(demo))
        typed = (
            "compile",
            str(demo.model_path),
            "--target",
            "cpu",
            "--calibration",
            "data.npy",
            "-o",
            "a.intarsia",
        )
        done = CliRunner().invoke(program, typed)
        assert done.exit_code == 0 and sorted(path.name for path in tmp_path.iterdir()) == ["a.intarsia", "data.npy"]
        lines = [line for line in done.output.splitlines() if line.startswith(("warning:", "note:"))]
        assert bool(lines) == (name != "as in training"), lines
        told.append("\n".join([f"{name}:", *lines]))
    golden("\n\n".join(told) + "\n")


# ---- what only a whole process shows


def start(folder: Path, *arguments: str, **options: object) -> subprocess.Popen[str]:
    surroundings = {**os.environ, "TMPDIR": str(folder / "tmp")}
    (folder / "tmp").mkdir(exist_ok=True)
    command = [sys.executable, "-m", "intarsia", *arguments]
    return subprocess.Popen(command, cwd=folder, env=surroundings, stderr=subprocess.PIPE, text=True, **options)  # type: ignore[call-overload,no-any-return]


def test_a_full_disk_is_said_and_half_a_file_taken_away(folder: Path) -> None:
    """As far as a process can tell, the disk is full behind 4 KiB of a file."""
    (folder / "ready.intarsia").unlink()
    limited = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096));"
        "from intarsia.artifact import Artifact; from intarsia.errors import RunError\n"
        "artifact = Artifact.read('kept.intarsia')\n"
        "try: artifact.save('new.intarsia')\n"
        "except RunError as error: raise SystemExit(str(error))"
    )
    intarsia.compile_model(model(), target="cpu").save(folder / "kept.intarsia")
    before = contents(folder)
    done = subprocess.run([sys.executable, "-c", limited], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and done.stderr.startswith(
        "artifact new.intarsia: it cannot be written: File too large"
    )
    assert "help: check the folder, its permissions and the free space" in done.stderr
    assert contents(folder) == before


def test_results_that_cannot_be_written_to_stdout_are_said(folder: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full, which Linux has")
    with open("/dev/full", "w") as full:
        running = start(folder, "report", "ready.intarsia", stdout=full)
        _, told = running.communicate(timeout=120)
    assert running.returncode == 2 and told.startswith("error: standard output: it cannot be written: No space left")


def test_who_reads_may_end_first(folder: Path) -> None:
    running = start(folder, "report", "ready.intarsia", stdout=subprocess.PIPE)
    assert running.stdout is not None
    running.stdout.close()
    assert running.stderr is not None
    told = running.stderr.read()
    assert running.wait(timeout=120) == 141 and told == ""


def test_ctrl_c_leaves_nothing(folder: Path) -> None:
    """In the middle of a calibration that would take long."""
    np.savez(folder / "many.npz", image=np.zeros((60_000, 3, 8, 8), np.float32))
    before = contents(folder)
    running = start(folder, *INT8, "many.npz", "-v", stdout=subprocess.DEVNULL)
    assert running.stderr is not None
    for line in running.stderr:  # calibration is what follows the passes that are told
        if "fuse" in line or "dead" in line:
            break
    time.sleep(0.5)
    running.send_signal(signal.SIGINT)
    told = running.stderr.read()
    assert running.wait(timeout=120) == 130 and told.endswith("interrupted\n") and "Traceback" not in told
    assert list((folder / "tmp").iterdir()) == []
    (folder / "tmp").rmdir()
    assert contents(folder) == before
