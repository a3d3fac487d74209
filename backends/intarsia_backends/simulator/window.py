"""Windows over activation memory as views of NumPy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.lib.stride_tricks import as_strided

from intarsia.dtypes import Array
from intarsia_backends.overlay.machine import isa
from intarsia_backends.overlay.machine.isa.windows import Window

Read = Callable[[], Array]


def bind_window(window: Window, memory: Array) -> Read:
    """A function that returns the windows of a memory as they are now.

    memory   int8 [words, 16]
    returns  int8 view [rows, columns, kernel_height, kernel_width, blocks, 16], good until the next call
    """
    rectangle, vertical, horizontal = window.rectangle, window.vertical, window.horizontal
    if rectangle is not None and not window.is_padded:
        direct = _strided(window, rectangle.view(memory).transpose(1, 2, 0, 3))
        return lambda: direct
    padded = np.full((vertical.span, horizontal.span, window.blocks, isa.WORD_BYTES), window.source.fill, np.int8)
    windows = _strided(window, padded)
    if rectangle is None:
        return lambda: windows
    top, left = vertical.inside[0] - vertical.first, horizontal.inside[0] - horizontal.first
    inner = padded[top : top + rectangle.rows, left : left + rectangle.columns]
    source = rectangle.view(memory).transpose(1, 2, 0, 3)

    def read() -> Array:
        inner[...] = source
        return windows

    return read


def _strided(window: Window, plane: Array) -> Array:
    """[rows, columns, blocks, 16] of all positions asked for, cut into windows."""
    vertical, horizontal = window.vertical, window.horizontal
    down, right, block, lane = plane.strides
    return as_strided(
        plane,
        (vertical.count, horizontal.count, vertical.kernel, horizontal.kernel, window.blocks, isa.WORD_BYTES),
        (
            vertical.stride * down,
            horizontal.stride * right,
            vertical.dilation * down,
            horizontal.dilation * right,
            block,
            lane,
        ),
    )
