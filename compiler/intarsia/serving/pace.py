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

_NEARLY = 1.1
"""What a row may take more than in the best size, where fewer rows then run together."""


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
    found: list[Pace] = []
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
        found.append(Pace(size, seconds / size))
        if clock() - start > _SECONDS:
            break
    best = min(pace.row_seconds for pace in found)
    return next(pace for pace in found if pace.row_seconds <= _NEARLY * best)
