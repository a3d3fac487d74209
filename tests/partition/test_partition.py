"""Regions are convex, few, and every refused node has its reason."""

from __future__ import annotations

from collections.abc import Callable

import networkx
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from intarsia.ir.evaluate import evaluate
from intarsia.ir.graph import Graph, Node
from intarsia.ir.types import TensorType
from intarsia.partition import partition
from intarsia.partition.explanation import explain_partition
from intarsia.partition.regions import extract, group_nodes
from intarsia.targets import YES, Blob, Support, Target, no

TYPE = TensorType("int8", (1, 4))


class Picky(Target):
    """Takes ops by name."""

    description = "a target for tests"

    def __init__(self, name: str, host: str | None, ops: set[str]) -> None:
        self.name, self.host, self.ops = name, host, ops

    def supports(self, node: Node) -> Support:
        return YES if node.op in self.ops else no("op", f"{node.op} is not known here", "use another op")

    def compile(self, region: Graph) -> Blob:
        raise AssertionError("partitioning compiles nothing")


def requantize(graph: Graph, source: object, name: str) -> Node:
    attributes = {"input_zero_point": 0, "output_zero_point": 1, "multiplier": 1 << 16, "shift": 16}
    return graph.add_node("requantize", [source], [TYPE], attributes, name=name, output_names=[name])  # type: ignore[list-item]


def drawn(data: st.DataObject, *, nodes: int, inputs: int, among: str) -> tuple[Graph, dict[Node, str]]:
    """A graph of up to so many nodes, each of up to so many inputs, and a place among those for each."""
    graph = Graph("random")
    values = [graph.add_input("x", TYPE)]
    places: dict[Node, str] = {}
    for index in range(data.draw(st.integers(1, nodes))):
        picks = data.draw(st.lists(st.integers(0, len(values) - 1), min_size=1, max_size=inputs))
        node = graph.add_node("any", [values[pick] for pick in picks], [TYPE], name=f"n{index}")
        places[node] = data.draw(st.sampled_from(among))
        values.append(node.output)
    return graph, places


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_groups_can_run_in_order_and_keep_their_places(data: st.DataObject) -> None:
    graph, places = drawn(data, nodes=14, inputs=2, among="ab")
    groups = group_nodes(graph, places)
    assert sorted(node.name for group in groups for node in group) == sorted(node.name for node in graph.nodes)
    done: set[Node] = set()
    for group in groups:
        assert len({places[node] for node in group}) == 1
        done.update(group)
        for node in group:
            assert all(value is None or value.producer is None or value.producer in done for value in node.inputs)
    links = networkx.DiGraph()
    owner = {node: index for index, group in enumerate(groups) for node in group}
    for node in graph.nodes:
        for value in node.inputs:
            if value is not None and value.producer is not None and owner[value.producer] != owner[node]:
                links.add_edge(owner[value.producer], owner[node])
    assert networkx.is_directed_acyclic_graph(links)


def simply_grouped(graph: Graph, places: dict[Node, str]) -> set[frozenset[Node]]:
    """What `group_nodes` says of itself, asking all over again what waits for what at every node."""
    groups: list[list[Node]] = []

    def waits(first: list[Node], second: list[Node]) -> bool:
        made = {value for node in second for value in node.outputs}
        seen, stack = set[int](), [first]
        while stack:
            group = stack.pop()
            for other in groups:
                reads = any(value.producer in other for node in group for value in node.inputs if value is not None)
                if reads and other is not group and id(other) not in seen:
                    seen.add(id(other))
                    stack.append(other)
        return bool(made) and id(second) in seen

    for node in graph.nodes:
        needed = [group for group in groups if any(value and value.producer in group for value in node.inputs)]
        rest = [group for group in groups if group not in needed]
        for group in [*reversed(needed), *reversed(rest)]:
            others = [other for other in needed if other is not group]
            if places[node] == places[group[0]] and not any(waits(other, group) for other in others):
                group.append(node)
                break
        else:
            groups.append([node])
    return {frozenset(group) for group in groups}


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_groups_are_those_of_the_definition(data: st.DataObject) -> None:
    graph, places = drawn(data, nodes=24, inputs=3, among="abc")
    assert {frozenset(group) for group in group_nodes(graph, places)} == simply_grouped(graph, places)


def test_a_chain_of_one_place_is_one_group() -> None:
    graph = Graph("chain")
    value = graph.add_input("x", TYPE)
    for index in range(5):
        value = graph.add_node("any", [value], [TYPE], name=f"n{index}").output
    assert len(group_nodes(graph, dict.fromkeys(graph.nodes, "a"))) == 1


def test_a_detour_through_another_place_splits_the_group() -> None:
    graph = Graph("detour")
    first = graph.add_node("any", [graph.add_input("x", TYPE)], [TYPE], name="first")
    aside = graph.add_node("any", [first.output], [TYPE], name="aside")
    last = graph.add_node("any", [first.output, aside.output], [TYPE], name="last")
    groups = group_nodes(graph, {first: "a", aside: "b", last: "a"})
    assert [[node.name for node in group] for group in groups] == [["first"], ["aside"], ["last"]]


def test_regions_give_the_bytes_of_the_whole() -> None:
    graph = Graph("two")
    x = graph.add_input("x", TYPE)
    left, right = requantize(graph, x, "left"), requantize(graph, x, "right")
    both = graph.add_node("Concat", [left.output, right.output], [TensorType("int8", (1, 8))], {"axis": 1}, opset=18)
    graph.outputs = [both.output, left.output]
    data = {"x": np.arange(4, dtype=np.int8)[None]}
    whole = extract(graph, graph.nodes, "whole")
    names = [value.name for value in whole.outputs]
    results = dict(zip(names, evaluate(whole, data)))
    for wanted, value in zip(evaluate(graph, data), graph.outputs):
        np.testing.assert_array_equal(results[value.name], wanted)


def test_explanation_names_rule_and_fix(golden: Callable[[str], None]) -> None:
    graph = Graph("mixed")
    first = requantize(graph, graph.add_input("x", TYPE), "scale")
    second = graph.add_node("Flatten", [first.output], [TYPE], {"axis": 1}, name="flat", opset=18)
    third = graph.add_node("NonZero", [second.output], [TensorType("int64", (2, None))], name="where", opset=18)
    graph.outputs = [third.output]
    targets = (Picky("fast", "slow", {"requantize", "Flatten"}), Picky("slow", None, {"Flatten"}))
    parts = partition(graph, targets)
    told = explain_partition(parts, targets, model="mixed", precision="int8", notes=(), assumed=True)
    lines = [
        f"{row.name} {row.place} {[(r.target, r.rule, r.reason, r.fix) for r in row.reasons]}" for row in told.rows
    ]
    golden("\n".join([*lines, str(told.summary)]) + "\n")


def test_a_region_that_only_moves_data_goes_to_the_host() -> None:
    graph = Graph("movement")
    flat = graph.add_node("Flatten", [graph.add_input("x", TYPE)], [TYPE], {"axis": 1}, name="flat", opset=18)
    graph.outputs = [flat.output]
    parts = partition(graph, (Picky("fast", "slow", {"Flatten"}), Picky("slow", None, {"Flatten"})))
    assert [placement.place for placement in parts.placements] == ["slow"]
    assert parts.placements[0].refused[0][1].rule == "nothing-to-compute"
