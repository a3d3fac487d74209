"""Constant folding: what can be computed now is computed now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from intarsia.dtypes import Array, dtype_name
from intarsia.errors import CompileError, RunError
from intarsia.ir.budget import OverBudget, open_budget, raising, spending
from intarsia.ir.evaluate import evaluate_node
from intarsia.ir.facts import is_random
from intarsia.ir.graph import Graph, Node, Value
from intarsia.ir.infer import infer_node
from intarsia.ir.ops import op_of
from intarsia.ir.types import TensorType, agree
from intarsia.ir.work import allow, held_elements
from intarsia.passes.base import CHANGED, Answer, Outcome, Refusal, Rewrite, Rewriter, refuse
from intarsia.passes.context import Context, Folding

_TOO_MUCH = "its result is too large for now"


@dataclass(frozen=True)
class FoldConstants(Rewrite):
    """Compute nodes whose inputs are all constant, and Shape and Size of values whose shape is known.

    keep_dequantize  leave DequantizeLinear of constants: the weights of a model with scales of its own
    fold_elements    by how much all results together may be larger than their inputs; the rest waits for run time
    fold_work        multiply-adds, or what takes as long, that all of it may take
    fold_bytes       that one node may hold while it is computed

    A model that brings many constants may have more: as many elements as there are, and work and bytes for each. What
    stays because of a limit is told in a note.
    """

    name: ClassVar[str] = "fold-constants"
    keep_dequantize: bool = False
    fold_elements: int = 1 << 24
    fold_work: int = 1 << 33
    fold_bytes: int = 1 << 28

    def run(self, graph: Graph) -> int:
        return self.apply(graph, Context()).changes

    def apply(self, graph: Graph, context: Context) -> Outcome:
        if context.folding is None:
            context.folding = self._allowance(graph)
        changes, changed, refused = 0, -1, list[Refusal]()
        while changed:
            changed, refused = self._sweep(graph, Rewriter(graph, context.folding))
            changes += changed
        told = (refusal for refusal in refused if refusal.reason.startswith(_TOO_MUCH))
        return Outcome(changes, notes=tuple((item.node.name, f"waits for run time: {item.reason}") for item in told))

    def _allowance(self, graph: Graph) -> Folding:
        budget = open_budget() or allow(graph, self.fold_work, self.fold_bytes, "fold")
        return Folding(budget, max(self.fold_elements, held_elements(graph)))

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
        freed = sum(value.type.elements for value in set(inputs) if value.only_user is node)
        grown = max(sum(type.elements for type in static) - freed, 0)
        folding = rewriter.folding = rewriter.folding or self._allowance(rewriter.graph)
        if grown > folding.elements:
            return refuse(
                f"{_TOO_MUCH}: it has {grown} elements more than its inputs, "
                f"and {folding.elements} are left of fold_elements; to raise it, {raising('fold_elements', kept=True)}"
            )
        try:
            with spending(folding.budget):
                results = evaluate_node(node, [None if value is None else value.data for value in node.inputs])
        except OverBudget as error:
            return refuse(f"{_TOO_MUCH}: {error.what}; to raise it, {raising(error.limit, kept=True)}")
        except (CompileError, RunError) as error:
            return refuse(f"it cannot be computed: {error.what}")
        folding.elements -= grown
        return self._become(node, results, rewriter)

    def _become(self, node: Node, results: list[Array], rewriter: Rewriter) -> Answer:
        graph = rewriter.graph
        pairs = [(value, np.asarray(data)) for value, data in zip(node.outputs, results) if value is not None]
        for value, data in pairs:
            if dtype_name(data.dtype) != value.dtype:
                return refuse(f"it computes {dtype_name(data.dtype)} where {value.dtype} is declared")
            _check_declared(node, value, TensorType(value.dtype, data.shape))
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
            _check_declared(node, value, type)
            value.type = type
            changed = True
            for user in value.users:
                _check_user(user)
    return CHANGED if changed else None


def _check_user(user: Node) -> None:
    """Refuse a reader whose declared outputs contradict what is known of its inputs by now."""
    for value, type in zip(user.outputs, infer_node(user) or ()):
        if value is not None:
            _check_declared(user, value, type)


def _check_declared(node: Node, value: Value, type: TensorType) -> None:
    """Refuse a type that the import had to believe, since nothing was known of the inputs then."""
    if not agree(value.type, type):
        raise CompileError(
            where=node.where,
            what=f"its output {value.name!r} is declared as {value.type}; by what is computed it is {type}",
            help="drop the declared shape, or correct it; export the model again",
        )
