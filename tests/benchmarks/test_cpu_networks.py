"""The command that measures the CPU runs, and its engines agree on the small networks. Nothing here depends on time."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="needs onnxruntime, which makes the int8 forms")

import cpu_networks
import cpu_rows
from cpu_row import agreement
from network_files import given_file, given_models, network_file, random_inputs

SMALL = ("resnet8", "dscnn", "ad_ae")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("networks")


def report(capsys: pytest.CaptureFixture[str], folder: Path, *options: str) -> dict[str, Any]:
    quick = ["--rounds", "1", "--seconds", "0.001", "--folder", str(folder), "--json"]
    cpu_networks.main([*quick, *options])
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def check(found: dict[str, Any], names: tuple[str, ...], engines: set[str], threads: set[int]) -> None:
    keys = [(row["network"], row["precision"], row["threads"]) for row in found["rows"]]
    assert sorted(keys) == sorted((name, p, t) for name in names for p in ("float32", "int8") for t in threads)
    for row in found["rows"]:
        assert "error" not in row
        assert set(row["milliseconds"]) == set(row["agreement"]) == engines
        assert all(value > 0 for value in (row["ratio"], row["compile_megabytes"], *row["milliseconds"].values()))
        assert 0 <= row["others"] <= 1.1
        for engine in engines:
            same = row["agreement"][engine]
            if row["precision"] == "float32":
                assert same["difference"] < 1e-5 and same["same"] == 1.0
            else:  # engines round in different places, and the outputs have few steps
                assert same["difference"] < 0.15 and same["correlation"] > 0.99
    assert {(row["precision"], row["threads"], row["networks"]) for row in found["geometric_means"]} == {
        (precision, count, len(names)) for precision in ("float32", "int8") for count in threads
    }


def test_small_networks_beside_onnxruntime(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    found = report(capsys, folder, "--only", ",".join(SMALL), "--peers", "onnxruntime", "--threads", "2")
    check(found, SMALL, {"onnxruntime", "intarsia"}, {2})
    assert set(found["versions"]) == {"onnxruntime"}


@pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="needs openvino: pip install -e '.[bench]'")
def test_a_network_beside_both_peers(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    found = report(capsys, folder, "--only", "ad_ae", "--threads", "1")
    check(found, ("ad_ae",), {"onnxruntime", "openvino", "intarsia"}, {1})


def test_compilation_alone(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    cpu_networks.main(["--compile", "--only", "ad_ae", "--precision", "float32", "--folder", str(folder)])
    head, row = capsys.readouterr().out.splitlines()
    assert head.split() == ["seconds", "MB"]
    assert row.split()[:2] == ["ad_ae", "float32"] and all(float(text) > 0 for text in row.split()[2:])


def test_a_network_that_cannot_be_compiled_keeps_its_row(
    capsys: pytest.CaptureFixture[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    found = report(
        capsys, folder, "--only", "ad_ae", "--precision", "float32", "--threads", "1", "--peers", "onnxruntime"
    )
    (row,) = found["rows"]
    assert "no-such-compiler" in row["error"] and row["ratio"] is None and set(row["milliseconds"]) == {"onnxruntime"}
    assert "no-such-compiler" in cpu_networks.table(found["rows"], ["onnxruntime"])


@pytest.mark.parametrize(
    "arguments, reason",
    [
        (["--only", "nothing"], "nothing is none of resnet18, resnet50"),
        (["--precision", "int4"], "int4 is none of float32, int8"),
        (["--threads", "0"], "whole numbers from 1"),
        (["--models", "no/such/folder"], "is no folder"),
    ],
)
def test_wrong_options(arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cpu_networks.main(arguments)
    assert reason in capsys.readouterr().err


def test_a_missing_peer(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "openvino" else object())
    with pytest.raises(SystemExit):
        cpu_networks.main(["--only", "ad_ae"])
    assert "openvino cannot be imported: pip install -e '.[bench]'" in capsys.readouterr().err


def test_agreement() -> None:
    y = [[np.array([[0.0, 4.0], [1.0, 0.0]])], [np.array([[3.0, 0.0], [0.0, 1.0]])]]
    x = [[np.array([[0.0, 4.0], [1.0, 0.0]])], [np.array([[3.0, 0.0], [1.0, 0.0]])]]
    found = agreement(x, y)
    assert found["difference"] == 0.25 and found["same"] == 0.75 and 0 < found["correlation"] < 1
    assert agreement(y, y) == {"difference": 0.0, "correlation": pytest.approx(1.0), "same": 1.0}


def test_models_of_a_folder(folder: Path, tmp_path: Path) -> None:
    float32, int8 = (network_file("ad_ae", precision, folder) for precision in ("float32", "int8"))
    for path in (float32, int8):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    found = given_models(tmp_path)
    assert set(found) == {float32.stem, int8.stem}
    assert given_file(found[float32.stem], "float32", folder) == found[float32.stem]
    assert given_file(found[int8.stem], "int8", folder) == found[int8.stem]
    assert given_file(found[int8.stem], "float32", folder) is None
    made = given_file(found[float32.stem], "int8", tmp_path / "made")
    assert made is not None and made.exists() and random_inputs(made, 0)["input"].shape == (1, 640)


def test_many_rows_beside_onnxruntime(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    quick = [
        "--rounds",
        "1",
        "--seconds",
        "0.001",
        "--threads",
        "2",
        "--rows",
        "1,9",
        "--folder",
        str(folder),
        "--json",
    ]
    cpu_rows.main(quick)
    rows = json.loads(capsys.readouterr().out)
    assert [(row["precision"], row["rows"]) for row in rows] == [(p, n) for p in ("float32", "int8") for n in (1, 9)]
    assert all(row["same_bytes"] and row["ratio"] > 0 for row in rows)
    assert all(text in cpu_rows.table(rows) for text in ("ad_ae", "same bytes"))
