"""Winograd's algorithm for 3x3 windows: its matrices, what a `Winograd` kernel is called with, and where it pays.

With matrices B, G and A for the points 0, 1, -1, (2, -2,) and infinity, the outputs of a tile d of x under weights g
are A^T [(G g G^T) * (B^T d B)] A, the product in the middle going element by element and summed over channels.

Integers stay integers where G is multiplied by whole numbers D. With G' = D G and A' = A diag(c / D) the result is c**2
times the true sum, c being 2 for tiles of 2 and 24 for tiles of 4. Sums are kept modulo 2**32; the odd part of c**2 is
taken off by its inverse modulo 2**32, the rest by a shift, which is exact where the true sum has bits enough left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from intarsia.dtypes import Array
from intarsia_backends.cpu.image_kernels import Winograd
from intarsia_backends.cpu.machine import Machine
from intarsia_backends.cpu.tiling import PARALLEL_WORK

_G = {
    2: np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]]),
    4: np.array(
        [
            [1 / 4, 0, 0],
            [-1 / 6, -1 / 6, -1 / 6],
            [-1 / 6, 1 / 6, -1 / 6],
            [1 / 24, 1 / 12, 1 / 6],
            [1 / 24, -1 / 12, 1 / 6],
            [0, 0, 1],
        ]
    ),
}

_WHOLE_G = {
    2: np.array([[2, 0, 0], [1, 1, 1], [1, -1, 1], [0, 0, 2]]),
    4: np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 12]]),
}
"""G times 2; G times 24, the last row times 12, which A' makes good. Weights of 8 bits become int16."""

_SHIFT = {2: 2, 4: 6}
"""Powers of two in c**2: 4, and 576 = 9 * 64."""


def pack_weights(kernel: Winograd, weights: Array) -> Array:
    """Weights as the kernel reads them.

    weights  [outputs, channels, 3, 3], real ones alone; integers of 8 bits for int16
    returns  float32 or int16, one after the other for each block of outputs: [points, channels, outputs of the block],
             for "dot2" [points, channels / 2, outputs of the block, 2]
    """
    real = kernel.products == "float32"
    g = _G[kernel.size] if real else _WHOLE_G[kernel.size]
    numbers = weights.astype(np.float64 if real else np.int64)
    transformed = np.einsum("ia,ocab,jb->ijco", g, numbers, g, optimize=True)
    outputs, channels = weights.shape[:2]
    full = np.zeros((kernel.points, kernel.channels, kernel.outputs), np.float32 if real else np.int16)
    full[:, :channels, :outputs] = transformed.reshape(kernel.points, channels, outputs)
    parts, start = [], 0
    for vectors in kernel.output_blocks:
        part = full[:, :, start : start + vectors * kernel.lanes]
        if kernel.products == "dot2":
            part = part.reshape(kernel.points, kernel.steps, 2, -1).transpose(0, 1, 3, 2)
        parts.append(part.ravel())
        start += vectors * kernel.lanes
    return np.concatenate(parts)


def pack_bias(kernel: Winograd, bias: Array) -> Array:
    """Bias [outputs] as the kernel reads it: float32 or int32, 0 for outputs that are not real."""
    full = np.zeros(kernel.outputs, np.float32 if kernel.products == "float32" else np.int32)
    full[: len(bias)] = bias
    return full


def is_exact(size: int, weights: Array, largest: int = 255) -> bool:
    """Whether integer tiles of this size are exact: no sum without bias may leave the bits that the shift leaves.

    weights  integers of 8 bits [outputs, channels, 3, 3]; largest is that of |x|
    """
    sums = np.abs(weights.astype(np.int64)).reshape(len(weights), -1).sum(axis=1).max(initial=0)
    return bool(sums * largest < 1 << 31 - _SHIFT[size])


@dataclass(frozen=True)
class WinogradTiling:
    """Sizes of a `Winograd` that a shape may be given, and what it costs.

    size, tiles, tasks, parts, rows, vectors
            as the kernel has them
    cycles  estimate for `THREADS` threads, with what one alone would take among them
    """

    size: int
    tiles: int
    tasks: int
    parts: int
    rows: int
    vectors: int
    cycles: float = field(compare=False, repr=False)


THREADS = 2
"""Threads for which the work is cut; fewer lose little."""

_REGISTERS = ((6, 2), (4, 2))
"""Tiles and vectors at once that 16 registers hold, and LLVM keeps there."""

_MORE_REGISTERS = {16: ((3, 3), (5, 2), (4, 3)), 32: ((12, 2), (8, 3), (6, 4))}
"""By registers of the machine, what else they may hold: on some processors one of these is faster."""

_COST_MAX = 1.5
"""What a plan may cost of the cheapest one, by the model, to be worth a try."""

_CACHE_BYTES = 400_000
_TILES_MIN = 24
"""Transforms of so many tiles may leave the second cache: streaming the weights once more would cost more."""

_BYTES_PER_CYCLE = 8.0
"""At which weights stream from the last cache or memory."""


def plan(
    machine: Machine, batch: int, channels: int, outputs: int, positions: tuple[int, int], size: int, products: str
) -> WinogradTiling:
    """How to cut a layer, by the model."""
    return _cheapest(plans(machine, batch, channels, outputs, positions, size, products, _REGISTERS))


def other_plans(
    machine: Machine, batch: int, channels: int, outputs: int, positions: tuple[int, int], size: int, products: str
) -> list[WinogradTiling]:
    """How else a layer may be cut: other registers, about half or twice as many tiles; cheapest first by the model.

    None that would leave all but one of `THREADS` threads idle where the cheapest does not.
    """
    registers = (*_REGISTERS, *_MORE_REGISTERS.get(machine.registers, ()))
    every = plans(machine, batch, channels, outputs, positions, size, products, registers)
    best = _cheapest(every)
    found = []
    for rows in dict.fromkeys((item.rows, item.vectors) for item in every):
        found.append(_cheapest([item for item in every if (item.rows, item.vectors) == rows]))
    alike = [item for item in every if (item.rows, item.vectors) == (best.rows, best.vectors)]
    for wanted in (best.tiles / 2, best.tiles * 2):
        found.append(min(alike, key=lambda item: abs(item.tiles - wanted)))
    kept = [item for item in dict.fromkeys(found) if item.cycles <= best.cycles * _COST_MAX]
    return sorted(kept, key=lambda item: item.cycles)


def _cheapest(found: Sequence[WinogradTiling]) -> WinogradTiling:
    best = found[0]
    for item in found:
        if item.cycles < best.cycles * 0.995:
            best = item
    return best


def plans(
    machine: Machine,
    batch: int,
    channels: int,
    outputs: int,
    positions: tuple[int, int],
    size: int,
    products: str,
    registers: Sequence[tuple[int, int]],
) -> list[WinogradTiling]:
    """Every way to cut a layer. A coarse model: multiply-adds, transforms, and weights that pass once for each block.

    registers  pairs of rows and vectors that may be held at once
    """
    lanes, points = machine.lanes, (size + 2) ** 2
    every = batch * -(-positions[0] // size) * -(-positions[1] // size)
    bytes_each, rate = 4 if products == "float32" else 2, _rate(machine, products)
    weights = points * channels * outputs * bytes_each / _BYTES_PER_CYCLE
    moved = _transform_cycles(size, products) / lanes
    fitting = max(_TILES_MIN, _CACHE_BYTES // (points * channels * bytes_each))
    found = []
    for rows, vectors in registers:
        if rows > max(every, _REGISTERS[-1][0]):
            continue
        for tiles in range(rows, max(rows, min(fitting, every + rows - 1)) + 1, rows):
            blocks, held = -(-every // tiles), min(tiles, every)
            multiplied = points * channels * outputs * -(-held // rows) * rows
            shared = blocks < THREADS and blocks * multiplied >= PARALLEL_WORK
            parts = THREADS if shared else 1
            through = max(multiplied / (rate * lanes), weights) + weights / 4 + 2 * moved * outputs * held
            turn = through / parts + moved * channels * held
            alone, together = blocks * parts * turn, -(-blocks * parts // THREADS) * turn
            cycles = (alone / THREADS + together) / 2
            tasks, held_vectors = min(blocks, 2 * THREADS), min(vectors, outputs // lanes)
            found.append(
                WinogradTiling(
                    size=size, tiles=tiles, tasks=tasks, parts=parts, rows=rows, vectors=held_vectors, cycles=cycles
                )
            )
    return found


def _rate(machine: Machine, products: str) -> float:
    """Products in a lane and a cycle."""
    pairs = 4.0 if machine.adds_products else 3.2
    return {"float32": 2.0, "dot2": pairs, "dot4": 8.0, "int16": 1.0}[products]


def _transform_cycles(size: int, products: str) -> float:
    """Cycles to transform a tile and a vector of channels of x, about; half of what a vector of y takes."""
    return {2: 30.0, 4: 70.0}[size] * (1.0 if products == "float32" else 0.7)


def winograd_sizes(
    channels: int, outputs: int, products: str, *, strict: bool = False, weights: Array | None = None
) -> tuple[int, ...]:
    """The sizes of tiles by which a 3x3 convolution with stride 1 may be made.

    channels, outputs  rounded up to whole vectors
    strict   no rounding beyond that of the direct sum: float32 is summed directly
    weights  integers, whose sums must be exact in tiles of that size; None where they are float32

    Tiles of 4 have float32 errors of some 1e-5 of the largest output, tiles of 2 of some 1e-6.
    """
    if (products == "float32" and strict) or min(channels, outputs) < _CHANNELS_MIN:
        return ()
    return tuple(size for size in (2, 4) if weights is None or is_exact(size, weights))


def winograd_pays(
    machine: Machine,
    batch: int,
    channels: int,
    outputs: int,
    positions: tuple[int, int],
    products: str,
    sizes: Sequence[int] = (2, 4),
) -> int:
    """Which of the sizes of tiles makes a convolution fastest, or 0 for the direct sum.

    channels, outputs  rounded up to whole vectors
    """
    summed = "dot4" if machine.adds_products and products != "float32" else products
    bytes_each = {"float32": 4, "dot4": 1}.get(summed, 2)
    direct = batch * positions[0] * positions[1] * 9 * channels * outputs / (_rate(machine, summed) * machine.lanes)
    streamed = 9 * channels * outputs * bytes_each / _BYTES_PER_CYCLE
    best, chosen = (max(direct, streamed) + streamed / 4) / THREADS, 0
    for size in sizes:
        cycles = plan(machine, batch, channels, outputs, positions, size, products).cycles
        if cycles < best * _GAIN:
            best, chosen = cycles, size
    return chosen


_CHANNELS_MIN = 16
_GAIN = 0.9
"""What an estimate must be of another for the larger tile to be taken."""
