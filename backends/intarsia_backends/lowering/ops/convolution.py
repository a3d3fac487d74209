"""Convolutions as nests of loops over a padded input: float32 Conv and ConvTranspose, and the integer `qconv`."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from intarsia.dtypes import Array
from intarsia.ir.graph import Node
from intarsia.targets import Support
from intarsia_backends.lowering.access import Access, row_major
from intarsia_backends.lowering.builder import Builder
from intarsia_backends.lowering.expressions import Accumulator, Cast, Constant, Expression, Input
from intarsia_backends.lowering.kernels import nest
from intarsia_backends.lowering.ops.activations import activated
from intarsia_backends.lowering.ops.geometry import Window, check_window, window_of
from intarsia_backends.lowering.ops.padding import padded_input
from intarsia_backends.lowering.ops.scaling import centred, channel_factors, requantized
from intarsia_backends.lowering.ops.table import Lowering, attribute, elements, refused, sequence
from intarsia_backends.lowering.program import Buffer


def slide(
    builder: Builder,
    window: Window,
    x: Buffer,
    x_dtype: str,
    weights: Array,
    bias: Array,
    factors: Array | None,
    y: Buffer,
    y_dtype: str,
    epilogue: Expression,
) -> None:
    """Sums of products as a nest of loops; neighbouring positions go together where a machine has vectors.

    x        [batch, groups, channels, *padded] of float32, or of int16 without the zero point
    weights  [groups, outputs, channels, *kernel]; bias and factors [groups, outputs]; `epilogue` has the bias as
             `Input(2)` and the factors as `Input(3)`
    """
    steps, area = row_major(window.padded), math.prod(window.padded)
    kept = (window.batch, window.groups, window.outputs, *window.positions)
    reduced = (window.channels, *window.kernel)
    still = (0,) * len(window.positions)
    x_strides = (
        window.groups * window.channels * area,
        window.channels * area,
        0,
        *(step * stride for step, stride in zip(steps, window.strides)),
        area,
        *(step * dilation for step, dilation in zip(steps, window.dilations)),
    )
    taps = math.prod(reduced)
    w_strides = (0, window.outputs * taps, taps, *still, *row_major(reduced))
    channel = (0, window.outputs, 1, *still, *(0 for _ in reduced))
    accumulator = "float32" if x_dtype == "float32" else "int32"
    product: Expression = Input(0) * Input(1)
    if accumulator == "int32":
        product = Cast("int32", Input(0)) * Cast("int32", Input(1))
    accesses = [Access(x_dtype, x_strides), Access(x_dtype, w_strides), Access(accumulator, channel)]
    operands = [x, builder.weight(weights.astype(x_dtype)), builder.weight(bias)]
    if factors is not None:
        accesses.append(Access(str(factors.dtype), channel))
        operands.append(builder.weight(factors))
    kernel = nest(
        kept,
        accesses,
        Access(y_dtype, row_major(kept)),
        product,
        reduced=reduced,
        combine="add",
        initial=Input(2),
        epilogue=epilogue,
    )
    builder.call(kernel, operands, y)


# ---- float32


def lower_conv(builder: Builder, node: Node) -> None:
    """Conv with weights known at compile time."""
    data = elements(node.input(1))
    window = window_of(node, data.shape)
    weights = data.reshape(window.groups, window.outputs, *data.shape[1:])
    convolve(builder, node, window, builder.read(node.input(0)), weights)


def lower_transposed(builder: Builder, node: Node) -> None:
    """ConvTranspose with weights known at compile time."""
    convolve(builder, node, *spread_input(builder, node))


def convolve(builder: Builder, node: Node, window: Window, source: Buffer, weights: Array) -> None:
    """weights [groups, outputs, channels, *kernel]; `source` holds the unpadded input."""
    y, epilogue = builder.result(node.output), activated(node, Accumulator())
    source = padded_float(builder, window, source)
    slide(
        builder,
        window,
        x=source,
        x_dtype="float32",
        weights=weights,
        bias=bias_of(node, window),
        factors=None,
        y=y,
        y_dtype="float32",
        epilogue=epilogue,
    )


def padded_float(builder: Builder, window: Window, source: Buffer) -> Buffer:
    """A float32 input in a border of zeros, where the window has one."""
    if not any(window.before) and not any(window.after):
        return source
    return padded_input(builder, source, window, dtype="float32", fill=0.0, element=Input(0), stored="float32")


def bias_of(node: Node, window: Window) -> Array:
    """float32 [groups, outputs]; zeros where there is none."""
    value = node.optional_input(2)
    if value is None:
        return np.zeros((window.groups, window.outputs), np.float32)
    return elements(value).reshape(window.groups, window.outputs)


def spread_input(builder: Builder, node: Node) -> tuple[Window, Buffer, Array]:
    """A ConvTranspose as a convolution with the flipped kernel over the input spread out by the strides.

    returns  its window, without padding; the input; the weights [groups, outputs, channels, *kernel]
    """
    data, x = elements(node.input(1)), node.input(0).shape
    spatial, groups = data.ndim - 2, int(attribute(node, "group", 1))
    strides, dilations = sequence(node, "strides", (1,) * spatial), sequence(node, "dilations", (1,) * spatial)
    pads = sequence(node, "pads", (0,) * (2 * spatial))
    kernel, positions = data.shape[2:], tuple(node.output.shape[2:])
    spread = tuple((size - 1) * stride + 1 for size, stride in zip(x[2:], strides))
    reach = [dilation * (extent - 1) for dilation, extent in zip(dilations, kernel)]
    before = tuple(far - low for far, low in zip(reach, pads))
    after = tuple(out + far - low - size for out, far, low, size in zip(positions, reach, before, spread))
    channels, outputs = x[1] // groups, data.shape[1]
    window = Window(
        batch=x[0],
        groups=groups,
        channels=channels,
        outputs=outputs,
        size=spread,
        kernel=kernel,
        strides=(1,) * spatial,
        dilations=dilations,
        before=before,
        after=after,
        positions=positions,
    )
    rows = x[0] * x[1]
    source = builder.scratch(rows * math.prod(window.padded), "float32")
    shape = (rows, *window.padded)
    builder.call(nest(shape, [], Access("float32", row_major(shape)), Constant("float32", 0.0)), [], source)
    steps = row_major(shape)
    target = Access(
        "float32",
        (steps[0], *(step * stride for step, stride in zip(steps[1:], strides))),
        sum(low * step for low, step in zip(before, steps[1:])),
    )
    copied = nest((rows, *x[2:]), [Access("float32", row_major((rows, *x[2:])))], target, Input(0))
    builder.call(copied, [builder.read(node.input(0))], source)
    flipped = np.flip(data, axis=tuple(range(2, data.ndim))).reshape(groups, channels, outputs, *kernel)
    weights = np.ascontiguousarray(np.swapaxes(flipped, 1, 2))
    return replace(window, size=window.padded, before=(0,) * spatial, after=(0,) * spatial), source, weights


def check_transposed(node: Node) -> Support:
    answer = check_window(node)
    data, spatial = node.input(1).shape, node.input(0).type.rank - 2
    dilations, pads = sequence(node, "dilations", (1,) * spatial), sequence(node, "pads", (0,) * (2 * spatial))
    strides = sequence(node, "strides", (1,) * spatial)
    for axis in range(spatial) if answer.ok else ():
        reach = dilations[axis] * (data[2 + axis] - 1)
        spread = (node.input(0).shape[2 + axis] - 1) * strides[axis] + 1
        low = reach - pads[axis]
        if low < 0 or node.output.shape[2 + axis] + reach - low - spread < 0:
            return refused("padding", "pads reach further than the kernel")
    return answer


# ---- int8


def lower_qconv(builder: Builder, node: Node) -> None:
    """`qconv`: exact sums of int16 products, requantized."""
    data = elements(node.input(1))
    window = window_of(node, data.shape)
    shape = (window.groups, window.outputs)
    weights, bias = data.reshape(*shape, *data.shape[1:]), elements(node.input(2)).reshape(shape)
    factors, form = channel_factors(node, builder.machine, data)
    x = centred_input(builder, node, window)
    epilogue = requantized(Accumulator(), Input(3), node, form)
    y = builder.result(node.output)
    slide(
        builder,
        window,
        x=x,
        x_dtype="int16",
        weights=weights,
        bias=bias,
        factors=factors.reshape(shape),
        y=y,
        y_dtype="int8",
        epilogue=epilogue,
    )


def centred_input(builder: Builder, node: Node, window: Window) -> Buffer:
    """The int8 input of a node as int16 without its zero point, inside a border of zeros."""
    element: Expression = Cast("int16", centred(int(attribute(node, "input_zero_point", 0))))
    return padded_input(
        builder, builder.read(node.input(0)), window, dtype="int8", fill=0, element=element, stored="int16"
    )


LOWERINGS = {
    "Conv": Lowering(lower_conv, constants=(1, 2), check=check_window),
    "ConvTranspose": Lowering(lower_transposed, constants=(1, 2), check=check_transposed),
    "qconv": Lowering(lower_qconv, dtypes=("int8",), constants=(1, 2, 3, 4), check=check_window),
}
