"""The nine models that the onnx package brings along, on target cpu: the same numbers as ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.backend.test
import onnxruntime
import pytest

import intarsia

LIGHT = sorted((Path(onnx.backend.test.__file__).parent / "data" / "light").glob("*.onnx"))

TOLERANCE = 1e-4
"""Of the largest magnitude: sums of thousands of products go in another order."""


def with_random_weights(path: Path) -> onnx.ModelProto:
    """The model with weights in place of the constant fill that it ships, under which nearly all outputs are equal."""
    model = onnx.load(path)
    random = np.random.default_rng(0)
    keep = []
    values = {value.name: value for value in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type != "ConstantOfShape":
            keep.append(node)
            continue
        shape = onnx.numpy_helper.to_array(values[node.input[0]])
        spread = 1.4 / np.sqrt(max(np.prod(shape[1:]), 1)) if len(shape) > 1 else 0.1
        data = random.standard_normal(shape) * spread
        if len(shape) == 1:
            data = np.abs(data) + 0.5  # variances of BatchNormalization must be positive
        model.graph.initializer.append(onnx.numpy_helper.from_array(data.astype(np.float32), node.output[0]))
    del model.graph.node[:]
    model.graph.node.extend(keep)
    return model


def test_there_are_nine() -> None:
    assert len(LIGHT) == 9


@pytest.mark.slow
@pytest.mark.parametrize("path", LIGHT, ids=lambda path: path.stem)
def test_light_models_agree_with_onnxruntime(path: Path) -> None:
    model = with_random_weights(path)
    session = intarsia.load(intarsia.compile_model(model, target="cpu"))
    assert set(session.devices.values()) == {"cpu"}, "all of it is compiled"
    (info,) = session.inputs
    data = np.random.default_rng(1).standard_normal(info.dims).astype(np.float32)
    (mine,) = session.run(data)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    (theirs,) = onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, {info.name: data})
    assert np.isfinite(theirs).all() and theirs.std() > 0
    assert np.abs(mine - theirs).max() <= TOLERANCE * np.abs(theirs).max()
