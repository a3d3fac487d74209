"""How long a model takes, and how many rows of it are worth running together."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from intarsia.dtypes import Array
from intarsia.serving.batcher import Run

SIZES = (1, 2, 4, 8, 16, 32, 64)

_SECONDS = 0.1
"""About what all measurements of one model may take."""

_GAIN = 0.9
"""A larger size is taken where a row takes no more of this share of what it takes in the smaller one."""


@dataclass(frozen=True)
class Pace:
    """most_rows    rows to run together: the fewest with nearly the best time for each
    row_seconds  what each takes then"""

    most_rows: int
    row_seconds: float


def measure(
    run: Run, row: Sequence[Array], sizes: Sequence[int] = SIZES, clock: Callable[[], float] = time.perf_counter
) -> Pace:
    """Run a model with more and more rows, until that takes too long.

    row    inputs of one row
    sizes  numbers of rows, the least first
    """
    best = Pace(sizes[0], float("inf"))
    start = clock()
    for size in sizes:
        arrays = [np.repeat(array, size, axis=0) if size > 1 else array for array in row]
        seconds = float("inf")
        for _ in range(3):
            began = clock()
            run(arrays)
            seconds = min(seconds, clock() - began)
            if clock() - start > _SECONDS:
                break
        if best.row_seconds == float("inf") or seconds / size < _GAIN * best.row_seconds:
            best = Pace(size, seconds / size)
        if clock() - start > _SECONDS:
            break
    return best
