"""Windows that the tiled kernels do not take: convolutions with weights made at run time, and LpPool."""

from __future__ import annotations

import math

from intarsia.ir.graph import Node, Value
from intarsia_backends.lowering.access import Access, row_major
from intarsia_backends.lowering.builder import Builder
from intarsia_backends.lowering.expressions import Accumulator, Constant, Expression, Input, apply
from intarsia_backends.lowering.kernels import nest
from intarsia_backends.lowering.ops.activations import activated
from intarsia_backends.lowering.ops.geometry import Window, check_window, reaching_window
from intarsia_backends.lowering.ops.padding import padded_input
from intarsia_backends.lowering.ops.table import FLOATS, Lowering, attribute, sequence
from intarsia_backends.lowering.program import Buffer

_PRODUCT = Input(0) * Input(1)


def _padded(builder: Builder, x: Value, window: Window) -> Buffer:
    if not any(window.before) and not any(window.after):
        return builder.read(x)
    return padded_input(builder, builder.read(x), window, dtype=x.dtype, fill=0.0, element=Input(0), stored=x.dtype)


def _sums(builder: Builder, node: Node, window: Window, source: Buffer, w_walk: tuple[int, ...], w_offset: int) -> None:
    """Products of a padded input and weights, walked over groups and outputs, then channels and taps."""
    dtype, spatial = node.input(0).dtype, len(window.kernel)
    kept = (window.batch, window.groups, window.outputs, *window.positions)
    reduced = (window.channels, *window.kernel)
    steps, area, still = row_major(window.padded), math.prod(window.padded), (0,) * spatial
    x_walk = (
        window.groups * window.channels * area,
        window.channels * area,
        0,
        *(step * stride for step, stride in zip(steps, window.strides)),
        area,
        *(step * dilation for step, dilation in zip(steps, window.dilations)),
    )
    weights_walk = (0, *w_walk[:2], *still, *w_walk[2:])
    accesses = [Access(dtype, x_walk), Access(dtype, weights_walk, w_offset)]
    operands = [source, builder.read(node.input(1))]
    bias = node.optional_input(2)
    epilogue: Expression = Accumulator()
    if bias is not None:
        accesses.append(Access(dtype, (0, window.outputs, 1, *still, 0, *still)))
        operands.append(builder.read(bias))
        epilogue = epilogue + Input(2)
    kernel = nest(
        kept,
        accesses,
        Access(dtype, row_major(kept)),
        _PRODUCT,
        reduced=reduced,
        combine="add",
        initial=Constant(dtype, 0.0),
        epilogue=activated(node, epilogue, dtype),
    )
    builder.call(kernel, operands, builder.result(node.output))


def _lower_conv(builder: Builder, node: Node) -> None:
    x, w = node.input(0), node.input(1)
    groups = int(attribute(node, "group", 1))
    window = reaching_window(node, tuple(w.shape[2:]), groups, w.shape[0] // groups)
    taps = math.prod(w.shape[1:])
    walk = (window.outputs * taps, taps, *row_major(w.shape[1:]))
    _sums(builder, node, window, _padded(builder, x, window), walk, 0)


def _stuffed(node: Node) -> Window:
    """A transposed convolution as a plain one: over the input with zeros between its elements, weights turned round."""
    x, w, spatial = node.input(0), node.input(1), node.input(0).type.rank - 2
    groups, kernel = int(attribute(node, "group", 1)), tuple(w.shape[2:])
    strides, dilations = sequence(node, "strides", (1,) * spatial), sequence(node, "dilations", (1,) * spatial)
    pads, positions = sequence(node, "pads", (0,) * (2 * spatial)), tuple(node.output.shape[2:])
    size = tuple((extent - 1) * stride + 1 for extent, stride in zip(x.shape[2:], strides))
    reach = [(extent - 1) * dilation for extent, dilation in zip(kernel, dilations)]
    before = tuple(far - pad for far, pad in zip(reach, pads))
    after = tuple(count + far - extent - low for count, far, extent, low in zip(positions, reach, size, before))
    ones = (1,) * spatial
    channels = x.shape[1] // groups
    return Window(
        batch=x.shape[0],
        groups=groups,
        channels=channels,
        outputs=w.shape[1],
        size=size,
        kernel=kernel,
        strides=ones,
        dilations=dilations,
        before=before,
        after=after,
        positions=positions,
    )


def _lower_transposed(builder: Builder, node: Node) -> None:
    x, w, window = node.input(0), node.input(1), _stuffed(node)
    strides = sequence(node, "strides", (1,) * len(window.kernel))
    rows = x.shape[0] * x.shape[1]
    padded = (rows, *window.padded)
    steps = row_major(padded)
    source = builder.scratch(math.prod(padded), x.dtype)
    zeros = nest((math.prod(padded),), [], Access(x.dtype, (1,)), Constant(x.dtype, 0.0))
    builder.call(zeros, [], source)
    # What lies beyond the output's reach is cut: before it by starting later, behind it by ending earlier.
    skipped = [-(min(low, 0) // stride) for low, stride in zip(window.before, strides)]
    extents, offset, first = [rows], 0, 0
    for axis, (extent, low, stride) in enumerate(zip(x.shape[2:], window.before, strides)):
        start = low + skipped[axis] * stride
        room = -(-(window.padded[axis] - start) // stride)
        extents.append(max(min(extent - skipped[axis], room), 0))
        offset += start * steps[1 + axis]
        first += skipped[axis] * row_major((rows, *x.shape[2:]))[1 + axis]
    if 0 not in extents:
        walk = (steps[0], *(step * stride for step, stride in zip(steps[1:], strides)))
        reads = Access(x.dtype, row_major((rows, *x.shape[2:])), first)
        builder.call(nest(extents, [reads], Access(x.dtype, walk, offset), Input(0)), [builder.read(x)], source)
    taps, per_output = row_major(w.shape)[2:], math.prod(w.shape[2:])
    backwards = tuple(-step for step in taps)
    end = sum(step * (extent - 1) for step, extent in zip(taps, window.kernel))
    per_channel = w.shape[1] * per_output
    _sums(builder, node, window, source, (window.channels * per_channel, per_output, per_channel, *backwards), end)


# ---- LpPool


def _lower_lp_pool(builder: Builder, node: Node) -> None:
    """The p-th root of the sum of p-th powers of magnitudes."""
    x = node.input(0)
    whole = node.op == "GlobalLpPool"
    window = reaching_window(node, tuple(x.shape[2:]) if whole else sequence(node, "kernel_shape", ()), x.shape[1], 1)
    power, dtype, size = float(attribute(node, "p", 2)), x.dtype, apply("abs", Input(0))
    body = {1.0: size, 2.0: Input(0) * Input(0)}.get(power, apply("pow", size, Constant(dtype, power)))
    root = apply("pow", Accumulator(), Constant(dtype, 1 / power))
    steps, area = row_major(window.padded), math.prod(window.padded)
    kept = (window.batch * window.groups, *window.positions)
    walk = (
        area,
        *(step * stride for step, stride in zip(steps, window.strides)),
        *(step * dilation for step, dilation in zip(steps, window.dilations)),
    )
    kernel = nest(
        kept,
        [Access(dtype, walk)],
        Access(dtype, row_major(kept)),
        body,
        reduced=window.kernel,
        combine="add",
        initial=Constant(dtype, 0.0),
        epilogue={1.0: Accumulator(), 2.0: apply("sqrt", Accumulator())}.get(power, root),
    )
    builder.call(kernel, [_padded(builder, x, window)], builder.result(node.output))


LOWERINGS = {
    "Conv": Lowering(_lower_conv, dtypes=FLOATS, check=check_window),
    "ConvTranspose": Lowering(_lower_transposed, dtypes=FLOATS, check=check_window),
    "LpPool": Lowering(_lower_lp_pool, dtypes=FLOATS, check=check_window),
    "GlobalLpPool": Lowering(_lower_lp_pool, dtypes=FLOATS, check=check_window),
}
"""By op, asked where the tables of `region.LOWERINGS` refuse."""
