"""Models in float16 and bfloat16: they reach integers as those in float32 do, and keep the types of callers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import intarsia
from intarsia.driver import lower
from intarsia.dtypes import ELEMENT_NUMBERS, Array, numpy_dtype
from intarsia.errors import CompileError
from intarsia.importer import import_model
from intarsia.ir.evaluate import evaluate
from intarsia.ir.text import text
from intarsia.ir.verify import verify
from intarsia.passes.simplify.widen import WidenFloats
from intarsia.runtime.sqnr import sqnr_db
from intarsia.runtime.vectors import verify_vectors

HALVES = ("float16", "bfloat16")
SHAPE = (1, 3, 12, 12)
_RNG = np.random.default_rng(4)


def normal(*shape: int, scale: float = 1.0) -> Array:
    return (_RNG.standard_normal(shape) * scale).astype(np.float32)


CONSTANTS: dict[str, Any] = {
    "w0": normal(8, 3, 3, 3, scale=0.2),
    "b0": normal(8),
    "w1": normal(4, 8, 3, 3, scale=0.2),
    "least": np.float32(0.0),
    "most": np.float32(6.0),
    "gain": np.abs(normal(8)) + np.float32(0.5),
    "shift": normal(8),
    "mean": normal(8),
    "variance": np.abs(normal(8)) + np.float32(0.5),
    "row": np.abs(normal(12)) + np.float32(0.5),
    "wf": normal(288, 10, scale=0.1),
    "bf": normal(10),
    "xs": np.float32(1 / 32),
    "ys": np.float32(1 / 16),
    "ws": np.float32(1 / 512),
    "z": np.int8(3),
    "z0": np.int8(0),
    "wq": _RNG.integers(-127, 128, (8, 3, 3, 3)).astype(np.int8),
    "yes": np.bool_(True),
}
"""What the models below read: floats become the half precision of the test."""

CONV = "Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]>"
POOL = "MaxPool <kernel_shape = [2, 2], strides = [2, 2]>"
MODELS = {
    "casts-at-the-ends": (
        f"(float[1,3,12,12] x) => (float[1,4,12,12] y) {{ h = Cast <to = NUMBER> (x) a = {CONV} (h, w0, b0) "
        f"r = Clip (a, least, most) t = {CONV} (r, w1) y = Cast <to = 1> (t) }}"
    ),
    "throughout": (
        f"(HALF[1,3,12,12] x) => (HALF[1,4,12,12] y) {{ a = {CONV} (x, w0, b0) r = Clip (a, least, most) "
        f"y = {CONV} (r, w1) }}"
    ),
    "float32-in-the-middle": (
        f"(HALF[1,3,12,12] x) => (HALF[1,4,12,12] y, float[1,8,12,12] e) {{ a = {CONV} (x, w0, b0) "
        f"f = Cast <to = 1> (a) e = Sigmoid (f) g = Cast <to = NUMBER> (e) y = {CONV} (g, w1) }}"
    ),
    "normalizations": (
        f"(HALF[1,3,12,12] x) => (HALF[1,8,12,12] y) {{ a = {CONV} (x, w0, b0) "
        "b = BatchNormalization (a, gain, shift, mean, variance) r = Relu (b) l = LayerNormalization (r, row) "
        "y = Softmax <axis = 1> (l) }"
    ),
    "outputs-on-the-way": (
        f"(HALF[1,3,12,12] x) => (HALF[1,8,12,12] a, HALF[1,10] y, HALF[1,10] y2) {{ a = {CONV} (x, w0, b0) "
        f"p = {POOL} (a) f = Flatten (p) y = Gemm (f, wf, bf) y2 = Identity (y) }}"
    ),
    "scales-of-its-own": (
        "(HALF[1,3,12,12] x) => (HALF[1,8,12,12] y) { q = QuantizeLinear (x, xs, z) d = DequantizeLinear (q, xs, z) "
        f"w = DequantizeLinear (wq, ws, z0) a = {CONV} (d, w, b0) r = Relu (a) p = QuantizeLinear (r, ys, z) "
        "y = DequantizeLinear (p, ys, z) }"
    ),
    "compressed-weights": (
        "(HALF[1,3,12,12] x) => (HALF[1,8,12,12] y) { w = DequantizeLinear (wq, ws, z0) "
        f"a = {CONV} (x, w, b0) y = LeakyRelu (a) }}"
    ),
    "weights-cast": (
        "(float[1,3,12,12] x) => (float[1,8,12,12] y) { w = Cast <to = 1> (w0) b = Cast <to = 1> (b0) "
        f"a = {CONV} (x, w, b) y = Relu (a) }}"
    ),
    "function": (
        f"(HALF[1,3,12,12] x) => (HALF[1,4,12,12] y) {{ a = {CONV} (x, w0, b0) s = own.silu (a) y = {CONV} (s, w1) }} "
        '<domain: "own", opset_import: ["" : 22]> silu (v) => (u) { e = Sigmoid (v) u = Mul (v, e) }'
    ),
    "chosen-branch": (
        f"(HALF[1,3,12,12] x) => (HALF[1,8,12,12] y) {{ a = {CONV} (x, w0, b0) y = If (yes) <"
        "then_branch = one () => (HALF[1,8,12,12] c) { c = Relu (a) }, "
        "else_branch = two () => (HALF[1,8,12,12] d) { d = Neg (a) }> }"
    ),
}


def model(name: str, half: str) -> onnx.ModelProto:
    """One of MODELS with its constants; `half` may be float32, too."""
    word = {"float32": "float"}.get(half, half)
    body = MODELS[name].replace("HALF", word).replace("NUMBER", str(ELEMENT_NUMBERS[half]))
    own = ', "own" : 1' if name == "function" else ""
    proto = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 22{own}]> net {body}')
    for key, data in CONSTANTS.items():
        if f"{key})" in body or f"{key}," in body:
            kept = data if data.dtype != np.float32 else data.astype(numpy_dtype(half))
            proto.graph.initializer.append(numpy_helper.from_array(np.asarray(kept), key))
    onnx.checker.check_model(proto, full_check=True)
    return proto


def samples(proto: onnx.ModelProto, count: int = 4) -> list[Array]:
    """Inputs in the element type of the model, the same numbers for every type that can hold them."""
    kind = numpy_dtype(import_model(proto).inputs[0].dtype)
    rng = np.random.default_rng(9)
    return [(np.rint(rng.standard_normal(SHAPE) * 16) / 16).astype(kind) for _ in range(count)]


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("name", MODELS)
def test_half_precision_reaches_integers(name: str, half: str) -> None:
    """The same nodes as in float32 are placed; both targets give equal bytes, in the element types of the model."""
    narrow, wide = model(name, half), model(name, "float32")
    told = intarsia.explain(narrow, target="pynq-z2")
    wanted = intarsia.explain(wide, target="pynq-z2")
    assert told.summary["macs_on_target"] == wanted.summary["macs_on_target"] == wanted.summary["macs"] > 0
    assert told.summary["compute_ops_on_target"] == wanted.summary["compute_ops_on_target"]
    assert told.notes == wanted.notes

    inputs = samples(narrow)
    data = np.concatenate(inputs)
    runs = []
    for target, device in (("cpu", None), ("pynq-z2", "simulator")):
        made = intarsia.compile_model(narrow, target=target, precision="int8", calibration=data)
        session = intarsia.load(made, device=device)
        assert all(result.ok for result in verify_vectors(session))
        runs.append([session.run(x) for x in inputs])
    meaning = import_model(wide)
    session = intarsia.load(intarsia.compile_model(wide, target="cpu", precision="int8", calibration=data))
    beside = [session.run(x.astype(np.float32)) for x in inputs]
    exact = [evaluate(meaning, {"x": x.astype(np.float32)}) for x in inputs]
    kinds = [numpy_dtype(value.dtype) for value in import_model(narrow).outputs]
    for index, kind in enumerate(kinds):
        here, there = ([run[index] for run in each] for each in runs)
        assert all(a.dtype == b.dtype == kind and a.tobytes() == b.tobytes() for a, b in zip(here, there))
        numbers = np.concatenate(here).astype(np.float32)
        floats = np.concatenate([run[index] for run in exact])
        limit = min(25.0, sqnr_db(floats, np.concatenate([run[index] for run in beside])) - 0.5)
        assert sqnr_db(floats, numbers) >= limit > 20.0


@pytest.mark.parametrize("half", HALVES)
def test_scales_of_half_precision_mean_the_same(half: str) -> None:
    """Integers of a model with scales do not depend on the float type around them."""
    narrow, wide = model("scales-of-its-own", half), model("scales-of-its-own", "float32")
    for constant in wide.graph.initializer:  # what the half can hold
        data = numpy_helper.to_array(constant)
        if data.dtype == np.float32:
            constant.CopyFrom(numpy_helper.from_array(data.astype(numpy_dtype(half)).astype(np.float32), constant.name))
    for x in samples(narrow):
        left, right = (
            intarsia.load(intarsia.compile_model(proto, target="cpu", precision="int8")).run(
                x.astype(numpy_dtype(import_model(proto).inputs[0].dtype))
            )[0]
            for proto in (narrow, wide)
        )
        assert np.array_equal(left.astype(np.float32), right.astype(left.dtype).astype(np.float32))


def test_casts_stand_at_callers_and_at_what_stays(golden: Callable[[str], None]) -> None:
    """An If keeps its element types; inputs and constants that are outputs too keep theirs."""
    proto = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["" : 22]> net
        (float16[2,3] x, bfloat16[3] k, bool c) => (float16[2,3] y, float16[2,3] x, float16[2,3] r, float16[2] w) {
          r = Relu (x)
          n = Neg (r)
          i = If (c) <then_branch = one () => (float16[2,3] a) { a = Add (n, r) },
                      else_branch = two () => (float16[2,3] b) { b = Abs (n) }>
          z = ConstantOfShape (s)
          v = Add (w, z)
          m = ReduceSum <keepdims = 0> (v)
          l = CastLike (k, r)
          p = Add (i, l)
          y = Mul (p, m)
        }"""
    )
    for name, data in (("w", np.array([1, 2], np.float16)), ("s", np.array([2], np.int64))):
        proto.graph.initializer.append(numpy_helper.from_array(data, name))
    filled = next(node for node in proto.graph.node if node.op_type == "ConstantOfShape")
    filled.attribute.append(onnx.helper.make_attribute("value", numpy_helper.from_array(np.array([0.5], np.float16))))
    graph = import_model(proto)
    assert WidenFloats().run(graph)
    verify(graph, "simplified")
    golden(text(graph))


def test_nothing_to_widen() -> None:
    graph = import_model(model("throughout", "float32"))
    before = text(graph)
    assert WidenFloats().run(graph) == 0
    assert text(graph) == before


def test_float_compilations_stay_as_they_are() -> None:
    """Only int8 widens: float16 computed in float16 means what the model says."""
    graph = lower(model("throughout", "float16"), target="cpu", precision="float32", until="fused").graph
    assert {value.dtype for value in graph.values()} == {"float16"}


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_vectors_allow_what_rounding_to_half_does(half: str, precision: str) -> None:
    """Sums in another order round to a neighbour in half precision: no machine is wrong for that."""
    text_of = f"net ({half}[64,256] x) => ({half}[64,256] y) {{ l = LayerNormalization (x, g) y = Tanh (l) }}"
    proto = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 22]> {text_of}')
    gain = np.linspace(0.5, 2, 256).astype(numpy_dtype(half))
    proto.graph.initializer.append(numpy_helper.from_array(gain, "g"))
    data = normal(128, 256).astype(numpy_dtype(half)) if precision == "int8" else None
    made = intarsia.compile_model(proto, target="cpu", precision=precision, calibration=data)
    assert all(result.ok for result in verify_vectors(intarsia.load(made)))


def test_calibration_files_hold_no_bfloat16(tmp_path: Path) -> None:
    """NumPy writes bfloat16 as bytes without a type: the way out is named."""
    proto = model("throughout", "bfloat16")
    np.save(tmp_path / "data.npy", np.concatenate(samples(proto)))
    with pytest.raises(CompileError) as refused:
        intarsia.compile_model(proto, target="cpu", precision="int8", calibration=tmp_path / "data.npy")
    assert "save it as float32" in str(refused.value)


@pytest.mark.parametrize("half", HALVES)
def test_integers_between_casts_are_compared_without_tolerance(half: str) -> None:
    proto = model("throughout", half)
    made = intarsia.compile_model(proto, target="cpu", precision="int8", calibration=np.concatenate(samples(proto)))
    assert {entry.absolute_tolerance for entry in made.contents.vectors} == {0.0}


def test_an_opset_that_knows_no_bfloat16_is_named() -> None:
    """Exporters write bfloat16 for opsets in which an op does not take it yet."""
    proto = model("throughout", "bfloat16")
    proto.opset_import[0].version = 18
    with pytest.raises(CompileError) as refused:
        import_model(proto)
    assert refused.value.what == "its input 0 (X) 'x' is bfloat16"
    assert refused.value.help == (
        "it takes float16, float32, float64; put a Cast in front of it, or export for opset 22, which takes it"
    )
