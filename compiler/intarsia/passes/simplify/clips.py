"""Bounds in a row become one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from intarsia.ir.graph import Node
from intarsia.passes.base import CHANGED, Answer, Rewrite, Rewriter, refuse
from intarsia.passes.clips import bounds_of, make_clip, merged
from intarsia.passes.matching import is_floating, why_shared


@dataclass(frozen=True)
class MergeClips(Rewrite):
    """Say Min and Max with one number as Clip, and two of Relu, Clip, Min, Max in a row as one."""

    name: ClassVar[str] = "merge-clips"
    ops: ClassVar[tuple[str, ...]] = ("Relu", "Clip", "Min", "Max")

    def rewrite(self, node: Node, rewriter: Rewriter) -> Answer:
        found = bounds_of(node)
        if found is None or not is_floating(node.output):
            return None
        x, bounds = found
        if bounds[0] > bounds[1]:
            return refuse(f"its lower bound {bounds[0]:g} is above its upper bound {bounds[1]:g}")
        if x.producer is not None and (inner := bounds_of(x.producer)) is not None:
            shared = why_shared(rewriter.graph, x, node)
            if shared is not None:
                return refuse(f"{x.producer.where} stays: {shared}")
            if inner[1][0] <= inner[1][1]:
                make_clip(node, inner[0], merged(inner[1], bounds), rewriter.graph)
                rewriter.drop(x.producer)
                return CHANGED
        if node.op in ("Min", "Max"):
            make_clip(node, x, bounds, rewriter.graph)
            return CHANGED
        return None
