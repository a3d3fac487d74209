"""The op table: one module a family, each giving a tuple OPS of rows; an op without a row keeps ONNX's own meaning."""

from __future__ import annotations

from intarsia.ir.op import Op
from intarsia.ir.ops import (
    activation,
    convolution,
    elementwise,
    indexing,
    linear,
    normalization,
    pooling,
    qlinear,
    quantized,
    recurrent,
    reduction,
    resize,
    scaling,
    shaping,
    slicing,
)

_FAMILIES = (
    activation.OPS,
    convolution.OPS,
    elementwise.OPS,
    slicing.OPS,
    linear.OPS,
    normalization.OPS,
    indexing.OPS,
    pooling.OPS,
    qlinear.OPS,
    quantized.OPS,
    recurrent.OPS,
    reduction.OPS,
    resize.OPS,
    scaling.OPS,
    shaping.OPS,
)

OPS: dict[str, Op] = {op.name: op for family in _FAMILIES for op in family}

INTEGER_OPS = tuple(name for name, op in OPS.items() if op.integer)
