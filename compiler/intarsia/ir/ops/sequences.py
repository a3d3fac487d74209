"""Lists of tensors as exporters make them of Python's: built, read, joined. A sequence is a list; types by onnx."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from intarsia.errors import RunError
from intarsia.ir.graph import Node
from intarsia.ir.op import Op
from intarsia.ir.ops.rules import axis_in


def _index(node: Node, inputs: Sequence[Any], place: int, size: int, default: int, more: int = 0) -> int:
    """An input that names an entry; `more` entries behind the last may be named too."""
    found = inputs[place] if len(inputs) > place else None
    index = default if found is None else int(np.asarray(found).reshape(-1)[0])
    if not -size <= index < size + more:
        raise RunError(
            where=node.where,
            what=f"entry {index} of a sequence of {size}",
            help="look at what computes the index, and at how many tensors were put in",
        )
    return index


def _at(node: Node, inputs: Sequence[Any]) -> list[Any]:
    return [inputs[0][_index(node, inputs, 1, len(inputs[0]), 0)]]


def _insert(node: Node, inputs: Sequence[Any]) -> list[Any]:
    made = list(inputs[0])
    made.insert(_index(node, inputs, 2, len(made), len(made), more=1), inputs[1])
    return [made]


def _erase(node: Node, inputs: Sequence[Any]) -> list[Any]:
    made = list(inputs[0])
    del made[_index(node, inputs, 1, len(made), -1)]
    return [made]


def _concat(node: Node, inputs: Sequence[Any]) -> list[Any]:
    parts, axis = inputs[0], int(node.attributes["axis"])
    if not parts:
        raise RunError(where=node.where, what="the sequence is empty", help="put a tensor in before it is joined")
    join = np.stack if node.attributes.get("new_axis", 0) else np.concatenate
    return [join(parts, axis=axis)]


def _split(node: Node, inputs: Sequence[Any]) -> list[Any]:
    x, sizes = inputs[0], inputs[1] if len(inputs) > 1 else None
    axis = axis_in(node, int(node.attributes.get("axis", 0)), x.ndim)
    length = x.shape[axis]
    if sizes is None or sizes.ndim == 0:
        step = 1 if sizes is None else int(sizes)
        if step < 1:
            raise RunError(where=node.where, what=f"parts of size {step}", help="give a size of 1 or more")
        ends = list(range(step, length, step))
    else:
        ends = [int(end) for end in np.cumsum(sizes)[:-1]]
        if int(sizes.sum()) != length or (sizes < 0).any():
            raise RunError(
                where=node.where,
                what=f"parts of {sizes.tolist()} of an axis of {length}",
                help="sizes must add up to the axis",
            )
    parts = np.split(x, ends, axis=axis) if length else []
    if sizes is None and not node.attributes.get("keepdims", 1):
        parts = [np.squeeze(part, axis) for part in parts]
    return [parts]


def _construct(node: Node, inputs: Sequence[Any]) -> list[Any]:
    return [list(inputs)]


def _empty(node: Node, inputs: Sequence[Any]) -> list[Any]:
    return [[]]


def _length(node: Node, inputs: Sequence[Any]) -> list[Any]:
    return [np.array(len(inputs[0]), np.int64)]


OPS = (
    Op("SequenceAt", None, _at, work="movement"),
    Op("SequenceConstruct", None, _construct, work="movement"),
    Op("SequenceEmpty", None, _empty, work="movement"),
    Op("SequenceErase", None, _erase, work="movement"),
    Op("SequenceInsert", None, _insert, work="movement"),
    Op("SequenceLength", None, _length, work="movement"),
    Op("ConcatFromSequence", None, _concat, work="movement"),
    Op("SplitToSequence", None, _split, work="movement"),
)
