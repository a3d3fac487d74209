"""Arrays inside of a border: what windows that reach over the edge of their input read."""

from __future__ import annotations

import math
from collections.abc import Sequence

from intarsia_backends.lowering.access import Access, row_major
from intarsia_backends.lowering.builder import Builder
from intarsia_backends.lowering.expressions import Constant, Expression
from intarsia_backends.lowering.kernels import nest
from intarsia_backends.lowering.ops.geometry import Window
from intarsia_backends.lowering.program import Buffer


def padded_input(
    builder: Builder, source: Buffer, window: Window, dtype: str, fill: float, element: Expression, stored: str
) -> Buffer:
    """The input inside a border of `fill`: [batch * groups * channels, *padded], each element through `element`."""
    rows = window.batch * window.groups * window.channels
    result = builder.scratch(rows * math.prod(window.padded), stored)
    border(
        builder, result, shape=(rows, *window.padded), before=window.before, after=window.after, dtype=stored, fill=fill
    )
    inner = sum(low * step for low, step in zip(window.before, row_major(window.padded)))
    kernel = nest(
        (rows, *window.size),
        [Access(dtype, row_major((rows, *window.size)))],
        Access(stored, row_major((rows, *window.padded)), inner),
        element,
    )
    builder.call(kernel, [source], result)
    return result


def border(
    builder: Builder,
    target: Buffer,
    shape: Sequence[int],
    before: Sequence[int],
    after: Sequence[int],
    dtype: str,
    fill: float,
) -> None:
    """Write `fill` around the inside of a padded array whose last axes have the paddings `before` and `after`."""
    strides = row_major(shape)
    lead = len(shape) - len(before)
    for axis, pads in enumerate(zip(before, after)):
        for start, extent in ((0, pads[0]), (shape[lead + axis] - pads[1], pads[1])):
            if extent == 0:
                continue
            # Axes outside of this one are filled whole; those inside the earlier axes' borders are done already.
            extents, offset = list(shape), start * strides[lead + axis]
            extents[lead + axis] = extent
            for earlier in range(axis):
                extents[lead + earlier] -= before[earlier] + after[earlier]
                offset += before[earlier] * strides[lead + earlier]
            builder.call(nest(extents, [], Access(dtype, strides, offset), Constant(dtype, fill)), [], target)
