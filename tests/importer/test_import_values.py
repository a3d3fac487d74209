"""Constants, names, types and shapes of imported graphs."""

from __future__ import annotations

import os
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper, parser
from onnx_models import assert_like_onnxruntime, model_of, noise

import intarsia
from intarsia.errors import CompileError
from intarsia.importer import Limits, import_model

DYNAMIC = """g (float[N,3,8,8] x) => (float[N,48] y) {
  s = Shape (x)
  zero = Constant <value = int64 {0}> ()
  n = Gather <axis = 0> (s, zero)
  axes = Constant <value_ints = [0]> ()
  n1 = Unsqueeze (n, axes)
  rest = Constant <value_ints = [-1]> ()
  shape = Concat <axis = 0> (n1, rest)
  p = AveragePool <kernel_shape = [2,2], strides = [2,2]> (x)
  y = Reshape (p, shape)
}"""


@pytest.mark.parametrize("batch", [1, 4])
def test_shape_arithmetic_gives_static_shapes(batch: int) -> None:
    graph = import_model(model_of(DYNAMIC), batch=batch)
    assert all(value.type.is_static for value in graph.values())
    assert [str(value.type) for value in graph.outputs] == [f"float32[{batch},48]"]
    assert [node.op for node in graph.nodes] == [
        "Shape", "Gather", "Unsqueeze", "Concat", "AveragePool", "Reshape"
    ]  # fmt: skip


def test_constant_nodes_and_initializers_are_constants() -> None:
    graph = import_model(
        model_of("g (float[2] x) => (y) { c = Constant <value_floats = [1.0, 2.0]> ()  y = Sum (x, c, w) }", w=noise(2))
    )
    assert [node.op for node in graph.nodes] == ["Sum"]
    assert [value.name for value in graph.constants()] == ["c", "w"]
    assert [value.name for value in graph.inputs] == ["x"]


@pytest.mark.parametrize(
    ("text", "dtype", "elements"),
    [
        ("value_int = 3", "int64", 3),
        ("value_ints = [3, 4]", "int64", [3, 4]),
        ("value_float = 0.5", "float32", 0.5),
        ("value_floats = [0.5]", "float32", [0.5]),
        ('value_string = "a"', "string", "a"),
        ('value_strings = ["a", "b"]', "string", ["a", "b"]),
        ("value = uint8[2] {3, 4}", "uint8", [3, 4]),
    ],
)
def test_every_kind_of_constant(text: str, dtype: str, elements: object) -> None:
    (value,) = import_model(model_of(f"g () => (c) {{ c = Constant <{text}> () }}")).outputs
    assert value.data is not None and value.dtype == dtype and value.data.tolist() == elements


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.int8).reshape(2, 3),
        np.array([True, False]),
        np.array([0.5, -1], np.float16),
        np.array([1 + 2j], np.complex64),
        np.array([2**63], np.uint64),
        np.array(["text", "möbel"], object),
        np.array([1.5, -2], ml_dtypes.bfloat16),
        np.array([1.5, -2], ml_dtypes.float8_e4m3fn),
        np.array([1, -2, 7], ml_dtypes.int4),
        np.zeros((0, 3), np.float32),
        np.float64(3),
    ],
    ids=lambda array: str(array.dtype),
)
def test_initializers_of_every_type(array: np.ndarray) -> None:
    model = model_of("g () => (w) { }", w=array)
    data = import_model(model).outputs[0].data
    assert data is not None and data.dtype == array.dtype
    np.testing.assert_array_equal(data, array)


def test_typed_fields_are_read_like_raw_data() -> None:
    for kind, values in (
        (TensorProto.FLOAT, [1.0, 2.0]),
        (TensorProto.INT64, [1, -2]),
        (TensorProto.BFLOAT16, [1.0, 2.0]),
    ):
        model = model_of("g () => (w) { }")
        model.graph.initializer.append(helper.make_tensor("w", kind, [2], values))
        data = import_model(model).outputs[0].data
        assert data is not None and data.tolist() == values


def test_sparse_initializers_become_dense() -> None:
    model = model_of("g () => (w) { }")
    values = helper.make_tensor("w", TensorProto.FLOAT, [2], [5.0, 7.0])
    for indices in (np.array([1, 5]), np.array([[0, 1], [1, 2]])):
        del model.graph.sparse_initializer[:]
        where = numpy_helper.from_array(indices.astype(np.int64), "where")
        model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, where, [2, 3]))
        data = import_model(model).outputs[0].data
        assert data is not None and data.tolist() == [[0, 5, 0], [0, 0, 7]]


def test_weights_are_held_not_copied() -> None:
    model = model_of("g () => (w) { }", w=noise(256, 256))
    data = import_model(model).outputs[0].data
    assert data is not None and data.base is not None  # a view of the bytes that protobuf gave


def test_defaults_of_inputs_are_constants() -> None:
    model = model_of("g (float[2] x, float[2] w) => (y) { y = Add (x, w) }", w=noise(2))
    assert [value.name for value in import_model(model).inputs] == ["x"]


def test_nodes_without_a_name_are_called_after_their_result() -> None:
    model = model_of("g (float[2] x) => (y) { a = Relu (x)  y = Relu (a) }")
    model.graph.node[0].name = "same"
    model.graph.node[1].name = "same"
    assert [node.name for node in import_model(model).nodes] == ["same", "same_1"]
    for node in model.graph.node:
        node.name = ""
    assert [node.name for node in import_model(model).nodes] == ["a", "y"]


def test_nodes_out_of_order_are_sorted() -> None:
    model = model_of("g (float[2] x) => (y) { y = Relu (b)  b = Neg (a)  a = Abs (x) }")
    assert [node.op for node in import_model(model).nodes] == ["Abs", "Neg", "Relu"]


def test_the_model_stays_as_it_was() -> None:
    model = model_of(DYNAMIC, functions='<domain: "local", opset_import: ["" : 17]> f (a) => (b) { b = Relu (a) }')
    before = model.SerializeToString()
    import_model(model)
    assert model.SerializeToString() == before


def test_functions_are_put_in_place() -> None:
    head = '<domain: "local", opset_import: ["" : 17, "local" : 1]>'
    functions = f"""
      {head} twice <slope> (a) => (c) {{ b = local.leak <alpha : float = @slope> (a)  c = Add (b, b) }}
      {head} leak <alpha> (a) => (b) {{ b = LeakyRelu <alpha : float = @alpha> (a) }}"""
    graph = import_model(model_of("g (float[4] x) => (y) { y = local.twice <slope = 0.25> (x) }", functions=functions))
    assert [node.op for node in graph.nodes] == ["LeakyRelu", "Add"]
    assert graph.nodes[0].attributes == {"alpha": 0.25}


def test_the_domain_ai_onnx_is_the_standard_one() -> None:
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node("Relu", ["x"], ["y"], domain="ai.onnx")],
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])],
            [helper.make_empty_tensor_value_info("y")],
        ),
        opset_imports=[helper.make_opsetid("ai.onnx", 17)],
        ir_version=8,
    )
    assert import_model(model).nodes[0].domain == ""


def test_machine_learning_ops_keep_their_domain() -> None:
    model = model_of("g (float[2,3] x) => (y) { y = ai.onnx.ml.Scaler <offset = [1.0], scale = [2.0]> (x) }")
    (node,) = assert_like_onnxruntime(model).nodes
    assert (node.domain, node.opset) == ("ai.onnx.ml", 3)


def test_an_old_opset_is_read_where_nothing_changed() -> None:
    assert import_model(model_of("g (bool[2] x) => (bool[2] y) { y = Not (x) }", 1)).nodes[0].opset == 7


def test_sequences_have_a_type_of_their_own() -> None:
    model = model_of("g (float[2] x, int64 i) => (y) { s = SequenceConstruct (x, x)  y = SequenceAt (s, i) }")
    graph = assert_like_onnxruntime(model)
    assert [str(value.type) for value in graph.values()][2:] == ["sequence(float32)[...]", "float32[2]"]


def test_declared_sizes_fill_unknown_ones() -> None:
    text = "g (float[4] x) => (int64[1,{}] y) {{ y = NonZero (x) }}"
    assert str(import_model(model_of(text.format(3))).outputs[0].type) == "int64[1,3]"
    assert str(import_model(model_of(text.format("n"))).outputs[0].type) == "int64[1,?]"


# ---- files


def test_external_data_beside_the_model(tmp_path: Path) -> None:
    weights = noise(4, 3)
    model = model_of("g (float[2,4] x) => (y) { y = MatMul (x, w) }", w=weights)
    (tmp_path / "deep").mkdir()
    onnx.save_model(model, tmp_path / "m.onnx", save_as_external_data=True, location="deep/w.bin", size_threshold=0)
    data = import_model(tmp_path / "m.onnx").value("w").data
    assert data is not None
    np.testing.assert_array_equal(data, weights)
    here = os.getcwd()
    os.chdir(tmp_path)
    try:
        assert import_model("m.onnx").value("w").shape == (4, 3)
    finally:
        os.chdir(here)


def test_limits_are_kept(tmp_path: Path) -> None:
    model = model_of("g (float[64] x) => (y) { a = Relu (x)  y = Relu (a) }")
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())
    for limits in (Limits(file_bytes=10), Limits(tensor_bytes=255), Limits(nodes=1)):
        with pytest.raises(CompileError, match=r"limit is|Limits\."):
            import_model(path, limits=limits)
    assert import_model(path, limits=Limits(tensor_bytes=256, nodes=2)).outputs[0].shape == (64,)


@pytest.mark.parametrize("scale", [0.01, 0.05])
def test_a_declared_shape_that_folding_contradicts(scale: float) -> None:
    """What Resize makes is known only when its scales are computed, behind the import; 127 steps of 0.01 are 1.27."""
    text = """<ir_version: 9, opset_import: ["" : 17]>
    g (float[1,2,4,4] x) => (float[1,2,8,8] y) <float[4] given = {1, 1, 2, 2}, float step = {SCALE}, int8 zero = {0}> {
      steps = QuantizeLinear (given, step, zero)
      scales = DequantizeLinear (steps, step, zero)
      r = Resize (x, , scales)
      y = Relu (r) }"""
    model = parser.parse_model(text.replace("SCALE", str(scale)))
    if scale == 0.05:
        (y,) = intarsia.load(intarsia.compile_model(model, target="cpu")).run(x=np.ones((1, 2, 4, 4), np.float32))
        assert y.shape == (1, 2, 8, 8)
        return
    with pytest.raises(intarsia.CompileError, match=r"'y' is declared as float32\[1,2,8,8\]; by what is computed it"):
        intarsia.explain(model, target="cpu")
