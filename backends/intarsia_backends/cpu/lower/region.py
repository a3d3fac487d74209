"""A region as kernel calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from intarsia.ir.facts import macs
from intarsia.ir.graph import Graph, Node
from intarsia.targets import Support
from intarsia_backends.cpu.lower import convolution, dense
from intarsia_backends.cpu.lower.builder import CpuBuilder
from intarsia_backends.cpu.machine import Machine
from intarsia_backends.cpu.tuning_tasks import Configs
from intarsia_backends.lowering import region
from intarsia_backends.lowering.ops.table import Lowering, image_readers
from intarsia_backends.lowering.program import Program

LOWERINGS: Mapping[str, Lowering[CpuBuilder]] = {**region.LOWERINGS, **dense.LOWERINGS, **convolution.LOWERINGS}
"""Every op that code is made for."""

_TABLES: tuple[Mapping[str, Lowering[CpuBuilder]], ...] = (LOWERINGS, region.FURTHER)
"""Asked in this order; where all refuse, the first one's reason is told."""

_READERS = image_readers(LOWERINGS)


def supported(node: Node) -> Support:
    """Whether code can be made for a node as it is, and if not, which rule refuses it."""
    return region.supported(_TABLES, node)


def lower_region(graph: Graph, machine: Machine, configs: Configs | None = None) -> Program:
    """The calls of a region whose nodes are all supported.

    configs  answers how work is cut up; the heuristic alone where there is none
    """
    builder = CpuBuilder(graph, machine, _READERS, configs)
    for node in graph.nodes:
        lowered = region.lower_node(builder, _TABLES, node)
        assert lowered, f"{node.where} was not answered with yes"
    return builder.finish(graph)


def layer_rows(graph: Graph) -> tuple[Mapping[str, Any], ...]:
    """One row a node for reports."""
    return tuple({"name": node.name, "op": node.op, "macs": macs(node)} for node in graph.nodes)
