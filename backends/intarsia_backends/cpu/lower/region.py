"""A region as kernel calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from intarsia.ir.facts import macs
from intarsia.ir.graph import Graph, Node
from intarsia.targets import YES, Support, no
from intarsia_backends.cpu.blockings import Blockings
from intarsia_backends.cpu.lower import convolution, dense
from intarsia_backends.cpu.lower.expansions import EXPANSIONS
from intarsia_backends.cpu.lower.functions import FUNCTIONS, expand_function
from intarsia_backends.cpu.lower.half import expand_half, is_half
from intarsia_backends.cpu.lower.parts import Expanded, NotMade, expand
from intarsia_backends.cpu.machine import Machine
from intarsia_backends.lowering.builder import Builder
from intarsia_backends.lowering.ops import (
    arithmetic,
    einsum,
    elementwise,
    indexing,
    integer,
    movement,
    pooling,
    quantized,
    recurrent,
    reduction,
    resize,
    sampling,
    windows,
)
from intarsia_backends.lowering.ops.table import Lowering, has_sizes, makes_nothing, supports
from intarsia_backends.lowering.program import Program

LOWERINGS: dict[str, Lowering] = {
    **elementwise.LOWERINGS,
    **arithmetic.LOWERINGS,
    **movement.LOWERINGS,
    **indexing.LOWERINGS,
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

_TABLES = (LOWERINGS, windows.LOWERINGS)
"""Asked in this order; where all refuse, the first one's reason is told."""


def supported(node: Node) -> Support:
    """Whether code can be made for a node, and if not, which rule refuses it."""
    if node.domain:
        return _unknown(f"{node.domain}.{node.op}")
    if makes_nothing(node) or _lowering(node) is not None:
        return YES
    if node.op in EXPANSIONS or node.op in FUNCTIONS or is_half(node):
        sizes = has_sizes(node)
        return _supported_parts(node) if sizes.ok else sizes
    for table in _TABLES:
        if node.op in table:
            return supports(table[node.op], node)
    return _unknown(node.op)


def _unknown(name: str) -> Support:
    return no("operator", f"no code is made for {name}", "the NumPy evaluator takes it; nothing needs to change")


def _lowering(node: Node) -> Lowering | None:
    """What takes a node as it is, in one piece."""
    for table in _TABLES:
        lowering = table.get(node.op)
        if lowering is not None and supports(lowering, node).ok:
            return lowering
    return None


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


def lower_region(graph: Graph, machine: Machine, blockings: Blockings | None = None) -> Program:
    """The calls of a region whose nodes are all supported.

    blockings  answers how work is cut up; the rule alone where there is none
    """
    builder = Builder(graph, machine, blockings)
    for node in graph.nodes:
        _lower(builder, node)
    return builder.finish(graph)


def _lower(builder: Builder, node: Node) -> None:
    if makes_nothing(node):
        for value in node.outputs:
            if value is not None:
                builder.result(value)
        return
    lowering = _lowering(node)
    if lowering is not None:
        lowering.lower(builder, node)
        return
    parts = _parts(node)
    for index, twin in parts.inputs.items():
        builder.alias(twin, node.input(index))
    builder.keep([made for made in parts.graph.outputs if made.users])
    for part in parts.graph.nodes:
        _lower(builder, part)
    for value, made in zip((output for output in node.outputs if output is not None), parts.graph.outputs):
        builder.alias(value, made)


def layer_rows(graph: Graph) -> tuple[Mapping[str, Any], ...]:
    """One row a node for reports."""
    return tuple({"name": node.name, "op": node.op, "macs": macs(node)} for node in graph.nodes)
