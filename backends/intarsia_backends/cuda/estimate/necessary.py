"""What a region needs, however its kernels are written: each group of ops that one kernel could do reads and writes its
values once, and multiplies what it must."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from intarsia.ir.facts import is_compute, macs
from intarsia.ir.graph import Graph, Node, Value
from intarsia_backends.lowering.ops import elementwise

_JOINING = {*elementwise.LOWERINGS, "qadd", "qmul", "requantize", "lookup"}
"""Ops that make each element of one element of each input, and so can be the end of what makes the first of them."""

_SOFTMAX = {"Softmax", "qsoftmax"}
_PRODUCTS = {"MatMul", "qmatmul"}
"""Of attention: weights are made of scores, and multiplied, while no score is in memory."""

_TYPES: Mapping[str, str] = {"int8": "int8", "uint8": "int8", "float16": "float16"}


@dataclass
class Group:
    """Ops that one kernel could do.

    operations  multiplications and additions, where there are sums of products
    dtype       of what is multiplied
    size_bytes  of what comes from memory and goes to it
    """

    operations: int = 0
    dtype: str = "float32"
    size_bytes: int = 0
    nodes: list[Node] = field(default_factory=list)


def necessary(graph: Graph, halves: bool = False) -> list[Group]:
    """The groups of a region.

    halves  whether float32 is float16 between kernels, and where it is multiplied
    """
    groups: dict[Node, Group] = {}
    for node in graph.nodes:
        group = next((groups[made] for made in _joined(node)), None) or Group()
        group.nodes.append(node)
        groups[node] = group
        products = macs(node)
        if products:
            dtype = _TYPES.get(node.input(0).dtype, "float32")
            group.operations += 2 * products
            group.dtype = "float16" if halves and dtype == "float32" else dtype
    ends = {*graph.inputs, *graph.outputs}
    found = list({id(group): group for group in groups.values()}.values())
    for group in found:
        group.size_bytes = sum(
            value.type.size_bytes // (2 if halves and value.dtype == "float32" and value not in ends else 1)
            for value in _crossing(group, groups, ends)
        )
    return [group for group in found if group.size_bytes]


def _joined(node: Node) -> Iterator[Node]:
    """The nodes that this one can be the end of: those that nobody else wants the results of."""
    for value in node.inputs:
        made = value.producer if value is not None and value.user_count == 1 else None
        if made is None:
            continue
        attends = node.op in _SOFTMAX or (node.op in _PRODUCTS and made.op in _SOFTMAX)
        if attends or node.op in _JOINING or not is_compute(node):
            yield made


def _crossing(group: Group, groups: Mapping[Node, Group], ends: set[Value]) -> set[Value]:
    """Values that a group reads or writes, and does not keep to itself; none of a group that only moves values."""
    if not any(is_compute(node) or node.op in _JOINING for node in group.nodes):
        return set()
    found: set[Value] = set()
    for node in group.nodes:
        found.update(value for value in node.inputs if value is not None and _outside(value, group, groups))
        for value in node.outputs:
            if value is not None and (value in ends or any(groups[user] is not group for user in value.users)):
                found.add(value)
    return found


def _outside(value: Value, group: Group, groups: Mapping[Node, Group]) -> bool:
    return value.producer is None or groups.get(value.producer) is not group
