"""From a model to an artifact for TPUs, and on to XLA's CPU: the whole way, and what a user reads where it ends."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from onnx import parser
from xla_regions import tpu_target

import intarsia
from intarsia.artifact.parts import whole_graph
from intarsia.cli.commands import intarsia as command
from intarsia.dtypes import Array
from intarsia.errors import CompileError
from intarsia.ir.evaluate import evaluate
from intarsia.runtime.vectors import verify_vectors
from intarsia.targets import find_target
from intarsia_backends.tpu import target as tpu

MODELS = Path(__file__).parent.parent / "models"
DIGITS = MODELS / "digits_cnn.onnx"
TARGET = "tpu{ahead=false}"


def digits() -> Array:
    with np.load(MODELS / "digits_test_450.npz") as data:
        return np.asarray(data["x"])


def compiled(precision: str) -> intarsia.Artifact:
    calibration = digits()[:64] if precision == "int8" else None
    return intarsia.compile_model(DIGITS, target=TARGET, precision=precision, calibration=calibration)


def test_digits_in_int8() -> None:
    """The bytes of `evaluate`, and equal files from equal inputs."""
    artifact = compiled("int8")
    assert [row["place"] for row in artifact.manifest["placements"]] == ["tpu"] * 10
    session, graph = intarsia.load(artifact), whole_graph(artifact.files)
    assert session.devices == {"0_tpu": "xla-cpu"}
    for image in digits()[:16]:
        (wanted,) = evaluate(graph, {graph.inputs[0].name: image[np.newaxis]})
        np.testing.assert_array_equal(session.run(image[np.newaxis])[0], wanted)
    assert len(artifact.files["graph/weights.bin"]) < 5000, "large weights stand in the region alone"
    again = compiled("int8")
    assert (again.files, again.manifest) == (artifact.files, artifact.manifest)


@pytest.mark.parametrize(("precision", "within"), [("float32", 1e-6), ("bfloat16", 2e-2)])
def test_digits_in_floats(precision: str, within: float) -> None:
    artifact = compiled(precision)
    session, graph, images = intarsia.load(artifact), whole_graph(artifact.files), digits()[:48]
    (found,) = session.run(images)
    wanted = np.concatenate([evaluate(graph, {graph.inputs[0].name: image[np.newaxis]})[0] for image in images])
    error = float(np.abs(found - wanted).max() / np.abs(wanted).max())
    assert error < within
    assert (error > 1e-4) == (precision == "bfloat16")
    np.testing.assert_array_equal(found.argmax(axis=1), wanted.argmax(axis=1))
    assert all(result.ok for result in verify_vectors(session))
    assert ("xbf16>" in session_text(artifact)) == (precision == "bfloat16")


def session_text(artifact: intarsia.Artifact) -> str:
    """The StableHLO of an artifact of one region."""
    from intarsia_backends.tpu.portable import to_module

    (code,) = (data for path, data in artifact.files.items() if path.endswith(".stablehlo"))
    return str(to_module(code))


def model_with_a_loop_of_cells() -> Any:
    model = parser.parse_model("""<ir_version: 9, opset_import: ["" : 17]>
    net (float[3,1,4] x) => (float[3,1,5] y) {
      a = Relu (x)
      b, h = GRU <hidden_size = 5> (a, w, r)
      c = Squeeze (b, axes)
      y = Tanh (c) }""")
    from onnx import numpy_helper

    random = np.random.default_rng(0)
    arrays: dict[str, Any] = {
        "w": random.standard_normal((1, 15, 4)).astype(np.float32),
        "r": random.standard_normal((1, 15, 5)).astype(np.float32),
        "axes": np.array([1]),
    }
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in arrays.items())
    return model


def test_what_it_refuses_goes_to_the_cpu_beside_it() -> None:
    model = model_with_a_loop_of_cells()
    rows = {row.op: row for row in intarsia.explain(model, target=TARGET).rows}
    assert {op: row.place for op, row in rows.items() if op in ("GRU", "Tanh")} == {"GRU": "cpu", "Tanh": "tpu"}
    (refusal,) = rows["GRU"].reasons
    assert (refusal.rule, refusal.reason) == ("operator", "no StableHLO is written for GRU")
    artifact = intarsia.compile_model(model, target=TARGET)
    with intarsia.load(artifact) as session:
        assert set(session.devices.values()) == {"cpu", "xla-cpu"}
        assert all(result.ok for result in verify_vectors(session))


def test_the_evaluator_takes_its_place() -> None:
    """XLA makes machine code of the artifact: without leave to run such, nothing of it is read."""
    artifact = compiled("int8")
    with intarsia.load(artifact, native=False) as session:
        assert session.devices == {"0_tpu": "evaluator"}
        np.testing.assert_array_equal(session.run(digits()[:2])[0], intarsia.load(artifact).run(digits()[:2])[0])


def test_letters(golden: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    letters = []

    def said(target: str, **options: Any) -> None:
        with pytest.raises(CompileError) as caught:
            intarsia.compile_model(DIGITS, target=target, **options)
        letters.append(str(caught.value))

    said("tpu{generation=v5}")
    said("tpu{ahead_gib=0}")
    said("tpu{ahead_seconds=-3}")
    said("cpu", precision="bfloat16")
    monkeypatch.setattr(tpu, "installed", lambda package: None)
    said(TARGET)
    golden("\n".join(letters) + "\n")


def test_without_libtpu_a_note_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("intarsia_backends.tpu.ahead.installed", lambda package: None)
    artifact = intarsia.compile_model(DIGITS, target="tpu{generation=v6e}")
    told = "not compiled ahead of time for v6e: the package libtpu is not installed (pip install 'intarsia[tpu]')"
    assert ["region 0_tpu", told] in artifact.manifest["metadata"]["notes"]
    assert artifact.report().figures == {}
    assert artifact.manifest["metadata"]["facts"]["options"]["generation"] == "v6e"


def test_figures_stand_in_the_report(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    figures = {"operations": 659374, "estimated_seconds": 1.0466e-06, "convolutions": {"s8 to s32": 4}}
    monkeypatch.setattr(tpu, "compile_ahead", lambda code, generation, limits, where: (figures, ""))
    artifact = intarsia.compile_model(DIGITS, target="tpu{generation=v4}")
    path = tmp_path / "digits.intarsia"
    artifact.save(path)
    line = "0_tpu: compiled for v4, convolutions 4 s8 to s32, estimated seconds 1.05e-06, operations 659,374"
    assert line in str(artifact.report()).splitlines()
    assert line in CliRunner().invoke(command, ["report", str(path), "--no-native"]).output.splitlines()


def test_facts_and_options() -> None:
    target = find_target("tpu{generation=v5p, ahead=false, ahead_gib=4}")
    assert target.settings == {"generation": "v5p", "ahead": False, "ahead_gib": 4, "ahead_seconds": 600}
    assert target.precisions == ("float32", "bfloat16", "int8") and target.host == "cpu"
    assert tpu_target().for_precision("bfloat16").products == "bfloat16"
    assert tpu_target().for_precision("int8").products == tpu_target().products == "float32"


@pytest.mark.parametrize(
    "words", [["--help"], ["explain", str(DIGITS), "--target", "tpu"], ["targets"], ["devices"], ["compile", "--help"]]
)
def test_commands_that_run_nothing_import_no_jax(words: list[str]) -> None:
    script = (
        "import sys\nfrom intarsia.cli.commands import intarsia\n"
        f"intarsia({words!r}, standalone_mode=False)\n"
        "print('heavy:', sorted({'jax', 'jaxlib', 'libtpu', 'tvm'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "heavy: []"
