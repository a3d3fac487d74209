"""A compilation that takes pictures: bytes in, one integer step, no float before the first layer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from intarsia import CompileError, compile_model, load
from intarsia.cli.commands import intarsia
from intarsia.demo import load_demo
from intarsia.driver import lower
from intarsia.images import ImageOptions, as_input
from intarsia.ir.evaluate import evaluate

_GREY = {"like": "unit", "mean": 73.0, "scale": 0.0111}


def _model(channels: int) -> bytes:
    from onnx import parser

    text = f"""<ir_version: 8, opset_import: ["" : 17]>
        tiny (float[1,{channels},8,8] x) => (float[1,{channels},8,8] y) {{ y = Relu (x) }}"""
    return bytes(parser.parse_model(text).SerializeToString())


def test_frames_reach_the_overlay_as_integers_with_the_bytes_of_the_cpu() -> None:
    demo, pixels = load_demo(), np.random.default_rng(0).integers(0, 256, (4, 28, 28, 1), np.uint8)
    found = []
    for target in ("cpu", "pynq-z2"):
        options: dict[str, Any] = {"host_only": True} if target != "cpu" else {}
        made = compile_model(demo.model_path, target=target, calibration=pixels, preprocess=_GREY, **options)
        assert [row["op"] for row in made.contents.placements if row["op"] in ("pixels", "quantize")] == []
        with load(made) as session:
            assert str(session.inputs[0]) == "input: uint8[1,28,28,1]"
            found.append(session.run(pixels)[0].tobytes())
    assert found[0] == found[1]


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_frames_of_a_camera_are_resized_by_code_with_the_bytes_of_the_evaluator(precision: str) -> None:
    taken: dict[str, Any] = {"like": "imagenet", "frame": [21, 34]}
    frames = np.random.default_rng(1).integers(0, 256, (2, 21, 34, 3), np.uint8)
    data: dict[str, Any] = {"calibration": frames} if precision == "int8" else {}
    made = compile_model(_model(3), target="cpu", precision=precision, preprocess=taken, **data)
    assert {row["place"] for row in made.contents.placements} == {"cpu"}
    assert ("pixel_lookup" in {row["op"] for row in made.contents.placements}) == (precision == "int8")
    graph = lower(_model(3), target="cpu", precision=precision, preprocess=taken, **data).graph
    with load(made) as session:
        assert session.run(frames[:1])[0].tobytes() == evaluate(graph, {"x": frames[:1]})[0].tobytes()


def test_a_model_without_pictures_is_refused() -> None:
    with pytest.raises(CompileError, match="no input takes pictures: 'x'"):
        lower(_model(2), target="cpu", preprocess="unit")
    with pytest.raises(CompileError, match="nothing has that name; did you mean 'imagenet'"):
        lower(_model(3), target="cpu", preprocess="imagnet")


def test_a_photograph_is_read_as_the_artifact_says(tmp_path: Path) -> None:
    """From the command line: options that no other preset has come back from the manifest."""
    pictures = pytest.importorskip("PIL.Image", reason="pillow is not installed")
    demo, runner = load_demo(), CliRunner()
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(40):
        pictures.fromarray(rng.integers(0, 256, (31, 47, 3), np.uint8)).save(folder / f"{number}.png")
    how = {**_GREY, "fit": "letterbox", "filter": "bicubic", "fill": 3, "corner": True}
    (tmp_path / "how.json").write_text(json.dumps(how))
    artifact, out = str(tmp_path / "m.intarsia"), str(tmp_path / "out.npz")
    asked = [str(demo.model_path), "--target", "cpu", "--calibration", str(folder), "-o", artifact]
    made = runner.invoke(intarsia, ["compile", *asked, "--preprocess", str(tmp_path / "how.json")])
    assert made.exit_code == 0, made.output
    ran = runner.invoke(intarsia, ["run", artifact, str(folder / "7.png"), "-o", out])
    assert ran.exit_code == 0, ran.output
    images = ImageOptions(fit="letterbox", filter="bicubic", fill=3, corner=True, layout="NHWC")
    row, _ = as_input((folder / "7.png").read_bytes(), (28, 28, 1), images)
    with load(artifact) as session:
        (wanted,) = session.run(row.reshape(1, 28, 28, 1).astype(np.uint8))
    np.testing.assert_array_equal(np.load(out)["logits"], wanted)
    twice = runner.invoke(intarsia, ["compile", *asked, "--force", "--preprocess", "unit", "--scale", "0.1"])
    assert twice.exit_code == 2 and "leave out --mean, --scale, --colour and --fit" in twice.output
    with pytest.raises(CompileError, match="leave out images"):
        lower(_model(3), target="cpu", preprocess="unit", images=ImageOptions())
