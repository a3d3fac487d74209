"""Pooling, float and integer."""

from __future__ import annotations

import math

import numpy as np

from intarsia.dtypes import Array
from intarsia.ir.graph import Node
from intarsia_backends.cpu.builder import Builder
from intarsia_backends.cpu.kernels import Access, Expression, nest, row_major
from intarsia_backends.cpu.lower.activations import activated
from intarsia_backends.cpu.lower.convolution import centred, padded_input, requantized
from intarsia_backends.cpu.lower.geometry import Window, check_window, reaching_window
from intarsia_backends.cpu.lower.table import Lowering, attribute, sequence
from intarsia_backends.cpu.program import Buffer


def _window(node: Node, kernel: tuple[int, ...]) -> Window:
    """The window of a pool: a group for each channel."""
    return reaching_window(node, kernel, node.input(0).shape[1], 1)


def pool(
    builder: Builder,
    node: Node,
    window: Window,
    source: Buffer,
    dtype: str,
    combine: str,
    initial: Expression,
    body: Expression,
    finish: Expression,
    counts: Array | None = None,
) -> None:
    """Reduce every window of a padded input; `counts` is operand 1, one number for each position."""
    steps, area = row_major(window.padded), math.prod(window.padded)
    rows = window.batch * window.groups
    kept = (rows, *window.positions)
    reads = (area, *(step * stride for step, stride in zip(steps, window.strides)))
    taps = tuple(step * dilation for step, dilation in zip(steps, window.dilations))
    accesses, operands = [Access(dtype, (*reads, *taps))], [source]
    if counts is not None:
        accesses.append(Access(str(counts.dtype), (0, *row_major(window.positions), *(0 for _ in taps))))
        operands.append(builder.weight(counts))
    kernel = nest(
        kept,
        accesses,
        Access(node.output.dtype, row_major(kept)),
        body,
        reduced=window.kernel,
        combine=combine,
        initial=initial,
        finish=finish,
    )
    builder.call(kernel, operands, builder.result(node.output))


_LOWEST = {"float32": -math.inf, "float64": -math.inf, "int8": -128, "uint8": 0}


def _padded(builder: Builder, node: Node, window: Window, fill: float) -> Buffer:
    x = node.input(0)
    if not any(window.before) and not any(window.after):
        return builder.read(x)
    return padded_input(builder, builder.read(x), window, x.dtype, fill, ("in", 0), x.dtype)


def _lower_max(builder: Builder, node: Node) -> None:
    x = node.input(0)
    if node.op == "GlobalMaxPool":
        window = _window(node, tuple(x.shape[2:]))
    else:
        window = _window(node, sequence(node, "kernel_shape", ()))
    lowest = _LOWEST[x.dtype]
    source = _padded(builder, node, window, lowest)
    finish = activated(node, ("acc",), x.dtype) if x.dtype == "float32" else ("acc",)
    initial: Expression = ("const", x.dtype, lowest)
    pool(builder, node, window, source, x.dtype, "max", initial, ("in", 0), finish)


def _lower_average(builder: Builder, node: Node) -> None:
    x = node.input(0)
    if node.op == "GlobalAveragePool":
        window = _window(node, tuple(x.shape[2:]))
    else:
        window = _window(node, sequence(node, "kernel_shape", ()))
    counts = _counts(node, window).astype(x.dtype)
    source = _padded(builder, node, window, 0.0)
    single = counts.size and counts.min() == counts.max()
    count: Expression = ("const", x.dtype, float(counts.flat[0])) if single else ("in", 1)
    finish = activated(node, ("div", ("acc",), count), x.dtype)
    initial: Expression = ("const", x.dtype, 0.0)
    pool(builder, node, window, source, x.dtype, "add", initial, ("in", 0), finish, None if single else counts)


def _counts(node: Node, window: Window) -> Array:
    """Elements that each position's mean is over: padding counts only where the attribute says so."""
    spatial = len(window.kernel)
    pads = sequence(node, "pads", (0,) * (2 * spatial))
    total: Array = np.ones((1,) * spatial)
    for axis in range(spatial):
        include = bool(attribute(node, "count_include_pad", 0))
        low = -pads[axis] if include else 0
        high = window.size[axis] + (pads[spatial + axis] if include else 0)
        first = np.arange(window.positions[axis]) * window.strides[axis] - pads[axis]
        taps = first[:, None] + np.arange(window.kernel[axis]) * window.dilations[axis]
        count = ((taps >= low) & (taps < high)).sum(1)
        total = total * count.reshape(tuple(-1 if other == axis else 1 for other in range(spatial)))
    return total


def _lower_qaveragepool(builder: Builder, node: Node) -> None:
    window = _window(node, sequence(node, "kernel_shape", ()))
    zero = int(attribute(node, "input_zero_point", 0))
    factor = math.ldexp(float(attribute(node, "multiplier", 1)), -int(attribute(node, "shift", 1)))
    source = _padded(builder, node, window, zero)
    finish = requantized(("acc",), ("const", "float64", factor), node)
    pool(builder, node, window, source, "int8", "add", ("const", "int32", 0), centred(zero), finish)


LOWERINGS = {
    "MaxPool": Lowering(_lower_max, dtypes=("float32", "float64", "int8", "uint8"), check=check_window),
    "GlobalMaxPool": Lowering(_lower_max, dtypes=("float32", "float64", "int8", "uint8"), check=check_window),
    "AveragePool": Lowering(_lower_average, dtypes=("float32", "float64"), check=check_window),
    "GlobalAveragePool": Lowering(_lower_average, dtypes=("float32", "float64"), check=check_window),
    "qaveragepool": Lowering(_lower_qaveragepool, dtypes=("int8",), check=check_window),
}
