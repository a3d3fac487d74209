"""The integer `qmatmul`, with products summed two or four at a time where the machine has an instruction for it."""

from __future__ import annotations

from intarsia.ir.graph import Node, Value
from intarsia_backends.cpu.kernels import SHARES
from intarsia_backends.cpu.lower.builder import CpuBuilder
from intarsia_backends.cpu.lower.dot4 import OFFSET, dot4_bias, takes_dot4
from intarsia_backends.cpu.lower.tiles import products_for
from intarsia_backends.lowering.access import Access, row_major
from intarsia_backends.lowering.expressions import Cast, Constant, Expression, Input
from intarsia_backends.lowering.kernels import nest
from intarsia_backends.lowering.multiplication import INTEGERS
from intarsia_backends.lowering.ops import dense
from intarsia_backends.lowering.ops.scaling import centred
from intarsia_backends.lowering.ops.table import attribute, elements
from intarsia_backends.lowering.program import Buffer
from intarsia_backends.lowering.views import View


def _lower_qmatmul(builder: CpuBuilder, node: Node) -> None:
    weights, bias = elements(node.input(1)), elements(node.input(2))
    zero = int(attribute(node, "input_zero_point", 0))
    products = products_for(builder.machine)
    if takes_dot4(builder.machine, weights.T, bias):
        products, bias = "dot4", dot4_bias(weights.T, bias, zero)
    if products == INTEGERS:
        dense.lower_qmatmul(builder, node)
        return
    depth = weights.shape[0]
    steps = -(-depth // SHARES[products])
    x = _multiplicands(builder, node.input(0), node.input(0).type.elements // depth, depth, zero, products)
    view = View(x, "int32", (*(step * steps for step in row_major(node.output.shape[:-1])), 1))
    dense.scaled_product(builder, node, products, steps, view, bias)


def _multiplicands(builder: CpuBuilder, value: Value, rows: int, depth: int, zero: int, products: str) -> Buffer:
    """int8 [rows, depth] as a product reads them: int16 without the zero point, two in an int32, or uint8, four in
    one."""
    steps = -(-depth // SHARES[products])
    x = builder.scratch(rows * steps, "int32")
    source = builder.read(value)
    if products == "dot4":
        # What stands behind a row's end meets weights of zero.
        element: Expression = Cast("uint8", Cast("int32", Input(0)) + Constant("int32", OFFSET))
        target = Access("uint8", (SHARES[products] * steps, 1))
        builder.call(nest((rows, depth), [Access("int8", (depth, 1))], target, element), [source], x)
        return x
    low: Expression = (centred(zero)) & Constant("int32", 0xFFFF)
    odd: Expression = Cast("int32", Input(1)) - Constant("int32", zero)
    both: Expression = low | (odd << Constant("int32", 16))
    if depth >= 2:
        accesses = [Access("int8", (depth, 2)), Access("int8", (depth, 2), 1)]
        kernel = nest((rows, depth // 2), accesses, Access("int32", (steps, 1)), both)
        builder.call(kernel, [source, source], x)
    if depth % 2:
        kernel = nest((rows,), [Access("int8", (depth,), depth - 1)], Access("int32", (steps,), steps - 1), low)
        builder.call(kernel, [source], x)
    return x


LOWERINGS = {"qmatmul": dense.LOWERINGS["qmatmul"].made_by(_lower_qmatmul)}
