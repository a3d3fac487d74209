"""Convolution: float32 Conv and ConvTranspose, and the integer `qconv`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from intarsia.dtypes import Array
from intarsia.ir.graph import Node
from intarsia.targets import Support
from intarsia_backends.cpu.lower.images import convolve_images, takes_images
from intarsia_backends.cpu.lower.packing import channel_weight, pack, pad_outputs
from intarsia_backends.cpu.lower.tiles import choose_tile, products_for, split_row
from intarsia_backends.cpu.machine import Machine
from intarsia_backends.lowering import requantize
from intarsia_backends.lowering.access import Access, Expression, row_major
from intarsia_backends.lowering.builder import Builder
from intarsia_backends.lowering.kernels import Contraction, nest
from intarsia_backends.lowering.ops.activations import activated
from intarsia_backends.lowering.ops.geometry import Window, check_window, window_of
from intarsia_backends.lowering.ops.table import Lowering, attribute, elements, refused, sequence
from intarsia_backends.lowering.program import Buffer

# ---- lowering of a window: padding, then sums of products


def padded_input(
    builder: Builder, source: Buffer, window: Window, dtype: str, fill: float, element: Expression, stored: str
) -> Buffer:
    """The input inside a border of `fill`: [batch * groups * channels, *padded], each element through `element`."""
    rows = window.batch * window.groups * window.channels
    result = builder.scratch(rows * math.prod(window.padded), stored)
    border(builder, result, (rows, *window.padded), window.before, window.after, stored, fill)
    inner = sum(low * step for low, step in zip(window.before, row_major(window.padded)))
    kernel = nest(
        (rows, *window.size),
        [Access(dtype, row_major((rows, *window.size)))],
        Access(stored, row_major((rows, *window.padded)), inner),
        element,
    )
    builder.call(kernel, [source], result)
    return result


def border(
    builder: Builder,
    target: Buffer,
    shape: Sequence[int],
    before: Sequence[int],
    after: Sequence[int],
    dtype: str,
    fill: float,
) -> None:
    """Write `fill` around the inside of a padded array whose last axes have the paddings `before` and `after`."""
    strides = row_major(shape)
    lead = len(shape) - len(before)
    for axis, pads in enumerate(zip(before, after)):
        for start, extent in ((0, pads[0]), (shape[lead + axis] - pads[1], pads[1])):
            if extent == 0:
                continue
            # Axes outside of this one are filled whole; those inside the earlier axes' borders are done already.
            extents, offset = list(shape), start * strides[lead + axis]
            extents[lead + axis] = extent
            for earlier in range(axis):
                extents[lead + earlier] -= before[earlier] + after[earlier]
                offset += before[earlier] * strides[lead + earlier]
            builder.call(nest(extents, [], Access(dtype, strides, offset), ("const", dtype, fill)), [], target)


def contract(
    builder: Builder,
    window: Window,
    products: str,
    x: Buffer,
    x_size: Sequence[int],
    weights: Array,
    bias: Array,
    factors: Array | None,
    y: Buffer,
    y_dtype: str,
    finish: Expression,
) -> None:
    """Sums of products with output channels in vectors.

    x        [batch, groups, channels (or pairs), *x_size]
    weights  [groups, outputs, channels, *kernel]; bias and factors [groups, outputs]
    """
    channels = -(-window.channels // 2) if products == "pairs" else window.channels
    area = math.prod(x_size)
    x_steps = row_major(x_size)
    positions, x_positions = window.positions, tuple(step * s for step, s in zip(x_steps, window.strides))
    kernel, dilations = window.kernel, window.dilations
    pointwise = all(extent == 1 for extent in kernel)
    reduction: tuple[int, ...] = (channels,)
    x_reduction: tuple[int, ...] = (area,)
    if not pointwise:
        reduction += kernel
        x_reduction += tuple(step * dilation for step, dilation in zip(x_steps, dilations))
    elif tuple(x_size) == tuple(positions):
        positions = split_row(builder.machine, window.outputs, area, products)
        x_positions = (positions[1], 1)
    tile, vectors, _ = choose_tile(builder.machine, window.outputs, positions[-1], products)
    lanes = builder.machine.lanes
    out_area = math.prod(window.positions)
    operands = [x, builder.weight(pack(weights, vectors, lanes, products)), builder.weight(pad_outputs(bias, lanes))]
    accesses = []
    if factors is not None:
        accesses.append(Access(str(factors.dtype), (0, 1, *(0 for _ in positions))))
        operands.append(channel_weight(builder, factors.reshape(-1)))
    kernel_spec = Contraction(
        products,
        window.batch,
        window.groups,
        window.outputs,
        positions,
        reduction,
        window.groups * channels * area,
        channels * area,
        x_positions,
        x_reduction,
        y_dtype,
        window.groups * window.outputs * out_area,
        window.outputs * out_area,
        out_area,
        row_major(positions),
        tile,
        False,
        vectors,
        lanes,
        tuple(accesses),
        False,
        False,
        False,
        finish,
    )
    builder.call(kernel_spec, operands, y)


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
    finish: Expression,
) -> None:
    """Sums of products with neighbouring positions in vectors; x [batch, groups, channels, *padded]."""
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
    product: Expression = ("mul", ("in", 0), ("in", 1))
    if accumulator == "int32":
        product = ("mul", ("cast", "int32", ("in", 0)), ("cast", "int32", ("in", 1)))
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
        initial=("in", 2),
        finish=finish,
    )
    builder.call(kernel, operands, y)


# ---- float32


def convolve_float(
    builder: Builder, node: Node, window: Window, source: Buffer, weights: Array, bias: Array, finish: Expression
) -> None:
    """weights [groups, outputs, channels, *kernel], bias [groups, outputs]; `source` holds the unpadded input."""
    y = builder.result(node.output)
    if any(window.before) or any(window.after):
        source = padded_input(builder, source, window, "float32", 0.0, ("in", 0), "float32")
    if window.is_spatial:
        slide(builder, window, source, "float32", weights, bias, None, y, "float32", finish)
    else:
        contract(builder, window, "float32", source, window.padded, weights, bias, None, y, "float32", finish)


def _lower_conv(builder: Builder, node: Node) -> None:
    data = elements(node.input(1))
    window = window_of(node, data.shape)
    weights = data.reshape(window.groups, window.outputs, *data.shape[1:])
    bias, finish = _bias(node, 2, window), activated(node, ("acc",))
    if takes_images(window):
        convolve_images(builder, node, window, weights, bias, finish, None, None)
    else:
        convolve_float(builder, node, window, builder.read(node.input(0)), weights, bias, finish)


def _bias(node: Node, index: int, window: Window) -> Array:
    value = node.optional_input(index)
    if value is None:
        return np.zeros((window.groups, window.outputs), np.float32)
    return elements(value).reshape(window.groups, window.outputs)


def _lower_conv_transpose(builder: Builder, node: Node) -> None:
    """A convolution with the flipped kernel over the input spread out by the strides."""
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
        x[0], groups, channels, outputs, spread, kernel, (1,) * spatial, dilations, before, after, positions
    )
    rows = x[0] * x[1]
    source = builder.scratch(rows * math.prod(window.padded), "float32")
    shape = (rows, *window.padded)
    builder.call(nest(shape, [], Access("float32", row_major(shape)), ("const", "float32", 0.0)), [], source)
    steps = row_major(shape)
    target = Access(
        "float32",
        (steps[0], *(step * stride for step, stride in zip(steps[1:], strides))),
        sum(low * step for low, step in zip(before, steps[1:])),
    )
    copied = nest((rows, *x[2:]), [Access("float32", row_major((rows, *x[2:])))], target, ("in", 0))
    builder.call(copied, [builder.read(node.input(0))], source)
    flipped = np.flip(data, axis=tuple(range(2, data.ndim))).reshape(groups, channels, outputs, *kernel)
    weights = np.ascontiguousarray(np.swapaxes(flipped, 1, 2))
    ready = replace(window, size=window.padded, before=(0,) * spatial, after=(0,) * spatial)
    finish = activated(node, ("acc",))
    convolve_float(builder, node, ready, source, weights, _bias(node, 2, window), finish)


def _check_transpose(node: Node) -> Support:
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


def centred(zero_point: int) -> Expression:
    """Operand 0, an int8, without its zero point, as an int32."""
    return ("sub", ("cast", "int32", ("in", 0)), ("const", "int32", zero_point))


def requantized(total: Expression, factor: Expression, node: Node, form: str = "float64") -> Expression:
    """`intarsia.ir.integer.requantize` of an int32 with the zero point and the clamp of a node.

    form  of the arithmetic, and type of the factor: see `intarsia_backends.lowering.requantize`
    """
    zero = int(attribute(node, "output_zero_point", 0))
    low, high = int(attribute(node, "clamp_min", -128)), int(attribute(node, "clamp_max", 127))
    return requantize.requantized(total, factor, form, zero, low, high, centred=False)


def channel_factors(node: Node, machine: Machine, weights: Array) -> tuple[Array, str]:
    """multiplier / 2**shift of each output channel of a qconv or qmatmul, and the form of `requantized` that is exact.

    weights  [outputs, ...]
    """
    bias, multiplier, shift = (elements(node.input(index)) for index in (2, 3, 4))
    factors = requantize.factors_of(multiplier, shift).reshape(-1)
    totals = requantize.largest_total(weights, bias.reshape(-1))
    form = requantize.requantize_form(machine, totals, factors, int(attribute(node, "output_zero_point", 0)))
    return factors.astype(form), form


def _lower_qconv(builder: Builder, node: Node) -> None:
    data = elements(node.input(1))
    window = window_of(node, data.shape)
    shape = (window.groups, window.outputs)
    weights = data.reshape(*shape, *data.shape[1:])
    bias = elements(node.input(2)).reshape(shape)
    factors, form = channel_factors(node, builder.machine, data)
    factors = factors.reshape(shape)
    zero = int(attribute(node, "input_zero_point", 0))
    if takes_images(window):
        finish = requantized(("acc",), ("in", 0), node, form)
        convolve_images(builder, node, window, weights, bias, finish, factors, zero)
        return
    source, y = builder.read(node.input(0)), builder.result(node.output)
    if window.is_spatial:
        x = padded_input(builder, source, window, "int8", 0, ("cast", "int16", centred(zero)), "int16")
        finish = requantized(("acc",), ("in", 3), node, form)
        slide(builder, window, x, "int16", weights, bias, factors, y, "int8", finish)
        return
    products = products_for(builder.machine)
    if products == "pairs":
        x = paired_input(builder, source, window, zero)
    else:
        x = padded_input(builder, source, window, "int8", 0, ("cast", "int16", centred(zero)), "int16")
    finish = requantized(("acc",), ("in", 0), node, form)
    contract(builder, window, products, x, window.padded, weights, bias, factors, y, "int8", finish)


def paired_input(builder: Builder, source: Buffer, window: Window, zero: int) -> Buffer:
    """[batch * groups, pairs, *padded] of int32: an even channel in the lower half, the odd one above it."""
    images, pairs = window.batch * window.groups, -(-window.channels // 2)
    shape = (images, pairs, *window.padded)
    result = builder.scratch(math.prod(shape), "int32")
    border(builder, result, shape, window.before, window.after, "int32", 0)
    area, steps = math.prod(window.size), row_major(shape)
    inner = sum(low * step for low, step in zip(window.before, steps[2:]))
    low: Expression = ("bit_and", centred(zero), ("const", "int32", 0xFFFF))
    odd: Expression = ("sub", ("cast", "int32", ("in", 1)), ("const", "int32", zero))
    both: Expression = ("bit_or", low, ("shift_left", odd, ("const", "int32", 16)))
    reads = (window.channels * area, 2 * area, *row_major(window.size))
    if window.channels >= 2:
        extents = (images, window.channels // 2, *window.size)
        accesses = [Access("int8", reads), Access("int8", reads, area)]
        builder.call(nest(extents, accesses, Access("int32", steps, inner), both), [source, source], result)
    if window.channels % 2:
        extents = (images, 1, *window.size)
        access = Access("int8", reads, (window.channels - 1) * area)
        target = Access("int32", steps, inner + (pairs - 1) * steps[1])
        builder.call(nest(extents, [access], target, low), [source], result)
    return result


LOWERINGS = {
    "Conv": Lowering(_lower_conv, constants=(1, 2), check=check_window),
    "ConvTranspose": Lowering(_lower_conv_transpose, constants=(1, 2), check=_check_transpose),
    "qconv": Lowering(_lower_qconv, dtypes=("int8",), constants=(1, 2, 3, 4), check=check_window),
}
