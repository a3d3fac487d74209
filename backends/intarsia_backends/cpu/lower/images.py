"""Convolution of images whose channels lie last: float32 Conv and the integer `qconv`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from intarsia.dtypes import Array
from intarsia.ir.graph import Node, Value
from intarsia_backends.cpu.depthwise import DepthwiseTask, DepthwiseTiling, pack_bias, pack_weights
from intarsia_backends.cpu.image_kernels import Depthwise
from intarsia_backends.cpu.kernels import SHARES, STORED, WEIGHTS, Contraction
from intarsia_backends.cpu.lower.builder import CpuBuilder
from intarsia_backends.cpu.lower.convolution_tiling import DirectTiling
from intarsia_backends.cpu.lower.dot4 import dot4_bias, takes_dot4
from intarsia_backends.cpu.lower.image_convolution import Convolution, Placed
from intarsia_backends.cpu.lower.packing import arrange, interleaved_outputs, pad_outputs
from intarsia_backends.cpu.lower.tiles import products_for
from intarsia_backends.cpu.lower.winograd import (
    convolution_task,
    convolved_by_winograd,
    winograd_room,
    winograd_sizes_of,
)
from intarsia_backends.cpu.machine import Machine
from intarsia_backends.cpu.winograd import WinogradTiling
from intarsia_backends.lowering.access import Access
from intarsia_backends.lowering.builder import ImageReader, Pending
from intarsia_backends.lowering.expressions import Expression, Input
from intarsia_backends.lowering.kernel import Kernel
from intarsia_backends.lowering.kernels import nest
from intarsia_backends.lowering.layouts import channel_weight, wanted_halo
from intarsia_backends.lowering.ops.geometry import Window, window_halo, window_of
from intarsia_backends.lowering.ops.table import elements, known
from intarsia_backends.lowering.program import Operand
from intarsia_backends.lowering.views import Halo, Images, View

_GATHERED_OUTPUTS = 64
"""Outputs from on which a 1x1 convolution with strides is worth a copy of what it reads."""


def takes_images(window: Window) -> bool:
    """Whether a convolution is made here: one of two spatial axes with channels enough for vectors."""
    return len(window.kernel) == 2 and (_is_depthwise(window) or not window.is_spatial)


def _is_depthwise(window: Window) -> bool:
    return window.channels == 1 and window.outputs == 1 and window.groups > 1


def convolve_images(
    builder: CpuBuilder,
    node: Node,
    window: Window,
    weights: Array,
    bias: Array,
    epilogue: Expression,
    factors: Array | None,
    zero: int | None,
) -> None:
    """Sums of products with channels in vectors; elementwise ops after it become its end.

    weights  [groups, outputs, channels, height, width] of float32 or int8
    bias     [groups, outputs]
    factors  float64 of each output channel; `Input(0)` of `epilogue`
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
        convolution = Convolution(
            source=node.input(0),
            window=window,
            weights=weights,
            bias=bias,
            zero=zero,
            value=value,
            expression=expression,
            views=views,
        )
        if _is_depthwise(window):
            _depthwise(builder, convolution)
        else:
            _dense(builder, node, convolution)

    builder.defer(
        node.output,
        Pending(shape=node.output.shape, expression=epilogue, operands=tuple(operands), takes=takes, emit=emit),
    )


def _dense(builder: CpuBuilder, node: Node, convolution: Convolution) -> None:
    machine, window = builder.machine, convolution.window
    products = convolution.products(machine)
    weights, bias = convolution.weights, convolution.bias
    sizes = winograd_sizes_of(builder, node, window, weights[0])
    if convolution.zero is not None and not sizes and _sums_dot4(machine, window, weights, bias):
        products = "dot4"
        bias = dot4_bias(weights.reshape(-1, *weights.shape[2:]), bias, convolution.zero).reshape(bias.shape)
        convolution = replace(convolution, bias=bias)
    if window.groups > 1 and window.channels % SHARES[products]:
        products = "int16"  # a pair would reach into the next group
    task = convolution_task(machine, window, products, sizes)
    halo, step = winograd_room(builder, task, window)
    if not sizes and _joins_taps(window, products) and _keeps_pairs(builder, convolution.source, window):
        placed = convolution.placed(builder, _room_below(halo), 1)
        convolution = _with_joined_taps(convolution)
        window = convolution.window
        task = convolution_task(machine, window, products, ())
    else:
        placed = convolution.placed(builder, halo, step, as_bytes=products == "dot4")
    if window.kernel == (1, 1) and window.strides != (1, 1) and window.outputs >= _GATHERED_OUTPUTS:
        x, images, target, epilogue = placed
        x, images = _gathered(builder, x, images, window, STORED[products])
        window = replace(window, strides=(1, 1))
        placed, convolution = (x, images, target, epilogue), replace(convolution, window=window)
        task = replace(task, strides=window.strides)
    _, images, target, _ = placed
    if not sizes:
        x_positions = (images.row * window.strides[0], images.pitch * window.strides[1])
        walks = [target.strides[2:], *(view.strides[2:] for view in convolution.views)]
        task = replace(task, one_row=_is_one_row(window.positions, [x_positions, *walks]))

    def make(maker: CpuBuilder, config: DirectTiling | WinogradTiling) -> tuple[Kernel, Sequence[Operand]]:
        if isinstance(config, WinogradTiling):
            return convolved_by_winograd(maker, convolution, placed, config)
        return _convolved_directly(maker, convolution, placed, products, config)

    builder.call_tuned(task, make, target.start)


def _convolved_directly(
    builder: CpuBuilder, convolution: Convolution, placed: Placed, products: str, config: DirectTiling
) -> tuple[Kernel, Sequence[Operand]]:
    """The sum as it is written: the kernel, and its operands without the output."""
    window, lanes = convolution.window, builder.machine.lanes
    share = SHARES[products]
    channels = -(-window.channels // share)
    x, images, target, epilogue = placed
    y_image, _, y_row, y_position = target.strides
    row = images.row // share
    positions = window.positions
    x_positions = (row * window.strides[0], images.pitch * window.strides[1] // share)
    walks = [view.strides for view in convolution.views]
    y_positions = (y_row, y_position)
    if config.columns:
        columns = config.columns
        positions = (math.prod(positions) // columns, columns)
        x_positions = (x_positions[1] * columns, x_positions[1])
        y_positions = (y_position * columns, y_position)
        walks = [(*walk[:2], walk[3] * columns, walk[3]) for walk in walks]
    kernel = Contraction(
        products=products,
        batch=window.batch,
        groups=window.groups,
        outputs=window.outputs,
        positions=positions,
        reduction=(*window.kernel, channels),
        x_batch=images.image // share,
        x_group=channels,
        x_positions=x_positions,
        x_reduction=(row * window.dilations[0], images.pitch * window.dilations[1] // share, 1),
        y_dtype=target.dtype,
        y_batch=y_image,
        y_group=window.outputs,
        y_channel=1,
        y_positions=y_positions,
        tile=config.tile,
        flat=config.flat,
        vectors=config.vectors,
        lanes=lanes,
        operands=tuple(Access(view.dtype, walk) for view, walk in zip(convolution.views, walks)),
        padded=window.groups == 1,
        chunked=config.chunked,
        rows_first=config.rows_first,
        epilogue=epilogue,
    )
    order = interleaved_outputs(window.outputs, config.vectors, lanes) if kernel.interleaved else None
    packing = partial(arrange, vectors=config.vectors, lanes=lanes, products=products, window_first=True, order=order)
    bias = pad_outputs(convolution.bias, lanes)
    return kernel, [
        x,
        builder.arranged(convolution.weights, packing, WEIGHTS[products]),
        builder.weight(bias if order is None else bias[:, order]),
        *(view.start for view in convolution.views),
    ]


def _joins_taps(window: Window, products: str) -> bool:
    """Whether the taps of a kernel's row are summed as if they were channels: an odd number of channels then fills its
    pairs, all but the last one of a row."""
    odd = window.channels % 2 == 1 and window.kernel[1] > 1
    plain = window.groups == 1 and window.dilations[1] == 1
    return products == "dot2" and odd and plain and window.strides[1] % 2 == 0


def _keeps_pairs(builder: CpuBuilder, source: Value, window: Window) -> bool:
    """Whether pairs begin at even places in every row of an odd number of channels: no other reader has it lie there
    otherwise, or wants another halo."""
    halo = window_halo(window)
    row = (halo.left + window.size[1] + halo.right) * window.channels
    alone = not builder.images(source) and halo.covers(wanted_halo(source, builder))
    return row % 2 == 0 and alone


def _with_joined_taps(convolution: Convolution) -> Convolution:
    window, weights = convolution.window, convolution.weights
    groups, outputs, channels, height, width = weights.shape
    joined = weights.transpose(0, 1, 4, 2, 3).reshape(groups, outputs, width * channels, height, 1)
    narrow = replace(window, channels=width * channels, kernel=(height, 1))
    return replace(convolution, window=narrow, weights=joined)


def _room_below(halo: Halo) -> Halo:
    """One row more: the last pair of the last window ends in the row below."""
    return replace(halo, bottom=halo.bottom + 1)


def _sums_dot4(machine: Machine, window: Window, weights: Array, bias: Array) -> bool:
    """Whether a convolution of int8 that is summed directly reads bytes, four channels at a time.

    weights  [groups, outputs, channels, height, width]; bias [groups, outputs]
    """
    alone = window.groups == 1 or window.channels % SHARES["dot4"] == 0  # else some would reach into the next group
    return alone and takes_dot4(machine, weights.reshape(-1, *weights.shape[2:]), bias)


def _gathered(builder: CpuBuilder, x: Operand, images: Images, window: Window, dtype: str) -> tuple[Operand, Images]:
    """A copy of the positions that a 1x1 window with strides meets, side by side.

    Those between them would take room in the caches, and steps of some powers of two use few sets of these.
    """
    rows, columns = window.positions
    gathered = Images(
        batch=images.batch, channels=images.channels, height=rows, width=columns, pitch=images.pitch, halo=Halo()
    )
    buffer = builder.scratch(gathered.elements, dtype)
    steps = (images.image, images.row * window.strides[0], images.pitch * window.strides[1], 1)
    target = Access(dtype, (gathered.image, gathered.row, gathered.pitch, 1))
    extents = (images.batch, rows, columns, images.pitch)
    builder.call(nest(extents, [Access(dtype, steps)], target, Input(0)), [x], buffer)
    return buffer, gathered


def _is_one_row(positions: Sequence[int], walks: Sequence[Sequence[int]]) -> bool:
    """Whether all walks step from row to row as from position to position, so that an image is one row."""
    return all(row == position * positions[1] for row, position in walks)


def _depthwise(builder: CpuBuilder, convolution: Convolution) -> None:
    """Every channel by itself."""
    window, lanes = convolution.window, builder.machine.lanes
    x, images, target, epilogue = convolution.placed(builder, window_halo(window), lanes)
    height, width = window.kernel
    task = DepthwiseTask(
        machine=builder.machine,
        products=convolution.products(builder.machine),
        batch=window.batch,
        channels=builder.machine.whole_vectors(window.groups),
        kernel=(height, width),
        strides=(window.strides[0], window.strides[1]),
        dilations=(window.dilations[0], window.dilations[1]),
        positions=(window.positions[0], window.positions[1]),
    )

    def make(maker: CpuBuilder, config: DepthwiseTiling) -> tuple[Kernel, Sequence[Operand]]:
        kernel = Depthwise(
            products=task.products,
            batch=task.batch,
            channels=task.channels,
            kernel=task.kernel,
            strides=task.strides,
            dilations=task.dilations,
            positions=task.positions,
            x_steps=(images.image, images.row, images.pitch),
            y_dtype=target.dtype,
            y_steps=(target.strides[0], target.strides[2], target.strides[3]),
            further=convolution.accesses,
            epilogue=epilogue,
            rows=config.rows,
            columns=config.columns,
            lanes=lanes,
        )
        weights = convolution.weights.reshape(window.groups, height, width)
        return kernel, [
            x,
            maker.weight(pack_weights(kernel, weights)),
            maker.weight(pack_bias(kernel, convolution.bias.reshape(-1))),
            *(view.start for view in convolution.views),
        ]

    builder.call_tuned(task, make, target.start)


def _convolution_halo(builder: CpuBuilder, node: Node) -> Halo:
    if not known(node.input(1)):
        return Halo()  # weights made at run time are not for these kernels
    weights = elements(node.input(1))
    window = window_of(node, weights.shape)
    if not takes_images(window):
        return Halo()
    sizes = winograd_sizes_of(builder, node, window, weights)
    if not sizes:
        return window_halo(window)
    products = "float32" if weights.dtype.kind == "f" else products_for(builder.machine)
    return winograd_room(builder, convolution_task(builder.machine, window, products, sizes), window)[0]


def _wants_bytes(builder: CpuBuilder, node: Node) -> bool:
    data = elements(node.input(1))
    window = window_of(node, data.shape)
    if not builder.machine.adds_products or not takes_images(window) or _is_depthwise(window):
        return False
    if winograd_sizes_of(builder, node, window, data):
        return False
    shape = (window.groups, window.outputs)
    bias = elements(node.input(2)).reshape(shape)
    return _sums_dot4(builder.machine, window, data.reshape(*shape, *data.shape[1:]), bias)


IMAGES = ImageReader(_convolution_halo)
BYTE_IMAGES = ImageReader(_convolution_halo, _wants_bytes)
