"""Ops that move elements and change none: strided copies, tables of indices, and plain renaming of shapes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from intarsia.dtypes import Array
from intarsia.ir.graph import Node, Value
from intarsia.targets import YES, Support
from intarsia_backends.lowering.access import Access, broadcast, row_major
from intarsia_backends.lowering.builder import Builder
from intarsia_backends.lowering.expressions import Expression, Gather, Input
from intarsia_backends.lowering.kernels import nest
from intarsia_backends.lowering.ops.padding import border
from intarsia_backends.lowering.ops.products import Product
from intarsia_backends.lowering.ops.table import (
    MOVED,
    Lowering,
    axis_of,
    elements,
    integers,
    refused,
    sequence,
    text,
)
from intarsia_backends.lowering.program import Buffer
from intarsia_backends.lowering.views import View

_COPY = Input(0)


def copy(
    builder: Builder,
    source: Buffer,
    target: Buffer,
    dtype: str,
    extents: Sequence[int],
    reads: Sequence[int],
    writes: Sequence[int],
    read_offset: int = 0,
    write_offset: int = 0,
) -> None:
    """Copy elements along two walks over the same loops."""
    if 0 in extents:
        return
    kernel = nest(
        extents, [Access(dtype, tuple(reads), read_offset)], Access(dtype, tuple(writes), write_offset), _COPY
    )
    builder.call(kernel, [source], target)


def _lower_alias(builder: Builder, node: Node) -> None:
    builder.alias(node.output, node.input(0))


def _lower_transpose(builder: Builder, node: Node) -> None:
    """Another walk over the same memory; a matrix product is written in the new order at once."""
    x = node.input(0)
    order = sequence(node, "perm", tuple(reversed(range(x.type.rank))))
    pending = builder.pending(x)
    if pending is not None and isinstance(pending.emit, Product) and order[-1:] == (x.type.rank - 1,):
        operands = [_permuted(view, order) for view in pending.operands]
        pending.emit.transposed(order).defer(node.output, pending.expression, operands)
        return
    builder.lie(node.output, _permuted(builder.view(x), order))


def _permuted(view: View, order: Sequence[int]) -> View:
    return replace(view, strides=tuple(view.strides[axis] for axis in order))


def _lower_concat(builder: Builder, node: Node) -> None:
    shape, y = node.output.shape, builder.result(node.output)
    axis, writes, offset = axis_of(node, len(shape), 0), row_major(shape), 0
    for value in node.inputs:
        assert value is not None
        reads = row_major(value.shape)
        copy(builder, builder.read(value), y, value.dtype, value.shape, reads, writes, 0, offset)
        offset += value.shape[axis] * writes[axis]


def _lower_split(builder: Builder, node: Node) -> None:
    x = node.input(0)
    reads, axis, offset = row_major(x.shape), axis_of(node, x.type.rank, 0), 0
    for output in node.outputs:
        if output is None:
            continue
        writes = row_major(output.shape)
        copy(builder, builder.read(x), builder.result(output), x.dtype, output.shape, reads, writes, offset)
        offset += output.shape[axis] * reads[axis]


def _check_split(node: Node) -> Support:
    return refused("outputs", "an output in the middle is left out") if None in node.outputs else YES


def _lower_slice(builder: Builder, node: Node) -> None:
    x, shape = node.input(0), node.output.shape
    starts, ends = integers(node.input(1)), integers(node.input(2))
    assert starts is not None and ends is not None
    axes = integers(node.optional_input(3)) or tuple(range(len(starts)))
    steps = integers(node.optional_input(4)) or (1,) * len(starts)
    strides, offset = list(row_major(x.shape)), 0
    for start, end, axis, step in zip(starts, ends, axes, steps):
        first = range(x.shape[axis])[slice(start, end, step)].start
        axis %= x.type.rank
        offset += first * row_major(x.shape)[axis]
        strides[axis] *= step
    copy(builder, builder.read(x), builder.result(node.output), x.dtype, shape, strides, row_major(shape), offset)


def _lower_expand(builder: Builder, node: Node) -> None:
    x, shape = node.input(0), node.output.shape
    reads = broadcast(x.shape, shape)
    copy(builder, builder.read(x), builder.result(node.output), x.dtype, shape, reads, row_major(shape))


def _lower_tile(builder: Builder, node: Node) -> None:
    x, shape = node.input(0), node.output.shape
    repeats = [total // size for total, size in zip(shape, x.shape)]
    extents = [extent for pair in zip(repeats, x.shape) for extent in pair]
    reads = [stride for step in row_major(x.shape) for stride in (0, step)]
    writes = [stride for step, size in zip(row_major(shape), x.shape) for stride in (step * size, step)]
    copy(builder, builder.read(x), builder.result(node.output), x.dtype, extents, reads, writes)


def _lower_depth_to_space(builder: Builder, node: Node) -> None:
    batch, channels, height, width = node.input(0).shape
    block = int(node.attributes["blocksize"])
    depth = channels // (block * block)
    extents = (batch, depth, height, block, width, block)
    if text(node, "mode", "DCR") == "CRD":
        n, c, i, j, h, w = row_major((batch, depth, block, block, height, width))
    else:
        n, i, j, c, h, w = row_major((batch, block, block, depth, height, width))
    reads = (n, c, h, i, w, j)
    x, y = node.input(0), builder.result(node.output)
    copy(builder, builder.read(x), y, x.dtype, extents, reads, row_major(extents))


def _lower_space_to_depth(builder: Builder, node: Node) -> None:
    x, block = node.input(0), int(node.attributes["blocksize"])
    batch, channels, height, width = x.shape
    n, c, h, i, w, j = row_major((batch, channels, height // block, block, width // block, block))
    size = (height // block, width // block)
    if text(node, "mode", "DCR") == "CRD":
        extents, reads = (batch, channels, block, block, *size), (n, c, i, j, h, w)
    else:
        extents, reads = (batch, block, block, channels, *size), (n, i, j, c, h, w)
    copy(builder, builder.read(x), builder.result(node.output), x.dtype, extents, reads, row_major(extents))


# ---- Pad


_PAD_MODES: dict[str, Literal["reflect", "edge", "wrap"]] = {"reflect": "reflect", "edge": "edge", "wrap": "wrap"}


def _pads(node: Node) -> tuple[list[int], list[int]]:
    x = node.input(0)
    amounts, axes = integers(node.input(1)), integers(node.optional_input(3))
    assert amounts is not None
    axes = tuple(range(x.type.rank)) if axes is None else axes
    before, after = [0] * x.type.rank, [0] * x.type.rank
    for index, axis in enumerate(axes):
        before[axis], after[axis] = amounts[index], amounts[len(axes) + index]
    return before, after


def _pad_mode(node: Node) -> str:
    return text(node, "mode", "constant")


def _lower_pad(builder: Builder, node: Node) -> None:
    x, shape = node.input(0), node.output.shape
    before, after = _pads(node)
    mode = _pad_mode(node)
    if mode != "constant":
        tables: list[Array | None] = [
            np.pad(np.arange(size), (low, high), mode=_PAD_MODES[mode])
            for size, low, high in zip(x.shape, before, after)
        ]
        gather_axes(builder, x, node.output, tables)
        return
    fill = node.optional_input(2)
    number = 0 if fill is None else elements(fill).reshape(-1)[0].item()
    y, writes = builder.result(node.output), row_major(shape)
    border(
        builder,
        y,
        shape=shape,
        before=[max(low, 0) for low in before],
        after=[max(high, 0) for high in after],
        dtype=x.dtype,
        fill=number,
    )
    # A negative amount cuts: the copy starts further in, and ends earlier.
    extents = [size + min(low, 0) + min(high, 0) for size, low, high in zip(x.shape, before, after)]
    reads = row_major(x.shape)
    read_offset = sum(max(-low, 0) * step for low, step in zip(before, reads))
    write_offset = sum(max(low, 0) * step for low, step in zip(before, writes))
    copy(builder, builder.read(x), y, x.dtype, extents, reads, writes, read_offset, write_offset)


def _check_pad(node: Node) -> Support:
    mode = _pad_mode(node)
    if mode not in ("constant", "reflect", "edge", "wrap"):
        return refused("mode", f"mode {mode}")
    before, after = _pads(node)
    if mode != "constant" and min(*before, *after) < 0:
        return refused("padding", "pads are negative")
    if any(size + min(low, 0) + min(high, 0) <= 0 for size, low, high in zip(node.input(0).shape, before, after)):
        return refused("padding", "pads cut the whole input away")
    return YES


# ---- tables of indices


def gather_axes(builder: Builder, x: Value, output: Value, tables: Sequence[Array | None]) -> None:
    """output[i, j, ..] = x[tables[0][i], tables[1][j], ..]; None where an axis goes through."""
    shape, steps = output.shape, row_major(x.shape)
    strides = [step if table is None else 0 for step, table in zip(steps, tables)]
    accesses, operands = [Access(x.dtype, tuple(strides))], [builder.read(x)]
    place: Expression | None = None
    for axis, table in enumerate(tables):
        if table is None:
            continue
        walk = tuple(1 if other == axis else 0 for other in range(len(shape)))
        term = Input(len(accesses))
        place = term if place is None else place + term
        accesses.append(Access("int32", walk))
        operands.append(builder.weight((np.asarray(table, np.int64) * steps[axis]).astype(np.int32)))
    body = _COPY if place is None else Gather(0, place)
    kernel = nest(shape, accesses, Access(output.dtype, row_major(shape)), body)
    builder.call(kernel, operands, builder.result(output))


def lower_constant_gather(builder: Builder, node: Node) -> None:
    """Gather with indices known at compile time."""
    x, indices, shape = node.input(0), node.input(1), node.output.shape
    axis = axis_of(node, x.type.rank, 0)
    table = elements(indices).astype(np.int64)
    table = np.where(table < 0, table + x.shape[axis], table)
    outer, inner = math.prod(x.shape[:axis]), math.prod(x.shape[axis + 1 :])
    size, count = x.shape[axis], table.size
    source, y = builder.read(x), builder.result(node.output)
    flat = table.reshape(-1)
    steps = set(np.diff(flat).tolist())
    if count == 1 or len(steps) == 1:  # an arithmetic progression is a slice
        step = steps.pop() if count > 1 else 0
        reads = (size * inner, step * inner, 1)
        copy(
            builder,
            source,
            y,
            x.dtype,
            (outer, count, inner),
            reads,
            row_major((outer, count, inner)),
            int(flat[0]) * inner,
        )
        return
    accesses = [Access(x.dtype, (size * inner, 0, 1)), Access("int32", (0, 1, 0))]
    target = Access(x.dtype, row_major((outer, count, inner)))
    kernel = nest((outer, count, inner), accesses, target, Gather(0, Input(1)))
    builder.call(kernel, [source, builder.weight((flat * inner).astype(np.int32))], y)
    assert math.prod(shape) == outer * count * inner


LOWERINGS = {
    **{
        name: Lowering(_lower_alias, dtypes=MOVED, constants=(1,))
        for name in ("Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity")
    },
    "Transpose": Lowering(_lower_transpose, dtypes=MOVED),
    "Concat": Lowering(_lower_concat, dtypes=MOVED, empties=True),
    "Split": Lowering(_lower_split, dtypes=MOVED, constants=(1,), outputs=1 << 16, empties=True, check=_check_split),
    "Slice": Lowering(_lower_slice, dtypes=MOVED, constants=(1, 2, 3, 4)),
    "Expand": Lowering(_lower_expand, dtypes=MOVED, constants=(1,)),
    "Tile": Lowering(_lower_tile, dtypes=MOVED, constants=(1,)),
    "DepthToSpace": Lowering(_lower_depth_to_space, dtypes=MOVED),
    "SpaceToDepth": Lowering(_lower_space_to_depth, dtypes=MOVED),
    "Pad": Lowering(_lower_pad, dtypes=MOVED, constants=(1, 2, 3), check=_check_pad),
}
