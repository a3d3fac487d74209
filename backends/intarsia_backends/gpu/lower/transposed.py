"""Transposed convolutions of images whose channels lie last.

With a stride of s, the outputs whose numbers leave the same rest by s are a convolution of the input as it is, with
every s-th tap of the kernel: s * s convolutions whose outputs lie between each other, and no product with zeros.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from intarsia.ir.graph import Node, Value
from intarsia_backends.gpu.lower.builder import GpuBuilder
from intarsia_backends.gpu.lower.convolution import placed, sum_windows
from intarsia_backends.lowering.builder import ImageReader, Pending
from intarsia_backends.lowering.expressions import Accumulator, Expression
from intarsia_backends.lowering.fusion import anything
from intarsia_backends.lowering.ops import convolution
from intarsia_backends.lowering.ops.activations import activated
from intarsia_backends.lowering.ops.convolution import bias_of
from intarsia_backends.lowering.ops.geometry import Window
from intarsia_backends.lowering.ops.table import attribute, elements, known, sequence
from intarsia_backends.lowering.views import Halo, View


@dataclass(frozen=True)
class _Phase:
    """Every stride-th output of an axis, from one on.

    first     that output
    outputs   how many there are
    taps      of the kernel, in the order in which they read the input
    start     what the first tap reads for the first output
    dilation  from what one tap reads to what the next one does
    """

    first: int
    outputs: int
    taps: tuple[int, ...]
    start: int
    dilation: int

    @property
    def end(self) -> int:
        """Behind the last element that is read."""
        return self.start + self.outputs + self.dilation * (len(self.taps) - 1)


def _phases(outputs: int, kernel: int, stride: int, dilation: int, before: int) -> list[_Phase]:
    """All outputs of an axis. Output o reads input (o + before - dilation * tap) / stride, where that is whole."""
    found = []
    for first in range(min(stride, outputs)):
        taps = [tap for tap in reversed(range(kernel)) if (first + before - dilation * tap) % stride == 0]
        start = (first + before - dilation * taps[0]) // stride if taps else 0
        step = dilation // math.gcd(dilation, stride)
        found.append(_Phase(first, -(-(outputs - first) // stride), tuple(taps), start, step))
    return found


def _axes(node: Node) -> tuple[list[_Phase], list[_Phase]] | None:
    """The phases of both axes; None where the node has others, or outputs that no tap makes."""
    shape, spatial = node.input(1).shape, node.input(1).type.rank - 2
    if spatial != 2 or not known(node.input(1)):
        return None
    strides, dilations = sequence(node, "strides", (1, 1)), sequence(node, "dilations", (1, 1))
    pads = sequence(node, "pads", (0,) * 4)
    down, across = (
        _phases(node.output.shape[2 + axis], shape[2 + axis], strides[axis], dilations[axis], pads[axis])
        for axis in range(2)
    )
    return (down, across) if all(phase.taps for phase in (*down, *across)) else None


def _halo(builder: GpuBuilder, node: Node) -> Halo:
    axes = _axes(node)
    if axes is None:
        return Halo()
    sides = [
        (max(0, *(-phase.start for phase in phases)), max(0, *(phase.end - size for phase in phases)))
        for phases, size in zip(axes, node.input(0).shape[2:])
    ]
    (top, bottom), (left, right) = sides
    return Halo(top, left, bottom, right)


def _lower_transposed(builder: GpuBuilder, node: Node) -> None:
    axes = _axes(node)
    if axes is None:
        convolution.LOWERINGS["ConvTranspose"].lower(builder, node)
        return
    data, source, strides = elements(node.input(1)), node.input(0), sequence(node, "strides", (1, 1))
    groups = int(attribute(node, "group", 1))
    channels, outputs = data.shape[0] // groups, data.shape[1]
    weights = data.reshape(groups, channels, outputs, *data.shape[2:]).swapaxes(1, 2)

    def emit(value: Value, expression: Expression, views: Sequence[View]) -> None:
        x, images = placed(builder, source, _halo(builder, node), None)
        target = builder.made(value)
        for down, across in product(*axes):
            window = Window(
                batch=source.shape[0],
                groups=groups,
                channels=channels,
                outputs=outputs,
                size=tuple(source.shape[2:]),
                kernel=(len(down.taps), len(across.taps)),
                strides=(1, 1),
                dilations=(down.dilation, across.dilation),
                before=(-down.start, -across.start),
                after=(0, 0),
                positions=(down.outputs, across.outputs),
            )
            of_taps = np.ascontiguousarray(weights[..., down.taps, :][..., across.taps])
            walks = [_every(view, strides, (down.first, across.first)) for view in (target, *views)]
            bias = bias_of(node, window)
            sum_windows(builder, x, images, window, of_taps, bias, None, walks[0], expression, walks[1:])

    epilogue = activated(node, Accumulator())
    builder.defer(
        node.output, Pending(shape=node.output.shape, expression=epilogue, operands=(), takes=anything, emit=emit)
    )


def _every(view: View, steps: Sequence[int], first: Sequence[int]) -> View:
    """A walk over every so many rows and positions of images."""
    image, channel, row, position = view.strides
    return replace(
        view,
        strides=(image, channel, row * steps[0], position * steps[1]),
        offset=view.offset + row * first[0] + position * first[1],
    )


LOWERINGS = {
    "ConvTranspose": convolution.LOWERINGS["ConvTranspose"].made_by(_lower_transposed, ImageReader(_halo, aligned=True))
}
