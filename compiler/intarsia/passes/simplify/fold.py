"""Constants: what can be computed now is computed now; what nobody reads goes; what is equal is made once."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from intarsia.dtypes import Array, dtype_name
from intarsia.errors import CompileError, RunError
from intarsia.ir.evaluate import evaluate_node
from intarsia.ir.facts import is_random
from intarsia.ir.graph import Graph, Node, Value
from intarsia.ir.infer import infer_node
from intarsia.passes.base import CHANGED, Answer, Pass, Rewrite, Rewriter, refuse

_GROWING = frozenset(
    ("ConstantOfShape", "Expand", "EyeLike", "OneHot", "Pad", "Range", "Resize", "Tile", "Loop", "Scan")
)


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
        if node.op in _GROWING and not all(value is None or value.type.is_static for value in node.outputs):
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


@dataclass(frozen=True)
class DropDead(Pass):
    """Take out nodes that no output depends on, and optional outputs at a node's end that nobody reads."""

    name: ClassVar[str] = "drop-dead"

    def run(self, graph: Graph) -> int:
        outputs = {id(value) for value in graph.outputs}
        alive: set[Node] = set()
        dead: list[Node] = []
        for node in reversed(graph.nodes):
            if any(
                value is not None and (id(value) in outputs or any(user in alive for user in value.users))
                for value in node.outputs
            ):
                alive.add(node)
            else:
                dead.append(node)
        graph.erase_all(dead)
        trimmed = 0
        for node in graph.nodes:
            while node.op in _TRIMMED and len(node.outputs) > 1:
                last = node.outputs[-1]
                if last is not None and (last.users or id(last) in outputs):
                    break
                node.outputs.pop()
                trimmed += 1
        return len(dead) + trimmed


_TRIMMED = frozenset(("MaxPool", "Dropout", "BatchNormalization", "LayerNormalization", "LSTM", "GRU", "RNN"))


@dataclass(frozen=True)
class MergeEqual(Pass):
    """Compute once what several nodes compute alike from the same values; hold equal small constants once.

    limit_elements  constants with more elements are told apart without looking inside
    """

    name: ClassVar[str] = "merge-equal"
    limit_elements: int = 64

    def run(self, graph: Graph) -> int:
        rewriter = Rewriter(graph)
        made: dict[Hashable, Node] = {}
        changes = 0
        for node in list(graph.nodes):
            if is_random(node) or "seed" in node.attributes:
                continue
            key = self._key(node)
            twin = made.setdefault(key, node)
            if twin is node or any(value is not None and graph.is_output(value) for value in node.outputs):
                continue
            for old, new in zip(node.outputs, twin.outputs):
                if old is not None and new is not None:
                    graph.replace_uses(old, new)
            rewriter.drop(node)
            changes += 1
        if changes:
            rewriter.finish()
        return changes

    def _key(self, node: Node) -> Hashable:
        attributes = tuple(sorted((name, _hashable(value)) for name, value in node.attributes.items()))
        present = tuple(value is not None for value in node.outputs)
        inputs = tuple(self._identity(value) for value in node.inputs)
        return node.op, node.domain, node.opset, attributes, inputs, present

    def _identity(self, value: Value | None) -> Hashable:
        if value is None or value.data is None or value.data.size > self.limit_elements:
            return id(value)
        return _hashable(value.data)


def _hashable(value: Any) -> Hashable:
    if isinstance(value, np.ndarray):
        content = repr(value.tolist()) if value.dtype.kind in "OUS" else value.tobytes()
        return "array", str(value.dtype), value.shape, content
    return type(value).__name__, repr(value)
