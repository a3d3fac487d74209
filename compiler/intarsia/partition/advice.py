"""What targets take, asked by passes before the graph is cut up: ops are made of others where that helps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from intarsia.importer import Bodies, function_body
from intarsia.ir.graph import Graph, Node
from intarsia.passes import simplify_passes
from intarsia.passes.base import Pass, run_passes
from intarsia.passes.decompose import Advice, Decompose, FlattenRows, Kept
from intarsia.targets import Support, Target, find_target, no


def advised(
    step: Pass, targets: Sequence[Target] | None = None, told: Callable[[str, Kept], None] | None = None
) -> Pass:
    """A pass that asks what targets take, with their answers; any other as it is.

    targets  those to ask; by default those that the pass names
    told     see `passes.decompose.Advice`
    """
    if not isinstance(step, (Decompose, FlattenRows)):
        return step
    asked = [find_target(name) for name in step.targets] if targets is None else targets
    if isinstance(step, FlattenRows):
        return replace(step, taken=asked[0].supports) if asked else step
    bodies: Bodies = {}

    def taken(node: Node) -> Support:
        answer = no("target", "there is none", "name one")
        for target in asked:
            answer = target.supports(node)
            if answer.ok:
                break
        return answer

    def function(node: Node) -> Graph:
        body = function_body(node, bodies)
        run_passes(body, simplify_passes())
        return body

    return replace(step, advice=Advice(taken, function, told or (lambda name, why: None)))
