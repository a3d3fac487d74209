"""Winograd's algorithm for 3x3 windows: its matrices, what a `Winograd` kernel is called with, and where it pays.

With matrices B, G and A for the points 0, 1, -1, (2, -2,) and infinity, the outputs of a tile d of x under weights g are
A^T [(G g G^T) * (B^T d B)] A, the product in the middle going element by element and summed over channels.

Integers stay integers where G is multiplied by whole numbers D. With G' = D G and A' = A diag(c / D) the result is c**2
times the true sum, c being 2 for tiles of 2 and 24 for tiles of 4. Sums are kept modulo 2**32; the odd part of c**2 is
taken off by its inverse modulo 2**32, the rest by a shift, which is exact where the true sum has bits enough left.
"""

from __future__ import annotations

import numpy as np

from intarsia.dtypes import Array
from intarsia_backends.cpu.kernels import Winograd

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
             for "pairs" [points, channels / 2, outputs of the block, 2]
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
        if kernel.products == "pairs":
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
