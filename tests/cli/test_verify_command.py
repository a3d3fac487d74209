"""`intarsia verify` fails for what does not stand for its model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

import intarsia
from intarsia.cli.accuracy import read_classes, share_right
from intarsia.cli.commands import intarsia as program
from intarsia.comparison import Comparison, OutputNoise
from intarsia.errors import RunError
from intarsia.runtime.sqnr import LayerNoise

MODELS = Path(__file__).parents[1] / "models"
MODEL = MODELS / "digits_cnn.onnx"


def call(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(program, list(map(str, arguments)))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return str(result.stdout)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Artifacts calibrated on real digits and on zeros, 40 digits to test on, and another model of the same inputs."""
    folder = tmp_path_factory.mktemp("verify")
    with np.load(MODELS / "digits_test_450.npz") as data:
        x, y = data["x"].astype(np.float32), data["y"]
    np.savez(folder / "test.npz", input=x[64:104], y=y[64:104])
    np.savetxt(folder / "classes.txt", y[64:104], "%d")
    intarsia.compile_model(MODEL, target="cpu", calibration=x[:64]).save(folder / "good.intarsia")
    with pytest.warns(intarsia.IntarsiaWarning):
        bad = intarsia.compile_model(MODEL, target="cpu", calibration=np.zeros_like(x[:64]))
    bad.save(folder / "bad.intarsia")
    other = onnx.load(MODEL)
    weight = next(item for item in other.graph.initializer if len(item.dims) == 4)
    array = onnx.numpy_helper.to_array(weight)[::-1].copy()
    weight.CopyFrom(onnx.numpy_helper.from_array(array, weight.name))
    onnx.save(other, folder / "other.onnx")
    return folder


def found(*arguments: object, code: int = 0) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(call("verify", *arguments, "--json", code=code))
    return data


def test_what_was_calibrated_on_rubbish_fails_on_real_data(folder: Path) -> None:
    data = folder / "test.npz"
    good = found(folder / "good.intarsia", "--input", data, "--against", MODEL)
    assert good["ok"] and not good["failures"] and good["outputs"][0]["sqnr"] > 25
    bad = found(folder / "bad.intarsia", "--input", data, "--against", MODEL, code=1)
    assert "dB from the float model, below 15 dB" in bad["failures"][0]
    assert bad["suspicions"] == ["it holds nothing but 0: give real inputs"]
    assert found(folder / "bad.intarsia", "--input", data, "--against", MODEL, "--min-sqnr", "-5")["ok"]
    text = call("verify", folder / "good.intarsia", "--input", data, "--against", MODEL, "--min-sqnr", "90", code=1)
    assert text.splitlines()[-1].startswith("FAILED: output") and text.splitlines()[-1].endswith("below 90 dB")


def test_classes_are_counted(folder: Path) -> None:
    data, labels = folder / "test.npz", folder / "classes.txt"
    told = found(folder / "good.intarsia", "--input", data, "--labels", labels, "--min-accuracy", "90")
    assert told["accuracy"] >= 0.95 and told["float_accuracy"] is None and "reference" not in told
    bad = found(folder / "bad.intarsia", "--input", data, "--labels", data, "--min-accuracy", "95", code=1)
    assert bad["accuracy"] < 0.95 and "of the samples, below 95%" in bad["failures"][0]
    both = found(folder / "good.intarsia", "--input", data, "--labels", data, "--against", MODEL)
    assert both["float_accuracy"] >= 0.95
    text = call("verify", folder / "good.intarsia", "--input", data, "--labels", data, "--against", MODEL)
    assert "of 40 samples; the float model in" in text and text.splitlines()[-1] == "verified"


def test_data_without_a_model_is_compared_with_the_reference(folder: Path) -> None:
    told = found(folder / "good.intarsia", "--input", folder / "test.npz")
    assert told["ok"] and len(told["reference"]) == 40


def test_another_model_is_not_verified(folder: Path) -> None:
    told = found(folder / "good.intarsia", "--against", folder / "other.onnx", code=1)
    assert "dB from the float model" in told["failures"][0]


def test_failures_in_words(golden: Callable[[str], None]) -> None:
    noise = (
        OutputNoise("near", 30.0, None),
        OutputNoise("far", 3.25, None),
        OutputNoise("silent", float("-inf"), None),
        OutputNoise("undefined", float("nan"), None),
        OutputNoise("exact", float("inf"), None),
        OutputNoise("classes", None, 0.25),
        OutputNoise("mostly", None, 0.9),
    )
    layers = (LayerNoise("a", "qconv", 20.0),)
    golden("\n".join([*Comparison((), layers, noise).failures(), "", *Comparison((), (), noise[:1]).failures()]) + "\n")
    assert Comparison((), (), noise[4:5]).failures() == []


def test_labels_that_do_not_fit(folder: Path, tmp_path: Path, golden: Callable[[str], None]) -> None:
    np.savez(tmp_path / "two.npz", a=np.zeros(3), b=np.zeros(3))
    np.save(tmp_path / "floats.npy", np.zeros(3))
    (tmp_path / "names.txt").write_text("boot\nbag\n")
    np.save(tmp_path / "column.npy", np.array([[1], [2]], np.uint8))
    assert read_classes(tmp_path / "column.npy").tolist() == [1, 2]
    letters = []
    for name in ("two.npz", "floats.npy", "names.txt", "missing.txt", "missing.npy"):
        with pytest.raises(RunError) as caught:
            read_classes(tmp_path / name)
        letters.append(str(caught.value).replace(str(tmp_path), "FOLDER"))
    for classes in ([0, 1, 2], [0, 5]):
        with pytest.raises(RunError) as caught:
            share_right(np.zeros((2, 5)), np.array(classes))
        letters.append(str(caught.value))
    golden("\n".join(letters) + "\n")


def test_numbers_that_are_none_and_data_without_samples(folder: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "empty.npz", input=np.zeros((0, 1, 8, 8), np.float32))
    data = ("--input", folder / "test.npz", "--labels", folder / "classes.txt")
    for options in (
        (*data, "--min-accuracy", "nan"),
        ("--against", MODEL, "--min-sqnr", "inf"),
        ("--input", tmp_path / "empty.npz"),
    ):
        call("verify", folder / "good.intarsia", *options, code=2)


def test_warnings_are_told_quietly_too(folder: Path) -> None:
    done = CliRunner().invoke(program, ["verify", "-q", str(folder / "bad.intarsia")])
    assert "warning: calibration data" in done.stderr
