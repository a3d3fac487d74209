"""What a family of ops offers: how a node becomes kernel calls, and which nodes it takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar, cast

import numpy as np

from intarsia.dtypes import Array
from intarsia.ir.facts import fix_for_sizes
from intarsia.ir.graph import Node, Value
from intarsia.targets import YES, Support, no
from intarsia_backends.lowering.builder import B, Builder, ImageReader

C = TypeVar("C", bound=Builder)

FLOATS = ("float32", "float64")
NUMBERS = (*FLOATS, "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
ALL = (*NUMBERS, "bool")
MOVED = (*ALL, "float16")
"""Types that are moved without a look at them."""

PLACES = ("int32", "int64")

_ELEMENTS_MAX = 1 << 31
_EVALUATOR = "the NumPy evaluator takes it; nothing needs to change"


def _always(node: Node) -> Support:
    return YES


@dataclass(frozen=True)
class Lowering(Generic[B]):
    """One op, for a builder of the target's kind.

    lower      appends the calls of a node
    dtypes     element types that data inputs and outputs may have
    constants  inputs that must be known at compile time (where present)
    places     inputs that are int32 or int64, whatever `dtypes` says
    unread     inputs that only say something about types
    own_type   outputs whose type is the op's own business
    outputs    outputs that it makes at most
    empties    whether it passes over inputs and outputs of no elements
    check      what else decides
    image      what it wants of its first input where that lies with its channels last; None for nothing of all that
    """

    lower: Callable[[B, Node], None]
    dtypes: tuple[str, ...] = ("float32",)
    constants: tuple[int, ...] = ()
    places: tuple[int, ...] = ()
    unread: tuple[int, ...] = ()
    own_type: tuple[int, ...] = ()
    outputs: int = 1
    empties: bool = False
    check: Callable[[Node], Support] = _always
    image: ImageReader[B] | None = None

    def made_by(self, lower: Callable[[C, Node], None], image: ImageReader[C] | None = None) -> Lowering[C]:
        """The same nodes, made in another target's way."""
        changed: Lowering[C] = replace(cast(Any, self), lower=lower, image=image)
        return changed


def image_readers(lowerings: Mapping[str, Lowering[B]]) -> dict[str, ImageReader[B]]:
    """By op, how it reads values whose channels lie last; without those that want C order."""
    return {op: lowering.image for op, lowering in lowerings.items() if lowering.image is not None}


def makes_nothing(node: Node) -> bool:
    """Whether all outputs of a node have no elements, so that nothing is to be computed."""
    made = [value for value in node.outputs if value is not None]
    return all(value.type.is_static and value.type.elements == 0 and value.dtype in MOVED for value in made)


def has_sizes(node: Node, unread: Sequence[int] = (), empties: bool = False) -> Support:
    """Whether all sizes of a node are known, none is 0 save those of constants, and places fit 32 bits.

    unread   inputs that do not matter
    empties  whether sizes of 0 are taken
    """
    read = [value for index, value in enumerate(node.inputs) if index not in unread]
    for value in (*read, *node.outputs):
        if value is None or (value.data is not None and value.data.size == 0 and value.type.rank == 1):
            continue
        if not value.type.is_static:
            return no("static-shape", f"'{value.name}' is {value.type}", fix_for_sizes(value))
        if value.type.elements == 0 and not empties:
            return no("empty", f"'{value.name}' is {value.type}", _EVALUATOR)
        if value.type.elements >= _ELEMENTS_MAX:
            return no("size", f"'{value.name}' has {value.type.elements} elements, under 2**31", "use smaller inputs")
    return YES


def supports(lowering: Lowering[Any], node: Node) -> Support:
    """Whether a node keeps to what a lowering asks for."""
    answer = has_sizes(node, lowering.unread, lowering.empties)
    if not answer.ok:
        return answer
    for index in lowering.constants:
        value = node.optional_input(index)
        if value is not None and value.data is None:
            return no("constant-input", f"input {index} is not known at compile time", "make it a constant")
    for index in lowering.places:
        value = node.optional_input(index)
        if value is not None and value.dtype not in PLACES:
            return no("element-type", f"'{value.name}' is {value.dtype}; taken: {', '.join(PLACES)}", _EVALUATOR)
    others = (*lowering.constants, *lowering.places, *lowering.unread)
    data = [value for index, value in enumerate(node.inputs) if value is not None and index not in others]
    data += [value for index, value in enumerate(node.outputs) if value is not None and index not in lowering.own_type]
    for value in data:
        if value.dtype not in lowering.dtypes:
            return no(
                "element-type", f"'{value.name}' is {value.dtype}; taken: {', '.join(lowering.dtypes)}", _EVALUATOR
            )
    extra = [value for value in node.outputs[lowering.outputs :] if value is not None]
    if extra:
        return no("outputs", f"{len(extra)} outputs more than {lowering.outputs}", _EVALUATOR)
    return lowering.check(node)


def refused(rule: str, reason: str) -> Support:
    """A refusal whose remedy is the evaluator."""
    return no(rule, reason, _EVALUATOR)


def integers(value: Value | None) -> tuple[int, ...] | None:
    """The elements of a constant, or None where it was left out."""
    if value is None:
        return None
    assert value.data is not None
    return tuple(int(element) for element in np.asarray(value.data).reshape(-1))


def elements(value: Value) -> Array:
    """The array of a constant."""
    assert value.data is not None
    return value.data


def axis_of(node: Node, rank: int, default: int) -> int:
    """The attribute `axis`, counted from the front."""
    axis = int(node.attributes.get("axis", default))
    return axis + rank if axis < 0 else axis


def known(value: Value | None) -> bool:
    return value is not None and value.data is not None


def attribute(node: Node, name: str, default: Any) -> Any:
    """An attribute, or what ONNX says where it was left out."""
    return node.attributes.get(name, default)


def text(node: Node, name: str, default: str) -> str:
    """An attribute that is a word."""
    word = attribute(node, name, default)
    return word.decode() if isinstance(word, bytes) else str(word)


def sequence(node: Node, name: str, default: Sequence[int]) -> tuple[int, ...]:
    """An attribute of several integers."""
    return tuple(int(number) for number in node.attributes.get(name, default))


def reduced_axes(node: Node) -> tuple[int, ...]:
    """Axes that a Reduce op works on, from 0, in order: an input or an attribute; all where none are named."""
    rank = node.input(0).type.rank
    axes = integers(node.optional_input(1))
    if axes is None and "axes" in node.attributes:
        axes = tuple(int(axis) for axis in node.attributes["axes"])
    if not axes:
        return () if attribute(node, "noop_with_empty_axes", 0) else tuple(range(rank))
    return tuple(sorted(axis % rank for axis in axes))
