"""What a partition cannot be compiled for: asked by whoever compiles, and told by whoever explains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from intarsia.artifact.parts import EVALUATOR
from intarsia.errors import CompileError
from intarsia.ir.facts import needs_onnx
from intarsia.ir.graph import Node
from intarsia.ir.op import bodies_of
from intarsia.partition import Partition
from intarsia.targets import Target

_SHOWN = 8


@dataclass(frozen=True)
class Refusal:
    """Why no artifact can be made.

    nodes  names of the nodes that stand in the way
    rule   short name of the rule that decided
    """

    nodes: tuple[str, ...]
    rule: str
    where: str
    what: str
    help: str

    @property
    def error(self) -> CompileError:
        """What whoever compiles raises."""
        return CompileError(where=self.where, what=self.what, help=self.help)


def refusal_of(parts: Partition, targets: Sequence[Target]) -> Refusal | None:
    """Why these parts cannot be compiled; None where they can.

    A board has NumPy alone: what only onnx.reference can run is refused, except on a plain CPU.
    """
    if len(targets) == 1:
        return None
    bad = [item.node for item in parts.placements if item.place == EVALUATOR and needs_onnx(item.node)]
    if not bad:
        return None
    named = ", ".join(map(_named, bad[:_SHOWN])) + (", ..." if len(bad) > _SHOWN else "")
    return Refusal(
        tuple(node.name for node in bad),
        "needs-onnx",
        named,
        f"no code can be made for {'it' if len(bad) == 1 else 'them'} yet, and a board has no onnx package to fall "
        "back to",
        "compile for target 'cpu', where the fallback works, or take the op out of the model",
    )


def _named(node: Node) -> str:
    """The node, or what in its graphs stands in the way."""
    inner = next((inner for body in bodies_of(node) for inner in body.nodes if needs_onnx(inner)), None)
    return node.where if inner is None else f"{_named(inner)} in {node.where}"
