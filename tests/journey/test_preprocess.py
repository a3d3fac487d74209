"""A compilation that takes pictures: bytes in, one integer step, no float before the first layer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from intarsia import CompileError, compile_model, load
from intarsia.demo import load_demo
from intarsia.driver import lower
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
