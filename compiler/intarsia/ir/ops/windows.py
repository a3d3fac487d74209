"""Sliding windows over N spatial axes: sizes and views, for convolution and pooling, float and integer alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from intarsia.dtypes import Array


def output_size(size: int, kernel: int, stride: int, dilation: int, before: int, after: int) -> int:
    """Positions of a window along one axis (floor rule); may be 0 or less for an input that is too small."""
    return (size + before + after - dilation * (kernel - 1) - 1) // stride + 1


def pad_spatial(x: Array, pads: Sequence[int], fill: Any) -> Array:
    """Pad the last len(pads)/2 axes; pads in ONNX order: all befores, then all afters."""
    spatial = len(pads) // 2
    widths = [(0, 0)] * (x.ndim - spatial) + [(pads[i], pads[spatial + i]) for i in range(spatial)]
    if not any(before or after for before, after in widths):
        return x
    return np.pad(x, widths, constant_values=fill)


def windows(x: Array, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]) -> Array:
    """All windows of a padded input, as a view.

    x        [N, C, *spatial], already padded
    returns  [N, C, *positions, *kernel]
    """
    spatial = len(kernel)
    axes = tuple(range(x.ndim - spatial, x.ndim))
    reach = [dilation * (size - 1) + 1 for size, dilation in zip(kernel, dilations)]
    view = sliding_window_view(x, reach, axis=axes)
    steps = tuple(slice(None, None, stride) for stride in strides)
    taps = tuple(slice(None, None, dilation) for dilation in dilations)
    return np.asarray(view[(slice(None),) * (x.ndim - spatial) + steps + taps])
