"""Types of outputs from types of inputs, by the op table's own strict rules."""

from __future__ import annotations

from collections.abc import Sequence

from intarsia.dtypes import Array
from intarsia.errors import FOREIGN, CompileError, said
from intarsia.ir.graph import Node
from intarsia.ir.ops import op_of
from intarsia.ir.types import TensorType


def infer_node(node: Node, known: Sequence[Array | None] | None = None) -> list[TensorType] | None:
    """Types of a node's outputs, or None where the op table has no rule for the op.

    known  elements of inputs known at compile time; constants among the inputs are found without being told

    Raises CompileError, naming the node, where its inputs and attributes do not fit each other.
    """
    op = op_of(node)
    if op is None or op.infer is None:
        return None
    types = [None if value is None else value.type for value in node.inputs]
    if known is None:
        known = [None if value is None else value.data for value in node.inputs]
    try:
        return op.infer(node, types, known)
    except FOREIGN as error:  # NumPy's and Python's, for elements or attributes that the rule does not foresee
        raise CompileError(
            where=node.where,
            what=f"the type of its result cannot be worked out: {said(error)}",
            help="check the shapes, constants and attributes that reach it; export the model again",
        ) from error
