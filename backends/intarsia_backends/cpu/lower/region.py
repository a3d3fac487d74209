"""A region as kernel calls."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from intarsia.ir.graph import Graph, Node
from intarsia.targets import YES, Support, no
from intarsia_backends.cpu.lower import (
    arithmetic,
    convolution,
    dense,
    einsum,
    elementwise,
    integer,
    movement,
    picking,
    pooling,
    quantized,
    recurrent,
    reduction,
    resize,
    sampling,
    windows,
)
from intarsia_backends.cpu.lower.expansions import EXPANSIONS
from intarsia_backends.cpu.lower.functions import FUNCTIONS, expand_function
from intarsia_backends.cpu.lower.half import expand_half, is_half
from intarsia_backends.cpu.lower.parts import Expanded, NotMade, expand
from intarsia_backends.cpu.lower.table import Lowering, has_sizes, makes_nothing, supports
from intarsia_backends.cpu.machine import Machine
from intarsia_backends.cpu.program import Builder, Program

LOWERINGS: dict[str, Lowering] = {
    **elementwise.LOWERINGS,
    **arithmetic.LOWERINGS,
    **movement.LOWERINGS,
    **picking.LOWERINGS,
    **recurrent.LOWERINGS,
    **resize.LOWERINGS,
    **sampling.LOWERINGS,
    **reduction.LOWERINGS,
    **pooling.LOWERINGS,
    **dense.LOWERINGS,
    **convolution.LOWERINGS,
    **einsum.LOWERINGS,
    **quantized.LOWERINGS,
    **integer.LOWERINGS,
}
"""Every op that code is made for."""


def supported(node: Node) -> Support:
    """Whether code can be made for a node, and if not, which rule refuses it."""
    name = f"{node.domain}.{node.op}" if node.domain else node.op
    answer = no("operator", f"no code is made for {name}", "the NumPy evaluator takes it; nothing needs to change")
    if node.domain:
        return answer
    if makes_nothing(node):
        return YES
    for table in (LOWERINGS, windows.LOWERINGS):
        if node.op in table and not answer.ok:
            other = supports(table[node.op], node)
            answer = other if other.ok or table is LOWERINGS or node.op not in LOWERINGS else answer
    if answer.ok or not (node.op in EXPANSIONS or node.op in FUNCTIONS or is_half(node)):
        return answer
    sizes = has_sizes(node)
    return _supported_parts(node) if sizes.ok else sizes


def _parts(node: Node) -> Expanded:
    """The parts of a node that is taken apart; raises NotMade."""
    if is_half(node):
        return expand_half(node)
    if node.op in EXPANSIONS:
        return expand(EXPANSIONS[node.op], node)
    return expand_function(node)


def _supported_parts(node: Node) -> Support:
    try:
        parts = _parts(node)
    except NotMade as refusal:
        return refusal.answer
    for part in parts.graph.nodes:
        answer = supported(part)
        if not answer.ok:
            return no(answer.rule, f"its part {part.op}: {answer.reason}", answer.fix)
    return YES


def lower_region(graph: Graph, machine: Machine) -> Program:
    """The calls of a region whose nodes are all supported."""
    builder = Builder(graph, machine)
    for node in graph.nodes:
        _lower(builder, node)
    return builder.finish(graph)


def _lower(builder: Builder, node: Node) -> None:
    if makes_nothing(node):
        for value in node.outputs:
            if value is not None:
                builder.result(value)
        return
    for table in (LOWERINGS, windows.LOWERINGS):
        if node.op in table and supports(table[node.op], node).ok:
            table[node.op].lower(builder, node)
            return
    parts = _parts(node)
    for index, twin in parts.inputs.items():
        builder.alias(twin, node.input(index))
    for part in parts.graph.nodes:
        _lower(builder, part)
    for value, made in zip((output for output in node.outputs if output is not None), parts.graph.outputs):
        builder.alias(value, made)


def layer_rows(graph: Graph) -> tuple[Mapping[str, Any], ...]:
    """One row a node for reports."""
    return tuple({"name": node.name, "op": node.op, "macs": macs(node)} for node in graph.nodes)


def macs(node: Node) -> int:
    """Multiply-accumulate operations of a node; 0 for those that are no sums of products."""
    if node.op in ("Conv", "qconv"):
        return node.output.type.elements * math.prod(node.input(1).shape[1:])
    if node.op == "ConvTranspose":
        return node.input(0).type.elements * math.prod(node.input(1).shape[1:])
    if node.op in ("dense", "qmatmul", "MatMul"):
        return node.output.type.elements * node.input(0).shape[-1]
    if node.op == "Gemm":
        return node.output.type.elements * node.input(0).shape[0 if node.attributes.get("transA") else 1]
    return 0
