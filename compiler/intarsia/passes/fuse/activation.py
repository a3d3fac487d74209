"""Activations that the op before them can apply itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from intarsia.ir.facts import carries_activation
from intarsia.ir.graph import Node
from intarsia.ir.op import attribute
from intarsia.ir.ops import OPS
from intarsia.passes.base import CHANGED, Answer, Rewrite, Rewriter, refuse
from intarsia.passes.clips import bounds_of
from intarsia.passes.matching import is_floating, why_shared


def _attributes(node: Node) -> tuple[float, ...] | None:
    """All attributes of the activation's row, which are its arguments in order."""
    row = OPS[node.op]
    return tuple(float(attribute(node, row, name)) for name in row.attributes)


def _clip(node: Node) -> tuple[float, ...] | None:
    found = bounds_of(node)
    return None if found is None else found[1]


def _swish(node: Node) -> tuple[float, ...] | None:
    alpha = float(node.attributes.get("alpha", 1.0))
    return () if alpha == 1.0 else (alpha,)


def _gelu(node: Node) -> tuple[float, ...] | None:
    return (1.0,) if node.attributes.get("approximate", "none") in ("tanh", b"tanh") else ()


_ARGUMENTS: dict[str, Callable[[Node], tuple[float, ...] | None]] = {
    "Relu": _attributes,
    "Clip": _clip,
    "LeakyRelu": _attributes,
    "Sigmoid": _attributes,
    "Tanh": _attributes,
    "HardSigmoid": _attributes,
    "HardSwish": _attributes,
    "Elu": _attributes,
    "Swish": _swish,
    "Gelu": _gelu,
}
"""Arguments of an activation, in the order of `ir.activations.apply_activation`."""


@dataclass(frozen=True)
class FuseActivation(Rewrite):
    """Fold an activation into the op that feeds it: `Relu(Conv(x))` -> `Conv[activation=Relu](x)`."""

    name: ClassVar[str] = "fuse-activation"
    ops: ClassVar[tuple[str, ...]] = tuple(_ARGUMENTS)

    def rewrite(self, node: Node, rewriter: Rewriter) -> Answer:
        x = node.input(0)
        producer = x.producer
        if producer is None or not carries_activation(producer) or not is_floating(x):
            return None
        if "activation" in producer.attributes:
            return refuse(f"{producer.where} applies {producer.attributes['activation']} already")
        if x is not producer.output or len(producer.outputs) > 1:
            return refuse(f"{producer.where} has further outputs")
        shared = why_shared(rewriter.graph, x, node)
        if shared is not None:
            return refuse(f"{producer.where} must give what it gives now: {shared}")
        arguments = _ARGUMENTS[node.op](node)
        if arguments is None:
            return refuse("its bounds are not constants")
        producer.attributes["activation"] = node.op
        producer.attributes["activation_arguments"] = arguments
        rewriter.supersede(node.output, x)
        return CHANGED
