"""Add as the canonical form of Sum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from intarsia.ir.graph import Node
from intarsia.passes.base import CHANGED, Answer, Rewrite, Rewriter, refuse, type_like
from intarsia.passes.matching import OPSET


@dataclass(frozen=True)
class CanonicalizeSum(Rewrite):
    """Say Sum of two or more values as Add."""

    name: ClassVar[str] = "canonicalize-sum"
    tolerance: ClassVar[float] = 1e-6
    ops: ClassVar[tuple[str, ...]] = ("Sum",)

    def rewrite(self, node: Node, rewriter: Rewriter) -> Answer:
        values = [value for value in node.inputs if value is not None]
        if len(values) < 2 or "activation" in node.attributes:
            return None
        if not all(value.type.is_static for value in values):
            return refuse("the shapes of its operands are not known")
        total, *rest = values
        for index, value in enumerate(rest[:-1]):
            type = type_like(total, np.broadcast_shapes(total.shape, value.shape))
            wish = f"{node.output.name}_part{index}"
            adding = rewriter.graph.add_node("Add", [total, value], [type], name=wish, output_names=[wish], opset=OPSET)
            total = adding.output
        node.op, node.opset, node.attributes = "Add", OPSET, {}
        node.set_inputs([total, rest[-1]])
        return CHANGED
