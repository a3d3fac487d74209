"""The op table: one module a family, each giving a tuple OPS of rows; an op without a row keeps ONNX's own meaning."""

from __future__ import annotations

from intarsia.ir.graph import Node
from intarsia.ir.op import Op
from intarsia.ir.ops import (
    activation,
    algebra,
    control,
    convolution,
    creation,
    detection,
    elementwise,
    indexing,
    linear,
    long_tail,
    normalization,
    pixels,
    pooling,
    qlinear,
    quantized,
    recurrent,
    reduction,
    resize,
    sampling,
    scaling,
    scans,
    selection,
    sequences,
    shaping,
    slicing,
)

FAMILIES: dict[str, tuple[Op, ...]] = {
    "activation": activation.OPS,
    "convolution": convolution.OPS,
    "creation": creation.OPS,
    "elementwise": elementwise.OPS,
    "indexing": indexing.OPS,
    "linear": linear.OPS,
    "normalization": normalization.OPS,
    "pixels": pixels.OPS,
    "pooling": pooling.OPS,
    "qlinear": qlinear.OPS,
    "quantized": quantized.OPS,
    "recurrent": recurrent.OPS,
    "reduction": reduction.OPS,
    "resize": resize.OPS,
    "scaling": scaling.OPS,
    "scans": scans.OPS,
    "shaping": shaping.OPS,
    "slicing": slicing.OPS,
}
"""Rows by the name of their module."""

OPS: dict[str, Op] = {op.name: op for family in FAMILIES.values() for op in family}
"""Ops with a shape rule of ours."""

_TAIL = (algebra, control, detection, sampling, selection, sequences, long_tail)

LONG_TAIL: dict[str, Op] = {op.name: op for module in _TAIL for op in module.OPS}
"""Rows whose shape rule is onnx's; their meaning too, where they have none of their own."""

INTEGER_OPS = tuple(name for name, op in OPS.items() if op.integer)


def op_of(node: Node) -> Op | None:
    """The row of a node's op; None where nothing is known of it but what onnx says."""
    return None if node.domain else OPS.get(node.op) or LONG_TAIL.get(node.op)
