"""What an artifact's own vectors allow: nothing for integers, a step where something is rounded behind a float."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper, parser

import intarsia
from intarsia.importer import import_model
from intarsia.runtime.vectors import verify_vectors
from intarsia.vectors import FLOAT_TOLERANCE, make_vectors, rounded_floats

_CONV = "Conv <kernel_shape = [3,3], pads = [1,1,1,1]>"


def _model(body: str, seed: int = 0, zero: int = 5, dtype: str = "float") -> onnx.ModelProto:
    made = parser.parse_model(
        f'<ir_version: 9, opset_import: ["" : 17]> g ({dtype}[1,3,8,8] x) => ({dtype}[1,4,8,8] y) {{ {body} }}'
    )
    rng = np.random.default_rng(seed)
    data: dict[str, NDArray[np.generic]] = {
        "sx": np.array(0.02, np.float32),
        "zx": np.array(3, np.int8),
        "w": rng.integers(-128, 128, (4, 3, 3, 3)).astype(np.int8),
        "sw": np.full(4, 0.01, np.float32),
        "zw": np.array([6, zero, 0, 0], np.int8),
        "v": (rng.standard_normal((4, 4, 3, 3)) / 3).astype(np.float32),
        "sy": np.array(0.05, np.float32),
        "zy": np.array(-128, np.int8),
    }
    read = {name for node in made.graph.node for name in node.input}
    made.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in data.items() if name in read)
    return made


_FRONT = f"""q = QuantizeLinear (x, sx, zx)  d = DequantizeLinear (q, sx, zx)
  e = DequantizeLinear <axis = 0> (w, sw, zw)  c = {_CONV} (d, e)  r = Relu (c)"""
_LAST = "p = QuantizeLinear (r, sy, zy)  y = DequantizeLinear (p, sy, zy)"
_DEEPER = f"""p = QuantizeLinear (r, sy, zy)  o = DequantizeLinear (p, sy, zy)
  a = {_CONV} (o, v)  b = QuantizeLinear (a, sy, zx)  n = DequantizeLinear (b, sy, zx)  y = {_CONV} (n, v)"""


def _tolerances(model: onnx.ModelProto) -> list[float]:
    vectors, absence = make_vectors(import_model(model), None, 2)
    assert absence is None
    return [vector.tolerance for vector in vectors]


@pytest.mark.parametrize("body", [_LAST, _DEEPER], ids=["last", "deeper"])
def test_artifacts_whose_weights_stay_float_verify(body: str) -> None:
    for seed in range(6):
        artifact = intarsia.compile_model(_model(f"{_FRONT} {body}", seed), target="cpu", precision="int8")
        rows = verify_vectors(intarsia.load(artifact))
        assert rows and all(row.ok for row in rows), rows


def test_one_step_of_the_output_is_allowed() -> None:
    for tolerance in _tolerances(_model(f"{_FRONT} {_LAST}")):
        assert 0.05 < tolerance < 0.06


def test_what_is_rounded_in_the_middle_allows_what_it_does_to_the_outputs() -> None:
    model = _model(f"{_FRONT} {_DEEPER}")
    found = _tolerances(model)
    assert rounded_floats(import_model(model)) and all(0.001 < tolerance < 2.0 for tolerance in found)


def test_floats_that_nothing_rounds_have_their_share_alone() -> None:
    body = f"e = DequantizeLinear <axis = 0> (w, sw, zw)  y = {_CONV} (x, e)"
    graph = import_model(_model(body))
    vectors, _ = make_vectors(graph, None, 2)
    assert not rounded_floats(graph)
    for vector in vectors:
        assert vector.tolerance == FLOAT_TOLERANCE * float(np.abs(vector.outputs[0]).max())


def test_integers_have_none() -> None:
    body = "q = QuantizeLinear (x, sx, zx)  d = DequantizeLinear (q, sx, zx)  y = Concat <axis = 1> (d, d)"
    model = _model(body)
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 6
    artifact = intarsia.compile_model(model, target="cpu", precision="int8")
    assert all(entry.absolute_tolerance == 0 for entry in artifact.contents.vectors)


def test_a_deep_network_of_float16_verifies() -> None:
    rng = np.random.default_rng(1)
    lines = "".join(f"a{i} = MatMul (t{i}, w{i})  t{i + 1} = Tanh (a{i})  " for i in range(40))
    model = parser.parse_model(
        f'<ir_version: 9, opset_import: ["" : 17]> g (float16[4,32] t0) => (float16[4,32] t40) {{ {lines} }}'
    )
    for i in range(40):
        weights = (rng.standard_normal((32, 32)) / 3).astype(np.float16)
        model.graph.initializer.append(numpy_helper.from_array(weights, f"w{i}"))
    rows = verify_vectors(intarsia.load(intarsia.compile_model(model, target="cpu")))
    assert rows and all(row.ok for row in rows), rows
