"""The integer form of each float op, or the reason why it has none. One table, FORMS, by op name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from intarsia.ir.graph import Node, Value
from intarsia.ir.ops import OPS
from intarsia.ir.types import Quantization
from intarsia.passes.base import Refused, refuse
from intarsia.passes.quantize import elementwise, moves, pools, sums
from intarsia.passes.quantize.constants import data_inputs
from intarsia.passes.quantize.emitter import Emitter

Emit = Callable[[Emitter, Node, Sequence[Value], Quantization], "list[Value] | Refused"]
"""Makes the integer nodes: (emitter, float node, its activations as int8, quantization of the output)."""

Check = Callable[[Node], "Refused | None"]
"""Says at once, from the float node alone, why there is no integer form."""


@dataclass(frozen=True)
class Form:
    """How an op becomes integers.

    keeps   the output has the scale of the inputs: the op only moves elements
    fixed   the scale that the output always has, or None
    """

    check: Check
    emit: Emit
    keeps: bool = False
    fixed: Quantization | None = None


def _table() -> dict[str, Form]:
    forms = {name: Form(moves.check_move, moves.emit_move, keeps=True) for name, op in OPS.items() if op.keeps_scale}
    forms.update({op: Form(elementwise.check_table, elementwise.emit_table) for op in elementwise.TABLED})
    own = {
        "Conv": Form(sums.check_conv, sums.emit_conv),
        "dense": Form(sums.check_dense, sums.emit_dense),
        "BatchNormalization": Form(sums.check_batch_norm, sums.emit_batch_norm),
        "Add": Form(elementwise.check_binary, elementwise.emit_add),
        "Sub": Form(elementwise.check_binary, elementwise.emit_sub),
        "Mul": Form(elementwise.check_binary, elementwise.emit_mul),
        "Div": Form(elementwise.check_div, elementwise.emit_div),
        "Relu": Form(elementwise.check_clamp, elementwise.emit_clamp),
        "Clip": Form(elementwise.check_clamp, elementwise.emit_clamp),
        "PRelu": Form(elementwise.check_prelu, elementwise.emit_prelu),
        "Softmax": Form(elementwise.check_softmax, elementwise.emit_softmax, fixed=elementwise.SOFTMAX_OUTPUT),
        "AveragePool": Form(pools.check_average_pool, pools.emit_average_pool),
        "GlobalAveragePool": Form(pools.check_global_pool, pools.emit_global_average_pool),
        "ReduceMean": Form(pools.check_reduce_mean, pools.emit_reduce_mean),
        "GlobalMaxPool": Form(pools.check_global_pool, pools.emit_global_max_pool, keeps=True),
        "MaxPool": Form(pools.check_max_pool, pools.emit_max_pool, keeps=True),
        "Concat": Form(moves.check_concat, moves.emit_concat),
        "Pad": Form(moves.check_pad, moves.emit_pad, keeps=True),
        "Resize": Form(moves.check_resize, moves.emit_move, keeps=True),
    }
    return {**forms, **own}


FORMS = _table()

_WHY = {
    "MatMul": "both of its operands are computed at run time, or it is no product with one matrix",
    "Gemm": "its matrix is computed at run time",
    "ConvTranspose": "ConvTranspose has no integer form; Resize (nearest) and Conv have",
}
"""More than that an op has no form."""


def form_of(node: Node) -> Form | Refused:
    """The integer form of a node; refused where its op has none or the node leaves its bounds."""
    form = FORMS.get(node.op) if node.domain == "" else None
    if form is None:
        return refuse(_WHY.get(node.op, f"{node.op} has no integer form"))
    floats = [value for value in (*node.inputs, *node.outputs) if value is not None and value.dtype == "float32"]
    if not all(value.type.is_static for value in floats):
        return refuse("its shape is known only at run time")
    if node.output.dtype != "float32":
        return refuse(f"it computes {node.output.dtype}, not float32")
    if any(not value.type.elements for value in floats):
        return refuse("it has a tensor without elements")
    if not data_inputs(node):
        return refuse("it reads constants alone, and was not computed")
    return form.check(node) or form
