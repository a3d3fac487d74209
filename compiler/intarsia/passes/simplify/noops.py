"""Nodes that give back what they get."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from intarsia.ir.graph import Node, Value
from intarsia.passes.base import CHANGED, Answer, Refused, Rewrite, Rewriter, refuse
from intarsia.passes.matching import integers, permutation, why_held

Source = Value | Refused | None
"""The value that a node gives back, why it does not, or None."""


def _always(node: Node) -> Source:
    return node.input(0)


def _same_type(node: Node) -> Source:
    x = node.input(0)
    return x if x.type.is_static and x.type == node.output.type else None


def _cast(node: Node) -> Source:
    return node.input(0) if node.input(0).dtype == node.output.dtype else None


def _dropout(node: Node) -> Source:
    mode = node.optional_input(2)
    if mode is not None and (mode.data is None or bool(mode.data.any())):
        return refuse("its training mode is on, or not known")
    if any(value is not None and value.user_count for value in node.outputs[1:]):
        return refuse("its mask is read")
    return node.input(0)


def _pad(node: Node) -> Source:
    pads = integers(node.optional_input(1))
    return node.input(0) if pads is not None and not any(pads) else None


def _slice(node: Node) -> Source:
    steps = node.optional_input(4)
    if steps is not None and set(integers(steps) or (0,)) != {1}:
        return None
    return _same_type(node)


def _transpose(node: Node) -> Source:
    if node.input(0).type.shape is None:
        return None
    perm = permutation(node)
    return node.input(0) if perm == tuple(range(len(perm))) else None


def _resize(node: Node) -> Source:
    x = _same_type(node)
    scales = node.optional_input(2)
    if not isinstance(x, Value):
        return None
    if node.attributes.get("coordinate_transformation_mode", "half_pixel") in (
        "tf_crop_and_resize",
        b"tf_crop_and_resize",
    ):
        return refuse("it crops")
    if scales is not None and scales.data is not None and scales.data.size and (scales.data != 1).any():
        return refuse(f"its scales are {scales.data.tolist()}, though no size changes")
    if scales is not None and scales.data is None:
        return refuse("its scales are not known")
    return x


def _single_input(node: Node) -> Source:
    return node.input(0) if len(node.inputs) == 1 else None


def _single_output(node: Node) -> Source:
    return _same_type(node) if len(node.outputs) == 1 else None


def _window(node: Node) -> Source:
    if any(value is not None and value.user_count for value in node.outputs[1:]):
        return None
    single = set(node.attributes["kernel_shape"]) == {1} and not any(node.attributes.get("pads", ()))
    return _same_type(node) if single else None


def _neutral(element: float, both_sides: bool) -> Callable[[Node], Source]:
    def rule(node: Node) -> Source:
        x, other = node.input(0), node.input(1)
        if both_sides and x.data is not None:
            x, other = other, x
        if other.data is None or x.data is not None or other.data.dtype.kind not in "fiu":
            return None
        if x.type != node.output.type or not x.type.is_static or not (other.data == element).all():
            return None
        return x

    return rule


def _clip(node: Node) -> Source:
    return node.input(0) if all(value is None for value in node.inputs[1:]) else None


_RULES: dict[str, Callable[[Node], Source]] = {
    "Identity": _always,
    "Cast": _cast,
    "CastLike": _cast,
    "Dropout": _dropout,
    "Pad": _pad,
    "Slice": _slice,
    "Transpose": _transpose,
    "Resize": _resize,
    "Concat": _single_input,
    "Max": _single_input,
    "Mean": _single_input,
    "Min": _single_input,
    "Sum": _single_input,
    "Split": _single_output,
    "MaxPool": _window,
    "AveragePool": _window,
    "Add": _neutral(0, True),
    "Sub": _neutral(0, False),
    "Mul": _neutral(1, True),
    "Div": _neutral(1, False),
    "Pow": _neutral(1, False),
    "Clip": _clip,
    **dict.fromkeys(
        (
            *("Expand", "Flatten", "Reshape", "Squeeze", "Tile", "Unsqueeze"),
            *("GlobalAveragePool", "GlobalMaxPool"),
            *("ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum"),
        ),
        _same_type,
    ),
}
"""For ops of which the type says all, an output of the input's type is the input."""


@dataclass(frozen=True)
class RemoveNoOps(Rewrite):
    """Take out nodes that give back what they get: Identity, Dropout, Cast to the same type, Pad by nothing, x + 0."""

    name: ClassVar[str] = "remove-noops"
    ops: ClassVar[tuple[str, ...]] = tuple(_RULES)

    def rewrite(self, node: Node, rewriter: Rewriter) -> Answer:
        read = node.output.user_count or rewriter.graph.is_output(node.output)
        if not read or "activation" in node.attributes:
            return None
        source = _RULES[node.op](node)
        if not isinstance(source, Value):
            return source
        held = why_held(rewriter.graph, node.output, source)
        if held is not None:
            return refuse(held)
        rewriter.replace(node.output, source)
        return CHANGED
