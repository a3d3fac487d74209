"""Constant folding: what can be computed now is computed now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from intarsia.dtypes import Array, dtype_name
from intarsia.errors import CompileError, RunError
from intarsia.ir.evaluate import evaluate_node
from intarsia.ir.facts import is_random
from intarsia.ir.graph import Node
from intarsia.ir.infer import infer_node
from intarsia.ir.ops import op_of
from intarsia.passes.base import CHANGED, Answer, Rewrite, Rewriter, refuse


@dataclass(frozen=True)
class FoldConstants(Rewrite):
    """Compute nodes whose inputs are all constant, and Shape and Size of values whose shape is known.

    keep_dequantize  leave DequantizeLinear of constants: the weights of a model with scales of its own
    limit_elements   by how much all results together may be larger than their inputs; the rest waits for run time
    """

    name: ClassVar[str] = "fold-constants"
    keep_dequantize: bool = False
    limit_elements: int = 1 << 27

    def rewrite(self, node: Node, rewriter: Rewriter) -> Answer:
        inputs = [value for value in node.inputs if value is not None]
        if node.op == "Shape" and node.input(0).type.is_static:
            shape = np.array(node.input(0).shape, np.int64)
            start, end = node.attributes.get("start", 0), node.attributes.get("end")
            return self._become(node, [np.array(shape[start:end])], rewriter)
        if node.op == "Size" and node.input(0).type.is_static:
            return self._become(node, [np.array(node.input(0).type.elements, np.int64)], rewriter)
        if not all(value.is_constant for value in inputs):
            return _retype(node)
        if self.keep_dequantize and node.op == "DequantizeLinear":
            return None
        if is_random(node):
            return refuse("its result is random")
        if any(value is not None and "(" in value.dtype for value in node.outputs):
            return refuse("its result is not a tensor")
        _retype(node)
        op = op_of(node)
        if op is not None and op.grows and not all(value is None or value.type.is_static for value in node.outputs):
            return refuse("the size of its result is not known")
        static = [value.type for value in node.outputs if value is not None and value.type.is_static]
        grown = sum(type.elements for type in static) - sum(value.type.elements for value in inputs)
        if grown > 0 and rewriter.spent_elements + grown > self.limit_elements:
            return refuse(
                f"its result has {grown} elements more than its inputs, and {self.limit_elements} are the limit"
            )
        rewriter.spent_elements += max(grown, 0)
        try:
            results = evaluate_node(node, [None if value is None else value.data for value in node.inputs])
        except (CompileError, RunError) as error:
            return refuse(f"it cannot be computed: {error.what}")
        return self._become(node, results, rewriter)

    def _become(self, node: Node, results: list[Array], rewriter: Rewriter) -> Answer:
        graph = rewriter.graph
        pairs = [(value, np.asarray(data)) for value, data in zip(node.outputs, results) if value is not None]
        for value, data in pairs:
            if dtype_name(data.dtype) != value.dtype:
                return refuse(f"it computes {dtype_name(data.dtype)} where {value.dtype} is declared")
        for value, data in pairs:
            rewriter.supersede(value, graph.add_constant(graph.fresh_name(f"{value.name}_folded"), data))
        rewriter.drop(node)
        return CHANGED


def _retype(node: Node) -> Answer:
    """Give outputs the static types that follow from what is known by now."""
    if all(value is None or value.type.is_static for value in node.outputs):
        return None
    types = infer_node(node)
    changed = False
    for value, type in zip(node.outputs, types or ()):
        if value is not None and not value.type.is_static and type.is_static:
            value.type = type
            changed = True
    return CHANGED if changed else None
