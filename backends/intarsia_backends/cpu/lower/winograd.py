"""Convolutions of 3x3 windows that go by Winograd's algorithm."""

from __future__ import annotations

import os

from intarsia.dtypes import Array
from intarsia.errors import CompileError
from intarsia_backends.cpu.builder import Builder
from intarsia_backends.cpu.image_kernels import Winograd
from intarsia_backends.cpu.lower.geometry import Window, window_halo
from intarsia_backends.cpu.lower.image_convolution import Convolution
from intarsia_backends.cpu.lower.tiles import products_for
from intarsia_backends.cpu.machine import Machine
from intarsia_backends.cpu.program import Operand
from intarsia_backends.cpu.views import Halo
from intarsia_backends.cpu.winograd import pack_bias, pack_weights, plan, winograd_pays

FLOAT_VARIABLE = "INTARSIA_FLOAT"
"""Environment variable: "strict" keeps float32 convolutions to plain sums, whose errors are some ten times smaller."""


def winograd_size(machine: Machine, window: Window, weights: Array) -> int:
    """Rows and columns of the tiles by which a convolution is best made; 0 where it is best made directly.

    weights  [outputs, channels, height, width] of float32 or int8
    """
    plain = window.groups == 1 and window.kernel == (3, 3) and window.strides == window.dilations == (1, 1)
    real = weights.dtype.kind == "f"
    if not plain or (real and window.channels % machine.lanes):  # what is beside the channels may be no number
        return 0
    return winograd_pays(
        machine,
        window.batch,
        _rounded(window.channels, machine),
        _rounded(window.outputs, machine),
        (window.positions[0], window.positions[1]),
        "float32" if real else products_for(machine),
        strict=_is_strict(),
        weights=None if real else weights,
    )


def winograd_halo(window: Window, size: int) -> Halo:
    """Wide enough for whole tiles."""
    halo = window_halo(window)
    rows, columns = (-(-count // size) * size + 2 for count in window.positions)
    bottom, right = rows - window.size[0] - halo.top, columns - window.size[1] - halo.left
    return halo.joined(Halo(0, 0, max(bottom, 0), max(right, 0)))


def convolve_by_winograd(builder: Builder, convolution: Convolution, size: int) -> None:
    """Call the kernel of a convolution in one group that is made in tiles of `size`."""
    machine, window = builder.machine, convolution.window
    products = convolution.products(machine)
    x, images, target, finish = convolution.placed(builder, winograd_halo(window, size), machine.lanes)
    channels, outputs = _rounded(window.channels, machine), _rounded(window.outputs, machine)
    positions = (window.positions[0], window.positions[1])
    cut = plan(machine, window.batch, channels, outputs, positions, size, products)
    kernel = Winograd(
        products,
        size,
        window.batch,
        channels,
        outputs,
        positions,
        (images.image, images.row, images.pitch),
        target.dtype,
        (target.strides[0], target.strides[2], target.strides[3]),
        convolution.accesses,
        finish,
        cut.tiles,
        cut.tasks,
        cut.parts,
        cut.rows,
        cut.vectors,
        machine.lanes,
    )
    operands: list[Operand] = [
        x,
        builder.weight(pack_weights(kernel, convolution.weights[0])),
        builder.weight(pack_bias(kernel, convolution.bias[0])),
        *(view.start for view in convolution.views),
        *(builder.scratch(elements, dtype) for dtype, elements in kernel.scratch),
    ]
    builder.call(kernel, operands, target.start)


def _rounded(channels: int, machine: Machine) -> int:
    return -(-channels // machine.lanes) * machine.lanes


def _is_strict() -> bool:
    wish = os.environ.get(FLOAT_VARIABLE, "")
    if wish not in ("", "fast", "strict"):
        raise CompileError(
            where=f"environment variable {FLOAT_VARIABLE}",
            what=f"{wish!r} is neither 'fast' nor 'strict'",
            help="unset it, or set it to 'strict' for convolutions without Winograd's algorithm",
        )
    return wish == "strict"
