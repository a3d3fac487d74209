"""Profiles of compiled regions have a row for each call. Nothing here depends on how long a call takes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("onnxruntime", reason="needs onnxruntime, which makes the int8 forms")

import cpu_layers
from network_files import network_file

import intarsia


@pytest.fixture(autouse=True)
def process_as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The command keeps its process to one core, and sets the number of threads."""
    monkeypatch.setenv("INTARSIA_THREADS", "1")
    cores = os.sched_getaffinity(0)
    yield
    os.sched_setaffinity(0, cores)


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_row_for_each_call(precision: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = network_file("ad_ae", precision, tmp_path)
    cpu_layers.main([str(path), "--precision", precision, "--seconds", "0.01", "--json"])
    found = json.loads(capsys.readouterr().out)
    plain = intarsia.compile_model(path, target="cpu", precision=precision).contents
    assert len(found["rows"]) == sum(region.metadata["calls"] for region in plain.regions)
    assert all(row["microseconds"] >= 0 for row in found["rows"])
    products = [row for row in found["rows"] if "products=" in row["sizes"]]
    macs = sum(layer["macs"] for region in plain.regions for layer in region.layers)
    assert macs > 200_000 and sum(row["operations"] for row in products) == 2 * macs
    assert sum(row["microseconds"] for row in found["rows"]) <= found["run_microseconds"]
    assert not found["evaluator_regions"]


def test_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = network_file("ad_ae", "float32", tmp_path)
    cpu_layers.main([str(path), "--seconds", "0.01", "--width", "70"])
    text = capsys.readouterr().out.splitlines()
    assert text[0].startswith(f"{path.stem}, intarsia: ") and text[-1].startswith("a whole run: ")
    assert max(map(len, text)) <= 70


def test_a_model_that_is_not_there() -> None:
    with pytest.raises(SystemExit, match="none of resnet18, resnet50"):
        cpu_layers.main(["nothing"])
