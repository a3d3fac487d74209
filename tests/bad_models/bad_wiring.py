"""Models whose names, nodes, opsets or tensors do not hold together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from bad_registry import bad, fill, good, graph, one_node, zeros
from onnx import TensorProto, helper, parser


@bad
def cycle(folder: Path) -> Any:
    """Two nodes that wait for each other."""
    return graph("g (float[4] x) => (float[4] y) { a = Add (x, b)  b = Relu (a)  y = Relu (b) }")


@bad
def node_that_reads_itself(folder: Path) -> Any:
    """The shortest cycle."""
    return graph("g (float[4] x) => (float[4] y) { y = Add (x, y) }")


@bad
def dangling_input(folder: Path) -> Any:
    """A name with a slip in it."""
    return graph("g (float[4] image) => (float[4] y) { features = Relu (image)  y = Relu (feature) }")


@bad
def missing_initializer(folder: Path) -> Any:
    """Weights that were left out."""
    model = good()
    del model.graph.initializer[0]
    return model


@bad
def output_that_nobody_makes(folder: Path) -> Any:
    """A graph output with a wrong name."""
    model = good()
    model.graph.output[0].name = "logits"
    return model


@bad
def no_outputs(folder: Path) -> Any:
    """A graph that gives nothing."""
    model = good()
    del model.graph.output[:]
    return model


@bad
def empty_graph(folder: Path) -> Any:
    """A model with nothing in it."""
    return helper.make_model(helper.make_graph([], "nothing", [], []))


@bad
def same_name_twice(folder: Path) -> Any:
    """Two nodes that make one name."""
    return graph("g (float[4] x) => (float[4] y) { a = Relu (x)  a = Neg (x)  y = Relu (a) }")


@bad
def node_makes_an_input(folder: Path) -> Any:
    """A node that overwrites a graph input."""
    return graph("g (float[4] x) => (float[4] x) { x = Relu (x) }")


@bad
def initializer_twice(folder: Path) -> Any:
    """Two initializers of one name."""
    return fill(good(), w=zeros(4, 3, 3, 3))


@bad
def subgraph_shadows_a_name(folder: Path) -> Any:
    """A branch that makes a name which it can see outside."""
    return graph(
        """g (bool c, float[4] x) => (float[4] y) {
             a = Relu (x)
             y = If (c) <then_branch = t () => (float[4] a) { a = Neg (x) },
                         else_branch = e () => (float[4] b) { b = Abs (x) }>
           }"""
    )


@bad
def subgraph_reads_nothing_there(folder: Path) -> Any:
    """A branch that reads a name of the other branch."""
    return graph(
        """g (bool c, float[4] x) => (float[4] y) {
             y = If (c) <then_branch = t () => (float[4] a) { a = Neg (b) },
                         else_branch = e () => (float[4] b) { b = Abs (x) }>
           }"""
    )


@bad
def cycle_in_a_subgraph(folder: Path) -> Any:
    """A branch that waits for itself."""
    return graph(
        """g (bool c, float[4] x) => (float[4] y) {
             y = If (c) <then_branch = t () => (float[4] a) { a = Neg (b)  b = Neg (a) },
                         else_branch = e () => (float[4] d) { d = Abs (x) }>
           }"""
    )


@bad
def subgraphs_twenty_deep(folder: Path) -> Any:
    """An If in an If in an If ..."""
    branch = helper.make_graph([helper.make_node("Relu", ["x"], ["y0"])], "leaf", [], [_any("y0")])
    for depth in range(1, 21):
        node = helper.make_node("If", ["c"], [f"y{depth}"], then_branch=branch, else_branch=branch)
        branch = helper.make_graph([node], f"level{depth}", [], [_any(f"y{depth}")]) if depth < 6 else _wrap(node)
    branch.input.extend([_bool("c"), _float("x", [4])])
    return helper.make_model(branch, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _wrap(node: onnx.NodeProto) -> onnx.GraphProto:
    """A graph of one If whose other branch is a plain Relu, so that the model grows slowly."""
    name = node.output[0]
    plain = helper.make_graph([helper.make_node("Relu", ["x"], [f"{name}p"])], "plain", [], [_any(f"{name}p")])
    node.attribute[1].g.CopyFrom(plain)
    return helper.make_graph([node], name, [], [_any(name)])


def _any(name: str) -> onnx.ValueInfoProto:
    return helper.make_empty_tensor_value_info(name)


def _float(name: str, shape: list[int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _bool(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.BOOL, [])


# ---- ops and opsets


@bad
def unknown_ops(folder: Path) -> Any:
    """Ops that do not exist; all of them are named at once."""
    return graph("g (float[4] x) => (float[4] y) { a = Rellu (x)  b = Relu (a)  c = Rellu (b)  y = Frobnicate (c) }")


@bad
def unknown_domain(folder: Path) -> Any:
    """An op of somebody's own."""
    model = graph("g (float[4] x) => (float[4] y) { y = acme.Spin (x) }")
    model.opset_import.append(helper.make_opsetid("acme", 1))
    return model


@bad
def domain_not_imported(folder: Path) -> Any:
    """An op of a domain that opset_import does not name."""
    return graph("g (float[4] x) => (float[4] y) { y = acme.Spin (x) }")


@bad
def onnxruntime_op(folder: Path) -> Any:
    """What onnxruntime writes when it saves an optimized model."""
    model = graph("g (float[4] x) => (float[4] y) { y = com.microsoft.FusedGelu (x) }")
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return model


@bad
def op_newer_than_the_opset(folder: Path) -> Any:
    """Gelu came with opset 20."""
    return graph("g (float[4] x) => (float[4] y) { y = Gelu (x) }", opset=17)


@bad
def op_removed_before_the_opset(folder: Path) -> Any:
    """Upsample went with opset 10."""
    return fill(graph("g (float[1,1,4,4] x) => (float[1,1,8,8] y) { y = Upsample (x, s) }"), s=zeros(4) + 2)


@bad
def opset_6(folder: Path) -> Any:
    """Broadcasting meant something else."""
    return graph("g (float[4] x) => (float[4] y) { y = Add (x, x) }", opset=6)


@bad
def opset_99(folder: Path) -> Any:
    """A model of the future."""
    return graph("g (float[4] x) => (float[4] y) { y = Relu (x) }", opset=99)


@bad
def opset_missing(folder: Path) -> Any:
    """A model that does not say what it speaks."""
    model = good()
    del model.opset_import[:]
    return model


@bad
def opset_twice(folder: Path) -> Any:
    """A model that says it twice, differently."""
    model = good()
    model.opset_import.append(helper.make_opsetid("", 11))
    return model


@bad
def ir_version_of_the_future(folder: Path) -> Any:
    """A format that nobody knows yet."""
    model = good()
    model.ir_version = 99
    return model


# ---- functions


@bad
def function_that_calls_itself(folder: Path) -> Any:
    """ONNX functions do not recur."""
    return graph(
        "g (float[4] x) => (float[4] y) { y = local.f (x) }",
        functions='<domain: "local", opset_import: ["" : 17, "local" : 1]> f (a) => (b) { b = local.f (a) }',
    )


@bad
def functions_that_explode(folder: Path) -> Any:
    """Thirty functions that each call the next twice: a billion nodes in a few hundred bytes."""
    head = '<domain: "local", opset_import: ["" : 17, "local" : 1]>'
    texts = [f"{head} f{n} (a) => (c) {{ b = local.f{n + 1} (a)  c = local.f{n + 1} (b) }}" for n in range(30)]
    texts.append(f"{head} f30 (a) => (b) {{ b = Relu (a) }}")
    return graph("g (float[4] x) => (float[4] y) { y = local.f0 (x) }", functions="\n".join(texts))


@bad
def function_with_wrong_arity(folder: Path) -> Any:
    """A call with more inputs than the function has."""
    return graph(
        "g (float[4] x) => (float[4] y) { y = local.f (x, x) }",
        functions='<domain: "local", opset_import: ["" : 17]> f (a) => (b) { b = Relu (a) }',
    )


# ---- tensors and types


@bad
def raw_data_too_short(folder: Path) -> Any:
    """A weight of 108 floats that stores 10 bytes."""
    model = good()
    model.graph.initializer[0].raw_data = bytes(10)
    return model


@bad
def float_data_too_long(folder: Path) -> Any:
    """A weight of 4 floats that stores 5."""
    model = graph("g (float[4] x) => (float[4] y) { y = Add (x, w) }")
    model.graph.initializer.append(TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], float_data=[1.0] * 5))
    return model


@bad
def data_in_the_wrong_field(folder: Path) -> Any:
    """Floats that stand among the int64s."""
    model = graph("g (float[4] x) => (float[4] y) { y = Add (x, w) }")
    model.graph.initializer.append(TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], int64_data=[1] * 4))
    return model


@bad
def no_data(folder: Path) -> Any:
    """A weight without elements, as a stripped model has."""
    model = good()
    model.graph.initializer[0].ClearField("raw_data")
    return model


@bad
def negative_dims(folder: Path) -> Any:
    """A weight of -4 channels."""
    model = good()
    model.graph.initializer[0].dims[0] = -4
    return model


@bad
def enormous_dims(folder: Path) -> Any:
    """A weight of 2^80 floats."""
    model = good()
    model.graph.initializer[0].dims[:] = [1 << 40, 1 << 40, 1, 1]
    return model


@bad
def rank_100(folder: Path) -> Any:
    """A weight of 100 axes."""
    model = good()
    model.graph.initializer[0].dims[:] = [1] * 100
    return model


@bad
def unknown_element_type(folder: Path) -> Any:
    """An element type that does not exist."""
    model = good()
    model.graph.initializer[0].data_type = 77
    return model


@bad
def undefined_element_type(folder: Path) -> Any:
    """A weight without element type."""
    model = good()
    model.graph.initializer[0].data_type = TensorProto.UNDEFINED
    return model


@bad
def initializer_without_name(folder: Path) -> Any:
    """A weight that nobody can read."""
    model = good()
    model.graph.initializer[0].name = ""
    return model


@bad
def sparse_index_outside(folder: Path) -> Any:
    """A sparse weight with an element behind its end."""
    model = graph("g (float[4] x) => (float[4] y) { y = Add (x, w) }")
    values = helper.make_tensor("w", TensorProto.FLOAT, [2], [1.0, 2.0])
    indices = helper.make_tensor("i", TensorProto.INT64, [2], [0, 9])
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [4]))
    return model


@bad
def input_without_type(folder: Path) -> Any:
    """An input that says nothing of itself."""
    model = good()
    model.graph.input[0].ClearField("type")
    return model


@bad
def input_without_shape(folder: Path) -> Any:
    """An input of any shape."""
    model = good()
    model.graph.input[0].type.tensor_type.ClearField("shape")
    return model


@bad
def input_with_open_size(folder: Path) -> Any:
    """An image of any height."""
    return graph("g (float[N,3,height,8] x) => (float[N,3,h,8] y) { y = Relu (x) }")


@bad
def sparse_input(folder: Path) -> Any:
    """An input that is a sparse tensor."""
    model = graph("g (float[4] x) => (float[4] y) { y = Relu (x) }")
    model.graph.input[0].type.CopyFrom(helper.make_sparse_tensor_type_proto(TensorProto.FLOAT, [4]))
    return model


@bad
def output_declared_with_another_shape(folder: Path) -> Any:
    """The model says [N,11] and computes [N,10]."""
    model = good()
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 11
    return model


@bad
def value_declared_with_another_type(folder: Path) -> Any:
    """The model says int8 and computes float32."""
    model = good()
    model.graph.value_info.append(helper.make_tensor_value_info("r", TensorProto.INT8, ["N", 4, 8, 8]))
    return model


@bad
def attribute_unknown(folder: Path) -> Any:
    """A slip in the name of an attribute."""
    return one_node("LeakyRelu", {"x": [4]}, alhpa=0.1)


@bad
def attribute_of_wrong_kind(folder: Path) -> Any:
    """An int where a float belongs."""
    return one_node("LeakyRelu", {"x": [4]}, alpha=1)


@bad
def flag_of_another_number(folder: Path) -> Any:
    """A yes or no that is 2: one runtime keeps the axis, the next does not."""
    return one_node("ReduceMax", {"x": [4]}, keepdims=2)


@bad
def attribute_missing(folder: Path) -> Any:
    """Cast without its target."""
    return one_node("Cast", {"x": [4]})


@bad
def attribute_twice(folder: Path) -> Any:
    """One attribute with two values."""
    model = one_node("LeakyRelu", {"x": [4]}, alpha=0.1)
    model.graph.node[0].attribute.append(helper.make_attribute("alpha", 0.2))
    return model


@bad
def attribute_of_a_function_outside_of_one(folder: Path) -> Any:
    """A reference to an attribute that nobody gives."""
    model = one_node("LeakyRelu", {"x": [4]}, alpha=0.1)
    model.graph.node[0].attribute[0].ref_attr_name = "slope"
    return model


@bad
def too_few_inputs(folder: Path) -> Any:
    """Conv without a weight."""
    return one_node("Conv", {"x": [1, 3, 8, 8]})


@bad
def too_many_inputs(folder: Path) -> Any:
    """Relu of two tensors."""
    return one_node("Relu", {"x": [4], "z": [4]})


@bad
def too_many_outputs(folder: Path) -> Any:
    """Relu into two tensors."""
    return one_node("Relu", {"x": [4]}, outputs=2)


@bad
def input_left_out(folder: Path) -> Any:
    """A needed input with an empty name."""
    return one_node("Add", {"": None, "x": [4]})


@bad
def constant_with_two_values(folder: Path) -> Any:
    """A Constant that cannot decide."""
    return one_node("Constant", {}, value_int=1, value_float=2.0)


@bad
def constant_without_value(folder: Path) -> Any:
    """A Constant of nothing."""
    return one_node("Constant", {})


@bad
def computed_shape_too_large(folder: Path) -> Any:
    """ConstantOfShape of 2^40 x 2^20: a few bytes that ask for four exabytes."""
    return one_node("ConstantOfShape", {"shape": np.array([1 << 40, 1 << 20])})


@bad
def expanded_too_large(folder: Path) -> Any:
    """Expand to a million gigabytes."""
    return one_node("Expand", {"x": [1], "shape": np.array([1 << 30, 1 << 20])})


@bad
def input_too_large(folder: Path) -> Any:
    """An input of 2^60 floats."""
    return one_node("Relu", {"x": [1 << 30, 1 << 30]})


@bad
def loop_that_never_ends(folder: Path) -> Any:
    """No number of rounds, and a condition that is handed on."""
    return parser.parse_model("""<ir_version: 9, opset_import: ["" : 17]> g (float[2] x) => (float[2] y) {
        y = Loop ("", "", x) <body = b (int64 i, bool on, float[2] v) => (bool go, float[2] w) {
          go = Identity (on)  w = Add (v, v) }> }""")


@bad
def loop_of_as_many_rounds_as_there_are_numbers(folder: Path) -> Any:
    """The largest int64, and a condition that is true."""
    return parser.parse_model("""<ir_version: 9, opset_import: ["" : 17]>
        g (float[2] x) => (float[2] y) <int64 n = {9223372036854775807}, bool yes = {1}> {
        y = Loop (n, yes, x) <body = b (int64 i, bool on, float[2] v) => (bool go, float[2] w) <bool go = {1}> {
          w = Add (v, v) }> }""")
