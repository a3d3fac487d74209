"""Vec in NumPy: copies, sums and products of two operands, pools, lookup tables."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from intarsia.dtypes import Array
from intarsia.ir.integer import wrap_int32
from intarsia_backends.overlay.machine import isa
from intarsia_backends.simulator.decoded import Operation
from intarsia_backends.simulator.state import State
from intarsia_backends.simulator.window import Read, bind_window

Step = Callable[[], None]
Compute = Callable[[], Array]
"""Gives [rows, columns, blocks, 16] of int8, or whole numbers in that range."""


def bind_vec(operation: Operation, state: State) -> Step:
    """A function that executes a Vec on a machine."""
    word = operation.word
    assert isinstance(word, isa.Vec)
    if word.operation == isa.VecOperation.SUM:
        return _bind_sum(operation, word, state)
    target = word.target_rectangle(operation.registers).view(state.act).transpose(1, 2, 0, 3)
    compute = _COMPUTE[isa.VecOperation(word.operation)](operation, word, state)
    if word.operation == isa.VecOperation.COPY:
        source, lanes = slice(word.lane_from, word.lane_from + word.lane_count), target[..., word.lane_to :]
        part = lanes[..., : word.lane_count]

        def copy() -> None:
            part[...] = compute()[..., source]

        return copy

    def step() -> None:
        target[...] = compute()

    return step


def _windows(operation: Operation, word: isa.Vec, state: State) -> Read:
    """The windows over the first operand."""
    return bind_window(word.source_window(operation.registers), state.act)


def _second(operation: Operation, word: isa.Vec, state: State) -> Array:
    """The second operand: a view [rows, columns, blocks, 16]."""
    return word.second_rectangle(operation.registers).view(state.act).transpose(1, 2, 0, 3)


def _elementwise(operation: Operation, word: isa.Vec, state: State) -> Callable[[], Array]:
    read = _windows(operation, word, state)
    return lambda: read()[:, :, 0, 0]


def _copy(operation: Operation, word: isa.Vec, state: State) -> Compute:
    target = operation.setup(isa.VecTarget)
    read = _elementwise(operation, word, state)
    if not word.upsample:
        # A copy on to itself with other lanes: NumPy must not read what it has just written.
        return lambda: read().copy()
    rows, columns = np.arange(target.rows) >> 1, np.arange(target.columns) >> 1
    return lambda: np.asarray(read()[rows][:, columns])


def _add(operation: Operation, word: isa.Vec, state: State) -> Compute:
    scale, read = operation.setup(isa.VecScale), _elementwise(operation, word, state)
    second = _second(operation, word, state)
    factor = 0.5**scale.shift

    def compute() -> Array:
        total = read().astype(np.float64)
        total -= scale.zero_point
        total *= scale.multiplier * factor
        other = second.astype(np.float64)
        other -= scale.second_zero_point
        other *= scale.second_multiplier * factor
        total += other
        return _finish(total, scale)

    return compute


def _multiply(operation: Operation, word: isa.Vec, state: State) -> Compute:
    scale, read = operation.setup(isa.VecScale), _elementwise(operation, word, state)
    second = _second(operation, word, state)
    factor = scale.multiplier * 0.5**scale.shift

    def compute() -> Array:
        product = read().astype(np.float64)
        product -= scale.zero_point
        product *= second.astype(np.float64) - scale.second_zero_point
        product *= factor
        return _finish(product, scale)

    return compute


def _finish(scaled: Array, scale: isa.VecScale) -> Array:
    np.rint(scaled, out=scaled)
    scaled += scale.output_zero_point
    return np.clip(scaled, scale.clamp_min, scale.clamp_max, out=scaled)


def _maximum(operation: Operation, word: isa.Vec, state: State) -> Compute:
    read = _windows(operation, word, state)

    def compute() -> Array:
        window = read()
        best = window[:, :, 0, 0].copy()
        for y in range(window.shape[2]):
            for x in range(window.shape[3]):
                np.maximum(best, window[:, :, y, x], out=best)
        return best

    return compute


def _lookup(operation: Operation, word: isa.Vec, state: State) -> Compute:
    read = _elementwise(operation, word, state)
    table = state.tab[word.table]
    return lambda: np.asarray(table[read().view(np.uint8)])


def _fill(operation: Operation, word: isa.Vec, state: State) -> Compute:
    value = np.int8(operation.setup(isa.VecSource).fill)
    return lambda: np.asarray(value)


_COMPUTE: dict[isa.VecOperation, Callable[[Operation, isa.Vec, State], Compute]] = {
    isa.VecOperation.COPY: _copy,
    isa.VecOperation.ADD: _add,
    isa.VecOperation.MULTIPLY: _multiply,
    isa.VecOperation.MAXIMUM: _maximum,
    isa.VecOperation.LOOKUP: _lookup,
    isa.VecOperation.FILL: _fill,
}


def _bind_sum(operation: Operation, word: isa.Vec, state: State) -> Step:
    scale, read = operation.setup(isa.VecScale), _windows(operation, word, state)
    target = word.target_rectangle(operation.registers).view(state.act).transpose(1, 2, 0, 3) if word.finish else None
    factor = scale.multiplier * 0.5**scale.shift

    def step() -> None:
        window = read()
        total = window.sum(axis=(2, 3), dtype=np.int64)
        total -= scale.zero_point * window.shape[2] * window.shape[3]
        if not word.start:
            total = total + state.sums[isa.Queue.VEC]
        total = wrap_int32(total)
        if target is None:
            state.sums[isa.Queue.VEC] = total
        else:
            target[...] = _finish(total * factor, scale)

    return step
