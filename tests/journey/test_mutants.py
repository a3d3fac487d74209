"""The tool that makes mutants, and what it has found."""

from __future__ import annotations

import numpy as np
import pytest
from mutants import BAD, run
from mutations import MUTATIONS, mutant
from onnx import ModelProto, numpy_helper, parser

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
