"""Temporary folders that are full, missing, or let nothing be executed: code is made and loaded nevertheless, or a
letter says what to do."""

from __future__ import annotations

import ctypes
import errno
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import parser

import intarsia
from intarsia.artifact import Artifact
from intarsia_backends.cpu import link

MODEL = parser.parse_model(
    '<ir_version: 9, opset_import: ["" : 17]> g (float[1,4] x) => (float[1,4] y) { y = Relu (x) }'
)


def _full(*arguments: Any, **named: Any) -> Any:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    return intarsia.compile_model(MODEL, target="cpu")


def _runs(artifact: Artifact) -> None:
    (y,) = intarsia.load(artifact).run(np.array([[-1, 2, -3, 4]], np.float32))
    assert y.tolist() == [[0, 2, 0, 4]]


def test_full_while_compiling(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, golden: Callable[[str], None]) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with pytest.raises(intarsia.CompileError) as caught:
        intarsia.compile_model(MODEL, target="cpu")
    letters = str(caught.value)
    monkeypatch.undo()
    monkeypatch.setattr(Path, "write_bytes", _full)
    with pytest.raises(intarsia.CompileError) as caught:
        intarsia.compile_model(MODEL, target="cpu")
    golden(f"{letters}\n{caught.value}\n")


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="this system has no files in memory")
def test_llvm_writes_no_file_on_a_disk(tmp_path: Path) -> None:
    def write(path: Path) -> None:
        assert str(path).startswith("/proc/self/fd/")
        path.write_bytes(b"object")

    assert link._in_memory(write, tmp_path / "kernels.o") == b"object" and not list(tmp_path.iterdir())


def test_full_while_loading(artifact: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "mkstemp", _full)
    _runs(artifact)
    _runs(artifact)


def test_nothing_may_be_executed_there(artifact: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    load = ctypes.CDLL

    def refuse(path: str) -> ctypes.CDLL:
        if path.startswith(tempfile.gettempdir()):
            raise OSError(f"{path}: failed to map segment from shared object")
        return load(path)

    monkeypatch.setattr(ctypes, "CDLL", refuse)
    _runs(artifact)


def test_neither_on_disk_nor_in_memory(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch, golden: Callable[[str], None]
) -> None:
    monkeypatch.setattr(tempfile, "mkstemp", _full)
    monkeypatch.setattr(os, "memfd_create", _full, raising=False)
    with pytest.raises(intarsia.RunError) as caught:
        intarsia.load(artifact)
    golden(f"{caught.value}\n")
