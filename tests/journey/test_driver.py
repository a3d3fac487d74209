"""The journey on the models that ship: places, refusals, equal builds, public names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

import intarsia
from intarsia.demo import Demo, load_demo
from intarsia.driver import lower
from intarsia.ir.text import text

MODELS = Path(__file__).parent.parent / "models"


@pytest.fixture(scope="module")
def demo() -> Demo:
    return load_demo()


def small_model(body: str) -> onnx.ModelProto:
    return onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> {body}')


@pytest.mark.parametrize("case", ["no-calibration", "no-such-target", "float-on-overlay", "no-such-file"])
def test_refusals(case: str, demo: Demo, golden: Callable[[str], None]) -> None:
    with pytest.raises(intarsia.CompileError) as caught:
        if case == "no-calibration":
            intarsia.compile_model(demo.model_path, target="pynq-z2")
        elif case == "no-such-target":
            intarsia.compile_model(demo.model_path, target="vta")
        elif case == "float-on-overlay":
            intarsia.compile_model(demo.model_path, target="pynq-z2", precision="float32")
        else:
            intarsia.compile_model("no_such_model.onnx", target="cpu")
    golden(f"{caught.value}\n")


def test_every_compute_op_of_the_shipped_models_is_on_the_overlay(demo: Demo) -> None:
    for path in (demo.model_path, MODELS / "digits_cnn.onnx"):
        told = intarsia.explain(path, target="pynq-z2")
        elsewhere = [row.op for row in told.rows if row.compute and row.place != "pynq-z2"]
        assert elsewhere == []
        assert told.assumed and told.summary["macs_on_target"] == told.summary["macs"] > 0


def test_explanation_reads_as_before(demo: Demo, golden: Callable[[str], None]) -> None:
    told = intarsia.explain(MODELS / "digits_cnn.onnx", target="pynq-z2")
    lines = [f"{row.name:<40} {row.op:<14} {row.place:<10} {row.shape}" for row in told.rows]
    golden("\n".join(lines) + "\n")


def test_fused_graph_reads_as_before(golden: Callable[[str], None]) -> None:
    lowered = lower(MODELS / "digits_cnn.onnx", target="cpu")
    golden(text(lowered.graph))


def test_two_builds_give_equal_bytes(demo: Demo, tmp_path: Path) -> None:
    saved = []
    for folder in ("one", "another"):
        (tmp_path / folder).mkdir()
        path = tmp_path / folder / "model.intarsia"
        artifact = intarsia.compile_model(
            MODELS / "digits_cnn.onnx", target="pynq-z2", calibration=np.load(MODELS / "digits_test_450.npz")["x"][:32]
        )
        artifact.save(path)
        saved.append(path.read_bytes())
    assert saved[0] == saved[1]


def test_outputs_keep_their_names_and_order() -> None:
    model = small_model(
        "twins (float[1,4] x) => (float[1,4] b, float[1,4] same, float[1,4] a) "
        "{ a = Relu(x) b = Identity(a) same = Identity(x) }"
    )
    session = intarsia.load(intarsia.compile_model(model, target="cpu"))
    x = np.array([[-1, 2, -3, 4]], np.float32)
    results = dict(zip([output.name for output in session.outputs], session.run(x)))
    assert list(results) == ["b", "same", "a"]
    np.testing.assert_array_equal(results["a"], np.maximum(x, 0))
    np.testing.assert_array_equal(results["b"], np.maximum(x, 0))
    np.testing.assert_array_equal(results["same"], x)


def test_constant_outputs_are_kept() -> None:
    model = small_model("fixed (float[1,2] x) => (float[1,2] y, int64[2] shape) { y = Relu(x) shape = Shape(x) }")
    session = intarsia.load(intarsia.compile_model(model, target="cpu"))
    y, shape = session.run(np.ones((1, 2), np.float32))
    assert shape.tolist() == [1, 2] and y.tolist() == [[1.0, 1.0]]


def test_dump_and_compare_leave_one_file_a_change(demo: Demo, tmp_path: Path) -> None:
    lower(demo.model_path, target="cpu", dump=tmp_path, compare=True)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names[0] == "00_imported.txt" and len(names) >= 3
    assert "Conv" in (tmp_path / names[-1]).read_text()
