"""The graph's own bookkeeping: users, names, order, copies."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from generated_graphs import graphs
from intarsia.ir.graph import Graph
from intarsia.ir.text import text
from intarsia.ir.types import TensorType
from intarsia.ir.verify import verify

TYPE = TensorType("float32", (2,))


def diamond() -> Graph:
    """x -> a -> b, c -> d, and c is also an output."""
    graph = Graph("diamond")
    x = graph.add_input("x", TYPE)
    a = graph.add_node("Relu", [x], [TYPE], name="a", opset=17)
    b = graph.add_node("Exp", [a.output], [TYPE], name="b", opset=17)
    c = graph.add_node("Abs", [a.output], [TYPE], name="c", opset=17)
    d = graph.add_node("Add", [b.output, c.output], [TYPE], name="d", opset=17)
    graph.outputs = [d.output, c.output]
    return graph


def test_users_are_nodes_each_once() -> None:
    graph = diamond()
    a, d = graph.node("a"), graph.node("d")
    assert [user.name for user in a.output.users] == ["b", "c"]
    d.set_inputs([a.output, a.output])
    assert [user.name for user in a.output.users] == ["b", "c", "d"]
    d.replace_input(a.output, graph.inputs[0])
    assert [user.name for user in graph.inputs[0].users] == ["a", "d"]
    assert [user.name for user in a.output.users] == ["b", "c"]


def test_names_never_collide() -> None:
    graph = diamond()
    again = graph.add_node("Relu", [graph.inputs[0]], [TYPE], name="a", opset=17)
    assert (again.name, again.output.name) == ("a_1", "a_1")
    with pytest.raises(AssertionError, match="two values called 'x'"):
        graph.add_input("x", TYPE)


def test_replace_uses_keeps_public_names() -> None:
    """What the caller knows as 'd' stays 'd', whoever makes it now."""
    graph = diamond()
    d = graph.node("d")
    other = graph.add_node("Neg", [graph.inputs[0]], [TYPE], name="other", opset=17)
    graph.replace_uses(d.output, other.output)
    assert [value.name for value in graph.outputs] == ["d", "c"]
    assert graph.outputs[0].producer is other
    graph.erase(d)
    verify(graph, "simplified")


def test_replace_uses_by_an_input_leaves_its_name() -> None:
    graph = diamond()
    graph.replace_uses(graph.node("d").output, graph.inputs[0])
    assert [value.name for value in graph.outputs] == ["x", "c"]


def test_erase_refuses_what_is_read() -> None:
    graph = diamond()
    with pytest.raises(AssertionError, match="Relu 'a' is still read"):
        graph.erase(graph.node("a"))
    with pytest.raises(AssertionError, match="Abs 'c' is still read"):
        graph.erase_all([graph.node("c")])


def test_erase_all_takes_a_web() -> None:
    graph = diamond()
    graph.outputs = [graph.inputs[0]]
    graph.erase_all(list(graph.nodes))
    assert not graph.nodes and not graph.inputs[0].users
    assert graph.fresh_name("a") == "a"


def test_before_and_lookup() -> None:
    graph = diamond()
    node = graph.add_node("Neg", [graph.inputs[0]], [TYPE], name="first", opset=17, before=graph.node("a"))
    assert graph.nodes[0] is node
    assert graph.value("first") is node.output
    with pytest.raises(KeyError):
        graph.node("nobody")
    with pytest.raises(KeyError):
        graph.value("nothing")


@given(graphs(), st.randoms(use_true_random=False))
@settings(max_examples=30)
def test_sort_restores_an_order(graph: Graph, random: object) -> None:
    random.shuffle(graph.nodes)  # type: ignore[attr-defined]
    graph.sort()
    verify(graph, "quantized")


def test_sort_keeps_a_good_order() -> None:
    graph = diamond()
    graph.sort()
    assert [node.name for node in graph.nodes] == ["a", "b", "c", "d"]


def test_copy_shares_nothing_but_arrays() -> None:
    graph = diamond()
    weight = graph.add_constant("w", np.ones(2, np.float32))
    graph.node("d").set_inputs([weight, graph.node("c").output])
    twin = graph.copy()
    assert text(twin) == text(graph)
    verify(twin, "imported")
    assert twin.node("d").input(0).data is weight.data
    twin.node("d").attributes["activation"] = "Relu"
    twin.erase(twin.node("b"))
    assert [node.name for node in graph.nodes] == ["a", "b", "c", "d"]
    assert not graph.node("d").attributes
    verify(graph, "imported")
