"""`intarsia batch`: every file once, whoever is killed; the bytes of Session.run; letters for mistakes."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from batches import artifact, batch, begun, children, inputs, lines, until_lines

from intarsia.batch.job import Job
from intarsia.batch.ledger import Ledger
from intarsia.batch.pools import make_pool
from intarsia.batch.worker import Done, Parcel
from intarsia.errors import RunError
from intarsia.runtime.session import load

linux = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc to find worker processes")


@pytest.fixture
def dask() -> Iterator[object]:
    """A scheduler with two workers in processes, each watched by a nanny."""
    distributed = pytest.importorskip("distributed")
    options = {"dashboard_address": None, "processes": True, "threads_per_worker": 1}
    with distributed.LocalCluster(n_workers=2, **options) as cluster:
        yield cluster


def check_outputs(model: Path, place: Path, output: Path, count: int) -> None:
    """Each input has one line, and the output that Session.run gives, byte for byte."""
    found = {line["input"]: line for line in lines(output) if "error" not in line}
    assert Counter(line["input"] for line in lines(output)) == Counter(list(found))
    assert len(found) == count
    with load(model) as session:
        for name, line in found.items():
            given = np.load(place / name)
            image = given if isinstance(given, np.ndarray) else given["image"]
            with np.load(output / line["output"]) as made:
                assert made["scores"].tobytes() == session.run(image)[0].tobytes()


@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_a_second_call_does_what_is_missing_or_has_changed(tmp_path: Path, executor: str) -> None:
    model, place, output = artifact(tmp_path), inputs(tmp_path, 12), tmp_path / "out"
    call = (model, place, "-o", output, "--executor", executor, "--workers", 2, "--json")
    code, text, errors = batch(tmp_path, *call)
    assert (code, errors) == (0, "")
    assert json.loads(text) == {"files": 12, "done": 12, "kept": 0, "failed": {}}
    check_outputs(model, place, output, 12)
    first = lines(output)
    (output / first[0]["output"]).unlink()
    (output / first[1]["output"]).write_bytes(b"damaged")
    np.save(place / "0002.npy", np.zeros((1, 2, 5, 5), np.float32))
    again = {first[0]["input"], first[1]["input"], "0002.npy"}
    with open(output / "manifest.jsonl", "a") as stream:
        stream.write('{"input": "00')  # a process that was killed while it wrote
    code, text, _ = batch(tmp_path, *call)
    assert json.loads(text) == {"files": 12, "done": len(again), "kept": 12 - len(again), "failed": {}}
    last = {line["input"]: line["output_sha256"] for line in lines(output)}
    same = {line["input"]: line["output_sha256"] for line in first if line["input"] != "0002.npy"}
    assert {name: last[name] for name in same} == same


def interrupted(tmp_path: Path, count: int, *executor: object) -> None:
    """A job with a worker killed, then killed itself, resumed: the outputs of an undisturbed one, nothing twice."""
    model, place, output = artifact(tmp_path), inputs(tmp_path, count), tmp_path / "out"
    process = begun(tmp_path, model, place, "-o", output, *executor)
    until_lines(output, count // 10)
    workers = children(process.pid)
    assert workers
    os.kill(workers[0], signal.SIGKILL)
    until_lines(output, count // 3)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    kept = {line["input"]: line for line in lines(output)}
    assert count // 3 <= len(kept) < count
    stamps = {name: (output / line["output"]).stat().st_mtime_ns for name, line in kept.items()}
    code, text, errors = batch(tmp_path, model, place, "-o", output, *executor, "--json")
    assert code == 0, errors
    told = json.loads(text)
    assert (told["done"], told["kept"], told["failed"]) == (count - len(kept), len(kept), {})
    assert {name: (output / kept[name]["output"]).stat().st_mtime_ns for name in kept} == stamps
    check_outputs(model, place, output, count)


@linux
def test_killed_processes_cost_nothing(tmp_path: Path) -> None:
    interrupted(tmp_path, 100, "--workers", 2)


@linux
@pytest.mark.slow
def test_a_thousand_files_with_killed_processes(tmp_path: Path) -> None:
    interrupted(tmp_path, 1000, "--workers", 2)


def on_dask(tmp_path: Path, count: int, dask: object) -> None:
    address = f"dask://{dask.scheduler_address.removeprefix('tcp://')}"  # type: ignore[attr-defined]
    model, place, output = artifact(tmp_path), inputs(tmp_path, count), tmp_path / "out"
    process = begun(tmp_path, model, place, "-o", output, "--executor", address, "--json")
    until_lines(output, count // 10)
    os.kill(next(iter(dask.workers.values())).pid, signal.SIGKILL)  # type: ignore[attr-defined]
    text, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert json.loads(text) == {"files": count, "done": count, "kept": 0, "failed": {}}
    check_outputs(model, place, output, count)
    code, text, _ = batch(tmp_path, model, place, "-o", output, "--executor", address, "--json")
    assert (code, json.loads(text)["kept"]) == (0, count)


@linux
def test_a_killed_worker_of_dask_costs_nothing(tmp_path: Path, dask: object) -> None:
    on_dask(tmp_path, 100, dask)


@linux
@pytest.mark.slow
def test_a_thousand_files_on_dask_with_a_killed_worker(tmp_path: Path, dask: object) -> None:
    on_dask(tmp_path, 1000, dask)


def test_ctrl_c_leaves_a_folder_that_is_continued(tmp_path: Path) -> None:
    model, place, output = artifact(tmp_path), inputs(tmp_path, 60), tmp_path / "out"
    process = begun(tmp_path, model, place, "-o", output, "--workers", 1)
    until_lines(output, 10)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"what is done is kept in {output}; the same command continues" in errors and "Traceback" not in errors
    kept = len(lines(output))
    assert kept < 60
    code, text, _ = batch(tmp_path, model, place, "-o", output, "--workers", 1, "--json")
    assert (code, json.loads(text)["kept"]) == (0, kept)


def test_files_that_cannot_be_run_are_told_and_the_rest_is_done(tmp_path: Path) -> None:
    model, place, output = artifact(tmp_path), inputs(tmp_path, 4), tmp_path / "out"
    (place / "broken.npy").write_bytes(b"no array")
    np.save(place / "wide.npy", np.zeros((1, 2, 5, 6), np.float32))
    call = (model, place, "-o", output, "--executor", "threads")
    code, text, errors = batch(tmp_path, *call)
    assert code == 1 and "Traceback" not in errors
    text = " ".join(text.split())  # wrapped where the terminal ends
    assert "it is no .npy or .npz file of plain arrays" in text and "4 files done, 0 done before, 2 failed" in text
    failed = {line["input"]: line["error"] for line in lines(output) if "error" in line}
    assert sorted(failed) == ["broken.npy", "wide.npy"] and "help: " in failed["wide.npy"]
    np.save(place / "wide.npy", np.zeros((1, 2, 5, 5), np.float32))
    code, text, _ = batch(tmp_path, *call)
    assert code == 1 and "1 files done, 4 done before, 1 failed" in text


def suicidal(digest: str, parcel: Parcel | None, arrays: list[np.ndarray]) -> Done:
    """A run that ends its worker for inputs of ones."""
    if arrays[0].all():
        os._exit(1)
    return Done({"scores": arrays[0]}, 0.0)


def test_a_file_that_kills_its_workers_is_given_up_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("intarsia.batch.pools.run", suicidal)
    monkeypatch.setattr("intarsia.batch.pools.prepare", lambda parcel: None)
    monkeypatch.setattr("intarsia.batch.pools.start_process", load_nothing)
    for index in range(6):
        np.save(tmp_path / f"{index}.npy", np.full(3, int(index == 2)))
    files = [(path.name, path) for path in sorted(tmp_path.glob("*.npy"))]
    pool = make_pool("processes", Parcel("0", {}, {}), 2)
    try:
        with Ledger(tmp_path / "out", "0") as ledger:
            job = Job(ledger, pool, lambda path: [np.load(path)], lambda arrays: arrays["scores"].tobytes(), told)
            outcome = job.run(files)
            attempts = {name: line["attempts"] for name, line in ledger.lines.items()}
    finally:
        pool.close()
    assert outcome.failed == {"2.npy": "its worker died at each of 3 tries"} and outcome.done == 5
    assert attempts["2.npy"] == 3 and all(tries <= 2 for name, tries in attempts.items() if name != "2.npy")


def load_nothing(parcel: Parcel) -> None:
    """In place of loading an artifact."""


def told(what: str, done: int, total: int) -> None:
    assert what == "files" and done <= total


def test_the_folder_of_another_artifact_or_of_another_process_is_refused(tmp_path: Path) -> None:
    with Ledger(tmp_path, "a"), pytest.raises(RunError, match="another intarsia batch writes into it"):
        Ledger(tmp_path, "a")
    with pytest.raises(RunError, match="another artifact made the outputs in it"):
        Ledger(tmp_path, "b")
    (tmp_path / "manifest.jsonl").write_text("notes\n")
    with pytest.raises(RunError, match=r"its manifest\.jsonl is none that this version writes"):
        Ledger(tmp_path, "a")
    assert (tmp_path / "manifest.jsonl").read_text() == "notes\n"


@pytest.mark.parametrize(
    "place, options, letter",
    [
        ("none", (), "there is no such folder"),
        (".", (), "lies in it"),
        ("empty", (), "no file in it is an input"),
        ("inputs", ("--executor", "fork"), "there is no such executor"),
        ("inputs", ("--executor", "dask://127.0.0.1:1"), "no Dask scheduler answers there"),
    ],
)
def test_mistakes_are_letters(tmp_path: Path, place: str, options: tuple[str, ...], letter: str) -> None:
    inputs(tmp_path, 1)
    (tmp_path / "empty").mkdir()
    code, out, errors = batch(tmp_path, artifact(tmp_path), tmp_path / place, "-o", tmp_path / "out", *options)
    assert (code, out) == (2, "")
    assert letter in errors and "help: " in errors and "Traceback" not in errors
