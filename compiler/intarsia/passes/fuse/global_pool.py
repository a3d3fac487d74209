"""Pools over the whole image that exporters write as reductions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from intarsia.ir.graph import Graph, Node, Value
from intarsia.passes.base import CHANGED, Answer, Rewrite, Rewriter, refuse, type_like
from intarsia.passes.matching import OPSET, is_floating, known_axes, shape_constant


@dataclass(frozen=True)
class CanonicalizeGlobalPool(Rewrite):
    """Say ReduceMean and ReduceMax over all spatial axes as GlobalAveragePool and GlobalMaxPool."""

    name: ClassVar[str] = "canonicalize-global-pool"
    tolerance: ClassVar[float] = 1e-6
    ops: ClassVar[tuple[str, ...]] = ("ReduceMean", "ReduceMax")

    def rewrite(self, node: Node, rewriter: Rewriter) -> Answer:
        x = node.input(0)
        if x.type.shape is None or x.type.rank < 3 or not x.type.is_static or not is_floating(x):
            return None
        axes = known_axes(node)
        if axes is None:
            return refuse("its axes are not constant")
        spatial = tuple(range(2, x.type.rank))
        if tuple(sorted(axes)) != spatial:
            return refuse(f"it reduces the axes {list(axes)}, and a global pool reduces {list(spatial)}")
        pool = "GlobalAveragePool" if node.op == "ReduceMean" else "GlobalMaxPool"
        graph = rewriter.graph
        if node.attributes.get("keepdims", 1):
            node.op, node.opset, node.attributes = pool, 1, {}
            rewriter.set_inputs(node, [x])
            return CHANGED
        pooled = _pooled(graph, pool, node, x)
        node.op, node.opset, node.attributes = "Reshape", OPSET, {}
        rewriter.set_inputs(node, [pooled, shape_constant(graph, f"{node.output.name}_shape", node.output.shape)])
        return CHANGED


def _pooled(graph: Graph, pool: str, node: Node, x: Value) -> Value:
    shape = (*x.shape[:2], *(1,) * (x.type.rank - 2))
    wish = f"{node.name}_pool"
    return graph.add_node(pool, [x], [type_like(x, shape)], name=wish, output_names=[wish], opset=1).output
