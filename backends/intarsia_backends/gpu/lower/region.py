"""A region as calls of kernels, and which nodes kernels are made for."""

from __future__ import annotations

from collections.abc import Mapping

from intarsia.ir.graph import Graph, Node
from intarsia.targets import Support, no
from intarsia_backends.gpu.lower import attention, convolution, dense, movement, pooling, transposed
from intarsia_backends.gpu.lower.builder import GpuBuilder
from intarsia_backends.gpu.machine import GpuMachine
from intarsia_backends.lowering import region
from intarsia_backends.lowering.ops.table import Lowering, image_readers
from intarsia_backends.lowering.program import Program

LOWERINGS: Mapping[str, Lowering[GpuBuilder]] = {
    **region.LOWERINGS,
    **dense.LOWERINGS,
    **convolution.LOWERINGS,
    **transposed.LOWERINGS,
    **pooling.LOWERINGS,
    **movement.LOWERINGS,
    **attention.LOWERINGS,
}
"""Every op that kernels are made for."""

TABLES: tuple[Mapping[str, Lowering[GpuBuilder]], ...] = (LOWERINGS, region.FURTHER)
"""What makes the calls of a node; asked in this order."""

_READERS = image_readers(LOWERINGS)


def supports(node: Node, machine: GpuMachine) -> Support:
    """Whether kernels can be made for a node as it is, and if not, which rule refuses it."""
    if not machine.floats_64:
        for value in (*node.inputs, *node.outputs):
            if value is not None and value.dtype == "float64":
                fix = "compute in float32, or choose float64=true where the device has it (cl_khr_fp64)"
                return no("element-type", f"'{value.name}' is float64, which not every device has", fix)
    return region.supported(TABLES, node)


def lower_region(graph: Graph, machine: GpuMachine) -> Program:
    """The calls of a region whose nodes are all supported."""
    builder = GpuBuilder(graph, machine, _READERS)
    for node in graph.nodes:
        lowered = region.lower_node(builder, TABLES, node)
        assert lowered, f"{node.where} was not answered with yes"
    return builder.finish(graph)
