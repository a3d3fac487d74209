"""A region as kernel calls."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from intarsia.ir.graph import Graph, Node
from intarsia.targets import YES, Support, no
from intarsia_backends.cpu.blockings import Blockings
from intarsia_backends.cpu.lower import convolution, dense
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
from intarsia_backends.lowering.ops.table import Lowering, makes_nothing, supports
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
    """Whether code can be made for a node as it is, and if not, which rule refuses it."""
    if node.domain:
        return _unknown(f"{node.domain}.{node.op}")
    if makes_nothing(node) or _lowering(node) is not None:
        return YES
    for table in _TABLES:
        if node.op in table:
            return supports(table[node.op], node)
    return _unknown(node.op)


def _unknown(name: str) -> Support:
    return no("operator", f"no code is made for {name}", "the NumPy evaluator takes it; nothing needs to change")


def _lowering(node: Node) -> Lowering | None:
    """What makes code for a node."""
    for table in _TABLES:
        lowering = table.get(node.op)
        if lowering is not None and supports(lowering, node).ok:
            return lowering
    return None


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
    assert lowering is not None, f"{node.where} was not answered with yes"
    lowering.lower(builder, node)


def layer_rows(graph: Graph) -> tuple[Mapping[str, Any], ...]:
    """One row a node for reports."""
    return tuple({"name": node.name, "op": node.op, "macs": macs(node)} for node in graph.nodes)


def macs(node: Node) -> int:
    """Multiply-accumulate operations of a node; 0 for those that are no sums of products."""
    if node.op in ("Conv", "qconv", "ConvInteger", "QLinearConv"):
        weights = node.input(3 if node.op == "QLinearConv" else 1)
        return node.output.type.elements * math.prod(weights.shape[1:])
    if node.op == "ConvTranspose":
        return node.input(0).type.elements * math.prod(node.input(1).shape[1:])
    if node.op in ("dense", "qmatmul", "MatMul", "MatMulInteger", "QLinearMatMul"):
        return node.output.type.elements * node.input(0).shape[-1]
    if node.op == "Gemm":
        return node.output.type.elements * node.input(0).shape[0 if node.attributes.get("transA") else 1]
    return 0
