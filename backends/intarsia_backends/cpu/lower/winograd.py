"""Convolutions of 3x3 windows that go by Winograd's algorithm."""

from __future__ import annotations

from collections.abc import Sequence

from intarsia.dtypes import Array
from intarsia.ir.graph import Node
from intarsia_backends.cpu.image_kernels import Winograd
from intarsia_backends.cpu.kernels import SHARES
from intarsia_backends.cpu.lower.builder import CpuBuilder
from intarsia_backends.cpu.lower.convolution_tiling import ConvolutionTask
from intarsia_backends.cpu.lower.dot4 import takes_dot4
from intarsia_backends.cpu.lower.image_convolution import Convolution, Placed
from intarsia_backends.cpu.lower.tiles import products_for
from intarsia_backends.cpu.machine import Machine
from intarsia_backends.cpu.winograd import WinogradTiling, pack_bias, pack_weights, winograd_pays, winograd_sizes
from intarsia_backends.lowering.kernel import Kernel
from intarsia_backends.lowering.ops.geometry import Window, window_halo
from intarsia_backends.lowering.ops.table import elements
from intarsia_backends.lowering.program import Operand
from intarsia_backends.lowering.views import Halo


def winograd_sizes_of(builder: CpuBuilder, node: Node, window: Window, weights: Array) -> tuple[int, ...]:
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
        sizes = winograd_sizes(channels, outputs, products, strict=machine.strict, weights=None if real else weights)
        if sizes and not real and takes_dot4(machine, weights, elements(node.input(2))):
            # The direct sum would have its images stored otherwise: the heuristic decides for good.
            positions = (window.positions[0], window.positions[1])
            size = winograd_pays(machine, window.batch, channels, outputs, positions, products, sizes)
            sizes = (size,) if size else ()
        builder.winograd_sizes[node] = sizes
    return builder.winograd_sizes[node]


def convolution_task(machine: Machine, window: Window, products: str, sizes: tuple[int, ...]) -> ConvolutionTask:
    """How to make a dense convolution; not yet whether its image is one row, which one that Winograd's algorithm may
    make never is: its padded rows are longer than those of the output."""
    return ConvolutionTask(
        machine=machine,
        products=products,
        batch=window.batch,
        groups=window.groups,
        channels=window.channels,
        outputs=window.outputs,
        kernel=window.kernel,
        strides=window.strides,
        dilations=window.dilations,
        positions=window.positions,
        one_row=False,
        winograd=sizes,
    )


def winograd_room(builder: CpuBuilder, task: ConvolutionTask, window: Window) -> tuple[Halo, int]:
    """The halo around what is convolved, and what its channels are rounded up to. While the choice is open they serve
    every alternative."""
    if not task.winograd:
        return window_halo(window), SHARES[task.products]
    if builder.configs.open:
        halo = window_halo(window)
        for size in task.winograd:
            halo = halo.joined(winograd_halo(window, size))
        return halo, builder.machine.lanes
    config = builder.configs.choice(task).config
    if isinstance(config, WinogradTiling):
        return winograd_halo(window, config.size), builder.machine.lanes
    return window_halo(window), SHARES[task.products]


def winograd_halo(window: Window, size: int) -> Halo:
    """Wide enough for whole tiles."""
    halo = window_halo(window)
    rows, columns = (-(-count // size) * size + 2 for count in window.positions)
    bottom, right = rows - window.size[0] - halo.top, columns - window.size[1] - halo.left
    return halo.joined(Halo(0, 0, max(bottom, 0), max(right, 0)))


def convolved_by_winograd(
    builder: CpuBuilder, convolution: Convolution, placed: Placed, config: WinogradTiling
) -> tuple[Kernel, Sequence[Operand]]:
    """A convolution in one group, made in tiles: the kernel, and its operands without the output."""
    machine, window = builder.machine, convolution.window
    x, images, target, epilogue = placed
    kernel = Winograd(
        products=convolution.products(machine),
        size=config.size,
        batch=window.batch,
        channels=machine.whole_vectors(window.channels),
        outputs=machine.whole_vectors(window.outputs),
        positions=(window.positions[0], window.positions[1]),
        x_steps=(images.image, images.row, images.pitch),
        y_dtype=target.dtype,
        y_steps=(target.strides[0], target.strides[2], target.strides[3]),
        further=convolution.accesses,
        epilogue=epilogue,
        tiles=config.tiles,
        tasks=config.tasks,
        parts=config.parts,
        rows=config.rows,
        vectors=config.vectors,
        lanes=machine.lanes,
    )
    return kernel, [
        x,
        builder.weight(pack_weights(kernel, convolution.weights[0])),
        builder.weight(pack_bias(kernel, convolution.bias[0])),
        *(view.start for view in convolution.views),
        *(builder.scratch(elements, dtype) for dtype, elements in kernel.scratch),
    ]
