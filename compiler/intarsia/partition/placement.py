"""Where each node runs, and why it does not run on the accelerator: the target is asked, never its name."""

from __future__ import annotations

from dataclasses import dataclass

from intarsia.artifact.parts import EVALUATOR
from intarsia.ir.facts import is_compute, macs, moved_bytes
from intarsia.ir.graph import Graph, Node
from intarsia.targets import Support, Target


@dataclass(frozen=True)
class Placement:
    """Where one node runs.

    place    the name of the target whose code runs it, or EVALUATOR for what no code generator takes
    compute  False for data movement and changes of number format
    macs     multiply-accumulates of one run
    bytes    bytes that it reads and writes
    refused  the answers of the targets that were asked before and said no, in order: (target name, answer)
    """

    node: Node
    place: str
    compute: bool
    macs: int
    bytes: int
    refused: tuple[tuple[str, Support], ...]


def place_nodes(graph: Graph, targets: tuple[Target, ...]) -> list[Placement]:
    """Ask each target in turn for each node; what all refuse goes to the evaluator."""
    return [_place(node, targets) for node in graph.nodes]


def _place(node: Node, targets: tuple[Target, ...]) -> Placement:
    refused: list[tuple[str, Support]] = []
    place = EVALUATOR
    for target in targets:
        answer = target.supports(node)
        if answer.ok:
            place = target.name
            break
        refused.append((target.name, answer))
    return Placement(node, place, is_compute(node), macs(node), moved_bytes(node), tuple(refused))
