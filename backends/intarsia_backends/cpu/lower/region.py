"""A region as kernel calls."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from intarsia.ir.graph import Graph, Node
from intarsia.targets import Support, no
from intarsia_backends.cpu.lower import convolution, dense, elementwise, movement, pooling, quantized, reduction, resize
from intarsia_backends.cpu.lower.table import Lowering, supports
from intarsia_backends.cpu.machine import Machine
from intarsia_backends.cpu.program import Builder, Program

LOWERINGS: dict[str, Lowering] = {
    **elementwise.LOWERINGS,
    **movement.LOWERINGS,
    **resize.LOWERINGS,
    **reduction.LOWERINGS,
    **pooling.LOWERINGS,
    **dense.LOWERINGS,
    **convolution.LOWERINGS,
    **quantized.LOWERINGS,
}
"""Every op that code is made for."""


def supported(node: Node) -> Support:
    """Whether code can be made for a node, and if not, which rule refuses it."""
    lowering = LOWERINGS.get(node.op) if node.domain == "" else None
    if lowering is None:
        name = f"{node.domain}.{node.op}" if node.domain else node.op
        return no("operator", f"no code is made for {name}", "the NumPy evaluator takes it; nothing needs to change")
    return supports(lowering, node)


def lower_region(graph: Graph, machine: Machine) -> Program:
    """The calls of a region whose nodes are all supported."""
    builder = Builder(graph, machine)
    for node in graph.nodes:
        LOWERINGS[node.op].lower(builder, node)
    return builder.finish(graph)


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
