"""Parts of graphs as graphs of their own."""

from __future__ import annotations

from collections.abc import Sequence

from intarsia.ir.graph import Graph, Node, Value


def extract(graph: Graph, nodes: Sequence[Node], name: str) -> Graph:
    """A graph of its own from some nodes of another.

    Its inputs are the values read from outside, in order of first use; its outputs the values read outside or given to
    the caller, in order of making. Constants come along; names are kept.
    """
    inside = set(nodes)
    region = Graph(name)
    twins: dict[Value, Value] = {}

    def twin(value: Value) -> Value:
        if value not in twins:
            if value.data is not None:
                twins[value] = region.add_constant(value.name, value.data)
                twins[value].quantization = value.quantization
            else:
                twins[value] = region.add_input(value.name, value.type, value.quantization)
        return twins[value]

    for node in nodes:
        made = region.add_node(
            node.op,
            [None if value is None else twin(value) for value in node.inputs],
            [None if value is None else value.type for value in node.outputs],
            node.attributes,
            name=node.name,
            output_names=["" if value is None else value.name for value in node.outputs],
            opset=node.opset,
            domain=node.domain,
        )
        for value, copied in zip(node.outputs, made.outputs):
            if value is None or copied is None:
                continue
            copied.quantization = value.quantization
            twins[value] = copied
            if graph.is_output(value) or any(user not in inside for user in value.users):
                region.outputs.append(copied)
    return region
