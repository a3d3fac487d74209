"""Channel shuffles: a chain of Reshapes, Transposes and Gathers that only picks slices along one axis is one Gather."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from intarsia.dtypes import Array
from intarsia.ir.evaluate import evaluate_node
from intarsia.ir.graph import Node, Value
from intarsia.passes.base import CHANGED, Answer, Rewrite, Rewriter, refuse
from intarsia.passes.matching import OPSET, constant
from intarsia.passes.simplify.reshapes import make_reshape

_MOVES = ("Reshape", "Transpose", "Gather", "Slice", "Squeeze", "Unsqueeze", "Flatten")
_PICKS = ("Gather", "Slice")


_OVERHEAD = 8192
"""Elements in the time that NumPy takes for an op on few of them."""


@dataclass(frozen=True)
class MergeShuffles(Rewrite):
    """Say a chain of moves as one Gather or Slice along an axis, or as one Reshape, where it is no more than that.

    The positions that the chain moves to each place are computed by running it on 0, 1, 2, ...

    limit_elements  larger values are left alone
    limit_work      elements that are looked at in all, op by op: chains that share their beginning are looked at anew
    """

    name: ClassVar[str] = "merge-shuffles"
    ops: ClassVar[tuple[str, ...]] = _MOVES
    limit_elements: int = 1 << 22
    limit_work: int = 1 << 29

    def rewrite(self, node: Node, rewriter: Rewriter) -> Answer:
        graph = rewriter.graph
        if not graph.is_output(node.output) and all(_moves(user) for user in node.output.users):
            return None  # the end of the chain is further down
        chain = [node]
        while (producer := chain[0].input(0).producer) is not None and _moves(producer):
            chain.insert(0, producer)
        picks = any(member.op in _PICKS for member in chain)
        if len(chain) < (2 if picks else 3) or not _moves(node):
            return None
        source = chain[0].input(0)
        if source.type.elements > self.limit_elements:
            return refuse(
                f"'{source.name}' has {source.type.elements} elements, and {self.limit_elements} are looked at"
            )
        rewriter.looked_at += len(chain) * (source.type.elements + _OVERHEAD)
        if rewriter.looked_at > self.limit_work:
            return refuse(f"{self.limit_work} elements have been looked at, which is the limit")
        places = np.arange(source.type.elements, dtype=np.int64).reshape(source.shape)
        for member in chain:
            inputs: list[Array | None] = [places, *(None if v is None else v.data for v in member.inputs[1:])]
            (places,) = evaluate_node(member, inputs)
        if places.size == source.type.elements and (places.reshape(-1) == np.arange(places.size)).all():
            make_reshape(node, source, graph)
            _drop_former(chain, rewriter)
            return CHANGED
        found = _picked(places, source)
        if found is None:
            return refuse(f"from '{source.name}' on it is no choice along one axis")
        axis, indices = found
        wish, first, count = node.output.name, int(indices[0]), len(indices)
        if (indices == np.arange(first, first + count)).all():
            ends = (("start", first), ("end", first + count), ("axis", axis), ("step", 1))
            node.op, node.opset, node.attributes = "Slice", OPSET, {}
            node.set_inputs([source, *(constant(graph, f"{wish}_{end}", [number], np.int64) for end, number in ends)])
        else:
            node.op, node.opset, node.attributes = "Gather", OPSET, {"axis": axis}
            node.set_inputs([source, constant(graph, f"{wish}_indices", indices)])
        _drop_former(chain, rewriter)
        return CHANGED


def _moves(node: Node) -> bool:
    if node.domain or node.op not in _MOVES or len(node.outputs) != 1 or not node.output.type.is_static:
        return False
    first, *rest = node.inputs
    if first is None or first.is_constant or not first.type.is_static:
        return False
    return all(value is None or value.is_constant for value in rest)


def _drop_former(chain: list[Node], rewriter: Rewriter) -> None:
    for member in reversed(chain[:-1]):
        rewriter.drop(member)


def _picked(places: Array, source: Value) -> tuple[int, Array] | None:
    """Axis and indices, where `places` are those of a Gather from the source."""
    shape = source.shape
    if places.ndim != len(shape) or not places.size:
        return None
    differing = [axis for axis, (old, new) in enumerate(zip(shape, places.shape)) if old != new]
    if len(differing) > 1:
        return None
    for axis in differing or [axis for axis, size in enumerate(shape) if size > 1]:
        inner = int(np.prod(shape[axis + 1 :]))
        indices = np.moveaxis(places, axis, 0).reshape(places.shape[axis], -1)[:, 0] // inner
        numbers = np.arange(source.type.elements, dtype=np.int64).reshape(shape)
        if indices.max(initial=0) < shape[axis] and (np.take(numbers, indices, axis) == places).all():
            return axis, indices.astype(np.int64)
    return None
