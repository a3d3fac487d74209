"""The op table: one module a family, each giving a tuple OPS of rows; an op without a row keeps ONNX's own meaning."""

from __future__ import annotations

from intarsia.ir.op import Op
from intarsia.ir.ops import (
    activation,
    convolution,
    creation,
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
    scans,
    shaping,
    slicing,
)

_FAMILIES = (
    activation.OPS,
    convolution.OPS,
    creation.OPS,
    elementwise.OPS,
    indexing.OPS,
    linear.OPS,
    normalization.OPS,
    pooling.OPS,
    qlinear.OPS,
    quantized.OPS,
    recurrent.OPS,
    reduction.OPS,
    resize.OPS,
    scaling.OPS,
    scans.OPS,
    shaping.OPS,
    slicing.OPS,
)

OPS: dict[str, Op] = {op.name: op for family in _FAMILIES for op in family}

INTEGER_OPS = tuple(name for name, op in OPS.items() if op.integer)
