"""Convolutions and pools over windows, of floats and, where no scale is involved, of int8."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from intarsia.dtypes import Array
from intarsia.ir.graph import Node
from intarsia.ir.ops.geometry import Window, window_of
from intarsia.targets import YES, Support
from intarsia_backends.lowering.ops.table import refused
from intarsia_backends.tpu.body import Body, emitter
from intarsia_backends.tpu.ops.products import factor
from intarsia_backends.tpu.stablehlo import Tensor

Pads = list[tuple[int, int]]


def pads_of(window: Window, sizes: Sequence[int]) -> Pads:
    """(before, after) for each spatial axis."""
    pads = window.pads_for(sizes)
    return list(zip(pads[: window.rank], pads[window.rank :]))


# ---- convolutions


def _conv(body: Body, node: Node) -> Tensor:
    x, w = body.read(node.input(0)), body.read(node.input(1))
    window = window_of(node, x.rank - 2, w.shape[2:])
    total = body.convolution(
        factor(body, x),
        factor(body, w),
        strides=window.strides,
        pads=pads_of(window, x.shape[2:]),
        dilations=window.dilations,
        group=int(node.attributes.get("group", 1)),
        dtype="float32",
    )
    return _biased(body, node, total)


def _biased(body: Body, node: Node, total: Tensor) -> Tensor:
    bias = node.optional_input(2)
    return total if bias is None else body.binary("add", total, body.broadcast(body.read(bias), total.shape, (1,)))


def _conv_transpose(body: Body, node: Node) -> Tensor:
    """A convolution, with the kernel turned round, of the input with its elements set apart by the strides."""
    x, w = body.read(node.input(0)), body.read(node.input(1))
    window, group = window_of(node, x.rank - 2, w.shape[2:]), int(node.attributes.get("group", 1))
    kernel, outputs = w.shape[2:], w.shape[1]
    grouped = body.reshape(w, (group, x.shape[1] // group, outputs, *kernel))
    turned = body.transpose(grouped, (0, 2, 1, *range(3, grouped.rank)))
    weight = body.reshape(turned, (group * outputs, x.shape[1] // group, *kernel))
    pads = []
    for axis, wanted in enumerate(node.output.shape[2:]):
        reach = window.reach(axis) - 1
        apart = (x.shape[2 + axis] - 1) * window.strides[axis] + 1
        low = reach - window.pads[axis]
        pads.append((low, wanted + reach - low - apart))
    total = body.convolution(
        factor(body, x),
        factor(body, body.reverse(weight, range(2, w.rank))),
        strides=(1,) * window.rank,
        pads=pads,
        dilations=window.dilations,
        spread=window.strides,
        group=group,
        dtype="float32",
    )
    return _biased(body, node, total)


def _check_window(node: Node) -> Support:
    if node.input(0).type.rank < 3:
        return refused("rank", f"input {node.input(0).type} has no spatial axis")
    return YES


def _check_transposed(node: Node) -> Support:
    if "output_shape" in node.attributes or node.attributes.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return refused("padding", "the pads follow from output_shape or auto_pad")
    return _check_window(node)


# ---- pools


def reaching(node: Node, kernel: Sequence[int] | None = None) -> tuple[Window, Pads]:
    """The window of a pool, and pads that grow to what the last window reaches where sizes are rounded up."""
    sizes = node.input(0).shape[2:]
    window = window_of(node, len(sizes), kernel)
    pads = []
    for axis, ((low, high), size, count) in enumerate(zip(pads_of(window, sizes), sizes, node.output.shape[2:])):
        reached = (count - 1) * window.strides[axis] + window.reach(axis) - size - low
        pads.append((low, reached if window.ceil_mode else high))
    return window, pads


def pooled(body: Body, x: Tensor, op: str, start: Any, window: Window, pads: Pads) -> Tensor:
    """Windows over the spatial axes, reduced; padding has the value `start`."""
    ones, none = (1, 1), [(0, 0), (0, 0)]
    strides, dilations = (*ones, *window.strides), (*ones, *window.dilations)
    return body.reduce_window(op, x, start, (*ones, *window.kernel), strides, dilations, [*none, *pads])


def _max_pool(body: Body, node: Node) -> Tensor:
    x, (window, pads) = body.read(node.input(0)), reaching(node)
    least = -math.inf if x.dtype == "float32" else np.iinfo(x.dtype).min
    return pooled(body, x, "maximum", least, window, pads)


def _average_pool(body: Body, node: Node) -> Tensor:
    x, (window, pads) = body.read(node.input(0)), reaching(node)
    counts = _counts(node, window, x.shape[2:]).astype(np.float32)
    total = pooled(body, x, "add", 0.0, window, pads)
    count = body.broadcast(body.constant(counts), total.shape, range(2, total.rank))
    return body.binary("divide", total, count)


def _counts(node: Node, window: Window, sizes: Sequence[int]) -> Array:
    """How many elements each window counts: all positions on the input, and on the pads where they are to count."""
    whole = np.ones(())
    for axis, ((low, high), size) in enumerate(zip(pads_of(window, sizes), sizes)):
        first, last = (0, low + size + high) if node.attributes.get("count_include_pad") else (low, low + size)
        starts = np.arange(node.output.shape[2 + axis])[:, np.newaxis] * window.strides[axis]
        places = starts + np.arange(window.kernel[axis]) * window.dilations[axis]
        whole = np.multiply.outer(whole, ((places >= first) & (places < last)).sum(axis=1))
    return np.asarray(whole)


def _global(op: str) -> Callable[[Body, Node], Tensor]:
    """Over all spatial axes: maximum, or add for the mean."""

    def emit(body: Body, node: Node) -> Tensor:
        x = body.read(node.input(0))
        total = body.reduce(op, x, -math.inf if op == "maximum" else 0.0, range(2, x.rank))
        if op == "add":
            total = body.with_number("divide", total, math.prod(x.shape[2:]))
        return body.reshape(total, node.output.shape)

    return emit


EMITTERS = {
    "Conv": emitter(_conv, check=_check_window),
    "ConvTranspose": emitter(_conv_transpose, check=_check_transposed),
    "MaxPool": emitter(_max_pool, dtypes=("float32", "int8", "uint8"), check=_check_window),
    "AveragePool": emitter(_average_pool, check=_check_window),
    "GlobalAveragePool": emitter(_global("add"), check=_check_window),
    "GlobalMaxPool": emitter(_global("maximum"), check=_check_window),
}
