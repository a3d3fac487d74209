"""Weights and numbers of channels as kernels with vectors of channels read them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from intarsia.dtypes import Array
from intarsia_backends.cpu.kernels import SHARES
from intarsia_backends.cpu.tiling import interleaving_order


def arrange(
    weights: Array,
    vectors: int,
    lanes: int,
    products: str,
    *,
    window_first: bool = False,
    order: Sequence[int] | None = None,
) -> Array:
    """Weights [groups, outputs, channels, *kernel] in the order in which a Contraction reads them; absent outputs are
    zeros.

    The order of the sum is that of the axes: channels, then the kernel; or, `window_first`, the other way round.

    order  of the outputs, absent ones counted, where it is not their own
    """
    groups, outputs, channels, *kernel = weights.shape
    share = SHARES[products]
    padded = -(-outputs // lanes) * lanes
    padded_channels = -(-channels // share) * share
    full = np.zeros((groups, padded, padded_channels, *kernel), weights.dtype)
    full[:, :outputs, :channels] = weights
    if order is not None:
        full = full[:, order]
    steps = padded_channels // share * math.prod(kernel)
    split = full.reshape(groups, padded, padded_channels // share, share, math.prod(kernel))
    axes = (0, 4, 2, 1, 3) if window_first else (0, 2, 4, 1, 3)
    ordered = split.transpose(axes).reshape(groups, steps, padded, share)
    block = vectors * lanes  # one after the other; the last may be narrow
    blocks = [ordered[:, :, start : start + block].reshape(groups, -1) for start in range(0, padded, block)]
    return np.concatenate(blocks, axis=1)


def pad_outputs(numbers: Array, lanes: int) -> Array:
    """Numbers [groups, outputs] with zeros up to whole vectors."""
    return np.pad(numbers, ((0, 0), (0, -numbers.shape[1] % lanes)))


def interleaved_outputs(outputs: int, vectors: int, lanes: int) -> list[int]:
    """The outputs of a group as a Contraction wants `interleaved` ones: in every block two vectors after the other."""
    order, total = [], -(-outputs // lanes)
    for block in range(0, total, vectors):
        width = min(vectors, total - block)
        for vector in range(block, block + width - 1, 2):
            order += [vector * lanes + channel for half in interleaving_order(lanes) for channel in half]
        if width % 2:
            order += range((block + width - 1) * lanes, (block + width) * lanes)
    return order
