"""Pooling, float and integer."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from intarsia.dtypes import Array
from intarsia.ir.graph import Node, Value
from intarsia_backends.lowering.access import Access, row_major
from intarsia_backends.lowering.builder import Builder, ImageReader
from intarsia_backends.lowering.expressions import Accumulator, Cast, Constant, Expression, Input
from intarsia_backends.lowering.fusion import stored_number
from intarsia_backends.lowering.kernels import nest
from intarsia_backends.lowering.layouts import channels_last, images_result, number_images, zero_point
from intarsia_backends.lowering.ops.activations import activated
from intarsia_backends.lowering.ops.geometry import Window, check_window, first_tap, reaching_window, window_halo
from intarsia_backends.lowering.ops.padding import border, padded_input
from intarsia_backends.lowering.ops.scaling import centred, requantized
from intarsia_backends.lowering.ops.table import Lowering, attribute, sequence
from intarsia_backends.lowering.program import Buffer
from intarsia_backends.lowering.requantize import single_factor
from intarsia_backends.lowering.views import Halo, Images, View


def pool_window(node: Node) -> Window:
    """The window of a pool: a group for each channel. That of a global one is the whole image."""
    whole = node.op.startswith("Global")
    kernel = tuple(node.input(0).shape[2:]) if whole else sequence(node, "kernel_shape", ())
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
    epilogue: Expression,
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
        epilogue=epilogue,
    )
    builder.call(kernel, operands, builder.result(node.output))


def pool_images(
    builder: Builder,
    node: Node,
    window: Window,
    source: View,
    combine: str,
    initial: Expression,
    body: Expression,
    epilogue: Expression,
    counts: Array | None = None,
) -> None:
    """The same with channels last; `source` is the walk from the first tap of the first window on."""
    target = images_result(builder, node.output)
    image, channel, row, position = source.strides
    height, width = window.strides
    taps = (row * window.dilations[0], position * window.dilations[1])
    accesses = [Access(source.dtype, (image, channel, row * height, position * width, *taps), source.offset)]
    operands = [source.buffer]
    if counts is not None:
        accesses.append(Access(str(counts.dtype), (0, 0, *row_major(window.positions), 0, 0)))
        operands.append(builder.weight(counts))
    kernel = nest(
        node.output.shape,
        accesses,
        target.access,
        body,
        reduced=window.kernel,
        combine=combine,
        initial=initial,
        epilogue=epilogue,
    )
    builder.call(kernel, operands, target.buffer)


LOWEST = {"float32": -math.inf, "float64": -math.inf, "int8": -128, "uint8": 0, "int16": -32768}


def _padded(builder: Builder, node: Node, window: Window, fill: float) -> Buffer:
    x = node.input(0)
    if not any(window.before) and not any(window.after):
        return builder.read(x)
    return padded_input(builder, builder.read(x), window, dtype=x.dtype, fill=fill, element=Input(0), stored=x.dtype)


def has_images(builder: Builder, node: Node) -> bool:
    """Whether the input lies with its channels last."""
    return bool(number_images(builder, node.input(0)))


def _from_first_tap(view: View, images: Images, window: Window) -> View:
    """The walk over images from the first tap of the first window on."""
    return replace(view, offset=view.offset + first_tap(images, window))


def _zero_halo(builder: Builder, node: Node, window: Window) -> View:
    value = node.input(0)
    view, _ = number_images(builder, value)[0]
    zero = view.zero
    if builder.keeps_int8 and value.dtype == "int8":
        zero = int(attribute(node, "input_zero_point", zero_point(value)))
    return _from_first_tap(*channels_last(builder, value, window_halo(window), 1, zero), window)


def _lowest_halo(builder: Builder, node: Node, window: Window) -> View:
    """The input in a border that never is the largest."""
    if (not any(window.before) and not any(window.after)) or is_positive(node.input(0)):
        return _zero_halo(builder, node, window)
    view, images = number_images(builder, node.input(0))[0]
    around = replace(images, halo=window_halo(window), pitch=images.channels)
    buffer = builder.scratch(around.elements, view.dtype)
    copy = around.view(buffer, view.dtype, view.zero)
    shape = (images.batch, *window.padded, images.channels)
    border(
        builder,
        buffer,
        shape=shape,
        before=(*window.before, 0),
        after=(*window.after, 0),
        dtype=view.dtype,
        fill=LOWEST[view.dtype],
    )
    builder.call(nest(node.input(0).shape, [view.access], copy.access, Input(0)), [view.buffer], buffer)
    return _from_first_tap(copy, around, window)


def is_positive(value: Value) -> bool:
    """Whether all elements are known to be at least the zero of a halo."""
    node = value.producer
    if node is None:
        return False
    if value.dtype == "int8":
        return int(attribute(node, "clamp_min", -128)) >= zero_point(value) or zero_point(value) == -128
    name, arguments = node.attributes.get("activation") or node.op, node.attributes.get("activation_arguments", ())
    if name == "Clip" and "activation" in node.attributes:
        return float(arguments[0]) >= 0
    return name in ("Relu", "Sigmoid")


def lower_max(builder: Builder, node: Node) -> None:
    x = node.input(0)
    window = pool_window(node)
    epilogue = activated(node, Accumulator(), x.dtype) if x.dtype == "float32" else Accumulator()
    if has_images(builder, node):
        source = _lowest_halo(builder, node, window)
        if source.zero is not None:
            target_zero = zero_point(node.output)
            moved: Expression = Cast("int32", epilogue) + Constant("int32", source.zero - target_zero)
            epilogue = epilogue if source.zero == target_zero else Cast("int16", moved)
        initial: Expression = Constant(source.dtype, LOWEST[source.dtype])
        pool_images(
            builder, node, window, source=source, combine="max", initial=initial, body=Input(0), epilogue=epilogue
        )
        return
    lowest = LOWEST[x.dtype]
    initial = Constant(x.dtype, lowest)
    pool(
        builder,
        node,
        window,
        source=_padded(builder, node, window, lowest),
        dtype=x.dtype,
        combine="max",
        initial=initial,
        body=Input(0),
        epilogue=epilogue,
    )


def _lower_average(builder: Builder, node: Node) -> None:
    x = node.input(0)
    window = pool_window(node)
    counts = _counts(node, window).astype(x.dtype)
    single = counts.size and counts.min() == counts.max()
    count: Expression = Constant(x.dtype, float(counts.flat[0])) if single else Input(1)
    epilogue = activated(node, (Accumulator() / count), x.dtype)
    initial: Expression = Constant(x.dtype, 0.0)
    table = None if single else counts
    if has_images(builder, node):
        source = _zero_halo(builder, node, window)
        pool_images(
            builder,
            node,
            window,
            source=source,
            combine="add",
            initial=initial,
            body=Input(0),
            epilogue=epilogue,
            counts=table,
        )
    else:
        padded = _padded(builder, node, window, 0.0)
        pool(
            builder,
            node,
            window,
            source=padded,
            dtype=x.dtype,
            combine="add",
            initial=initial,
            body=Input(0),
            epilogue=epilogue,
            counts=table,
        )


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
    window = pool_window(node)
    zero = int(attribute(node, "input_zero_point", 0))
    largest = 255 * math.prod(window.kernel)
    multiplier, shift = int(attribute(node, "multiplier", 1)), int(attribute(node, "shift", 1))
    target_zero = int(attribute(node, "output_zero_point", 0))
    form, factor = single_factor(builder.machine, largest, multiplier, shift, target_zero)
    epilogue = requantized(Accumulator(), factor, node, form)
    initial: Expression = Constant("int32", 0)
    if has_images(builder, node):
        source = _zero_halo(builder, node, window)
        assert source.zero in (None, zero), f"{node.where}: its input has another zero point"
        moved = centred(zero) if source.zero is None else Cast("int32", Input(0))
        stored_finish = epilogue if builder.keeps_int8 else stored_number(epilogue, zero_point(node.output))
        pool_images(
            builder,
            node,
            window,
            source=source,
            combine="add",
            initial=initial,
            body=moved,
            epilogue=stored_finish,
        )
    else:
        padded = _padded(builder, node, window, zero)
        pool(
            builder,
            node,
            window,
            source=padded,
            dtype="int8",
            combine="add",
            initial=initial,
            body=centred(zero),
            epilogue=epilogue,
        )


def _pool_halo(builder: Builder, node: Node) -> Halo:
    if node.input(0).type.rank != 4 or (node.op == "MaxPool" and not is_positive(node.input(0))):
        return Halo()
    return window_halo(pool_window(node))


_IMAGES = ImageReader(_pool_halo)

LOWERINGS = {
    "MaxPool": Lowering(lower_max, dtypes=("float32", "float64", "int8", "uint8"), check=check_window, image=_IMAGES),
    "GlobalMaxPool": Lowering(lower_max, dtypes=("float32", "float64", "int8", "uint8"), check=check_window),
    "AveragePool": Lowering(_lower_average, dtypes=("float32", "float64"), check=check_window, image=_IMAGES),
    "GlobalAveragePool": Lowering(_lower_average, dtypes=("float32", "float64"), check=check_window),
    "qaveragepool": Lowering(_lower_qaveragepool, dtypes=("int8",), check=check_window, image=_IMAGES),
}
