"""The journey on the models that ship: places, refusals, equal builds, public names."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import intarsia
import intarsia_backends
import intarsia_hw
from intarsia import driver
from intarsia.demo import Demo, load_demo
from intarsia.driver import lower
from intarsia.ir.text import text
from intarsia.passes.instruments import Timing
from intarsia.passes.pipeline import pipeline_text

MODELS = Path(__file__).parent.parent / "models"
CALIBRATION = np.load(MODELS / "digits_test_450.npz")["x"][:8]


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


def test_a_dumped_compilation_for_integers_can_be_calibrated_again(tmp_path: Path) -> None:
    model = MODELS / "digits_cnn.onnx"
    lowered = lower(model, target="tiny", calibration=CALIBRATION, dump=tmp_path, compare=True)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names[-2].endswith("_quantize.txt") and names[-1] == "ranges.json"
    assert text(lowered.graph) == (tmp_path / names[-2]).read_text()
    again = lower(model, target="tiny", calibration=tmp_path / "ranges.json")
    assert text(again.graph) == text(lowered.graph)


# ---- pipelines


def test_the_printed_pipeline_gives_the_same_artifact() -> None:
    model = MODELS / "digits_cnn.onnx"
    for target in ("cpu", "tiny"):
        passes = lower(model, target=target, until="imported").passes
        assert [step.name for step in passes].count("quantize") == (target == "tiny")
        data = CALIBRATION if target == "tiny" else None
        usual = intarsia.compile_model(model, target=target, calibration=data)
        for pipeline in (pipeline_text(passes), passes):
            made = intarsia.compile_model(model, target=target, calibration=data, pipeline=pipeline)
            assert made.manifest == usual.manifest


def test_a_pipeline_of_ones_own() -> None:
    model = MODELS / "digits_cnn.onnx"
    lowered = lower(model, target="cpu", pipeline="make-dense")
    assert lowered.stage == "fused" and [str(step) for step in lowered.passes] == ["make-dense"]
    assert "Relu" in [node.op for node in lowered.graph.nodes], "nobody fused it"
    assert lower(model, target="cpu", pipeline="").stage == "imported"
    pipeline = "make-dense, fuse-activation, calibrate{method='percentile', percentile=99.9}, quantize"
    assert lower(model, target="cpu", precision="int8", calibration=CALIBRATION, pipeline=pipeline).stage == "quantized"
    fused = lower(model, target="cpu", precision="int8", pipeline=pipeline, until="fused")
    assert fused.stage == "fused" and not any(node.op.startswith("q") for node in fused.graph.nodes)
    session = intarsia.load(intarsia.compile_model(model, target="cpu", pipeline="make-dense"))
    usual = intarsia.load(intarsia.compile_model(model, target="cpu"))
    np.testing.assert_allclose(session.run(CALIBRATION)[0], usual.run(CALIBRATION)[0], atol=1e-4)


@pytest.mark.parametrize(
    ("pipeline", "precision"),
    [
        ("make-dance", "float32"),
        ("make-dense{size=1}", "float32"),
        ("make-dense, calibrate, quantize", "float32"),
        ("make-dense, fuse-activation", "int8"),
        ("make-dense, quantize", "int8"),
        ("calibrate{method='entropy'}, quantize", "int8"),
        ("assume-ranges, quantize", "int8"),
    ],
)
def test_wrong_pipelines(pipeline: str, precision: str, golden: Callable[[str], None]) -> None:
    options: dict[str, Any] = {"calibration": CALIBRATION, "precision": precision, "pipeline": pipeline}
    with pytest.raises(intarsia.CompileError) as caught:
        intarsia.compile_model(MODELS / "digits_cnn.onnx", target="cpu", **options)
    letter = str(caught.value)
    golden(f"{letter[: letter.index('there are: ')] if 'there are: ' in letter else letter}\n")


def test_every_step_is_timed() -> None:
    timing = Timing()
    made = intarsia.compile_model(MODELS / "digits_cnn.onnx", target="tiny+cpu", calibration=CALIBRATION, hook=timing)
    steps = [row.step for row in timing.rows]
    passes = lower(MODELS / "digits_cnn.onnx", target="tiny", until="imported").passes
    regions = [f"compile region {region.name}" for region in made.contents.regions]
    assert steps == ["import", *map(str, passes), "partition", *regions, "make test vectors", "assemble"]
    assert all((row.changes is None) == (row.step not in set(map(str, passes))) for row in timing.rows)


def test_what_goes_on_is_logged_for_those_who_ask(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    intarsia.compile_model(MODELS / "digits_cnn.onnx", target="cpu")
    assert not caplog.records and capfd.readouterr() == ("", "")
    with caplog.at_level(logging.INFO, "intarsia"):
        intarsia.compile_model(MODELS / "digits_cnn.onnx", target="cpu")
    told = "\n".join(caplog.messages)
    for text_of_it in ("import: ", "fuse-activation: 4 changes", "1 regions: 0_cpu", "region 0_cpu: "):
        assert text_of_it in told
    assert {record.name for record in caplog.records} == {"intarsia.driver", "intarsia.passes"}


# ---- what an editor shows


def test_arguments_are_typed_and_mean_the_same_everywhere() -> None:
    """What a function passes on has the type and the default that `compile_model` says."""
    public = inspect.signature(driver.compile_model).parameters
    for function in (driver.compile_model, driver.explain, driver.lower, driver.emit):
        signature = inspect.signature(function)
        assert signature.return_annotation not in (inspect.Signature.empty, "Any")
        for name, parameter in signature.parameters.items():
            assert parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY), name
            assert parameter.annotation is not inspect.Parameter.empty and "Any" not in parameter.annotation, name
            assert (parameter.kind is parameter.KEYWORD_ONLY) == (name not in ("model", "lowered"))
            if name in public:
                assert str(parameter) == str(public[name])
    documented = str(driver.compile_model.__doc__)
    assert all(f"\n    {name} " in documented for name in public)


def test_types_come_with_the_packages() -> None:
    for package in (intarsia, intarsia_backends, intarsia_hw):
        (folder,) = package.__path__
        assert (Path(folder) / "py.typed").exists()
    assert intarsia.__version__ == version("intarsia")
    assert all(getattr(intarsia, name) is not None for name in intarsia.__all__)
