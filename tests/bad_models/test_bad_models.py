"""Every bad model is refused with a letter that says where, what, and what to do; nothing else ever comes out."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import bad_files
import bad_shapes
import bad_wiring
import onnx
import pytest
from bad_registry import BAD, good

from intarsia.errors import CompileError
from intarsia.importer import import_model

LONGEST_SECONDS = 10
MODULES = (bad_files, bad_shapes, bad_wiring)


@pytest.mark.parametrize("name", sorted(BAD))
def test_refused(name: str, tmp_path: Path, golden: Callable[[str], None]) -> None:
    model = BAD[name](tmp_path)
    start = time.perf_counter()
    with pytest.raises(CompileError) as caught:
        import_model(model)
    assert time.perf_counter() - start < LONGEST_SECONDS
    error = caught.value
    assert error.where and error.what and error.help
    golden(_without_versions(str(error).replace(str(tmp_path), "FOLDER")) + "\n")


def _without_versions(text: str) -> str:
    """What depends on the installed onnx, by name."""
    text = text.replace(f"to {onnx.defs.onnx_opset_version()} are supported", "to NEWEST are supported")
    return text.replace(
        f"newer than {onnx.IR_VERSION}, the newest that onnx {onnx.__version__}", "newer than NEWEST, ONNX"
    )


def test_there_are_many() -> None:
    assert len(BAD) > 100
    assert all(builder.__doc__ for builder in BAD.values())


def test_the_model_they_are_made_from_is_good() -> None:
    assert [str(value.type) for value in import_model(good(), batch=2).outputs] == ["float32[2,10]"]
