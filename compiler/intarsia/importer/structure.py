"""The wiring of a model: who makes each name, who reads it, and an order in which nodes can run."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator

import onnx

from intarsia.arguments import near
from intarsia.errors import CompileError
from intarsia.importer.names import listed, node_where

MAX_DEPTH = 16
"""Subgraphs in subgraphs. Real models have three levels or so."""


def subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The graphs that a node carries as attributes."""
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        elif attribute.type == onnx.AttributeProto.GRAPHS:
            yield from attribute.graphs


def nodes_below(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """The nodes, each followed by those of the graphs that it carries."""
    for node in nodes:
        yield node
        for inner in subgraphs(node):
            yield from nodes_below(inner.node)


def check_text(graph: onnx.GraphProto, depth: int = 0) -> None:
    """Refuse names that are no UTF-8 text (protobuf hands them over as bytes), and subgraphs too deep in each other."""
    for text in _texts(graph):
        if not isinstance(text, str):
            raise CompileError(
                where="the model",
                what=f"a name in it is no UTF-8 text: {text[:20]!r}",
                help="the file is damaged; copy or export it again",
            )
    for node in graph.node:
        for inner in subgraphs(node):
            if depth >= MAX_DEPTH:
                raise CompileError(
                    where=node_where(node),
                    what=f"subgraphs stand more than {MAX_DEPTH} deep in each other",
                    help="flatten the control flow of the model",
                )
            check_text(inner, depth + 1)


def _texts(graph: onnx.GraphProto) -> Iterator[str | bytes]:
    yield graph.name
    yield from initializer_names(graph)
    for value in (*graph.input, *graph.output, *graph.value_info):
        yield value.name
        if value.type.WhichOneof("value") == "tensor_type":
            for size in value.type.tensor_type.shape.dim:
                yield size.dim_param
    for node in graph.node:
        yield from (node.name, node.op_type, node.domain, node.overload, *node.input, *node.output)
        for attribute in node.attribute:
            yield attribute.name
            yield attribute.ref_attr_name


def initializer_names(graph: onnx.GraphProto) -> list[str]:
    """Names of a graph's initializers, sparse ones last."""
    return [item.name for item in graph.initializer] + [item.values.name for item in graph.sparse_initializer]


def captured_names(node: onnx.NodeProto) -> list[str]:
    """Names that a node's subgraphs read from outside of them, in order of first reading."""
    found: dict[str, None] = {}
    for graph in subgraphs(node):
        found.update(dict.fromkeys(_free_names(graph)))
    return list(found)


def _free_names(graph: onnx.GraphProto) -> Iterator[str]:
    inside = {value.name for value in graph.input} | set(initializer_names(graph))
    inside.update(name for node in graph.node for name in node.output)
    for node in graph.node:
        for name in (*node.input, *captured_names(node)):
            if name and name not in inside:
                yield name
    for value in graph.output:
        if value.name not in inside:
            yield value.name


def check_single_assignment(graph: onnx.GraphProto, outer: frozenset[str] = frozenset()) -> None:
    """Every name made once; nodes of a subgraph may not make a name again that it can see (its inputs may)."""
    makers: dict[str, str] = {}

    def make(name: str, maker: str, taken: frozenset[str] = frozenset()) -> None:
        if name in makers or name in taken:
            raise CompileError(
                where=maker,
                what=f"the name '{name}' is taken already, by {makers.get(name, 'the outer graph')}",
                help="give every value a name of its own",
            )
        makers[name] = maker

    for value in graph.input:
        make(value.name, f"input '{value.name}'")
    inputs = set(makers)
    for name in initializer_names(graph):
        if name in inputs:  # the default of an input, as old exporters write every weight
            inputs.discard(name)
        else:
            make(name, f"initializer '{name}'")
    for node in graph.node:
        for name in node.output:
            if name:
                make(name, node_where(node), outer)
    visible = outer | set(makers)
    for node in graph.node:
        for inner in subgraphs(node):
            check_single_assignment(inner, visible)


def check_subgraphs(graph: onnx.GraphProto, visible: frozenset[str] = frozenset()) -> None:
    """Refuse subgraphs with cycles, or with outputs that nobody makes; `visible` stands there before the graph runs."""
    made = visible | {name for node in graph.node for name in node.output}
    made |= {*initializer_names(graph), *(value.name for value in graph.input)}
    for node in graph.node:
        for inner in subgraphs(node):
            own = {*made, *initializer_names(inner), *(value.name for value in inner.input)}
            in_order(inner, own)
            own.update(name for other in inner.node for name in other.output)
            for output in inner.output:
                if output.name not in own:
                    raise CompileError(
                        where=f"{node_where(node)}, graph '{inner.name}'",
                        what=f"nothing makes its output '{output.name}'",
                        help=f"the file is incomplete, or the name is wrong{near(output.name, own)}",
                    )
            check_subgraphs(inner, made)


def reads(node: onnx.NodeProto) -> list[str]:
    """Every name that a node needs, captured ones last."""
    return [name for name in node.input if name] + captured_names(node)


def in_order(graph: onnx.GraphProto, given: Iterable[str]) -> list[onnx.NodeProto]:
    """The nodes, makers before readers, otherwise as the file has them.

    given  names that stand there before the first node runs
    Raises CompileError for names that nobody makes, and for cycles.
    """
    ready = set(given)
    made = {name: index for index, node in enumerate(graph.node) for name in node.output if name}
    needs = [reads(node) for node in graph.node]
    _refuse_dangling(graph, ready, made, needs)
    waiting = [0] * len(graph.node)
    readers: list[list[int]] = [[] for _ in graph.node]
    for index, names in enumerate(needs):
        for maker in {made[name] for name in names if name in made and name not in ready}:
            waiting[index] += 1
            readers[maker].append(index)
    order = _sorted_order(waiting, readers)
    if len(order) != len(waiting):
        _refuse_cycle(graph, set(range(len(waiting))) - set(order), made, needs)
    return [graph.node[index] for index in order]


def _sorted_order(waiting: list[int], readers: list[list[int]]) -> list[int]:
    """Indices, each after all that it waits for, the lowest first; those in or behind a cycle are missing."""
    waiting = list(waiting)
    heap = [index for index, count in enumerate(waiting) if not count]
    order = []
    while heap:
        index = heapq.heappop(heap)
        order.append(index)
        for reader in readers[index]:
            waiting[reader] -= 1
            if not waiting[reader]:
                heapq.heappush(heap, reader)
    return order


def _refuse_dangling(graph: onnx.GraphProto, ready: set[str], made: dict[str, int], needs: list[list[str]]) -> None:
    for node, names in zip(graph.node, needs):
        for name in names:
            if name not in made and name not in ready:
                readers = [node_where(other) for other, others in zip(graph.node, needs) if name in others]
                raise CompileError(
                    where=node_where(node),
                    what=f"it reads '{name}', which no node, input or initializer makes"
                    + (f" (also read by {listed(readers[1:], 3)})" if len(readers) > 1 else ""),
                    help=f"the file is incomplete, or the name is wrong{near(name, ready | set(made))}",
                )


def _refuse_cycle(graph: onnx.GraphProto, stuck: set[int], made: dict[str, int], needs: list[list[str]]) -> None:
    """Follow makers backwards from any stuck node until one comes twice."""
    path = [min(stuck)]
    while len(set(path)) == len(path):
        path.append(next(made[name] for name in needs[path[-1]] if made.get(name) in stuck))
    loop = path[path.index(path[-1]) :][::-1]
    names = [node_where(graph.node[index]) for index in loop]
    raise CompileError(
        where=names[0],
        what=f"it needs its own result: {' -> '.join(names) if len(names) < 9 else listed(names, 8)}",
        help="ONNX graphs have no cycles; a recurrence is written with Loop or Scan",
    )
