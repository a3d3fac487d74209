"""Ops that pick, scatter, sort and accumulate elements at places that the data say.

Places made at run time are checked before they are used: outside of their axis they end the run with an error.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import reduce
from operator import add

import numpy as np

from intarsia.ir.graph import Node, Value
from intarsia.targets import YES, Support
from intarsia_backends.lowering.access import Access, row_major
from intarsia_backends.lowering.builder import Builder
from intarsia_backends.lowering.expressions import Cast, Constant, Expression, Gather, Input, apply, equal, select
from intarsia_backends.lowering.kernels import ArgReduce, Scan, Scatter, TopK, nest
from intarsia_backends.lowering.ops.movement import copy, lower_constant_gather
from intarsia_backends.lowering.ops.table import (
    MOVED,
    NUMBERS,
    PLACES,
    Lowering,
    attribute,
    axis_of,
    elements,
    integers,
    refused,
    text,
)
from intarsia_backends.lowering.program import Buffer


def place(index: int, size: int) -> Expression:
    """Operand `index` as a place on an axis: negative numbers count from its end."""
    raw = Cast("int32", Input(index))
    return select(raw < Constant("int32", 0), raw + Constant("int32", size), raw)


def _steps(place: Expression, step: int) -> Expression:
    return place if step == 1 else place * Constant("int32", step)


def _sum(terms: Sequence[Expression]) -> Expression:
    return reduce(add, terms)


def _lower_gather(builder: Builder, node: Node) -> None:
    x, indices = node.input(0), node.input(1)
    if indices.data is not None:
        lower_constant_gather(builder, node)
        return
    axis = axis_of(node, x.type.rank, 0)
    size, inner = x.shape[axis], math.prod(x.shape[axis + 1 :])
    builder.guard(indices, -size, size - 1, node.where)
    extents = (math.prod(x.shape[:axis]), indices.type.elements, inner)
    accesses = [Access(x.dtype, (size * inner, 0, 1)), Access(indices.dtype, (0, 1, 0))]
    body = Gather(0, _steps(place(1, size), inner))
    kernel = nest(extents, accesses, Access(x.dtype, row_major(extents)), body)
    builder.call(kernel, [builder.read(x), builder.read(indices)], builder.result(node.output))


def _check_elements(node: Node) -> Support:
    """Whether constant indices are in range; those made at run time are checked then."""
    x, indices = node.input(0), node.input(1)
    if indices.data is not None:
        size = x.shape[axis_of(node, x.type.rank, 0)]
        if indices.data.min() < -size or indices.data.max() >= size:
            return refused("indices", f"an index is outside an axis of {size}")
    return YES


def _lower_gather_elements(builder: Builder, node: Node) -> None:
    x, indices = node.input(0), node.input(1)
    axis = axis_of(node, x.type.rank, 0)
    steps = row_major(x.shape)
    builder.guard(indices, -x.shape[axis], x.shape[axis] - 1, node.where)
    walk = tuple(0 if index == axis else step for index, step in enumerate(steps))
    accesses = [Access(x.dtype, walk), Access(indices.dtype, row_major(indices.shape))]
    body = Gather(0, _steps(place(1, x.shape[axis]), steps[axis]))
    kernel = nest(indices.shape, accesses, Access(x.dtype, row_major(indices.shape)), body)
    builder.call(kernel, [builder.read(x), builder.read(indices)], builder.result(node.output))


def _lower_gather_nd(builder: Builder, node: Node) -> None:
    x, indices = node.input(0), node.input(1)
    batch = int(attribute(node, "batch_dims", 0))
    depth = indices.shape[-1]
    count = math.prod(indices.shape[:batch])
    picks = math.prod(indices.shape[batch:-1])
    sizes, inner = x.shape[batch : batch + depth], math.prod(x.shape[batch + depth :])
    steps = row_major(x.shape)[batch : batch + depth]
    columns, buffers = _checked_columns(builder, node, indices, sizes, (picks, 1, 0))
    terms = [_steps(place(1 + column, size), step) for column, (size, step) in enumerate(zip(sizes, steps))]
    extents = (count, picks, inner)
    accesses = [Access(x.dtype, (math.prod(x.shape[batch:]), 0, 1)), *columns]
    kernel = nest(extents, accesses, Access(x.dtype, row_major(extents)), Gather(0, _sum(terms)))
    builder.call(kernel, [builder.read(x), *buffers], builder.result(node.output))


def _checked_columns(
    builder: Builder, node: Node, indices: Value, sizes: Sequence[int], walk: tuple[int, ...]
) -> tuple[list[Access], list[Buffer]]:
    depth = indices.shape[-1]
    buffer = builder.read(indices)
    if indices.data is None:
        rows = indices.type.elements // depth
        for column, size in enumerate(sizes):
            source, dtype = buffer, indices.dtype
            if len(set(sizes)) > 1:  # each column has limits of its own
                source = builder.scratch(rows, dtype)
                copy(builder, buffer, source, dtype, (rows,), (depth,), (1,), column)
            count = rows if len(set(sizes)) > 1 else indices.type.elements
            builder.guard_buffer(source, dtype, count, -size, size - 1, f"{node.where}: '{indices.name}'")
            if len(set(sizes)) == 1:
                break
    accesses = [Access(indices.dtype, tuple(step * depth for step in walk), column) for column in range(depth)]
    return accesses, [buffer] * depth


def _check_nd(node: Node) -> Support:
    x, indices = node.input(0), node.input(1)
    batch, depth = int(attribute(node, "batch_dims", 0)), indices.shape[-1]
    if indices.data is not None:
        sizes = np.asarray(x.shape[batch : batch + depth])
        if (indices.data < -sizes).any() or (indices.data >= sizes).any():
            return refused("indices", f"an index is outside of {x.type}")
    return YES


# ---- scatter


def _scatter(
    builder: Builder,
    node: Node,
    kept: Sequence[int],
    target: tuple[int, ...],
    columns: Sequence[Access],
    buffers: Sequence[Buffer],
    place: Expression,
    apart: Sequence[int],
) -> None:
    """y = x, then the updates, which are walked row by row, at their places. Operand 0 is the updates."""
    x, updates = node.input(0), node.input(2)
    y = builder.result(node.output)
    count = x.type.elements
    copy(builder, builder.read(x), y, x.dtype, (count,), (1,), (1,))
    reduction = text(node, "reduction", "none")
    kernel = Scatter(
        tuple(kept),
        (Access(x.dtype, row_major(kept)), *columns),
        Access(x.dtype, target),
        count,
        place,
        Input(0),
        "" if reduction == "none" else reduction,
        tuple(apart),
    )
    builder.call(kernel, [builder.read(updates), *buffers], y)


def _lower_scatter_elements(builder: Builder, node: Node) -> None:
    x, indices = node.input(0), node.input(1)
    axis, steps = axis_of(node, x.type.rank, 0), row_major(x.shape)
    builder.guard(indices, -x.shape[axis], x.shape[axis] - 1, node.where)
    target = tuple(0 if index == axis else step for index, step in enumerate(steps))
    columns = [Access(indices.dtype, row_major(indices.shape))]
    where = _steps(place(1, x.shape[axis]), steps[axis])
    apart = [index for index in range(len(steps)) if index != axis]
    _scatter(builder, node, indices.shape, target, columns, [builder.read(indices)], where, apart)


def _lower_scatter_nd(builder: Builder, node: Node) -> None:
    x, indices = node.input(0), node.input(1)
    depth = indices.shape[-1]
    rows, inner = math.prod(indices.shape[:-1]), math.prod(x.shape[depth:])
    sizes, steps = x.shape[:depth], row_major(x.shape)[:depth]
    columns, buffers = _checked_columns(builder, node, indices, sizes, (1, 0))
    terms = [_steps(place(1 + column, size), step) for column, (size, step) in enumerate(zip(sizes, steps))]
    _scatter(builder, node, (rows, inner), (0, 1), columns, buffers, _sum(terms), [1])


def _check_scatter(node: Node) -> Support:
    reduction = text(node, "reduction", "none")
    if reduction != "none" and node.input(0).dtype in ("bool", "float16"):
        return refused("element-type", f"reduction {reduction} of {node.input(0).dtype}")
    return _check_nd(node) if node.op == "ScatterND" else _check_elements(node)


# ---- along one axis


def _cut(shape: Sequence[int], axis: int) -> tuple[int, int, int]:
    """Extents before, of and behind an axis."""
    return math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])


def _running(combine: str) -> Callable[[Builder, Node], None]:
    def lower(builder: Builder, node: Node) -> None:
        x = node.input(0)
        (axis,) = integers(node.input(1)) or (0,)
        exclusive, reverse = bool(attribute(node, "exclusive", 0)), bool(attribute(node, "reverse", 0))
        kernel = Scan(*_cut(x.shape, axis % x.type.rank), x.dtype, combine, exclusive, reverse)
        builder.call(kernel, [builder.read(x)], builder.result(node.output))

    return lower


def _extreme(largest: bool) -> Callable[[Builder, Node], None]:
    def lower(builder: Builder, node: Node) -> None:
        x = node.input(0)
        last = bool(attribute(node, "select_last_index", 0))
        kernel = ArgReduce(*_cut(x.shape, axis_of(node, x.type.rank, 0)), x.dtype, largest, last)
        builder.call(kernel, [builder.read(x)], builder.result(node.output))

    return lower


def _lower_top(builder: Builder, node: Node) -> None:
    x = node.input(0)
    outer, size, inner = _cut(x.shape, axis_of(node, x.type.rank, -1))
    made = next(value for value in node.outputs if value is not None)
    count = made.shape[axis_of(node, x.type.rank, -1)]
    builder.guard(node.input(1), count, count, node.where)  # the model may declare what k will be
    results = [
        builder.scratch(outer * count * inner, dtype) if value is None else builder.result(value)
        for value, dtype in zip((*node.outputs, None)[:2], (x.dtype, "int64"))
    ]
    kernel = TopK(outer, size, inner, count, x.dtype, bool(attribute(node, "largest", 1)))
    builder.call(kernel, [builder.read(x)], *results)


def _lower_one_hot(builder: Builder, node: Node) -> None:
    indices, values, shape = node.input(0), node.input(2), node.output.shape
    axis = axis_of(node, len(shape), -1)
    depth = shape[axis]
    if node.input(1).dtype in PLACES:
        builder.guard(node.input(1), depth, depth, node.where)  # the model may declare what the depth will be
    steps = iter(row_major(indices.shape))
    walk = tuple(0 if index == axis else next(steps) for index in range(len(shape)))
    still = (0,) * len(shape)
    accesses = [
        Access(indices.dtype, walk),
        Access("int64", tuple(int(index == axis) for index in range(len(shape)))),
        Access(values.dtype, still),
        Access(values.dtype, still, 1),
    ]
    raw = Cast("int64", Input(0))
    where = select(raw < Constant("int64", 0), raw + Constant("int64", depth), raw)
    body = select(equal(Input(1), where), Input(3), Input(2))
    operands = [builder.read(indices), builder.weight(np.arange(depth)), *[builder.read(values)] * 2]
    kernel = nest(shape, accesses, Access(values.dtype, row_major(shape)), body)
    builder.call(kernel, operands, builder.result(node.output))


def _check_one_hot(node: Node) -> Support:
    if node.input(0).dtype == "bool":
        return refused("element-type", "indices are bools")
    return YES


def _lower_trilu(builder: Builder, node: Node) -> None:
    x, diagonal = node.input(0), node.optional_input(1)
    rows, columns = x.shape[-2:]
    extents = (math.prod(x.shape[:-2]), rows, columns)
    accesses = [Access(x.dtype, row_major(extents)), Access("int64", (0, 1, 0)), Access("int64", (0, 0, 1))]
    operands = [builder.read(x), *(builder.weight(np.arange(size, dtype=np.int64)) for size in (rows, columns))]
    k: Expression = Constant("int64", 0)
    if diagonal is not None:
        accesses.append(Access(diagonal.dtype, (0, 0, 0)))
        operands.append(builder.read(diagonal))
        k = Cast("int64", Input(3))
    beyond = Input(2) - Input(1)
    kept = apply("ge" if attribute(node, "upper", 1) else "le", beyond, k)
    body = select(kept, Input(0), Constant(x.dtype, 0))
    kernel = nest(extents, accesses, Access(x.dtype, row_major(extents)), body)
    builder.call(kernel, operands, builder.result(node.output))


def _lower_reverse_sequence(builder: Builder, node: Node) -> None:
    x, lengths = node.input(0), node.input(1)
    time = int(attribute(node, "time_axis", 0))
    extents = (*x.shape[:2], math.prod(x.shape[2:]))
    steps = row_major(extents)
    builder.guard(lengths, 0, x.shape[time], node.where)
    along = tuple(int(index == time) for index in range(3))
    across = tuple(int(index == 1 - time) for index in range(3))
    walk = tuple(0 if index == time else step for index, step in enumerate(steps))
    accesses = [Access(x.dtype, walk), Access(lengths.dtype, across), Access("int32", along)]
    length = Cast("int32", Input(1))
    last = length - Constant("int32", 1)
    source = select(Input(2) < length, last - Input(2), Input(2))
    operands = [builder.read(x), builder.read(lengths), builder.weight(np.arange(x.shape[time], dtype=np.int32))]
    kernel = nest(extents, accesses, Access(x.dtype, row_major(extents)), Gather(0, _steps(source, steps[time])))
    builder.call(kernel, operands, builder.result(node.output))


# ---- outputs that are known


def _lower_dropout(builder: Builder, node: Node) -> None:
    """What stands there at inference: x, and a mask that keeps all of it."""
    if node.outputs[0] is not None:
        builder.alias(node.outputs[0], node.input(0))
    if len(node.outputs) > 1 and node.outputs[1] is not None:
        builder.constant(node.outputs[1], np.ones(node.input(0).shape, np.bool_))


def _check_dropout(node: Node) -> Support:
    training = node.optional_input(2)
    if training is not None and bool(elements(training).reshape(-1)[0]):
        return refused("training", "training_mode is true")
    return YES


def _lower_eye_like(builder: Builder, node: Node) -> None:
    rows, columns = node.output.shape
    dtype = node.output.dtype
    builder.constant(node.output, np.eye(rows, columns, k=int(attribute(node, "k", 0)), dtype=dtype))


LOWERINGS = {
    "Gather": Lowering(_lower_gather, dtypes=MOVED, places=(1,), check=_check_elements),
    "GatherElements": Lowering(_lower_gather_elements, dtypes=MOVED, places=(1,), check=_check_elements),
    "GatherND": Lowering(_lower_gather_nd, dtypes=MOVED, places=(1,), check=_check_nd),
    "ScatterElements": Lowering(_lower_scatter_elements, dtypes=MOVED, places=(1,), check=_check_scatter),
    "ScatterND": Lowering(_lower_scatter_nd, dtypes=MOVED, places=(1,), check=_check_scatter),
    "CumSum": Lowering(_running("add"), dtypes=NUMBERS, constants=(1,)),
    "CumProd": Lowering(_running("mul"), dtypes=NUMBERS, constants=(1,)),
    "ArgMax": Lowering(_extreme(True), dtypes=NUMBERS, own_type=(0,)),
    "ArgMin": Lowering(_extreme(False), dtypes=NUMBERS, own_type=(0,)),
    "TopK": Lowering(_lower_top, dtypes=NUMBERS, places=(1,), outputs=2, own_type=(1,)),
    "OneHot": Lowering(_lower_one_hot, dtypes=MOVED, unread=(1,), check=_check_one_hot),
    "Trilu": Lowering(_lower_trilu, dtypes=MOVED, places=(1,)),
    "ReverseSequence": Lowering(_lower_reverse_sequence, dtypes=MOVED, places=(1,)),
    "Dropout": Lowering(
        _lower_dropout, dtypes=MOVED, constants=(2,), unread=(1,), outputs=2, own_type=(1,), check=_check_dropout
    ),
    "EyeLike": Lowering(_lower_eye_like, dtypes=MOVED),
}
