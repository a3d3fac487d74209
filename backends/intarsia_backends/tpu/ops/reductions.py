"""Reductions over axes, softmax, and normalizations."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from intarsia.ir.graph import Node
from intarsia.ir.ops.reduction import normalized_axis
from intarsia.targets import YES, Support
from intarsia_backends.lowering.ops.table import axis_of, reduced_axes, refused
from intarsia_backends.tpu.body import Body, emitter
from intarsia_backends.tpu.ops.elementwise import NUMBERS
from intarsia_backends.tpu.stablehlo import Tensor


def _reduce(
    op: str, start: Any, before: str = "", after: str = "", mean: bool = False
) -> Callable[[Body, Node], Tensor]:
    """before, after  functions of the elements and of the result; start None is the least or largest of the type"""

    def emit(body: Body, node: Node) -> Tensor:
        x, axes = body.read(node.input(0)), reduced_axes(node)
        if before:
            x = body.binary("multiply", x, x) if before == "square" else body.unary(before, x)
        total = body.reduce(op, x, _extreme(op, x.dtype) if start is None else start, axes)
        if mean:
            total = body.with_number("divide", total, math.prod(x.shape[axis] for axis in axes))
        total = body.unary(after, total) if after else total
        return body.reshape(total, node.output.shape)

    return emit


def _extreme(op: str, dtype: str) -> Any:
    """What no element is under (maximum), or above (minimum)."""
    if dtype == "float32":
        return -math.inf if op == "maximum" else math.inf
    limits = np.iinfo(dtype)
    return limits.min if op == "maximum" else limits.max


def kept(body: Body, total: Tensor, x: Tensor, axes: Sequence[int]) -> Tensor:
    """What axes of x were reduced to, over all of x."""
    return body.broadcast(total, x.shape, [axis for axis in range(x.rank) if axis not in axes])


def _softmax(log: bool) -> Callable[[Body, Node], Tensor]:
    def emit(body: Body, node: Node) -> Tensor:
        x = body.read(node.input(0))
        axis = normalized_axis(node, x.rank)
        # Before opset 13 all axes from this one on are one.
        axes = tuple(range(axis, x.rank)) if node.opset < 13 else (axis,)
        top = kept(body, body.reduce("maximum", x, -math.inf, axes), x, axes)
        shifted = body.binary("subtract", x, top)
        weight = body.unary("exponential", shifted)
        total = body.reduce("add", weight, 0.0, axes)
        if log:
            return body.binary("subtract", shifted, kept(body, body.unary("log", total), x, axes))
        return body.binary("divide", weight, kept(body, total, x, axes))

    return emit


def mean_of(body: Body, x: Tensor, axes: Sequence[int]) -> Tensor:
    """The mean over axes, which go."""
    count = math.prod(x.shape[axis] for axis in axes)
    return body.with_number("divide", body.reduce("add", x, 0.0, axes), count)


def standardized(body: Body, x: Tensor, axes: Sequence[int], epsilon: float, centre: bool = True) -> Tensor:
    """(x - mean) / sqrt(mean square + epsilon), over axes."""
    if centre:
        x = body.binary("subtract", x, kept(body, mean_of(body, x, axes), x, axes))
    square = mean_of(body, body.binary("multiply", x, x), axes)
    root = body.unary("sqrt", body.with_number("add", square, epsilon))
    return body.binary("divide", x, kept(body, root, x, axes))


def _layer(centre: bool) -> Callable[[Body, Node], Tensor]:
    def emit(body: Body, node: Node) -> Tensor:
        x = body.read(node.input(0))
        axes = range(axis_of(node, x.rank, -1), x.rank)
        result = standardized(body, x, axes, float(node.attributes.get("epsilon", 1e-5)), centre)
        result = body.binary("multiply", result, body.spread(body.read(node.input(1)), x.shape))
        shift = node.optional_input(2)
        return result if shift is None else body.binary("add", result, body.spread(body.read(shift), x.shape))

    return emit


def _check_layer(node: Node) -> Support:
    stash = node.attributes.get("stash_type", 1)
    return YES if stash == 1 else refused("stash-type", f"stash_type {stash}")


def _instance(body: Body, node: Node) -> Tensor:
    x = body.read(node.input(0))
    return _scaled(body, node, standardized(body, x, range(2, x.rank), float(node.attributes.get("epsilon", 1e-5))))


def _group(body: Body, node: Node) -> Tensor:
    x, groups = body.read(node.input(0)), int(node.attributes["num_groups"])
    rows = body.reshape(x, (x.shape[0], groups, math.prod(x.shape[1:]) // groups))
    result = standardized(body, rows, (2,), float(node.attributes.get("epsilon", 1e-5)))
    return _scaled(body, node, body.reshape(result, x.shape))


def _scaled(body: Body, node: Node, x: Tensor) -> Tensor:
    """A factor and an addend for each channel; of GroupNormalization before opset 21, for each group."""
    for op, index in (("multiply", 1), ("add", 2)):
        number = body.read(node.input(index))
        if number.shape[0] < x.shape[1]:
            each = x.shape[1] // number.shape[0]
            number = body.reshape(body.broadcast(number, (number.shape[0], each), (0,)), (x.shape[1],))
        x = body.binary(op, x, body.broadcast(number, x.shape, (1,)))
    return x


_SUMMABLE = ("float32", "int32", "int64", "uint32", "uint64")

EMITTERS = {
    "ReduceSum": emitter(_reduce("add", 0), dtypes=_SUMMABLE, constants=(1,)),
    "ReduceMean": emitter(_reduce("add", 0, mean=True), constants=(1,)),
    "ReduceMax": emitter(_reduce("maximum", None), dtypes=NUMBERS, constants=(1,)),
    "ReduceMin": emitter(_reduce("minimum", None), dtypes=NUMBERS, constants=(1,)),
    "ReduceProd": emitter(_reduce("multiply", 1), dtypes=_SUMMABLE, constants=(1,)),
    "ReduceL1": emitter(_reduce("add", 0, before="abs"), constants=(1,)),
    "ReduceL2": emitter(_reduce("add", 0, before="square", after="sqrt"), constants=(1,)),
    "ReduceSumSquare": emitter(_reduce("add", 0, before="square"), constants=(1,)),
    "ReduceLogSum": emitter(_reduce("add", 0, after="log"), constants=(1,)),
    "Softmax": emitter(_softmax(False)),
    "LogSoftmax": emitter(_softmax(True)),
    "LayerNormalization": emitter(_layer(centre=True), check=_check_layer),
    "RMSNormalization": emitter(_layer(centre=False), check=_check_layer),
    "InstanceNormalization": emitter(_instance),
    "GroupNormalization": emitter(_group),
}
