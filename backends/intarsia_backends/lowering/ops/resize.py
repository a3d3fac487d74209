"""Resize: a table of positions where one element is taken, else weighted sums of a few, one axis after the other."""

from __future__ import annotations

import math

import numpy as np

from intarsia.dtypes import Array
from intarsia.ir.graph import Node
from intarsia.ir.ops.resize import is_rare, moved_positions, rounded, taps
from intarsia.targets import YES, Support
from intarsia_backends.lowering.access import Access, row_major
from intarsia_backends.lowering.builder import Builder
from intarsia_backends.lowering.expressions import Gather, Input
from intarsia_backends.lowering.kernels import nest
from intarsia_backends.lowering.ops.movement import gather_axes
from intarsia_backends.lowering.ops.table import ALL, Lowering, refused, text


def positions_of(node: Node) -> dict[int, Array]:
    return moved_positions(node, node.input(0).shape, [None if value is None else value.data for value in node.inputs])


def _lower(builder: Builder, node: Node) -> None:
    x, positions = node.input(0), positions_of(node)
    if text(node, "mode", "nearest") != "nearest":
        _interpolate(builder, node, positions)
        return
    tables: list[Array | None] = [None] * x.type.rank
    for axis, position in positions.items():
        picked = rounded(text(node, "nearest_mode", "round_prefer_floor"), position)
        tables[axis] = np.clip(picked, 0, x.shape[axis] - 1)
    gather_axes(builder, x, node.output, tables)


def _interpolate(builder: Builder, node: Node, positions: dict[int, Array]) -> None:
    x, output = node.input(0), node.output
    source, shape = builder.read(x), list(x.shape)
    if not positions:
        builder.alias(output, x)
    for axis, position in positions.items():
        size, inner = shape[axis], math.prod(shape[axis + 1 :])
        indices, weights = taps(node, size, position)
        extents = (math.prod(shape[:axis]), output.shape[axis], inner)
        walk, body = (0, 1, 0), None
        accesses, operands = [Access("float32", (size * inner, 0, 1))], [source]
        for tap in range(indices.shape[1]):
            accesses += [Access("int32", walk), Access("float32", walk)]
            operands.append(builder.weight((indices[:, tap] * inner).astype(np.int32)))
            operands.append(builder.weight(weights[:, tap].astype(np.float32)))
            part = Gather(0, Input(2 * tap + 1)) * Input(2 * tap + 2)
            body = part if body is None else body + part
        assert body is not None
        shape[axis] = output.shape[axis]
        last = axis == list(positions)[-1]
        target = builder.result(output) if last else builder.scratch(math.prod(shape), "float32")
        builder.call(nest(extents, accesses, Access("float32", row_major(extents)), body), operands, target)
        source = target


def _check(node: Node) -> Support:
    mode = text(node, "mode", "nearest")
    if is_rare(node):
        return refused("mode", "antialiasing, cropping, or an opset before 11")
    if mode != "nearest" and node.input(0).dtype != "float32":
        return refused("element-type", f"mode {mode} on {node.input(0).dtype}")
    return YES


LOWERINGS = {"Resize": Lowering(_lower, dtypes=ALL, constants=(1, 2, 3), check=_check)}
