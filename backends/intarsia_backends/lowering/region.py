"""A region as kernel calls: the ops that every target can make, and which table of a target takes a node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from intarsia.ir.graph import Node
from intarsia.targets import YES, Support, no
from intarsia_backends.lowering.builder import Builder
from intarsia_backends.lowering.ops import (
    arithmetic,
    convolution,
    dense,
    einsum,
    elementwise,
    indexing,
    integer,
    movement,
    pixels,
    pooling,
    quantized,
    recurrent,
    reduction,
    resize,
    sampling,
    windows,
)
from intarsia_backends.lowering.ops.table import Lowering, makes_nothing, supports

B = TypeVar("B", bound=Builder)

LOWERINGS: Mapping[str, Lowering[Builder]] = {
    **elementwise.LOWERINGS,
    **arithmetic.LOWERINGS,
    **movement.LOWERINGS,
    **indexing.LOWERINGS,
    **recurrent.LOWERINGS,
    **resize.LOWERINGS,
    **pixels.LOWERINGS,
    **sampling.LOWERINGS,
    **reduction.LOWERINGS,
    **pooling.LOWERINGS,
    **dense.LOWERINGS,
    **convolution.LOWERINGS,
    **einsum.LOWERINGS,
    **quantized.LOWERINGS,
    **integer.LOWERINGS,
}
"""By op, what makes its calls. A target puts its own in place of those that it has better kernels for."""

FURTHER: Mapping[str, Lowering[Builder]] = windows.LOWERINGS
"""Asked where a target's own table refuses a node."""


def find_lowering(tables: Sequence[Mapping[str, Lowering[B]]], node: Node) -> Lowering[B] | None:
    """What takes a node; tables are asked in order."""
    for table in tables:
        lowering = table.get(node.op)
        if lowering is not None and supports(lowering, node).ok:
            return lowering
    return None


def supported(tables: Sequence[Mapping[str, Lowering[B]]], node: Node) -> Support:
    """Whether code can be made for a node; where all tables refuse, the first one's reason is told."""
    name = f"{node.domain}.{node.op}" if node.domain else node.op
    candidates = [] if node.domain else [table[node.op] for table in tables if node.op in table]
    if not node.domain and (makes_nothing(node) or find_lowering(tables, node) is not None):
        return YES
    if candidates:
        return supports(candidates[0], node)
    return no("operator", f"no code is made for {name}", "the NumPy evaluator takes it; nothing needs to change")


def lower_node(builder: B, tables: Sequence[Mapping[str, Lowering[B]]], node: Node) -> bool:
    """Append the calls of a node; False where no table takes it."""
    if makes_nothing(node):
        for value in node.outputs:
            if value is not None:
                builder.result(value)
        return True
    lowering = find_lowering(tables, node)
    if lowering is not None:
        lowering.lower(builder, node)
    return lowering is not None
