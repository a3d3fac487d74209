"""Options of a calibration that nothing would come of are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from intarsia.cli.commands import intarsia
from intarsia.driver import lower
from intarsia.errors import CompileError
from intarsia.passes.calibration import Ranges
from intarsia.passes.quantize import ImageOptions

MODELS = Path(__file__).parents[1] / "models"
MODEL = MODELS / "digits_cnn.onnx"


def digits() -> Any:
    with np.load(MODELS / "digits_test_450.npz") as data:
        return data["x"][:32].astype(np.float32)


def test_calibration_data_mean_int8() -> None:
    assert lower(MODEL, target="cpu", until="fused").precision == "float32"
    assert lower(MODEL, target="cpu", calibration=digits(), until="fused").precision == "int8"


def test_letters(golden: Callable[[str], None]) -> None:
    data, ranges = digits(), Ranges({}, 1)
    letters = []
    for options in (
        {"calibration": data, "precision": "float32"},
        {"calibration": data, "images": ImageOptions()},
        {"calibration": data, "percentile": 99.9},
        {"calibrator": "percentile"},
        {"calibration": ranges, "calibrator": "percentile"},
    ):
        with pytest.raises(CompileError) as caught:
            lower(MODEL, target="cpu", **options)
        letters.append(str(caught.value))
    golden("\n".join(letters) + "\n")


def test_letters_of_the_command_line(tmp_path: Path, golden: Callable[[str], None]) -> None:
    np.save(tmp_path / "x.npy", digits())
    (tmp_path / "ranges.json").write_text(
        '{"format_version": 1, "model": "", "graph_sha256": "", "method": "minmax", "percentile": null, "samples": 1, '
        '"ranges": {}}'
    )
    data = ("--calibration", str(tmp_path / "x.npy"))
    letters = []
    for options in (
        (*data, "--precision", "float32"),
        (*data, "--mean", "0.5", "--scale", "2"),
        (*data, "--colour", "BGR"),
        (*data, "--fit", "stretch"),
        (*data, "--percentile", "99.9"),
        ("--mean", "0.5"),
        ("--calibrator", "percentile"),
        ("--calibration", str(tmp_path / "ranges.json"), "--calibrator", "percentile"),
    ):
        place = tmp_path / "out.intarsia"
        result = CliRunner().invoke(intarsia, ["compile", str(MODEL), "--target", "cpu", "-o", str(place), *options])
        assert result.exit_code == 2 and not place.exists(), options
        letters.append(f"{' '.join(options)}\n{result.stderr}".replace(str(tmp_path), "FOLDER"))
    golden("\n".join(letters))


def test_percentiles_are_used_with_their_calibrator() -> None:
    bounds = [
        lower(MODEL, target="cpu", calibration=digits(), calibrator="percentile", percentile=part, until="quantized")
        for part in (60.0, None)
    ]
    assert bounds[0].graph.inputs[0].name == bounds[1].graph.inputs[0].name
    scales = [next(node.attributes["scale"] for node in one.graph.nodes if node.op == "quantize") for one in bounds]
    assert scales[0] < scales[1]
