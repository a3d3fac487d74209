"""Conv in NumPy: windows gathered, multiplied by BLAS in a float type that is exact, and the epilogue."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from intarsia.dtypes import Array
from intarsia.ir.integer import wrap_int32
from intarsia.ir.products import matrix_product
from intarsia_backends.overlay.machine import isa
from intarsia_backends.overlay.machine.config import LANES
from intarsia_backends.simulator.decoded import Operation
from intarsia_backends.simulator.state import State
from intarsia_backends.simulator.window import bind_window

Step = Callable[[], None]

_EXACT = 1 << 24
"""Whole numbers up to here are exact in float32, and so are sums whose terms' sizes add up to less."""


@dataclass(frozen=True)
class Weights:
    """Weights of one Conv as the array meets them.

    matrix  float32 [K, outputs], K in the order ky, kx, input block, lane; depthwise [kernel_height, kernel_width, C]
    chunks  parts of K whose sums are exact in float32 each
    bound   no sum is larger than this
    """

    matrix: Array
    chunks: tuple[tuple[int, int], ...]
    bound: int


@dataclass(frozen=True)
class Parameters:
    """Bias, float64, and multiplier / 2**shift, float64, of each output channel."""

    bias: Array
    factor: Array


def unpack_weights(operation: Operation, rows: Array) -> Weights:
    """Weights of a Conv.

    rows  int8 [Conv.weight_rows, 64]: rows of WGT from weight_row on
    """
    word, shape = operation.word, operation.setup(isa.ConvWindow)
    assert isinstance(word, isa.Conv)
    height, width, taps = shape.kernel_height, shape.kernel_width, shape.kernel_height * shape.kernel_width
    if word.depthwise:
        down, across = -(-height // 3), -(-width // 3)
        windows = rows.reshape(shape.output_blocks, down, across, 3, 4, LANES)[:, :, :, :, :3]
        kernel = windows.transpose(1, 3, 2, 4, 0, 5).reshape(down * 3, across * 3, -1)
        taps_last = kernel[:height, :width].astype(np.float32)
        return Weights(taps_last, ((0, taps),), int(np.abs(taps_last).sum(axis=(0, 1)).max()) * 128)
    blocks = rows.reshape(shape.output_blocks, taps, shape.input_blocks, LANES, LANES)
    matrix = blocks.transpose(1, 2, 3, 0, 4).reshape(-1, shape.output_blocks * LANES).astype(np.float32)
    sizes = np.abs(matrix)
    # Sums of float32 are exact here only below 2**24: the depth is cut where some output could get there.
    pieces = 1
    while True:
        edges = np.linspace(0, len(matrix), pieces + 1).astype(int)
        chunks = tuple((int(low), int(high)) for low, high in pairwise(edges) if low < high)
        if all(sizes[low:high].sum(axis=0).max() * 128 < _EXACT for low, high in chunks):
            break
        pieces += 1
    bound = int(sizes.sum(axis=0, dtype=np.float64).max()) * 128
    return Weights(matrix, chunks, bound)


def unpack_parameters(groups: Array) -> Parameters:
    """Parameters of some groups of 16 output channels.

    groups  int8 [groups, 128] as PAR holds them
    """
    pairs = np.ascontiguousarray(groups).view("<i4").reshape(-1, 2)
    packed = pairs[:, 1].astype(np.int64) & 0xFFFFFFFF
    multiplier, shift = packed & (1 << isa.MULTIPLIER_BITS) - 1, packed >> isa.MULTIPLIER_BITS & 0x3F
    return Parameters(pairs[:, 0].astype(np.float64), np.ldexp(multiplier.astype(np.float64), -shift.astype(np.int32)))


def bind_conv(operation: Operation, state: State, weights: Weights | None, parameters: Parameters | None) -> Step:
    """A function that executes a Conv on a machine.

    weights, parameters  where they are known when the program is loaded; otherwise they are read at each run
    """
    word, shape, ending = operation.word, operation.setup(isa.ConvWindow), operation.setup(isa.ConvTarget)
    assert isinstance(word, isa.Conv)
    pixels = shape.rows * shape.columns
    sum_up = _depthwise_sum(operation, word, state) if word.depthwise else _dense_sum(operation, word, state)
    group = slice(word.parameter_group, word.parameter_group + shape.output_blocks)
    row = slice(word.weight_row, word.weight_row + word.weight_rows(operation.registers))
    target = word.target_rectangle(operation.registers).view(state.act).transpose(1, 2, 0, 3) if word.finish else None
    add = _residual(operation, word, state) if word.finish and word.residual else None

    def step() -> None:
        now = weights if weights is not None else unpack_weights(operation, state.wgt[row])
        total = sum_up(now)
        if not word.start:
            total = total + state.sums[isa.Queue.MAC]
        if not word.finish:
            state.sums[isa.Queue.MAC] = np.asarray(wrap_int32(total), np.float64)
            return
        assert target is not None
        scale = parameters if parameters is not None else unpack_parameters(state.par[group])
        result = np.add(total, scale.bias, dtype=np.float64)
        if not word.start or now.bound + float(np.abs(scale.bias).max()) >= 1 << 31:
            result = wrap_int32(result).astype(np.float64)
        result *= scale.factor
        np.rint(result, out=result)
        result += ending.zero_point
        np.clip(result, ending.clamp_min, ending.clamp_max, out=result)
        values = result.reshape(shape.rows, shape.columns, shape.output_blocks, LANES)
        target[...] = values if add is None else add(values)

    assert pixels > 0
    return step


def _dense_sum(operation: Operation, word: isa.Conv, state: State) -> Callable[[Weights], Array]:
    """Sums of a dense Conv: float [pixels, outputs]."""
    read = bind_window(word.source_window(operation.registers), state.act)

    def sum_up(weights: Weights) -> Array:
        window = read()
        pixels = window.shape[0] * window.shape[1]
        columns = np.empty(window.shape, np.float32)
        columns[...] = window
        flat = columns.reshape(pixels, -1)
        if len(weights.chunks) == 1:
            return matrix_product(flat, weights.matrix)
        total = np.zeros((pixels, weights.matrix.shape[1]), np.float64)
        for low, high in weights.chunks:
            total += matrix_product(flat[:, low:high], weights.matrix[low:high])
        return total

    return sum_up


def _depthwise_sum(operation: Operation, word: isa.Conv, state: State) -> Callable[[Weights], Array]:
    """Sums of a depthwise Conv: float [pixels, channels]."""
    read = bind_window(word.source_window(operation.registers), state.act)

    def sum_up(weights: Weights) -> Array:
        window = read()
        rows, columns, height, width = window.shape[:4]
        kind = np.float32 if weights.bound < _EXACT else np.float64
        total = np.zeros((rows, columns, weights.matrix.shape[2]), kind)
        for y in range(height):
            for x in range(width):
                total += window[:, :, y, x].astype(kind).reshape(rows, columns, -1) * weights.matrix[y, x]
        return total.reshape(rows * columns, -1)

    return sum_up


def _residual(operation: Operation, word: isa.Conv, state: State) -> Callable[[Array], Array]:
    """The second step of the epilogue, on float64 [rows, columns, blocks, 16], in place."""
    add = operation.setup(isa.ConvAdd)
    other = word.residual_rectangle(operation.registers).view(state.act).transpose(1, 2, 0, 3)
    factor = 0.5**add.shift

    def second(values: Array) -> Array:
        residual = other.astype(np.float64)
        residual -= add.residual_zero_point
        residual *= add.residual_multiplier * factor
        values -= add.zero_point
        values *= add.multiplier * factor
        values += residual
        np.rint(values, out=values)
        values += add.output_zero_point
        return np.clip(values, add.clamp_min, add.clamp_max, out=values)

    return second
