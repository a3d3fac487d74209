"""The tool that makes mutants, and what it has found."""

from __future__ import annotations

import numpy as np
import pytest
from mutants import BAD, run
from mutations import MUTATIONS, mutant
from onnx import ModelProto, helper, numpy_helper, parser

import intarsia


def test_a_seed_is_a_mutant_for_ever() -> None:
    for seed in (3, 57):
        first, again = mutant(seed), mutant(seed)
        assert first == again
    kinds = {type(mutant(seed)) for seed in range(200)}
    assert kinds == {ModelProto, bytes} and len(MUTATIONS) > 20


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["explain", "compile"])
def test_mutants_end_well_or_in_a_letter(mode: str) -> None:
    ends = run(1, 60, mode)
    assert sum(map(len, ends.values())) == 60 and ends["ok"] and ends["refused"]
    assert {kind: ends[kind] for kind in BAD if ends.get(kind)} == {}


def test_scales_of_values_whose_size_is_made_at_run_time() -> None:
    model = parser.parse_model(
        """<ir_version: 9, opset_import: ["" : 17]> g (float[4] x) => (float[1,n] y) {
          n = NonZero (x)  f = Cast <to = 1> (n)  q = QuantizeLinear (f, s, z)  d = DequantizeLinear (q, s, z)
          y = Relu (d) }"""
    )
    for name, array in {"s": np.array(0.5, np.float32), "z": np.array(0, np.int8)}.items():
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    assert intarsia.explain(model, target="pynq-z2").rows
    session = intarsia.load(intarsia.compile_model(model, target="cpu", precision="int8"))
    assert session.run(np.array([0, 1, 0, 2], np.float32))[0].tolist() == [[1.0, 3.0]]


_NUMBERS_THAT_ARE_NONE = {
    "clip": "y = Clip (x, nan, one)",
    "clip above": "c = Conv <kernel_shape = [1,1]> (x, w)  y = Clip (c, one, nan)",
    "max": "r = Relu (x)  y = Max (r, nan)",
    "pad": "y = Pad (x, none, nan)",
    "batch normalization": "c = Conv <kernel_shape = [1,1]> (x, w)  y = BatchNormalization (c, p, p, p, q)",
}


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("body", _NUMBERS_THAT_ARE_NONE.values(), ids=_NUMBERS_THAT_ARE_NONE)
def test_constants_that_are_no_numbers_stay_float(body: str) -> None:
    text = f'<ir_version: 9, opset_import: ["" : 17]> g (float[1,2,3,3] x) => (float[1,2,3,3] y) {{ {body} }}'
    model = parser.parse_model(text)
    data = {"nan": np.array(np.nan, np.float32), "one": np.array(1, np.float32), "w": np.ones((2, 2, 1, 1), np.float32)}
    data |= {"p": np.ones(2, np.float32), "q": np.array([1, -1], np.float32)}
    arrays = {**data, "none": np.zeros(8, np.int64)}
    read = {name for node in model.graph.node for name in node.input}
    model.graph.initializer.extend(numpy_helper.from_array(arrays[name], name) for name in sorted(read & set(arrays)))
    for target in ("cpu", "tiny"):
        assert intarsia.explain(model, target=target, precision="int8").rows


def test_an_exponent_given_at_run_time_is_no_table() -> None:
    """One element of another dtype than float32 is no activation, but no constant either."""
    model = parser.parse_model("""<ir_version: 8, opset_import: ["" : 15]>
        g (float[3] x, uint32[1] n) => (float[3] y) { y = Pow (x, n) }""")
    x = np.array([0.5, 1.0, 2.0], np.float32)
    calibration = [{"x": x, "n": np.array([3], np.uint32)}]
    session = intarsia.load(intarsia.compile_model(model, target="pynq-z2", calibration=calibration))
    np.testing.assert_allclose(session.run(x=x, n=np.array([2], np.uint32))[0], x**2)


@pytest.mark.parametrize("size", [9, 300, 2**63 - 1])
def test_a_window_of_more_channels_than_there_are(size: int) -> None:
    text = """<ir_version: 8, opset_import: ["" : 15]>
        g (float[1,3,2,2] x) => (float[1,3,2,2] y) { y = LRN <size = SIZE> (x) }"""
    x = np.linspace(-2, 2, 12, dtype=np.float32).reshape(1, 3, 2, 2)
    session = intarsia.load(intarsia.compile_model(parser.parse_model(text.replace("SIZE", str(size))), target="cpu"))
    wanted = x / (1 + 1e-4 / size * (x**2).sum(axis=1, keepdims=True)) ** 0.75
    np.testing.assert_allclose(session.run(x=x)[0], wanted, rtol=1e-5)


@pytest.mark.parametrize("op", ["Transpose", "Softmax", "Squeeze", "Flatten", "Identity"])
def test_ops_on_a_value_of_no_known_rank(op: str) -> None:
    given = [helper.make_tensor_value_info("x", 1, [2, 3, 4]), helper.make_tensor_value_info("axes", 7, [1])]
    nodes = [helper.make_node("ReduceSum", ["x", "axes"], ["s"], keepdims=0), helper.make_node(op, ["s"], ["y"])]
    graph = helper.make_graph(nodes, "g", given, [helper.make_tensor_value_info("y", 1, None)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    for target in ("cpu", "pynq-z2"):
        assert intarsia.explain(model, target=target, precision="int8").rows


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_variance_that_makes_weights_too_large_for_float32() -> None:
    """Folded, the BatchNormalization would make infinities of numbers that are finite by themselves."""
    model = parser.parse_model("""<ir_version: 9, opset_import: ["" : 17]>
        g (float[1,1,2,2] x) => (float[1,1,2,2] y) <float[1,1,1,1] w = {1e20}, float[1] a = {1e30}, float[1] z = {0.0},
            float[1] v = {1.0}> { c = Conv (x, w)  y = BatchNormalization (c, a, z, z, v) }""")
    assert intarsia.explain(model, target="tiny", precision="int8").rows
    session = intarsia.load(intarsia.compile_model(model, target="cpu"))
    assert session.run(np.full((1, 1, 2, 2), 1e-20, np.float32))[0].reshape(-1)[0] == pytest.approx(1e30, rel=1e-4)
