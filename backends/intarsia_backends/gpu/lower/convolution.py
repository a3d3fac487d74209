"""Convolution of images whose channels lie last, as nests of loops: float32 Conv and the integer `qconv`.

int8 is multiplied as it lies: sum((x - zero) * w) = sum(x * w) - zero * sum(w), and the second term, which is known at
compile time, goes into the bias. The halo holds the zero point, so that this holds at the edges as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from intarsia.dtypes import Array
from intarsia.ir.graph import Node, Value
from intarsia_backends.gpu.lower.builder import FEW, GpuBuilder
from intarsia_backends.lowering.access import Access
from intarsia_backends.lowering.builder import ImageReader, Pending
from intarsia_backends.lowering.expressions import Accumulator, Cast, Constant, Expression, Input
from intarsia_backends.lowering.fusion import anything
from intarsia_backends.lowering.kernels import nest
from intarsia_backends.lowering.layouts import channels_last
from intarsia_backends.lowering.ops import convolution
from intarsia_backends.lowering.ops.activations import activated
from intarsia_backends.lowering.ops.convolution import bias_of
from intarsia_backends.lowering.ops.geometry import Window, first_tap, window_halo, window_of
from intarsia_backends.lowering.ops.scaling import channel_factors, requantized
from intarsia_backends.lowering.ops.table import attribute, elements, known
from intarsia_backends.lowering.views import Halo, Images, View

_OPERANDS = 3
"""x, weights and bias: those of the end follow."""


def _takes_images(window: Window) -> bool:
    return len(window.kernel) == 2


def _is_depthwise(window: Window) -> bool:
    return window.channels == 1 and window.groups > 1


def convolve_images(
    builder: GpuBuilder,
    node: Node,
    window: Window,
    weights: Array,
    bias: Array,
    epilogue: Expression,
    factors: View | None = None,
    zero: int | None = None,
) -> None:
    """Sums of products; elementwise ops after them become their end.

    weights  [groups, outputs, channels, height, width] of float32 or int8
    bias     [groups, outputs] of float32 or int32
    factors  a walk over [batch, channels, height, width]; `Input(0)` of `epilogue`
    zero     zero point of the input; None for float32
    """

    def emit(value: Value, expression: Expression, views: Sequence[View]) -> None:
        x, images = placed(builder, node.input(0), window_halo(window), zero)
        sum_windows(builder, x, images, window, weights, bias, zero, builder.made(value), expression, views)

    operands = () if factors is None else (factors,)
    builder.defer(
        node.output,
        Pending(shape=node.output.shape, expression=epilogue, operands=operands, takes=anything, emit=emit),
    )


def sum_windows(
    builder: GpuBuilder,
    x: View,
    images: Images,
    window: Window,
    weights: Array,
    bias: Array,
    zero: int | None,
    target: View,
    expression: Expression,
    views: Sequence[View],
) -> None:
    """Call the kernel of a convolution.

    x, images   where the input lies, and how
    expression  the element, over `Accumulator()` and `Input(k)` for the views
    """
    pitch, channels = window.channels, window.channels
    if window.groups == 1:
        pitch = builder.whole_channels(channels, x.dtype)
        # What fills up the channels meets weights of zero. It is not read where it might be no number, or of the next
        # pixel.
        numbers = zero is not None or builder.filled.get(x.buffer) == channels
        if numbers and x.offset % images.pitch + pitch <= images.pitch:
            channels = pitch
    height, width = window.kernel
    if _is_depthwise(window):
        pitch = builder.whole_vectors(window.groups * window.outputs, x.dtype)
        order, w_steps = partial(_channels_outside, pitch=pitch), (window.outputs, 1, width * pitch, pitch, 1)
    else:
        taps = height * width * pitch
        order, w_steps = partial(_channels_inside, pitch=pitch), (window.outputs * taps, taps, width * pitch, pitch, 1)
    group, output, *tap_steps = w_steps
    down, across = window.strides
    far_down, far_across = window.dilations
    x_steps = (images.image, window.channels, 0, images.row * down, images.pitch * across)
    x_taps = (images.row * far_down, images.pitch * far_across, 1)
    still = (0, 0, 0)
    accumulator = "float32" if zero is None else "int32"

    def spread(strides: Sequence[int]) -> tuple[int, ...]:
        """A walk over [batch, channels, height, width] as one over the kept loops."""
        image, channel, row, position = strides
        return image, channel * window.outputs, channel, row, position

    accesses = [
        Access(x.dtype, (*x_steps, *x_taps), x.offset + first_tap(images, window)),
        Access(x.dtype, (0, group, output, 0, 0, *tap_steps)),
        Access(accumulator, (0, window.outputs, 1, 0, 0, *still)),
        *(Access(view.dtype, (*spread(view.strides), *still), view.offset) for view in views),
    ]
    factors: Sequence[Expression] = (Input(0), Input(1))
    if zero is not None:
        bias = without_zero(bias, weights.reshape(*bias.shape, -1), zero)
        factors = [Cast("int32", factor) for factor in factors]
    kernel = nest(
        (window.batch, window.groups, window.outputs, *window.positions),
        accesses,
        Access(target.dtype, spread(target.strides), target.offset),
        factors[0] * factors[1],
        reduced=(height, width, channels),
        combine="add",
        initial=Input(2),
        epilogue=expression.shifted(_OPERANDS),
    )
    constants = builder.arranged(weights, order, x.dtype), builder.weight(bias)
    builder.call(kernel, [x.buffer, *constants, *(view.buffer for view in views)], target.buffer)


def placed(builder: GpuBuilder, source: Value, halo: Halo, zero: int | None) -> tuple[View, Images]:
    """Where an input lies. A copy of few floats, such as an image's colours, is filled up with zeros, so that a row
    of the kernel is read in one go."""
    places = len(builder.images(source))
    x, images = channels_last(builder, source, halo, builder.image_step(source), zero)
    missing = images.pitch - images.channels
    if len(builder.images(source)) > places and zero is None and images.pitch <= FEW and missing:
        shape = (images.batch, missing, images.height, images.width)
        target = Access(x.dtype, x.strides, x.offset + images.channels)
        builder.call(nest(shape, [], target, Constant(x.dtype, 0.0)), [], x.buffer)
        builder.filled[x.buffer] = images.channels
    return x, images


def without_zero(bias: Array, weights: Array, zero: int) -> Array:
    """The int32 bias with which sums of x * w are those of (x - zero) * w; sums wrap, and so does it.

    weights  the shape of the bias, then what is summed
    """
    whole = bias.astype(np.int64) - zero * weights.astype(np.int64).sum(-1)
    return np.asarray(whole.astype(np.int32))


def _channels_inside(weights: Array, pitch: int) -> Array:
    """[groups, outputs, height, width, pitch], with zeros behind the channels."""
    room = pitch - weights.shape[2]
    return np.pad(weights.transpose(0, 1, 3, 4, 2), ((0, 0), (0, 0), (0, 0), (0, 0), (0, room)))


def _channels_outside(weights: Array, pitch: int) -> Array:
    """[height, width, pitch] of depthwise weights: those of neighbouring channels side by side, zeros behind them."""
    groups, outputs, _, height, width = weights.shape
    flat = weights.reshape(groups * outputs, height, width).transpose(1, 2, 0)
    return np.pad(flat, ((0, 0), (0, 0), (0, pitch - groups * outputs)))


def _lower_conv(builder: GpuBuilder, node: Node) -> None:
    data = elements(node.input(1))
    window = window_of(node, data.shape)
    if not _takes_images(window):
        convolution.lower_conv(builder, node)
        return
    weights = data.reshape(window.groups, window.outputs, *data.shape[1:])
    convolve_images(builder, node, window, weights, bias_of(node, window), activated(node, Accumulator()))


def _lower_qconv(builder: GpuBuilder, node: Node) -> None:
    data = elements(node.input(1))
    window = window_of(node, data.shape)
    if not _takes_images(window):
        convolution.lower_qconv(builder, node)
        return
    shape = (window.groups, window.outputs)
    weights, bias = data.reshape(*shape, *data.shape[1:]), elements(node.input(2)).reshape(shape)
    numbers, form = channel_factors(node, builder.machine, data)
    factors = View(builder.weight(numbers), form, (0, 1, 0, 0))
    zero = int(attribute(node, "input_zero_point", 0))
    convolve_images(
        builder, node, window, weights, bias, requantized(Accumulator(), Input(0), node, form), factors, zero
    )


def _halo(builder: GpuBuilder, node: Node) -> Halo:
    if not known(node.input(1)):
        return Halo()  # weights made at run time are not for these nests
    window = window_of(node, node.input(1).shape)
    return window_halo(window) if _takes_images(window) else Halo()


_IMAGES = ImageReader(_halo, aligned=True)

LOWERINGS = {
    "Conv": convolution.LOWERINGS["Conv"].made_by(_lower_conv, _IMAGES),
    "qconv": convolution.LOWERINGS["qconv"].made_by(_lower_qconv, _IMAGES),
}
