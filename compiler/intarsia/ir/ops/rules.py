"""What the shape rules of all families share: reading types and known elements, axes, broadcasting, refusals."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np

from intarsia.dtypes import ELEMENT_TYPES, FLOATING, INTEGER, Array
from intarsia.errors import RunError
from intarsia.ir.graph import Node
from intarsia.ir.op import Known, refuse
from intarsia.ir.types import Dimension, TensorType

Types = Sequence[TensorType | None]
Shape = tuple[Dimension, ...] | None
"""None where even the rank depends on data."""

NUMERIC = FLOATING + INTEGER
SIGNED = tuple(name for name in NUMERIC if not name.startswith("u"))
WHOLE = ("int64", "int32")
"""Types of axes, shapes and indices."""

BAD_MODEL = "the model breaks ONNX's rules here; check it with onnx.checker and export it again"


def element_type_of(node: Node, number: Any) -> str:
    """The element type that an attribute names, by ONNX's number."""
    if number not in ELEMENT_TYPES:
        raise refuse(node, f"{number!r} is not the number of an ONNX element type", BAD_MODEL)
    return ELEMENT_TYPES[number]


# ---- inputs


def optional(types: Types, index: int) -> TensorType | None:
    """The type of an input that may be left out."""
    return types[index] if index < len(types) else None


def tensor(node: Node, types: Types, index: int, dtypes: Collection[str] = ()) -> TensorType:
    """The type of an input that must be there, with one of the element types where they are given."""
    type = optional(types, index)
    if type is None:
        raise refuse(node, f"input {index} is missing", BAD_MODEL)
    if dtypes and type.dtype not in dtypes:
        raise refuse(node, f"input {index} is {type}; {node.op} takes {', '.join(dtypes)}", BAD_MODEL)
    return type


def same_dtype(node: Node, first: TensorType, *others: TensorType | None) -> str:
    """The one element type that several inputs must share."""
    for other in others:
        if other is not None and other.dtype != first.dtype:
            raise refuse(
                node,
                f"{first} and {other} have different element types",
                "export the model with one type for both",
            )
    return first.dtype


def of_rank(node: Node, type: TensorType, low: int, high: int | None = None) -> None:
    """Refuse an input whose known rank is outside low..high (high None: no limit)."""
    if type.shape is None or (len(type.shape) >= low and (high is None or len(type.shape) <= high)):
        return
    wanted = f"{low} or more" if high is None else f"{low}" if low == high else f"{low} to {high}"
    raise refuse(node, f"input {type} has {len(type.shape)} dimensions, not {wanted}", BAD_MODEL)


def scalar(node: Node, types: Types, index: int, dtypes: Collection[str] = ()) -> TensorType:
    """The type of an input of one element, which must be there."""
    type = tensor(node, types, index, dtypes)
    if type.shape is not None and type.shape not in ((), (1,), (None,)):
        raise refuse(node, f"input {index} is {type}, not one number", BAD_MODEL)
    return type


def known_ints(known: Known, index: int) -> tuple[int, ...] | None:
    """Elements of a whole-number input, flat, where they are known."""
    data = known[index] if index < len(known) else None
    return None if data is None else tuple(int(item) for item in data.reshape(-1))


def known_length(types: Types, index: int) -> int | None:
    """Number of elements of a 1-D input, where it is known."""
    type = optional(types, index)
    if type is None or type.shape is None or len(type.shape) != 1:
        return None
    return type.shape[0]


def given(inputs: Sequence[Array | None], index: int) -> Array:
    """An input of `evaluate` that must be there."""
    value = inputs[index]
    assert value is not None, f"input {index} is missing"
    return value


def given_or_none(inputs: Sequence[Array | None], index: int) -> Array | None:
    """An input of `evaluate` that may be left out."""
    return inputs[index] if index < len(inputs) else None


def ints_of(data: Array) -> tuple[int, ...]:
    """The elements of a whole-number array, flat."""
    return tuple(int(item) for item in data.reshape(-1))


# ---- axes


def axis_in(node: Node, axis: int, rank: int, name: str = "axis") -> int:
    """An axis counted from 0; refused outside [-rank, rank)."""
    if not -rank <= axis < rank:
        raise refuse(node, f"{name} {axis} is outside a tensor of {rank} dimensions", BAD_MODEL)
    return int(axis) % rank


def axes_in(node: Node, axes: Iterable[int], rank: int) -> tuple[int, ...]:
    """Axes counted from 0, in the order given; refused where one is outside or stands there twice."""
    found = tuple(axis_in(node, axis, rank) for axis in axes)
    if len(set(found)) != len(found):
        raise refuse(node, f"axes {list(found)} name an axis twice", BAD_MODEL)
    return found


# ---- shapes


def broadcast(node: Node, *types: TensorType) -> Shape:
    """The shape that inputs have together by NumPy's rule; a size that is not known gives way to one above 1."""
    if any(type.shape is None for type in types):
        return None
    shapes = [type.shape for type in types if type.shape is not None]
    rank = max(len(shape) for shape in shapes)
    result: list[Dimension] = []
    for index in range(rank):
        sizes = [shape[index - rank + len(shape)] for shape in shapes if index - rank + len(shape) >= 0]
        fixed = {size for size in sizes if size is not None and size != 1}
        if len(fixed) > 1:
            together = " and ".join(str(type) for type in types)
            raise refuse(
                node,
                f"{together} do not broadcast: sizes {' and '.join(map(str, sorted(fixed)))} meet",
                "sizes that meet must be equal or 1; check the shapes the exporter was given",
            )
        result.append(fixed.pop() if fixed else None if None in sizes else 1)
    return tuple(result)


def product(sizes: Iterable[Dimension]) -> Dimension:
    """The number of elements, or None where a size is not known (and none is 0)."""
    total: int = 1
    unknown = False
    for size in sizes:
        if size is None:
            unknown = True
        else:
            total *= size
    return total if not unknown or total == 0 else None


def fitting(first: Dimension, second: Dimension) -> bool:
    """Whether two sizes may be equal."""
    return first is None or second is None or first == second


def fallback(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    """The meaning of a form too rare to have a rule of its own, by onnx.reference; not on a board."""
    try:
        from intarsia.ir.onnx_reference import evaluate_with_onnx
    except ImportError as error:
        raise RunError(
            where=node.where, what="this form of it needs the package onnx", help="pip install onnx"
        ) from error
    return evaluate_with_onnx(node, list(inputs))


def wide(x: Array) -> Array:
    """x in a type that sums well: half precision becomes float32."""
    return x.astype(np.float32) if x.dtype.itemsize < 4 and x.dtype.kind in "fV" else x
