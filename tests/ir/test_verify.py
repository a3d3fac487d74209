"""Verify passes what passes make and names the node that breaks a rule: one test a rule."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings

from generated_graphs import graphs
from intarsia.errors import CompileError
from intarsia.ir.graph import Graph
from intarsia.ir.stages import STAGES
from intarsia.ir.types import Quantization, TensorType
from intarsia.ir.verify import VerifyError, verify

FLOAT = TensorType("float32", (1, 4))
INT8 = TensorType("int8", (1, 4))


def chain() -> Graph:
    graph = Graph("g")
    x = graph.add_input("x", FLOAT)
    bias = graph.add_constant("bias", np.ones(4, np.float32))
    add = graph.add_node("Add", [x, bias], [FLOAT], name="add", opset=17)
    relu = graph.add_node("Relu", [add.output], [FLOAT], name="relu", opset=17)
    graph.outputs = [relu.output]
    return graph


def integer_chain() -> Graph:
    graph = Graph("g")
    x = graph.add_input("x", FLOAT)
    q = graph.add_node("quantize", [x], [INT8], {"scale": 0.5, "zero_point": 3}, name="q")
    q.output.quantization = Quantization(0.5, 3)
    axes = graph.add_constant("axes", np.array([1], np.int64))
    wide = graph.add_node("Unsqueeze", [q.output, axes], [TensorType("int8", (1, 1, 4))], name="wide", opset=17)
    wide.output.quantization = Quantization(0.5, 3)
    scale = {"multiplier": 65536, "shift": 17, "input_zero_point": 3, "output_zero_point": 0}
    again = graph.add_node("requantize", [wide.output], [TensorType("int8", (1, 1, 4))], scale, name="again")
    again.output.quantization = Quantization(1.0, 0)
    graph.outputs = [again.output]
    return graph


@pytest.mark.parametrize("stage", STAGES)
def test_good_graphs_pass(stage: str) -> None:
    verify(chain(), stage)
    if STAGES.index(stage) >= STAGES.index("quantized"):
        verify(integer_chain(), stage)


@given(graphs())
@settings(max_examples=20)
def test_generated_graphs_pass(graph: Graph) -> None:
    verify(graph, "quantized")


def swap_nodes(graph: Graph) -> None:
    graph.nodes.reverse()


def same_value_name(graph: Graph) -> None:
    graph.nodes[1].output.name = "x"


def same_node_name(graph: Graph) -> None:
    graph.nodes[1].name = "add"


def lost_user(graph: Graph) -> None:
    graph.inputs[0]._users.clear()


def stale_user(graph: Graph) -> None:
    graph.inputs[0]._users[graph.nodes[1]] = 1


def wrong_producer(graph: Graph) -> None:
    graph.nodes[1].output.producer = graph.nodes[0]


def made_twice(graph: Graph) -> None:
    graph.nodes[1].outputs[0] = graph.nodes[0].output


def foreign_output(graph: Graph) -> None:
    graph.outputs = [Graph("other").add_input("far", FLOAT)]


def input_twice(graph: Graph) -> None:
    graph.inputs.append(graph.inputs[0])


def constant_input(graph: Graph) -> None:
    graph.inputs[0].data = np.zeros((1, 4), np.float32)


def wrong_constant(graph: Graph) -> None:
    graph.nodes[0].input(1).data = np.ones(5, np.float32)


def wrong_shape(graph: Graph) -> None:
    graph.nodes[1].output.type = TensorType("float32", (1, 5))


def wrong_dtype(graph: Graph) -> None:
    graph.nodes[1].output.type = TensorType("float16", (1, 4))


def too_many_outputs(graph: Graph) -> None:
    extra = graph._new_value("extra", FLOAT)
    extra.producer = graph.nodes[1]
    graph.nodes[1].outputs.append(extra)


def no_outputs(graph: Graph) -> None:
    graph.nodes[0].outputs = []


def misfit(graph: Graph) -> None:
    graph.nodes[0].set_inputs([graph.inputs[0], graph.add_constant("seven", np.ones(7, np.float32))])


def list_attribute(graph: Graph) -> None:
    graph.nodes[0].attributes["axes"] = [1, 2]


def no_opset(graph: Graph) -> None:
    graph.nodes[0].opset = 0


def invented_op(graph: Graph) -> None:
    graph.nodes[1].op = "qrelu"


def early_integers(graph: Graph) -> None:
    graph.nodes[1].op = "requantize"


def early_dense(graph: Graph) -> None:
    graph.nodes[1].op = "dense"


def early_activation(graph: Graph) -> None:
    graph.nodes[0].attributes.update(activation="Relu", activation_arguments=())


@pytest.mark.parametrize(
    ("breach", "what"),
    [
        (swap_nodes, "Relu 'relu': it reads 'add' before it is made"),
        (same_value_name, "Relu 'relu': two values are called 'x'"),
        (same_node_name, "Relu 'add': two nodes have this name"),
        (lost_user, "Add 'add': the users of 'x' are not those that read it"),
        (stale_user, "Relu 'relu': the users of 'x' are not those that read it"),
        (wrong_producer, "Relu 'relu': its output 'relu' has Add 'add' for a producer"),
        (made_twice, "Relu 'relu': 'add' is made twice"),
        (foreign_output, "nothing makes the output 'far'"),
        (input_twice, "a value is an input twice"),
        (constant_input, "the input 'x' is also made by a node or constant"),
        (wrong_constant, "Add 'add': the constant 'bias' says float32[4] and holds float32[5]"),
        (wrong_shape, "Relu 'relu': its output 'relu' says float32[1,5]; by the rule it is float32[1,4]"),
        (wrong_dtype, "says float16[1,4]; by the rule it is float32[1,4]"),
        (too_many_outputs, "Relu 'relu': 2 outputs where the op has 1"),
        (no_outputs, "Add 'add': it has no outputs"),
        (misfit, "Add 'add': float32[1,4] and float32[7] do not broadcast"),
        (list_attribute, "Add 'add': attribute axes holds list"),
        (no_opset, "Add 'add': an ONNX op without opset"),
        (invented_op, "qrelu 'relu': no such op"),
        (early_integers, "requantize 'relu': integer op in a graph that is only simplified"),
        (early_dense, "dense 'relu': dense in a graph that is only simplified"),
        (early_activation, "Add 'add': fused activation Relu in a graph that is simplified"),
    ],
)
def test_breach_is_named(breach: Callable[[Graph], None], what: str) -> None:
    graph = chain()
    breach(graph)
    with pytest.raises(VerifyError) as caught:
        verify(graph, "simplified")
    assert what in str(caught.value)


def test_a_broken_model_is_the_users_matter() -> None:
    """Before any pass has run, a node that breaks its shape rule came with the model."""
    graph = chain()
    misfit(graph)
    with pytest.raises(CompileError, match="do not broadcast"):
        verify(graph, "imported")


def test_a_pass_may_know_more_than_the_rule() -> None:
    graph = Graph("g")
    x, shape = graph.add_input("x", FLOAT), graph.add_input("shape", TensorType("int64", (2,)))
    node = graph.add_node("Reshape", [x, shape], [TensorType("float32", (2, 2))], opset=17)
    graph.outputs = [node.output]
    verify(graph, "imported")


@pytest.mark.parametrize(
    ("activation", "arguments", "what"),
    [
        ("Relu", (), ""),
        ("Clip", (0.0, 6.0), ""),
        ("Snake", (), "activation 'Snake'"),
        ("Clip", (0, 6), "activation 'Clip' with arguments (0, 6)"),
    ],
)
def test_fused_activations(activation: str, arguments: tuple[float, ...], what: str) -> None:
    graph = chain()
    graph.nodes[0].attributes.update(activation=activation, activation_arguments=arguments)
    if not what:
        verify(graph, "fused")
        return
    with pytest.raises(VerifyError) as caught:
        verify(graph, "fused")
    assert what in str(caught.value)


def no_scale(graph: Graph) -> None:
    graph.nodes[0].output.quantization = None


def scale_lost_on_the_way(graph: Graph) -> None:
    graph.nodes[1].output.quantization = Quantization(0.25, 3)


def other_input_zero(graph: Graph) -> None:
    graph.nodes[2].attributes["input_zero_point"] = 0


def other_output_zero(graph: Graph) -> None:
    graph.nodes[2].output.quantization = Quantization(1.0, 1)


def other_border_zero(graph: Graph) -> None:
    graph.nodes[0].attributes["zero_point"] = 0


@pytest.mark.parametrize(
    ("breach", "what"),
    [
        (no_scale, "quantize 'q': the int8 value 'q' has no scale"),
        (scale_lost_on_the_way, "Unsqueeze 'wide': q(0.5,3) becomes q(0.25,3) on the way"),
        (other_input_zero, "requantize 'again': input_zero_point is 0, and 'wide' has q(0.5,3)"),
        (other_output_zero, "requantize 'again': output_zero_point is 0, and 'again' has q(1,1)"),
        (other_border_zero, "quantize 'q': zero_point is 0, and 'q' has q(0.5,3)"),
    ],
)
def test_scales_are_kept(breach: Callable[[Graph], None], what: str) -> None:
    graph = integer_chain()
    breach(graph)
    with pytest.raises(VerifyError) as caught:
        verify(graph, "quantized")
    assert what in str(caught.value)
