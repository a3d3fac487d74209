"""Dead code elimination."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from intarsia.ir.graph import Graph, Node
from intarsia.ir.ops import op_of
from intarsia.passes.base import Pass


@dataclass(frozen=True)
class EliminateDeadCode(Pass):
    """Take out nodes that no output depends on, and optional outputs at a node's end that nobody reads."""

    name: ClassVar[str] = "eliminate-dead-code"

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
            op = op_of(node)
            while op is not None and op.optional_outputs and len(node.outputs) > 1:
                last = node.outputs[-1]
                if last is not None and (last.user_count or id(last) in outputs):
                    break
                node.outputs.pop()
                trimmed += 1
        return len(dead) + trimmed
