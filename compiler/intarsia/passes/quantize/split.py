"""Fused activations that are no clamps, taken apart again: int8 needs the value before them as well as after."""

from __future__ import annotations

from collections.abc import Container

from intarsia.ir.facts import carries_activation
from intarsia.ir.graph import Graph, Value

CLAMPS = ("", "Relu", "Clip")

_ARGUMENTS: dict[str, tuple[str, ...]] = {
    "LeakyRelu": ("alpha",),
    "Elu": ("alpha",),
    "Celu": ("alpha",),
    "ThresholdedRelu": ("alpha",),
    "Swish": ("alpha",),
    "HardSigmoid": ("alpha", "beta"),
    "Selu": ("alpha", "gamma"),
}
"""Attributes of the op that a fused activation's arguments stand for, in order; Gelu's is a string."""

_OPSET = 24
"""Opset whose meaning the separate ops have: the first with Swish."""


def split_activations(graph: Graph, among: Container[Value | None] | None = None) -> int:
    """`Conv[activation=Sigmoid](x)` -> `Sigmoid(Conv(x))`; Relu and Clip stay. Returns how many were split.

    among  outputs of the ops to split; None for all

    The value before the activation is called after the one behind it, so that ranges taken of one copy of a graph fit
    every other copy.
    """
    count = 0
    for node in list(graph.nodes):
        name = node.attributes.get("activation", "")
        left = among is not None and node.outputs[0] not in among
        if name in CLAMPS or left or not carries_activation(node):  # CausalConvWithState has one of that name
            continue
        arguments = node.attributes.pop("activation_arguments", ())
        del node.attributes["activation"]
        old = node.output
        twin = graph.add_node(
            str(name),
            [old],
            [old.type],
            _attributes(str(name), arguments),
            name=f"{node.name}_{str(name).lower()}",
            output_names=[f"{old.name}_before_{str(name).lower()}"],
            opset=_OPSET,
        )
        new = twin.output
        for user in old.users:
            if user is not twin:
                user.replace_input(old, new)
        graph.outputs.replace(old, new)
        old.name, new.name = new.name, old.name
        count += 1
    if count:
        graph.sort()
    return count


def _attributes(name: str, arguments: tuple[float, ...]) -> dict[str, object]:
    if name == "Gelu":
        return {"approximate": "tanh" if arguments and arguments[0] else "none"}
    return dict(zip(_ARGUMENTS.get(name, ()), arguments))
