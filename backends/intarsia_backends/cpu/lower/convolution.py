"""Convolutions with output channels in vectors: float32 Conv and ConvTranspose, and the integer `qconv`.

Images go to `images.py`; what has fewer or more than two spatial axes is summed here, in C order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

from intarsia.dtypes import Array
from intarsia.ir.graph import Node
from intarsia_backends.cpu.kernels import WEIGHTS, Contraction
from intarsia_backends.cpu.lower.builder import CpuBuilder
from intarsia_backends.cpu.lower.images import BYTE_IMAGES, IMAGES, convolve_images, takes_images
from intarsia_backends.cpu.lower.packing import arrange, pad_outputs
from intarsia_backends.cpu.lower.tiles import choose_tile, products_for, split_row
from intarsia_backends.lowering.access import Access, row_major
from intarsia_backends.lowering.expressions import Accumulator, Cast, Constant, Expression, Input
from intarsia_backends.lowering.kernels import nest
from intarsia_backends.lowering.layouts import channel_weight
from intarsia_backends.lowering.ops import convolution
from intarsia_backends.lowering.ops.activations import activated
from intarsia_backends.lowering.ops.convolution import bias_of, centred_input, padded_float, spread_input
from intarsia_backends.lowering.ops.geometry import Window, window_of
from intarsia_backends.lowering.ops.padding import border
from intarsia_backends.lowering.ops.scaling import centred, channel_factors, requantized
from intarsia_backends.lowering.ops.table import attribute, elements
from intarsia_backends.lowering.program import Buffer


def contract(
    builder: CpuBuilder,
    window: Window,
    products: str,
    x: Buffer,
    x_size: Sequence[int],
    weights: Array,
    bias: Array,
    factors: Array | None,
    y: Buffer,
    y_dtype: str,
    epilogue: Expression,
) -> None:
    """Sums of products with output channels in vectors.

    x        [batch, groups, channels (or pairs), *x_size]
    weights  [groups, outputs, channels, *kernel]; bias and factors [groups, outputs]
    """
    channels = -(-window.channels // 2) if products == "dot2" else window.channels
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
    packing = partial(arrange, vectors=vectors, lanes=lanes, products=products)
    packed = builder.arranged(weights, packing, WEIGHTS[products])
    operands = [x, packed, builder.weight(pad_outputs(bias, lanes))]
    accesses = []
    if factors is not None:
        accesses.append(Access(str(factors.dtype), (0, 1, *(0 for _ in positions))))
        operands.append(channel_weight(builder, factors.reshape(-1)))
    kernel_spec = Contraction(
        products=products,
        batch=window.batch,
        groups=window.groups,
        outputs=window.outputs,
        positions=positions,
        reduction=reduction,
        x_batch=window.groups * channels * area,
        x_group=channels * area,
        x_positions=x_positions,
        x_reduction=x_reduction,
        y_dtype=y_dtype,
        y_batch=window.groups * window.outputs * out_area,
        y_group=window.outputs * out_area,
        y_channel=out_area,
        y_positions=row_major(positions),
        tile=tile,
        flat=False,
        vectors=vectors,
        lanes=lanes,
        operands=tuple(accesses),
        padded=False,
        chunked=False,
        rows_first=False,
        epilogue=epilogue,
    )
    builder.call(kernel_spec, operands, y)


# ---- float32


def _lower_conv(builder: CpuBuilder, node: Node) -> None:
    data = elements(node.input(1))
    window = window_of(node, data.shape)
    weights = data.reshape(window.groups, window.outputs, *data.shape[1:])
    if takes_images(window):
        epilogue = activated(node, Accumulator())
        convolve_images(
            builder,
            node,
            window,
            weights=weights,
            bias=bias_of(node, window),
            epilogue=epilogue,
            factors=None,
            zero=None,
        )
    else:
        _convolve(builder, node, window, builder.read(node.input(0)), weights)


def _lower_transposed(builder: CpuBuilder, node: Node) -> None:
    _convolve(builder, node, *spread_input(builder, node))


def _convolve(builder: CpuBuilder, node: Node, window: Window, source: Buffer, weights: Array) -> None:
    """As `convolution.convolve`."""
    if window.is_spatial:
        convolution.convolve(builder, node, window, source, weights)
        return
    y, epilogue = builder.result(node.output), activated(node, Accumulator())
    source, bias = padded_float(builder, window, source), bias_of(node, window)
    contract(
        builder,
        window,
        products="float32",
        x=source,
        x_size=window.padded,
        weights=weights,
        bias=bias,
        factors=None,
        y=y,
        y_dtype="float32",
        epilogue=epilogue,
    )


# ---- int8


def _lower_qconv(builder: CpuBuilder, node: Node) -> None:
    data = elements(node.input(1))
    window = window_of(node, data.shape)
    if window.is_spatial and not takes_images(window):
        convolution.lower_qconv(builder, node)
        return
    shape = (window.groups, window.outputs)
    weights, bias = data.reshape(*shape, *data.shape[1:]), elements(node.input(2)).reshape(shape)
    factors, form = channel_factors(node, builder.machine, data)
    factors = factors.reshape(shape)
    zero = int(attribute(node, "input_zero_point", 0))
    epilogue = requantized(Accumulator(), Input(0), node, form)
    if takes_images(window):
        convolve_images(
            builder, node, window, weights=weights, bias=bias, epilogue=epilogue, factors=factors, zero=zero
        )
        return
    products = products_for(builder.machine)
    if products == "dot2":
        x = paired_input(builder, builder.read(node.input(0)), window, zero)
    else:
        x = centred_input(builder, node, window)
    y = builder.result(node.output)
    contract(
        builder,
        window,
        products=products,
        x=x,
        x_size=window.padded,
        weights=weights,
        bias=bias,
        factors=factors,
        y=y,
        y_dtype="int8",
        epilogue=epilogue,
    )


def paired_input(builder: CpuBuilder, source: Buffer, window: Window, zero: int) -> Buffer:
    """[batch * groups, pairs, *padded] of int32: an even channel in the lower half, the odd one above it."""
    images, pairs = window.batch * window.groups, -(-window.channels // 2)
    shape = (images, pairs, *window.padded)
    result = builder.scratch(math.prod(shape), "int32")
    border(builder, result, shape=shape, before=window.before, after=window.after, dtype="int32", fill=0)
    area, steps = math.prod(window.size), row_major(shape)
    inner = sum(low * step for low, step in zip(window.before, steps[2:]))
    low = centred(zero) & Constant("int32", 0xFFFF)
    odd = Cast("int32", Input(1)) - Constant("int32", zero)
    both = low | odd << Constant("int32", 16)
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
    "Conv": convolution.LOWERINGS["Conv"].made_by(_lower_conv, IMAGES),
    "ConvTranspose": convolution.LOWERINGS["ConvTranspose"].made_by(_lower_transposed),
    "qconv": convolution.LOWERINGS["qconv"].made_by(_lower_qconv, BYTE_IMAGES),
}
