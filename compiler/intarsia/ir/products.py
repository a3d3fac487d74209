"""Matrix products that take no longer on a busy machine than on a quiet one."""

from __future__ import annotations

import numpy as np

from intarsia.dtypes import Array

_ONE_THREAD = 1 << 18
"""Multiply-accumulates of a product that OpenBLAS does not spread over threads."""

_WORTH_THREADS = 1 << 23
"""Multiply-accumulates from which threads are worth waking, even on a machine that does other things."""


def matrix_product(left: Array, right: Array) -> Array:
    """left @ right for two float matrices, [M, K] and [K, N].

    A product of medium size is made in pieces of some rows or columns, each too small for OpenBLAS to wake its threads:
    on a busy machine waiting for them takes 50 times as long as the product itself.
    """
    (rows, depth), columns = left.shape, right.shape[1]
    each = _ONE_THREAD // max(depth * min(rows, columns), 1)
    if not (each and _ONE_THREAD < rows * depth * columns < _WORTH_THREADS):
        return np.asarray(left @ right)
    found = np.empty((rows, columns), left.dtype)
    if columns > rows:
        for start in range(0, columns, each):
            found[:, start : start + each] = left @ right[:, start : start + each]
        return found
    for start in range(0, rows, each):
        np.matmul(left[start : start + each], right, out=found[start : start + each])
    return found
