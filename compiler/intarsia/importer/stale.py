"""Shapes that a model declares inside of it, and that its ops do not make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from intarsia.ir.types import TensorType


@dataclass(frozen=True)
class Stale:
    """A declared shape that was dropped.

    node      name of the node that makes the value
    made      its type by the op's rule
    declared  what the model says of it
    """

    node: str
    made: TensorType
    declared: TensorType


def stale_note(dropped: Sequence[Stale]) -> tuple[str, str]:
    """One note about all of them, as (name of a node, text): where one is wrong, all behind it mostly are."""
    first, others = dropped[0], len(dropped) - 1
    more = f", and {others} more behind it" if others else ""
    text = (
        f"the model declares its result as {first.declared}, and the op makes {first.made}: the declaration was dropped"
    )
    return first.node, f"{text}{more} (older versions of onnx inferred some shapes wrongly)"
