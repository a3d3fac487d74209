"""Convolution of images whose channels lie last: float32 Conv and the integer `qconv`."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from intarsia.dtypes import Array
from intarsia.ir.graph import Node, Value
from intarsia_backends.cpu.builder import Builder, Pending
from intarsia_backends.cpu.depthwise import pack_bias, pack_weights, tile
from intarsia_backends.cpu.image_kernels import Depthwise
from intarsia_backends.cpu.kernels import SHARES, STORED, WEIGHTS, Contraction, nest
from intarsia_backends.cpu.layouts import BYTES, HALOS
from intarsia_backends.cpu.lower.geometry import Window, window_halo, window_of
from intarsia_backends.cpu.lower.image_convolution import Convolution
from intarsia_backends.cpu.lower.packing import channel_weight, interleaved_outputs, pack, pad_outputs
from intarsia_backends.cpu.lower.quads import quads_bias, takes_quads
from intarsia_backends.cpu.lower.table import elements
from intarsia_backends.cpu.lower.tiles import choose_tile, split_row
from intarsia_backends.cpu.lower.winograd import convolve_by_winograd, winograd_halo, winograd_size
from intarsia_backends.cpu.machine import Machine
from intarsia_backends.cpu.program import Operand
from intarsia_backends.cpu.views import Halo, Images, View
from intarsia_backends.cpu.walks import Access, Expression

_CACHED_BYTES = 192 << 10
"""Weights that stay in the second-level cache beside the rest: where all do, rows come first; where those of a block of
channels do not, the sum is cut."""

_PICKED_OUTPUTS = 64
"""Outputs from on which a 1x1 convolution with strides is worth a copy of what it reads."""

_FLAT_POSITIONS = 64
"""Positions of an image up to which tiles go over the ends of rows: their code is written tile by tile."""


def takes_images(window: Window) -> bool:
    """Whether a convolution is made here: one of two spatial axes with channels enough for vectors."""
    return len(window.kernel) == 2 and (_is_depthwise(window) or not window.is_spatial)


def _is_depthwise(window: Window) -> bool:
    return window.channels == 1 and window.outputs == 1 and window.groups > 1


def convolve_images(
    builder: Builder,
    node: Node,
    window: Window,
    weights: Array,
    bias: Array,
    finish: Expression,
    factors: Array | None,
    zero: int | None,
) -> None:
    """Sums of products with channels in vectors; elementwise ops after it become its end.

    weights  [groups, outputs, channels, height, width] of float32 or int8
    bias     [groups, outputs]
    factors  float64 of each output channel; ("in", 0) of `finish`
    zero     what the input is stored without; None for float32
    """
    operands: list[View] = []
    if factors is not None:
        operands.append(View(channel_weight(builder, factors.reshape(-1)), str(factors.dtype), (0, 1, 0, 0)))
    lanes = builder.machine.lanes

    def takes(view: View) -> bool:
        _, channel, row, position = view.strides
        if view.strides == (0, 0, 0, 0):
            return True
        room = position % lanes == 0 if position or row else view.buffer.kind == "weight"
        return channel == 1 and room

    def emit(value: Value, expression: Expression, views: Sequence[View]) -> None:
        convolution = Convolution(node.input(0), window, weights, bias, zero, value, expression, views)
        size = winograd_size(builder.machine, window, weights[0])
        if size:
            convolve_by_winograd(builder, convolution, size)
        elif _is_depthwise(window):
            _depthwise(builder, convolution)
        else:
            _dense(builder, convolution)

    builder.defer(node.output, Pending(node.output.shape, finish, tuple(operands), takes, emit))


def _dense(builder: Builder, convolution: Convolution) -> None:
    machine, window = builder.machine, convolution.window
    products = convolution.products(machine)
    weights, bias = convolution.weights, convolution.bias
    if convolution.zero is not None and _sums_quads(machine, window, weights, bias):
        products = "quads"
        bias = quads_bias(weights.reshape(-1, *weights.shape[2:]), bias, convolution.zero).reshape(bias.shape)
    pairs = SHARES[products]
    if window.groups > 1 and window.channels % pairs:
        products, pairs = "int16", 1  # a pair would reach into the next group
    channels = -(-window.channels // pairs)
    x, images, target, finish = convolution.placed(builder, window_halo(window), pairs, as_bytes=products == "quads")
    strides = window.strides
    if window.kernel == (1, 1) and strides != (1, 1) and window.outputs >= _PICKED_OUTPUTS:
        x, images = _picked(builder, x, images, window, STORED[products])
        strides = (1, 1)
    y_image, _, y_row, y_position = target.strides
    lanes = machine.lanes
    pitch, row = images.pitch // pairs, images.row // pairs
    positions = window.positions
    x_positions = (row * strides[0], pitch * strides[1])
    walks = [view.strides for view in convolution.views]
    y_positions = (y_row, y_position)
    if _is_one_row(positions, [x_positions, y_positions, *(walk[2:] for walk in walks)]):
        count = math.prod(positions)
        rows, columns = split_row(machine, window.outputs, count, products)
        positions = (rows, columns)
        x_positions = (x_positions[1] * columns, x_positions[1])
        y_positions = (y_position * columns, y_position)
        walks = [(*walk[:2], walk[3] * columns, walk[3]) for walk in walks]
    tile, vectors, _ = choose_tile(machine, window.outputs, positions[-1], products)
    weight_bytes = np.dtype(WEIGHTS[products]).itemsize
    vector_bytes = channels * pairs * math.prod(window.kernel) * lanes * weight_bytes
    rows_first = vector_bytes * -(-window.outputs // lanes) <= _CACHED_BYTES
    chunked = not rows_first and vector_bytes * vectors > _CACHED_BYTES and window.kernel[0] > 1
    flat = math.prod(positions) <= _FLAT_POSITIONS and not chunked
    if flat:
        tile, vectors, _ = choose_tile(machine, window.outputs, math.prod(positions), products)
    reduction = (*window.kernel, channels)
    x_reduction = (row * window.dilations[0], pitch * window.dilations[1], 1)
    kernel = Contraction(
        products,
        window.batch,
        window.groups,
        window.outputs,
        positions,
        reduction,
        images.image // pairs,
        channels,
        x_positions,
        x_reduction,
        target.dtype,
        y_image,
        window.outputs,
        1,
        y_positions,
        tile,
        flat,
        vectors,
        lanes,
        tuple(Access(view.dtype, walk) for view, walk in zip(convolution.views, walks)),
        window.groups == 1,
        chunked,
        rows_first,
        finish,
    )
    order = interleaved_outputs(window.outputs, vectors, lanes) if kernel.interleaved else None
    bias = pad_outputs(bias, lanes)
    operands: list[Operand] = [
        x,
        builder.weight(pack(weights, vectors, lanes, products, window_first=True, order=order)),
        builder.weight(bias if order is None else bias[:, order]),
        *(view.start for view in convolution.views),
    ]
    builder.call(kernel, operands, target.start)


def _sums_quads(machine: Machine, window: Window, weights: Array, bias: Array) -> bool:
    """Whether a convolution of int8 that is summed directly reads bytes, four channels at a time.

    weights  [groups, outputs, channels, height, width]; bias [groups, outputs]
    """
    alone = window.groups == 1 or window.channels % SHARES["quads"] == 0  # else some would reach into the next group
    return alone and takes_quads(machine, weights.reshape(-1, *weights.shape[2:]), bias)


def _picked(builder: Builder, x: Operand, images: Images, window: Window, dtype: str) -> tuple[Operand, Images]:
    """A copy of the positions that a 1x1 window with strides meets, side by side.

    Those between them would take room in the caches, and steps of some powers of two use few sets of these.
    """
    rows, columns = window.positions
    picked = Images(images.batch, images.channels, rows, columns, images.pitch, Halo())
    buffer = builder.scratch(picked.elements, dtype)
    steps = (images.image, images.row * window.strides[0], images.pitch * window.strides[1], 1)
    target = Access(dtype, (picked.image, picked.row, picked.pitch, 1))
    extents = (images.batch, rows, columns, images.pitch)
    builder.call(nest(extents, [Access(dtype, steps)], target, ("in", 0)), [x], buffer)
    return buffer, picked


def _is_one_row(positions: Sequence[int], walks: Sequence[Sequence[int]]) -> bool:
    """Whether all walks step from row to row as from position to position, so that an image is one row."""
    return all(row == position * positions[1] for row, position in walks)


def _depthwise(builder: Builder, convolution: Convolution) -> None:
    """Every channel by itself."""
    window, lanes = convolution.window, builder.machine.lanes
    x, images, target, finish = convolution.placed(builder, window_halo(window), lanes)
    products = convolution.products(builder.machine)
    height, width = window.kernel
    positions = (window.positions[0], window.positions[1])
    strides, dilations = (window.strides[0], window.strides[1]), (window.dilations[0], window.dilations[1])
    rows, columns = tile(products, (height, width), strides[1], dilations[1], positions)
    channels = -(-window.groups // lanes) * lanes
    kernel = Depthwise(
        products,
        window.batch,
        channels,
        (height, width),
        strides,
        dilations,
        positions,
        (images.image, images.row, images.pitch),
        target.dtype,
        (target.strides[0], target.strides[2], target.strides[3]),
        convolution.accesses,
        finish,
        rows,
        columns,
        lanes,
    )
    operands: list[Operand] = [
        x,
        builder.weight(pack_weights(kernel, convolution.weights.reshape(window.groups, height, width))),
        builder.weight(pack_bias(kernel, convolution.bias.reshape(-1))),
        *(view.start for view in convolution.views),
    ]
    builder.call(kernel, operands, target.start)


def _convolution_halo(node: Node, machine: Machine) -> Halo:
    weights = elements(node.input(1))
    window = window_of(node, weights.shape)
    if not takes_images(window):
        return Halo()
    size = winograd_size(machine, window, weights)
    return winograd_halo(window, size) if size else window_halo(window)


def _wants_bytes(node: Node, machine: Machine) -> bool:
    data = elements(node.input(1))
    window = window_of(node, data.shape)
    if not machine.adds_products or not takes_images(window) or _is_depthwise(window):
        return False
    if winograd_size(machine, window, data):
        return False
    shape = (window.groups, window.outputs)
    bias = elements(node.input(2)).reshape(shape)
    return _sums_quads(machine, window, data.reshape(*shape, *data.shape[1:]), bias)


HALOS["Conv"] = HALOS["qconv"] = _convolution_halo
BYTES["qconv"] = _wants_bytes
