"""Half precision: computed in float32, rounded to float16 after every op, as the NumPy meaning rounds."""

from __future__ import annotations

from collections.abc import Sequence

from intarsia.ir.graph import Node, Value
from intarsia.ir.ops import OPS
from intarsia.passes.decompose.parts import Parts

HALF, WIDE = "float16", "float32"


def is_half(node: Node) -> bool:
    """Whether a node has float16 among its inputs or outputs, and is of an op that can be computed in float32."""
    values = [value for value in (*node.inputs, *node.outputs) if value is not None]
    return node.op not in ("Cast", "CastLike") and node.op in OPS and any(value.dtype == HALF for value in values)


def widened(parts: Parts) -> Sequence[Value | None]:
    """The node in float32, between casts."""
    node = parts.node
    wide = [
        None if value is None else parts.cast(value, WIDE) if value.dtype == HALF else value for value in parts.inputs
    ]
    made = parts.several(node.op, len(node.outputs), *wide, opset=node.opset, **node.attributes)
    return [None if wanted is None else parts.cast(value, wanted.dtype) for value, wanted in zip(made, node.outputs)]
