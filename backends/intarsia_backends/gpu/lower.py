"""A region as calls of kernels, and which nodes kernels are made for."""

from __future__ import annotations

from intarsia.ir.graph import Graph, Node
from intarsia.targets import Support, no
from intarsia_backends.gpu.machine import GpuMachine
from intarsia_backends.lowering.builder import Builder
from intarsia_backends.lowering.program import Program
from intarsia_backends.lowering.region import FURTHER, LOWERINGS, lower_node, supported

TABLES = (LOWERINGS, FURTHER)
"""What makes the calls of a node; asked in this order."""


def supports(node: Node, machine: GpuMachine) -> Support:
    """Whether kernels can be made for a node as it is, and if not, which rule refuses it."""
    if not machine.floats_64:
        for value in (*node.inputs, *node.outputs):
            if value is not None and value.dtype == "float64":
                fix = "compute in float32, or choose float64=true where the device has it (cl_khr_fp64)"
                return no("element-type", f"'{value.name}' is float64, which not every device has", fix)
    return supported(TABLES, node)


def lower_region(graph: Graph, machine: GpuMachine) -> Program:
    """The calls of a region whose nodes are all supported."""
    builder = Builder(graph, machine, {})
    for node in graph.nodes:
        lowered = lower_node(builder, TABLES, node)
        assert lowered, f"{node.where} was not answered with yes"
    return builder.finish(graph)
