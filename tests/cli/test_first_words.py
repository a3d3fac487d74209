"""What a new user reads after the first commands: summaries, advice, and letters about slips."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import pytest
from click.testing import CliRunner

from intarsia.artifact.signatures import new_key
from intarsia.cli.commands import intarsia
from intarsia.cli.output import percent
from intarsia.errors import RunError
from intarsia.importer import import_model
from intarsia.partition.crossings import Crossings

MODELS = Path(__file__).parents[1] / "models"
MODEL = str(MODELS / "digits_cnn.onnx")


def call(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(intarsia, list(map(str, arguments)))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return str(result.stdout if code == 0 else result.stderr)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits to calibrate on, others with their classes in one file, and classes alone."""
    folder = tmp_path_factory.mktemp("digits")
    with np.load(MODELS / "digits_test_450.npz") as data:
        np.save(folder / "calibration.npy", data["x"][:64])
        np.save(folder / "classes.npy", data["y"][:64])
        np.savez(folder / "labelled.npz", x=data["x"][64:104], y=data["y"][64:104])
    return folder


# ---- the summary of compile


def test_summary(folder: Path, golden: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    arguments = ("compile", MODEL, "--target", "tiny", "--calibration", "calibration.npy", "-o", "digits.intarsia")
    text = call(*arguments, "--labels", "labelled.npz")
    lines = re.sub(r"cpu \(.*\)", "cpu (HERE)", text).replace(MODEL, "digits_cnn.onnx").splitlines()
    golden("\n".join(line for line in lines if " B" not in line.split(",")[-1] and "_" not in line[:4]) + "\n")
    data = json.loads(call(*arguments, "--labels", "classes.npy", "--json"))
    assert data["summary"]["compute_ops_on_target"] == data["summary"]["compute_ops"] == 7
    assert data["summary"]["crossings"]["count"] == 2
    assert data["accuracy"]["samples"] == 64
    assert data["accuracy"]["artifact"] > 0.95 and data["accuracy"]["model"] > 0.95
    assert data["next"][0] == "intarsia run digits.intarsia --input DATA"
    assert "next:" not in call(*arguments, "-q")


@pytest.mark.parametrize(
    ("labels", "more", "what"),
    [
        ("classes.npy", (), "there are no samples that have these classes"),
        ("few.npy", ("--calibration", "calibration.npy"), "there are 2 labels, and 64 samples"),
        ("none.npy", ("--calibration", "calibration.npy"), "there is no such file"),
    ],
)
def test_labels_that_do_not_fit_are_told_of_before_any_work(
    folder: Path, labels: str, more: tuple[str, ...], what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    np.save("few.npy", np.array([1, 2]))
    arguments = ("compile", MODEL, "--target", "cpu", "--precision", "int8", "-o", "new.intarsia", "--labels", labels)
    assert what in call(*arguments, *more, code=2)
    assert not Path("new.intarsia").exists()


def test_crossings_are_counted_with_their_bytes() -> None:
    data = json.loads(call("explain", MODEL, "--target", "tiny", "--json"))
    total = data["summary"]
    assert (total["regions"], total["crossings"], total["crossing_bytes"]) == (3, 2, 64 + 10)
    assert total["crossing_seconds_estimated"] == 2 * 74 / 0.4e9
    assert "2 values go from device to device, 74 B, about 0.00037 ms, estimated" in call(
        "explain", MODEL, "--target", "tiny"
    )
    assert str(Crossings(1, 1_000_000)) == "1 value goes from device to device, 1,000,000 B, about 5 ms"
    assert json.loads(call("explain", MODEL, "--target", "cpu", "--json"))["summary"]["crossings"] == 0


def test_the_whole_is_what_is_whole() -> None:
    assert [percent(share) for share in (1.0, 0.9999, 0.9994, 0.5, 0.0)] == [
        "100.0%",
        "99.9%",
        "99.9%",
        "50.0%",
        "0.0%",
    ]


# ---- advice


def test_the_border_is_no_advice_to_quantize() -> None:
    text = call("explain", MODEL, "--target", "tiny")
    assert "tiny refuses (border): the model takes float32, and the CPU makes integers of it\n  help: nothing" in text
    assert "tiny refuses (border): the model gives float32, and the CPU makes it of integers\n  help: nothing" in text
    assert "integer-only" not in text
    assert text.splitlines()[-3].startswith("Ranges were assumed")
    assert "Ranges were assumed" not in call("explain", MODEL, "--target", "cpu")


def detections() -> onnx.ModelProto:
    """NonMaxSuppression, and what gathers the boxes that it chose."""
    return onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17]>
        net (float[1,6,4] boxes, float[1,1,6] scores) => (float[n,4] y)
        <int64[1] most = {3}, float[1] least = {0.5}, int64[1] column = {2}, int64[1] flat = {-1}, int64[1] first = {0}>
        {
          chosen = NonMaxSuppression (boxes, scores, most, least)
          which = Gather <axis = 1> (chosen, column)
          index = Reshape (which, flat)
          rows = Squeeze (boxes, first)
          y = Gather (rows, index)
        }""")


def test_sizes_that_an_op_decides_are_no_fault_of_the_export(tmp_path: Path) -> None:
    onnx.save(detections(), tmp_path / "detections.onnx")
    text = call("explain", tmp_path / "detections.onnx", "--target", "cpu")
    assert "help: nothing: NonMaxSuppression" in text and "decides at run time how many elements there are" in text
    assert "export the model with fixed shapes" not in text


def test_dynamic_quantization_is_recognised() -> None:
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17]>
        net (float[1,4] x) => (float[1,3] y) {
          q, scale, zero = DynamicQuantizeLinear (x)
          sums = MatMulInteger (q, w, zero)
          real = Cast <to = 1> (sums)
          y = Mul (real, scale)
        }""")
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((4, 3), np.uint8), "w"))
    notes: list[tuple[str, str]] = []
    import_model(model, notes=notes)
    ((_, text),) = notes
    assert text.startswith("dynamic quantization: scales of activations are found anew in every run")
    assert "compile the float model with calibration data" in text


# ---- slips


def test_an_empty_path_is_no_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments in (
        ("compile", MODEL, "--target", "cpu", "-o", ""),
        ("compile", MODEL, "--target", "cpu", "--calibration", ""),
        ("explain", MODEL, "--target", "cpu", "-o", ""),
        ("compile", "", "--target", "cpu"),
    ):
        assert "the path is empty" in call(*arguments, code=2)
    assert not list(tmp_path.iterdir())


def test_limits_say_what_is_wrong_with_them() -> None:
    arguments = ("explain", MODEL, "--target", "cpu", "--limit")
    assert "'abc' is no whole number from 0 on, which fold_work is" in call(*arguments, "fold_work=abc", code=2)
    assert "'-1' is no whole number from 0 on" in call(*arguments, "fold_work=-1", code=2)
    assert "there is no limit 'fold_wrok'; there are" in call(*arguments, "fold_wrok=1", code=2)
    assert "'5' is not NAME=N; there are" in call(*arguments, "5", code=2)


def test_a_key_that_exists_stays(tmp_path: Path) -> None:
    key = tmp_path / "my.key"
    new_key(key)
    before = key.read_bytes()
    with pytest.raises(RunError) as caught:
        new_key(key)
    assert "keys that exist are never replaced" in caught.value.what and "another path" in caught.value.help
    text = call("sign", "--new-key", "--key", key, code=2)
    assert "sign with the key that exists, without --new-key, or give another path" in text
    assert key.read_bytes() == before
