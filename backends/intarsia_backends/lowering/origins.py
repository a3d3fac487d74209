"""Where a region's file of weights holds the constants of its graph, so that an artifact need not store them again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.lib.stride_tricks import as_strided

from intarsia.artifact.elsewhere import Elsewhere, fit_places
from intarsia.dtypes import NATIVE, Array
from intarsia.ir.graph import Graph
from intarsia_backends.lowering.program import Arranged, Program

_LEAST_BYTES = 1024
"""Of a constant that is worth the words that say where it lies."""


def origins(graph: Graph, program: Program, file: str) -> Mapping[str, Elsewhere]:
    """By the name of a constant, where it lies in the program's weights, which stand in a file of that name."""
    found = {}
    for value in graph.values():
        if value.data is None or value.data.nbytes < _LEAST_BYTES or value.data.dtype.name not in NATIVE:
            continue
        place = _place(value.data, program.arranged, file)
        if place is not None:
            found[value.name] = place
    return found


def _place(data: Array, arranged: Sequence[Arranged], file: str) -> Elsewhere | None:
    if not data.flags.c_contiguous:
        return None
    for item in arranged:
        numbers = _numbers(data, item.source)
        if numbers is None:
            continue
        order = item.arrange(numbers).reshape(-1)
        places = np.full(data.size, -1, order.dtype)
        held = np.flatnonzero(order)
        places[order[held] - 1] = held
        if (places < 0).any():
            continue
        pieces = fit_places(places.reshape(data.shape), order.size)
        if pieces is not None:
            return Elsewhere(file, item.buffer.offset, item.dtype, pieces)
    return None


def _numbers(data: Array, source: Array) -> Array | None:
    """The elements of `data`, counted from 1, as `source` sees them; None where that is no view of all of it."""
    start = source.__array_interface__["data"][0] - data.__array_interface__["data"][0]
    if source.size != data.size or source.dtype != data.dtype or start % data.itemsize or not 0 <= start < data.nbytes:
        return None
    last = start + sum(max(0, step * (size - 1)) for step, size in zip(source.strides, source.shape))
    if min(source.strides, default=0) < 0 or last >= data.nbytes:
        return None
    count = np.arange(1, data.size + 1, dtype=np.int32 if data.size < 1 << 30 else np.int64)
    steps = [step // source.itemsize * count.itemsize for step in source.strides]
    return as_strided(count[start // data.itemsize :], source.shape, steps)
