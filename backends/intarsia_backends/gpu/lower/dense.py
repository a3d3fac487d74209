"""The integer `qmatmul` over bytes: as in `convolution`, the zero point goes into the bias."""

from __future__ import annotations

from intarsia.ir.graph import Node
from intarsia_backends.gpu.lower.builder import GpuBuilder
from intarsia_backends.gpu.lower.convolution import without_zero
from intarsia_backends.lowering.multiplication import INTEGERS
from intarsia_backends.lowering.ops import dense
from intarsia_backends.lowering.ops.table import attribute, elements


def _lower_qmatmul(builder: GpuBuilder, node: Node) -> None:
    weights, bias = elements(node.input(1)), elements(node.input(2))
    bias = without_zero(bias.reshape(-1), weights.T, int(attribute(node, "input_zero_point", 0)))
    dense.scaled_product(builder, node, INTEGERS, len(weights), builder.view(node.input(0)), bias)


LOWERINGS = {"qmatmul": dense.LOWERINGS["qmatmul"].made_by(_lower_qmatmul)}
