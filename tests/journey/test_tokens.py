"""Layers over tokens [N, T, K]: their products are on the overlay, and every engine gives the same bytes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import intarsia
from intarsia.runtime.vectors import verify_vectors


def mixer(batch: int, tokens: int, size: int) -> onnx.ModelProto:
    """Two dense layers with a GELU between and a residual around, behind and before something that stays float."""
    text = f"""<ir_version: 10, opset_import: ["" : 20]>
    g (float[{batch},{tokens},{size}] x) => (float[{batch},{tokens},{size}] y) {{
      n = LayerNormalization (x, g, b)
      h = MatMul (n, w0)  hb = Add (h, b0)  a = Gelu (hb)
      o = MatMul (a, w1)  ob = Add (o, b1)  y = Add (ob, x)
    }}"""
    model = onnx.parser.parse_model(text)
    rng = np.random.default_rng(2)
    shapes = {"g": (size,), "b": (size,), "w0": (size, 3 * size), "b0": (3 * size,)}
    shapes |= {"w1": (3 * size, size), "b1": (size,)}
    for name, shape in shapes.items():
        data = (rng.standard_normal(shape) * 0.3).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(data, name))
    return model


@pytest.mark.parametrize(("batch", "tokens", "size"), [(1, 16, 24), (1, 197, 8), (3, 5, 16)])
def test_products_of_tokens_are_on_the_overlay(batch: int, tokens: int, size: int) -> None:
    model = mixer(batch, tokens, size)
    told = intarsia.explain(model, target="pynq-z2+cpu")
    assert told.summary["macs_on_target"] == told.summary["macs"] == 6 * batch * tokens * size**2
    off = {row.op for row in told.rows if row.compute and row.place != "pynq-z2"}
    assert off == {"LayerNormalization"}
    samples = np.random.default_rng(1).standard_normal((8, batch, tokens, size)).astype(np.float32)
    given = [{"x": sample} for sample in samples]
    made = intarsia.compile_model(model, target="pynq-z2+cpu", calibration=given)
    plain = intarsia.compile_model(model, target="cpu", precision="int8", calibration=given)
    assert not any(row["op"] == "Reshape" for row in plain.contents.placements)
    with intarsia.load(made, device="simulator") as session, intarsia.load(plain) as other:
        assert all(result.ok for result in verify_vectors(session))
        for sample in samples:
            ours, theirs = session.run(sample)[0], other.run(sample)[0]
            assert ours.tobytes() == theirs.tobytes()
