"""Convolutions of 3x3 windows that go by Winograd's algorithm."""

from __future__ import annotations

import os
from collections.abc import Sequence

from intarsia.dtypes import Array
from intarsia.errors import CompileError
from intarsia.ir.graph import Node
from intarsia_backends.cpu.image_kernels import Winograd
from intarsia_backends.cpu.lower.convolution_choice import ConvolutionQuestion
from intarsia_backends.cpu.lower.image_convolution import Convolution, Placed
from intarsia_backends.cpu.lower.quads import takes_quads
from intarsia_backends.cpu.lower.tiles import products_for
from intarsia_backends.cpu.machine import Machine
from intarsia_backends.cpu.winograd import Plan, pack_bias, pack_weights, winograd_pays, winograd_sizes
from intarsia_backends.lowering.builder import Builder
from intarsia_backends.lowering.kernels import SHARES, Kernel
from intarsia_backends.lowering.ops.geometry import Window, window_halo
from intarsia_backends.lowering.ops.table import elements
from intarsia_backends.lowering.program import Operand
from intarsia_backends.lowering.views import Halo

FLOAT_VARIABLE = "INTARSIA_FLOAT"
"""Environment variable: "strict" keeps float32 convolutions to plain sums, whose errors are some ten times smaller."""


def winograd_sizes_of(builder: Builder, node: Node, window: Window, weights: Array) -> tuple[int, ...]:
    """Rows and columns of the tiles by which a node may be made; () where the sum must be direct.

    weights  [outputs, channels, height, width] of float32 or int8
    """
    machine = builder.machine
    plain = window.groups == 1 and window.kernel == (3, 3) and window.strides == window.dilations == (1, 1)
    real = weights.dtype.kind == "f"
    if not plain or (real and window.channels % machine.lanes):  # what is beside the channels may be no number
        return ()
    if node not in builder.winograd_sizes:  # asked for the halo, and for the kernel
        channels, outputs = machine.whole_vectors(window.channels), machine.whole_vectors(window.outputs)
        products = "float32" if real else products_for(machine)
        sizes = winograd_sizes(channels, outputs, products, strict=_is_strict(), weights=None if real else weights)
        if sizes and not real and takes_quads(machine, weights, elements(node.input(2))):
            # The direct sum would have its images stored otherwise: the rule decides for good.
            positions = (window.positions[0], window.positions[1])
            size = winograd_pays(machine, window.batch, channels, outputs, positions, products, sizes)
            sizes = (size,) if size else ()
        builder.winograd_sizes[node] = sizes
    return builder.winograd_sizes[node]


def convolution_question(
    machine: Machine, window: Window, products: str, sizes: tuple[int, ...]
) -> ConvolutionQuestion:
    """How to make a dense convolution; not yet whether its image is one row, which one that Winograd's algorithm may
    make never is: its padded rows are longer than those of the output."""
    return ConvolutionQuestion(
        machine,
        products,
        window.batch,
        window.groups,
        window.channels,
        window.outputs,
        window.kernel,
        window.strides,
        window.dilations,
        window.positions,
        False,
        sizes,
    )


def winograd_room(builder: Builder, question: ConvolutionQuestion, window: Window) -> tuple[Halo, int]:
    """The halo around what is convolved, and what its channels are rounded up to. While the choice is open they serve
    every alternative."""
    if not question.winograd:
        return window_halo(window), SHARES[question.products]
    if builder.blockings.open:
        halo = window_halo(window)
        for size in question.winograd:
            halo = halo.joined(winograd_halo(window, size))
        return halo, builder.machine.lanes
    blocking = builder.blockings.answer(question).blocking
    if isinstance(blocking, Plan):
        return winograd_halo(window, blocking.size), builder.machine.lanes
    return window_halo(window), SHARES[question.products]


def winograd_halo(window: Window, size: int) -> Halo:
    """Wide enough for whole tiles."""
    halo = window_halo(window)
    rows, columns = (-(-count // size) * size + 2 for count in window.positions)
    bottom, right = rows - window.size[0] - halo.top, columns - window.size[1] - halo.left
    return halo.joined(Halo(0, 0, max(bottom, 0), max(right, 0)))


def convolved_by_winograd(
    builder: Builder, convolution: Convolution, placed: Placed, blocking: Plan
) -> tuple[Kernel, Sequence[Operand]]:
    """A convolution in one group, made in tiles: the kernel, and its operands without the output."""
    machine, window = builder.machine, convolution.window
    x, images, target, finish = placed
    kernel = Winograd(
        convolution.products(machine),
        blocking.size,
        window.batch,
        machine.whole_vectors(window.channels),
        machine.whole_vectors(window.outputs),
        (window.positions[0], window.positions[1]),
        (images.image, images.row, images.pitch),
        target.dtype,
        (target.strides[0], target.strides[2], target.strides[3]),
        convolution.accesses,
        finish,
        blocking.tiles,
        blocking.tasks,
        blocking.parts,
        blocking.rows,
        blocking.vectors,
        machine.lanes,
    )
    return kernel, [
        x,
        builder.weight(pack_weights(kernel, convolution.weights[0])),
        builder.weight(pack_bias(kernel, convolution.bias[0])),
        *(view.start for view in convolution.views),
        *(builder.scratch(elements, dtype) for dtype, elements in kernel.scratch),
    ]


def _is_strict() -> bool:
    wish = os.environ.get(FLOAT_VARIABLE, "")
    if wish not in ("", "fast", "strict"):
        raise CompileError(
            where=f"environment variable {FLOAT_VARIABLE}",
            what=f"{wish!r} is neither 'fast' nor 'strict'",
            help="unset it, or set it to 'strict' for convolutions without Winograd's algorithm",
        )
    return wish == "strict"
