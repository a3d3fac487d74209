"""Matrix products of more than two axes as products of rows, where an accelerator takes them so alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from intarsia.errors import CompileError
from intarsia.ir.graph import Graph, Node, Value
from intarsia.ir.types import TensorType
from intarsia.passes.base import Pass
from intarsia.passes.decompose.decomposition import Answer

_ELEMENTWISE = ("lookup", "requantize", "qadd", "qmul")
"""What may stand between two products without leaving the rows."""

_OPSET = 18
"""Of the Reshapes at the borders."""


@dataclass(frozen=True)
class FlattenRows(Pass):
    """`qmatmul` of [..., K] becomes Reshape, `qmatmul` of [rows, K], Reshape, with the elementwise ops around it.

    Only where the accelerator refuses the product as it is and takes it so; no element moves in memory. Elementwise ops
    behind a product, and those before it that nothing else reads, work on the rows too, so that a chain of products
    stays on the accelerator.

    targets  names of those that are compiled for; the first is asked
    taken    its answers. No option: the driver gives it, by these names where the pass comes from text
    """

    name: ClassVar[str] = "flatten-rows"
    targets: tuple[str, ...] = ()
    taken: Callable[[Node], Answer] | None = field(default=None, repr=False, compare=False)

    def __str__(self) -> str:
        return f"{self.name}{{targets={self.targets!r}}}"

    def run(self, graph: Graph) -> int:
        if self.taken is None:
            raise CompileError(
                where=f"pass {self}",
                what="nobody is here to say what these targets take",
                help="run it by `intarsia.driver`, which finds targets by their names",
            )
        chosen = _chosen(graph, self.taken)
        if chosen:
            _rewrite(graph, chosen)
        return len(chosen)


def _chosen(graph: Graph, taken: Callable[[Node], Answer]) -> set[Node]:
    """The products, then what is elementwise around them."""
    chosen: set[Node] = set()
    unread: dict[Value, int] = {}  # how many readers of a value are not chosen
    waiting = [
        node
        for node in graph.nodes
        if node.op == "qmatmul" and _has_rows(node) and not taken(node).ok and taken(_twin(Graph("twin"), node)).ok
    ]
    while waiting:
        node = waiting.pop()
        if node in chosen:
            continue
        chosen.add(node)
        found = list(node.output.users)
        for value in dict.fromkeys(_data(node)):
            unread[value] = unread.get(value, len(value.users)) - 1
            if value.producer is not None and not unread[value] and not graph.is_output(value):
                found.append(value.producer)
        waiting += [other for other in found if other not in chosen and _is_elementwise(other, taken)]
    return chosen


def _is_elementwise(node: Node, taken: Callable[[Node], Answer]) -> bool:
    return node.op in _ELEMENTWISE and _has_rows(node) and taken(_twin(Graph("twin"), node)).ok


def _data(node: Node) -> list[Value]:
    """What a node reads that is computed."""
    return [value for value in node.inputs if value is not None and not value.is_constant]


def _has_rows(node: Node) -> bool:
    """Whether a node works on more than two axes, and each of its inputs row by row."""
    if node.domain or not all(value.type.is_static for value in (*_data(node), node.output)):
        return False
    shape = node.output.shape
    leads = shape[:-1] if node.op == "qmatmul" else shape
    return len(shape) > 2 and 0 not in shape and all(value.shape[: len(leads)] == leads for value in _data(node))


def _rows(shape: tuple[int, ...]) -> tuple[int, int]:
    return math.prod(shape[:-1]), shape[-1]


def _twin(graph: Graph, node: Node, inputs: dict[Value, Value] | None = None) -> Node:
    """The node on rows, at the end of a graph.

    inputs  rows for what the node reads; inputs of the graph where none are given
    """
    sources: list[Value | None] = []
    for index, value in enumerate(node.inputs):
        if value is None or value.data is None:
            assert value is not None
            type = TensorType(value.dtype, _rows(value.shape))
            sources.append(
                inputs[value] if inputs is not None else graph.add_input(f"x{index}", type, value.quantization)
            )
        elif node.op in ("qadd", "qmul"):
            data = np.broadcast_to(value.data, node.output.shape).reshape(_rows(node.output.shape))
            constant = graph.add_constant(graph.fresh_name(f"{value.name}_rows"), np.ascontiguousarray(data))
            constant.quantization = value.quantization
            sources.append(constant)
        else:
            sources.append(value if inputs is not None else graph.add_constant(f"c{index}", value.data))
    type = TensorType(node.output.dtype, _rows(node.output.shape))
    names = [f"{node.output.name}_rows"]
    made = graph.add_node(node.op, sources, [type], node.attributes, name=f"{node.name}_rows", output_names=names)
    made.output.quantization = node.output.quantization
    return made


def _rewrite(graph: Graph, chosen: set[Node]) -> None:
    rows: dict[Value, Value] = {}
    order = [node for node in graph.nodes if node in chosen]
    for node in order:
        for value in _data(node):
            if value not in rows:
                rows[value] = _reshaped(graph, value, _rows(value.shape), f"{value.name}_rows")
        twin = _twin(graph, node, rows)
        twin.name, node.name = node.name, twin.name
        rows[node.output] = twin.output
    for node in order:
        old = node.output
        readers = [user for user in old.users if user not in chosen]
        if not readers and not graph.is_output(old):
            continue
        back = _reshaped(graph, rows[old], old.shape, f"{old.name}_shaped")
        old.name, back.name = back.name, old.name
        for user in readers:
            user.replace_input(old, back)
        graph.outputs.replace(old, back)
    graph.erase_all(chosen)
    graph.sort()


def _reshaped(graph: Graph, value: Value, shape: tuple[int, ...], wish: str) -> Value:
    """The same elements in another shape."""
    sizes = graph.add_constant(graph.fresh_name(f"{wish}_shape"), np.array(shape, np.int64))
    type = TensorType(value.dtype, shape)
    made = graph.add_node("Reshape", [value, sizes], [type], name=wish, output_names=[wish], opset=_OPSET)
    made.output.quantization = value.quantization
    return made.output
