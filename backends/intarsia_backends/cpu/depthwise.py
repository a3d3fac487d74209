"""What a `Depthwise` kernel is called with, and the tiles that it makes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from intarsia.dtypes import Array
from intarsia_backends.cpu.image_kernels import Depthwise, loops_over_taps
from intarsia_backends.cpu.machine import Machine
from intarsia_backends.cpu.tuning_tasks import TuningTask


def pack_weights(kernel: Depthwise, weights: Array) -> Array:
    """Weights as the kernel reads them.

    weights  [channels, rows, columns], real channels alone
    returns  float32 or int16 [units, taps, unit]; for "dot2" [units, rows of a tile, pairs of rows, columns, unit, 2]
             where the weight is 0 for a row of x that a row of the output does not read (where the last row of x
             stands alone, its taps two by two, by `column_pair`), and the channels of each half
             of a unit stand as they are interleaved
    """
    real, rows, columns = weights.shape
    dtype = np.float32 if kernel.products == "float32" else np.int16
    full = np.zeros((kernel.channels, rows, columns), dtype)
    full[:real] = weights
    units = np.stack([full[start : start + kernel.unit] for start in kernel.starts])
    if kernel.products != "dot2":
        return np.ascontiguousarray(units.transpose(0, 2, 3, 1))
    pairs, tile = kernel.row_pairs, kernel.rows
    packed = np.zeros((len(units), tile, len(pairs), columns, kernel.unit, 2), dtype)
    for row in range(tile):
        reads = {row * kernel.strides[0] + tap * kernel.dilations[0]: tap for tap in range(rows)}
        for index, pair in enumerate(pairs):
            for side, place in enumerate(pair):
                if place not in reads:
                    continue
                taps = units[:, :, reads[place]].transpose(0, 2, 1)
                if kernel.pairs_columns and pair[1] < 0:
                    for age in range(columns):
                        for half, tap in enumerate(kernel.column_pair(age)):
                            if tap >= 0:
                                packed[:, row, index, age, :, half] = taps[:, tap]
                else:
                    packed[:, row, index, :, :, side] = taps
    return np.ascontiguousarray(packed[..., _interleaved(kernel), :])


def pack_bias(kernel: Depthwise, bias: Array) -> Array:
    """Bias [channels] as the kernel reads it: float32 or int32 [units, unit]."""
    full = np.zeros(kernel.channels, np.float32 if kernel.products == "float32" else np.int32)
    full[: len(bias)] = bias
    units = np.stack([full[start : start + kernel.unit] for start in kernel.starts])
    return np.ascontiguousarray(units[:, _interleaved(kernel)] if kernel.products == "dot2" else units)


def _interleaved(kernel: Depthwise) -> Array:
    """Channels of a unit as instructions of x86 interleave them: within 128 bits."""
    channels = np.arange(kernel.unit)
    if kernel.unit == kernel.lanes:
        return channels
    segments = channels.reshape(-1, 2, 4)
    return np.concatenate([segments[:, 0].ravel(), segments[:, 1].ravel()])


_COLUMNS = {"float32": 14, "dot2": 56, "int16": 14}
"""Columns at once: what two units of channels share then stays in the first cache, some 100 lines of 64 bytes."""

_ROWS = {"float32": 2, "dot2": 1, "int16": 2}
"""Rows at once: two share half of what they read; pairs of rows are shared better by one alone."""

_ROWS_MAX = 3
"""Rows at once that are ever tried."""


def tile(
    products: str, kernel: tuple[int, int], stride: int, dilation: int, positions: tuple[int, int]
) -> tuple[int, int]:
    """`rows` and `columns` for a Depthwise.

    stride, dilation  of the columns
    """
    if loops_over_taps(kernel, stride, dilation):
        return 1, min(_COLUMNS[products], positions[1])
    rows = min(_ROWS[products] if kernel[0] <= 3 else 1, positions[0])
    widths = _widths(kernel, stride, dilation, positions[1])
    return rows, next((columns for columns in widths if columns <= _COLUMNS[products]), positions[1])


def _widths(kernel: tuple[int, int], stride: int, dilation: int, width: int) -> list[int]:
    """Columns that a row may be made in at once, most first: no part may need what was begun in the one before."""
    lag = (kernel[1] - 1) * dilation // stride
    found = []
    for count in range(1, width):
        columns = -(-width // count)
        if columns < 2 * lag:
            break
        if width % columns == 0 or width % columns >= lag:
            found.append(columns)
    return found


@dataclass(frozen=True)
class DepthwiseTiling:
    """`rows` and `columns` of a Depthwise."""

    rows: int
    columns: int


@dataclass(frozen=True)
class DepthwiseTask(TuningTask):
    """How to cut up a depthwise convolution; fields as in `Depthwise`."""

    machine: Machine
    products: str
    batch: int
    channels: int
    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    positions: tuple[int, int]

    @property
    def key(self) -> str:
        words = [f"{name} {'x'.join(map(str, getattr(self, name)))}" for name in ("kernel", "strides", "dilations")]
        sizes = f"{self.batch}x{self.channels} of {self.positions[0]}x{self.positions[1]}"
        return f"depthwise {self.products} {sizes}, {', '.join(words)}"

    def heuristic(self) -> DepthwiseTiling:
        return DepthwiseTiling(*tile(self.products, self.kernel, *self._columns, self.positions))

    @property
    def _columns(self) -> tuple[int, int]:
        return self.strides[1], self.dilations[1]

    def alternatives(self) -> list[DepthwiseTiling]:
        """Another number of rows, whole rows, parts of about half and twice the heuristic's columns."""
        heuristic, width = self.heuristic(), self.positions[1]
        if loops_over_taps(self.kernel, *self._columns):
            return [DepthwiseTiling(1, columns) for columns in (4, 16, 64) if columns < width]
        widths = _widths(self.kernel, *self._columns, width) or [width]
        near = [
            min(widths, key=lambda columns: abs(columns - wanted))
            for wanted in (heuristic.columns / 2, heuristic.columns * 2)
        ]
        heights = [rows for rows in range(1, min(_ROWS_MAX, self.positions[0]) + 1) if self.kernel[0] <= 3 or rows == 1]
        found = [DepthwiseTiling(rows, heuristic.columns) for rows in heights]
        found += [DepthwiseTiling(heuristic.rows, columns) for columns in (*near, width)]
        found += [DepthwiseTiling(rows, columns) for rows in heights for columns in (*near, width)]
        return [config for config in dict.fromkeys(found) if config != heuristic]
