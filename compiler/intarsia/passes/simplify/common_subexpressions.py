"""Common subexpression elimination."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from intarsia.ir.facts import is_random
from intarsia.ir.graph import Graph, Node, Value
from intarsia.ir.serialize import to_data
from intarsia.passes.base import Pass, Rewriter


@dataclass(frozen=True)
class EliminateCommonSubexpressions(Pass):
    """Compute once what several nodes compute alike from the same values; hold equal small constants once.

    limit_elements  constants with more elements are told apart without looking inside
    """

    name: ClassVar[str] = "eliminate-common-subexpressions"
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
    if isinstance(value, Graph):
        return "graph", repr(to_data(value))
    return type(value).__name__, repr(value)
