"""Transposes vanish where the ops between them can work in the other order of axes.

Models exported from channels-last frameworks stand a Transpose before and after every convolution. Nodes that do not
care about the order of axes form islands; each island is turned into the order that costs the fewest moved bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from intarsia.dtypes import itemsize_bytes
from intarsia.ir.graph import Graph, Node, Value
from intarsia.passes.base import CHANGED, Answer, Refusal, Rewrite, Rewriter, type_like
from intarsia.passes.layout import (
    MOVERS,
    Perm,
    accepts,
    compose,
    inverse,
    moves,
    operands,
    transposed_constant,
)
from intarsia.passes.matching import OPSET, constant, permutation, why_held
from intarsia.passes.simplify.reshapes import moves_only_unit_axes

_SUFFIX = "_transposed"


@dataclass(frozen=True)
class MoveTransposes(Rewrite):
    """`Transpose(Transpose(x))` -> one Transpose or x; islands of ops between Transposes are turned where that pays."""

    name: ClassVar[str] = "move-transposes"
    tolerance: ClassVar[float] = 1e-5  # sums, as in Softmax, may run in another order
    ops: ClassVar[tuple[str, ...]] = ("Transpose",)

    def rewrite(self, node: Node, rewriter: Rewriter) -> Answer:
        if not (node.output.user_count or rewriter.graph.is_output(node.output)) or node.input(0).type.shape is None:
            return None
        perm, source = permutation(node), node.input(0)
        inner = _transpose_of(source)
        if inner is not None:
            perm, source = compose(permutation(inner), perm), inner.input(0)
        if perm != tuple(range(len(perm))):
            if inner is None:
                return None
            node.attributes["perm"] = perm
            rewriter.set_inputs(node, [source])
            return CHANGED
        if why_held(rewriter.graph, node.output, source) is not None:
            node.op, node.attributes = "Identity", {}
            rewriter.set_inputs(node, [source])
        elif source.producer is not None and source.name.endswith(_SUFFIX):
            rewriter.supersede(node.output, source)  # a name of the model's own is better than one made here
        else:
            rewriter.replace(node.output, source)
        return CHANGED

    def run(self, graph: Graph) -> int:
        changes = super().run(graph)
        cost = _total_cost(graph)
        while cost:
            turned = sum(_turn(graph, island) for island in _islands(graph))
            changes += turned + super().run(graph)
            former, cost = cost, _total_cost(graph)
            if not turned or cost >= former:
                break
        return changes

    def refusals(self, graph: Graph) -> list[Refusal]:
        copy = graph.copy()
        self.run(copy)
        nodes = {node.name: node for node in graph.nodes}
        refused: dict[Node, Refusal] = {}
        for island in _islands(copy):
            inside = set(island)
            sources, results = _borders(copy, island, inside)
            beside = [node for value in sources if (node := _transpose_of(value)) is not None]
            beside += [user for value in results for user in _outside(value, inside) if _is_transpose(user)]
            others = f"{len(island)} ops beside it, {island[0].where} first, would need as many Transposes elsewhere"
            for node in beside:
                refused[node] = Refusal(nodes.get(node.name, node), f"the {others}")
        return list(refused.values())


def _total_cost(graph: Graph) -> int:
    return sum(_cost(node.input(0), permutation(node)) for node in graph.nodes if _is_transpose(node))


def _is_transpose(node: Node) -> bool:
    return node.op == "Transpose" and not node.domain and node.input(0).type.is_static


def _turn(graph: Graph, island: Sequence[Node]) -> int:
    """Turn an island if that pays; returns 1 if it did."""
    inside = set(island)
    sources, results = _borders(graph, island, inside)
    if any(node.input(0).producer in inside for value in sources if (node := _transpose_of(value)) is not None):
        return 0  # a Transpose from the island into itself: turning it changes nothing for the better
    gains = {perm: _gain(graph, perm, sources, results, inside) for perm in _candidates(sources, results, inside)}
    best = max(gains, key=lambda perm: gains[perm], default=None)
    if best is None or gains[best] <= 0:
        return 0
    _rebuild(graph, island, inside, sources, results, best)
    return 1


def _islands(graph: Graph) -> list[list[Node]]:
    """Connected nodes that do not care about the order of axes, in running order; only those beside a Transpose."""
    root: dict[Node, Node] = {}

    def find(node: Node) -> Node:
        while root[node] is not node:
            root[node] = root[root[node]]
            node = root[node]
        return node

    for node in graph.nodes:
        if moves(node):
            root[node] = node
            for _, value in operands(node):
                if value.producer in root:
                    root[find(node)] = find(value.producer)
    touched = set()
    for node in graph.nodes:
        if _is_transpose(node):
            touched |= {find(user) for user in node.output.users if user in root}
            producer = node.input(0).producer
            if producer in root:
                touched.add(find(producer))
    islands: dict[Node, list[Node]] = {node: [] for node in graph.nodes if node in touched}
    for node in graph.nodes:
        if node in root and find(node) in islands:
            islands[find(node)].append(node)
    return list(islands.values())


def _borders(graph: Graph, island: Sequence[Node], inside: set[Node]) -> tuple[list[Value], list[Value]]:
    """Values that the island reads from outside, and those it makes that are read outside."""
    sources: dict[Value, None] = {}
    results: list[Value] = []
    for node in island:
        for _, value in operands(node):
            if not value.is_constant and value.producer not in inside:
                sources[value] = None
        for output in node.outputs:
            if output is not None and (graph.is_output(output) or any(user not in inside for user in output.users)):
                results.append(output)
    return list(sources), results


def _transpose_of(value: Value) -> Node | None:
    node = value.producer
    return node if node is not None and _is_transpose(node) else None


def _outside(value: Value, inside: set[Node]) -> Iterable[Node]:
    return (user for user in value.users if user not in inside)


def _candidates(sources: Iterable[Value], results: Iterable[Value], inside: set[Node]) -> list[Perm]:
    perms: dict[Perm, None] = {}
    for value in sources:
        node = _transpose_of(value)
        if node is not None:
            perms[inverse(permutation(node))] = None
    for value in results:
        for user in _outside(value, inside):
            if _is_transpose(user):
                perms[permutation(user)] = None
    return list(perms)


def _cost(value: Value, perm: Perm) -> int:
    """Bytes that a Transpose of the value moves, and one for being there."""
    return _moved_cost(value.shape, perm, itemsize_bytes(value.dtype))


def _moved_cost(shape: Sequence[int], perm: Perm, itemsize: int) -> int:
    if perm == tuple(range(len(perm))):
        return 0
    return 1 if moves_only_unit_axes(shape, perm) else 1 + math.prod(shape) * itemsize


def _gain(graph: Graph, perm: Perm, sources: list[Value], results: list[Value], inside: set[Node]) -> int:
    """Cost of Transposes at the border as the island is, less that when its values are transposed by perm."""
    gain, back = 0, inverse(perm)
    for value in sources:
        node = _transpose_of(value)
        if node is None:
            gain -= _cost(value, perm)
            continue
        before = permutation(node)
        if not graph.is_output(value) and all(user in inside for user in value.users):
            gain += _cost(node.input(0), before)
        gain -= _cost(node.input(0), compose(before, perm))
    for value in results:
        needs_back, itemsize = graph.is_output(value), itemsize_bytes(value.dtype)
        shape = [value.shape[axis] for axis in perm]
        for user in _outside(value, inside):
            if _is_transpose(user):
                gain += _cost(value, permutation(user))
                gain -= _moved_cost(shape, compose(back, permutation(user)), itemsize)
            elif accepts(user, value, perm) is None:
                needs_back = True
        if needs_back:
            gain -= _moved_cost(shape, back, itemsize)
    return gain


def _rebuild(
    graph: Graph, island: Sequence[Node], inside: set[Node], sources: list[Value], results: list[Value], perm: Perm
) -> None:
    """Make the island anew on transposed values; Transposes at its border are made, and merged afterwards."""
    rewriter = Rewriter(graph)
    twins: dict[Value, Value] = {value: _transpose(graph, value, perm, value.name) for value in sources}
    for node in island:
        moved = MOVERS[node.op].move(node, perm)
        assert moved is not None
        inputs = list(node.inputs)
        for index, value in operands(node):
            if value.is_constant and value not in twins:
                twins[value] = transposed_constant(graph, value, perm)
            inputs[index] = twins[value]
        for index, data in moved.inputs.items():
            inputs.extend([None] * (index + 1 - len(inputs)))
            inputs[index] = constant(graph, f"{node.output.name}_input{index}", data)
        outputs = [
            None if value is None else type_like(value, [value.shape[axis] for axis in perm]) for value in node.outputs
        ]
        names = ["" if value is None else f"{value.name}{_SUFFIX}" for value in node.outputs]
        attributes = {**node.attributes, **moved.attributes}
        twin = graph.add_node(
            node.op, inputs, outputs, attributes, name=node.name, output_names=names, opset=node.opset
        )
        twin.name, node.name = node.name, twin.name
        for old, new in zip(node.outputs, twin.outputs):
            if old is not None and new is not None:
                twins[old] = new
    for value in results:
        _reconnect(graph, rewriter, value, twins[value], inside, perm)
    for node in reversed(island):
        rewriter.drop(node)
    rewriter.finish()


def _reconnect(graph: Graph, rewriter: Rewriter, old: Value, new: Value, inside: set[Node], perm: Perm) -> None:
    """Give readers outside the island what they read before."""
    for user in list(_outside(old, inside)):
        moved = accepts(user, old, perm)
        if moved is not None:
            inputs = [new, *user.inputs[1:]]
            for index, data in moved.inputs.items():
                inputs[index] = constant(graph, f"{user.output.name}_input{index}", data)
            user.set_inputs(inputs)
            user.attributes.update(moved.attributes)
    rest = list(_outside(old, inside))
    if rest or graph.is_output(old):
        rewriter.supersede(old, _transpose(graph, new, inverse(perm), old.name))


def _transpose(graph: Graph, value: Value, perm: Perm, wish: str) -> Value:
    type = type_like(value, [value.shape[axis] for axis in perm])
    return graph.add_node(
        "Transpose",
        [value],
        [type],
        {"perm": perm},
        name=f"{wish}_transpose",
        output_names=[f"{wish}{_SUFFIX}"],
        opset=OPSET,
    ).output
