"""Ops as small graphs of simpler ones, where ONNX has no function for them or another form is better."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from intarsia.ir.graph import Node, Value
from intarsia.ir.ops.normalization import lrn_window
from intarsia.passes.decompose import fourier
from intarsia.passes.decompose.parts import Expansion, Parts
from intarsia.passes.matching import integers

_CHANNELS_MAX = 256
"""Channels that a window of LRN may have, with a Slice and an Add for each; 5 are usual."""


def _reduce_log_sum_exp(parts: Parts) -> Sequence[Value]:
    """log(sum(exp(x))), shifted by the largest element so that nothing overflows."""
    x, node = parts.input(0), parts.node
    given = node.optional_input(1)
    if given is not None and given.data is None:
        raise parts.refuse("constant-input", "input 1 is not known at compile time")
    axes = node.attributes.get("axes", ()) if given is None else integers(given)
    if not axes:
        if node.attributes.get("noop_with_empty_axes", 0):
            raise parts.refuse("axes", "no axes, which means none here")
        axes = range(x.type.rank)
    top = parts.reduce("ReduceMax", x, *axes)
    infinite = parts.add("Or", parts.add("IsInf", top), parts.add("IsNaN", top))
    top = parts.add("Where", infinite, parts.number(x, 0), top)
    weights = parts.add("Exp", parts.add("Sub", x, top))
    total = parts.add("Add", parts.add("Log", parts.reduce("ReduceSum", weights, *axes)), top)
    return [parts.reshape(total, *node.output.shape)]


def _hardmax(parts: Parts) -> Sequence[Value]:
    x, node = parts.input(0), parts.node
    shape = x.shape
    axis = node.attributes.get("axis", -1 if node.opset >= 13 else 1) % len(shape)
    if node.opset < 13:  # the older meaning: all axes from this one on as one
        rows = int(np.prod(shape[:axis]))
        x, axis = parts.reshape(x, rows, x.type.elements // rows), 1
    first = parts.add("ArgMax", x, axis=axis, keepdims=0)
    depth = parts.constant(x.shape[axis], "int64")
    return [parts.reshape(parts.add("OneHot", first, depth, parts.constant([0, 1], x.dtype), axis=axis), *shape)]


def _lp_normalization(parts: Parts) -> Sequence[Value]:
    x, node = parts.input(0), parts.node
    op = "ReduceL1" if node.attributes.get("p", 2) == 1 else "ReduceL2"
    norm = parts.reduce(op, x, node.attributes.get("axis", -1) % x.type.rank)
    zero = parts.number(x, 0)
    return [parts.add("Where", parts.add("Equal", norm, zero), zero, parts.add("Div", x, norm))]


def _local_response(parts: Parts) -> Sequence[Value]:
    """x / (bias + alpha / size * sum of squares of the neighbouring channels) ** beta."""
    x, node = parts.input(0), parts.node
    size, channels = int(node.attributes["size"]), x.shape[1]
    before, after = lrn_window(size, channels)
    if before + after >= _CHANNELS_MAX:
        raise parts.refuse("window", f"a window of {before + 1 + after} channels, at most {_CHANNELS_MAX}")
    pads = [0] * (2 * x.type.rank)
    pads[1], pads[x.type.rank + 1] = before, after
    square = parts.add("Pad", parts.add("Mul", x, x), parts.ints(*pads))
    total = parts.slice(square, 1, 0, channels)
    for offset in range(1, before + 1 + after):
        total = parts.add("Add", total, parts.slice(square, 1, offset, offset + channels))
    factor = float(node.attributes.get("alpha", 1e-4)) / size
    base = parts.add("Mul", total, parts.number(x, factor))
    base = parts.add("Add", base, parts.number(x, float(node.attributes.get("bias", 1.0))))
    return [parts.add("Div", x, parts.add("Pow", base, parts.number(x, float(node.attributes.get("beta", 0.75)))))]


def _batch_normalization(parts: Parts) -> Sequence[Value]:
    """With figures made at run time, or taken from the batch itself."""
    x, node = parts.input(0), parts.node
    if node.attributes.get("activation"):
        raise parts.refuse("activation", "an activation on figures made at run time")
    column = (-1, *(1,) * (x.type.rank - 2))
    epsilon = float(node.attributes.get("epsilon", 1e-5))
    mean, variance = parts.input(3), parts.input(4)
    outputs: list[Value] = []
    if node.attributes.get("training_mode", 0):
        axes = (0, *range(2, x.type.rank))
        batch_mean = parts.reduce("ReduceMean", x, *axes, keepdims=0)
        apart = parts.add("Sub", x, parts.add("Reshape", batch_mean, parts.ints(*column)))
        batch_variance = parts.reduce("ReduceMean", parts.add("Mul", apart, apart), *axes, keepdims=0)
        momentum = float(node.attributes.get("momentum", 0.9))
        for running, fresh in ((mean, batch_mean), (variance, batch_variance)):
            old = parts.add("Mul", running, parts.number(running, momentum))
            outputs.append(parts.add("Add", old, parts.add("Mul", fresh, parts.number(fresh, 1 - momentum))))
        mean, variance = batch_mean, batch_variance
    spread = parts.add("Sqrt", parts.add("Add", variance, parts.number(variance, epsilon)))
    factor = parts.add("Div", parts.input(1), spread)
    centred = parts.add("Sub", x, parts.add("Reshape", mean, parts.ints(*column)))
    scaled = parts.add("Mul", centred, parts.add("Reshape", factor, parts.ints(*column)))
    shift = parts.add("Reshape", parts.input(2), parts.ints(*column))
    return [parts.add("Add", scaled, shift), *outputs]


def _of_bools(op: str) -> Expansion:
    """An op that knows numbers alone, over bools."""

    def expand(parts: Parts) -> Sequence[Value]:
        x, node = parts.input(0), parts.node
        attributes = {name: value for name, value in node.attributes.items() if name != "axes"}
        others = [parts.optional_input(index) for index in range(1, len(parts.inputs))]
        small = parts.add(op, parts.cast(x, "uint8"), *others, **attributes)
        return [parts.cast(small, "bool")]

    return expand


_EXPANSIONS: dict[str, Expansion] = {
    "BatchNormalization": _batch_normalization,
    **fourier.EXPANSIONS,
    "Hardmax": _hardmax,
    "LRN": _local_response,
    "LpNormalization": _lp_normalization,
    "ReduceLogSumExp": _reduce_log_sum_exp,
}
_OF_BOOLS = {op: _of_bools(op) for op in ("ReduceMax", "ReduceMin")}

OPS = frozenset((*_EXPANSIONS, *_OF_BOOLS))
"""Ops that are made of others in some of their forms."""


def expansion_of(node: Node) -> Expansion | None:
    """How a node is put together, where anything is known of its op and the type of its elements."""
    if node.op in _OF_BOOLS and node.input(0).dtype == "bool":
        return _OF_BOOLS[node.op]
    return _EXPANSIONS.get(node.op)
