"""Folders of inputs, and the command run on them as a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from artifact_examples import evaluator_artifact, small_graph

PROGRAM = "from intarsia.cli.main import main\nif __name__ == '__main__': main()\n"


def artifact(folder: Path) -> Path:
    """float32 "image" [1, 2, 5, 5] to float32 "scores" [1, 3, 5, 5]."""
    path = folder / "small.intarsia"
    evaluator_artifact(small_graph()).save(path)
    return path


def inputs(folder: Path, count: int) -> Path:
    """Files of one image each, in two folders, some of them .npz."""
    place = folder / "inputs"
    rng = np.random.default_rng(5)
    (place / "more").mkdir(parents=True)
    for index in range(count):
        image = rng.standard_normal((1, 2, 5, 5)).astype(np.float32)
        path = place / ("more" if index % 2 else "") / f"{index:04}"
        if index % 3:
            np.save(f"{path}.npy", image)
        else:
            np.savez(f"{path}.npz", image=image)
    return place


def begun(folder: Path, *arguments: object) -> subprocess.Popen[str]:
    """`intarsia batch`, in a group of processes of its own. Spawned workers read the program from a file again."""
    program = folder / "program.py"
    program.write_text(PROGRAM)
    line = [sys.executable, str(program), "batch", *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(line, stdout=pipe, stderr=pipe, text=True, start_new_session=True)


def batch(folder: Path, *arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout, stderr of `intarsia batch`."""
    process = begun(folder, *arguments)
    out, errors = process.communicate(timeout=300)
    return process.returncode, out, errors


def lines(output: Path) -> list[dict[str, Any]]:
    """Those of a manifest about files; the last one may be half written."""
    found = []
    for text in (output / "manifest.jsonl").read_text().splitlines()[1:]:
        try:
            found.append(json.loads(text))
        except ValueError:
            continue
    return found


def until_lines(output: Path, count: int) -> None:
    """Wait until so many files are done."""
    end = time.monotonic() + 120
    while not (output / "manifest.jsonl").exists() or len(lines(output)) < count:
        assert time.monotonic() < end, "nothing goes on"
        time.sleep(0.01)


def children(pid: int) -> list[int]:
    """Worker processes that a process has spawned."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
            text = (path.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if int(parent) == pid and state != "Z" and b"spawn_main" in text:
            found.append(int(path.parent.name))
    return found
