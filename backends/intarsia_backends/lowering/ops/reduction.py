"""Reductions over axes, softmax, and normalization."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from intarsia.ir.graph import Node
from intarsia.targets import YES, Support
from intarsia_backends.lowering.access import Access, row_major
from intarsia_backends.lowering.builder import Builder
from intarsia_backends.lowering.expressions import Accumulator, Constant, Expression, Input, apply
from intarsia_backends.lowering.kernels import Normalize, Softmax, nest
from intarsia_backends.lowering.ops.table import (
    FLOATS,
    NUMBERS,
    Lowering,
    attribute,
    axis_of,
    reduced_axes,
    refused,
)


def _reduce(
    combine: str, initial: float | None, before: str = "", after: str = "", mean: bool = False
) -> Callable[[Builder, Node], None]:
    """`before` and `after` name functions of the elements and of the result; `initial` None begins with the first."""

    def lower(builder: Builder, node: Node) -> None:
        x, axes = node.input(0), reduced_axes(node)
        view, dtype = builder.walk(x), x.dtype
        steps = view.strides
        kept = [axis for axis in range(x.type.rank) if axis not in axes]
        extents = [x.shape[axis] for axis in kept] or [1]
        reads = [steps[axis] for axis in kept] or [0]
        element: Expression = Input(0)
        body = element * element if before == "square" else apply(before, element) if before else element
        epilogue: Expression = Accumulator()
        if mean:
            count = math.prod(x.shape[axis] for axis in axes)
            epilogue = epilogue / Constant(dtype, float(count))
        if after:
            epilogue = apply(after, epilogue)
        kernel = nest(
            extents,
            [Access(dtype, (*reads, *(steps[axis] for axis in axes)), view.offset)],
            Access(dtype, row_major(extents)),
            body,
            reduced=[x.shape[axis] for axis in axes],
            combine=combine,
            initial=element if initial is None else Constant(dtype, initial),
            epilogue=epilogue,
        )
        builder.call(kernel, [view.buffer], builder.result(node.output))

    return lower


def _softmax(log: bool) -> Callable[[Builder, Node], None]:
    def lower(builder: Builder, node: Node) -> None:
        x = node.input(0)
        axis = axis_of(node, x.type.rank, -1 if node.opset >= 13 or node.opset == 0 else 1)
        outer, inner = math.prod(x.shape[:axis]), math.prod(x.shape[axis + 1 :])
        length = x.shape[axis]
        if 0 < node.opset < 13:  # the older meaning: all axes from this one on as one
            length, inner = length * inner, 1
        builder.call(Softmax(outer, length, inner, log), [builder.read(x)], builder.result(node.output))

    return lower


def _lower_layer_normalization(builder: Builder, node: Node) -> None:
    x, axis = node.input(0), axis_of(node, node.input(0).type.rank, -1)
    outer, length = math.prod(x.shape[:axis]), math.prod(x.shape[axis:])
    shift = node.optional_input(2)
    zeros = builder.weight(np.zeros(length, np.float32)) if shift is None else builder.read(shift)
    centre = node.op == "LayerNormalization"
    kernel = Normalize(outer, length, float(attribute(node, "epsilon", 1e-5)), 0, centre)
    builder.call(kernel, [builder.read(x), builder.read(node.input(1)), zeros], builder.result(node.output))


def _check_layer_normalization(node: Node) -> Support:
    x, axis = node.input(0), axis_of(node, node.input(0).type.rank, -1)
    length = math.prod(x.shape[axis:])
    for value in node.inputs[1:]:
        if value is not None and value.type.elements != length:
            return refused("shape", f"'{value.name}' is {value.type}, not one number for each of {length} elements")
    if attribute(node, "stash_type", 1) != 1:
        return refused("stash-type", f"stash_type {attribute(node, 'stash_type', 1)}")
    return YES


def _lower_instance_normalization(builder: Builder, node: Node) -> None:
    x = node.input(0)
    batch, channels, *spatial = x.shape
    kernel = Normalize(batch * channels, math.prod(spatial), float(attribute(node, "epsilon", 1e-5)), channels, True)
    operands = [builder.read(node.input(index)) for index in range(3)]
    builder.call(kernel, operands, builder.result(node.output))


_SUMMABLE = (*FLOATS, "int32", "int64", "uint32", "uint64")
"""Types whose sums stay in them: smaller ones wrap, as NumPy's do, but are not worth code."""

LOWERINGS = {
    "ReduceSum": Lowering(_reduce("add", 0.0), dtypes=_SUMMABLE, constants=(1,)),
    "ReduceMean": Lowering(_reduce("add", 0.0, mean=True), dtypes=FLOATS, constants=(1,)),
    "ReduceMax": Lowering(_reduce("max", None), dtypes=NUMBERS, constants=(1,)),
    "ReduceMin": Lowering(_reduce("min", None), dtypes=NUMBERS, constants=(1,)),
    "ReduceProd": Lowering(_reduce("mul", 1.0), dtypes=_SUMMABLE, constants=(1,)),
    "ReduceL1": Lowering(_reduce("add", 0.0, before="abs"), dtypes=_SUMMABLE, constants=(1,)),
    "ReduceL2": Lowering(_reduce("add", 0.0, before="square", after="sqrt"), dtypes=FLOATS, constants=(1,)),
    "ReduceSumSquare": Lowering(_reduce("add", 0.0, before="square"), dtypes=_SUMMABLE, constants=(1,)),
    "ReduceLogSum": Lowering(_reduce("add", 0.0, after="log"), dtypes=FLOATS, constants=(1,)),
    "Softmax": Lowering(_softmax(False)),
    "LogSoftmax": Lowering(_softmax(True)),
    "LayerNormalization": Lowering(_lower_layer_normalization, check=_check_layer_normalization),
    "RMSNormalization": Lowering(_lower_layer_normalization, check=_check_layer_normalization),
    "InstanceNormalization": Lowering(_lower_instance_normalization),
}
