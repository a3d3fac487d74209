"""Ops that make tensors of few numbers: Constant, ConstantOfShape, Range, EyeLike."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from intarsia.dtypes import Array, numpy_dtype
from intarsia.ir.graph import Node
from intarsia.ir.op import Known, Op, attribute, refuse
from intarsia.ir.ops.rules import (
    BAD_MODEL,
    NUMERIC,
    WHOLE,
    Types,
    element_type_of,
    fallback,
    given,
    ints_of,
    known_ints,
    known_length,
    of_rank,
    same_dtype,
    scalar,
    tensor,
)
from intarsia.ir.types import TensorType


def constant_of(node: Node) -> Array | None:
    """What a Constant node holds; None for the forms of the long tail."""
    for name, dtype in (
        ("value", None),
        ("value_float", np.float32),
        ("value_floats", np.float32),
        ("value_int", np.int64),
        ("value_ints", np.int64),
    ):
        if name in node.attributes:
            return np.asarray(node.attributes[name], dtype)
    return None


def _infer_constant(node: Node, types: Types, known: Known) -> list[TensorType]:
    data = constant_of(node)
    if data is None:
        return [TensorType("string", () if "value_string" in node.attributes else (None,))]
    return [TensorType(data.dtype.name, data.shape)]


def _evaluate_constant(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    data = constant_of(node)
    return fallback(node, inputs) if data is None else [data]


CONSTANT = Op("Constant", _infer_constant, _evaluate_constant, rare=lambda node: constant_of(node) is None)


def _fill(node: Node) -> Array:
    return np.asarray(node.attributes.get("value", np.zeros(1, np.float32))).reshape(-1)[:1]


def _infer_constant_of_shape(node: Node, types: Types, known: Known) -> list[TensorType]:
    tensor(node, types, 0, WHOLE)
    sizes, length = known_ints(known, 0), known_length(types, 0)
    if sizes is not None and min(sizes, default=0) < 0:
        raise refuse(node, f"the shape {list(sizes)} has a size below 0", BAD_MODEL)
    unknown = None if length is None else (None,) * length
    return [TensorType(_fill(node).dtype.name, unknown if sizes is None else sizes)]


def _evaluate_constant_of_shape(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    return [np.full(ints_of(given(inputs, 0)), _fill(node)[0], _fill(node).dtype)]


CONSTANT_OF_SHAPE = Op(
    "ConstantOfShape", _infer_constant_of_shape, _evaluate_constant_of_shape, {"value": None}, grows=True
)


# ---- Range, EyeLike


def _count(start: Array, limit: Array, delta: Array) -> int:
    """How many numbers a Range has."""
    first, last, step = (
        float(item.reshape(())) if item.dtype.kind == "f" else int(item.reshape(())) for item in (start, limit, delta)
    )
    return max(math.ceil((last - first) / step), 0)


def _range(start: Array, limit: Array, delta: Array) -> Array:
    first, step = (item.reshape(())[()] for item in (start, delta))
    return np.asarray(first + np.arange(_count(start, limit, delta)) * step).astype(start.dtype)


def _infer_range(node: Node, types: Types, known: Known) -> list[TensorType]:
    start = scalar(node, types, 0, NUMERIC)
    same_dtype(node, start, scalar(node, types, 1), scalar(node, types, 2))
    parts = [item for item in known[:3] if item is not None]
    if len(parts) < 3:
        return [TensorType(start.dtype, (None,))]
    if parts[2].reshape(-1)[0] == 0:
        raise refuse(node, "the step is 0", BAD_MODEL)
    try:
        return [TensorType(start.dtype, (_count(*parts),))]
    except (ValueError, OverflowError) as error:
        raise refuse(node, f"nobody can count to such an end: {error}", BAD_MODEL) from error


def _evaluate_range(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    return [_range(given(inputs, 0), given(inputs, 1), given(inputs, 2))]


RANGE = Op("Range", _infer_range, _evaluate_range, grows=True)


def _eye_dtype(node: Node, given_dtype: str) -> str:
    number = attribute(node, EYE_LIKE, "dtype")
    return given_dtype if number is None else element_type_of(node, number)


def _infer_eye_like(node: Node, types: Types, known: Known) -> list[TensorType]:
    x = tensor(node, types, 0)
    of_rank(node, x, 2, 2)
    return [TensorType(_eye_dtype(node, x.dtype), x.shape)]


def _evaluate_eye_like(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    x = given(inputs, 0)
    dtype = numpy_dtype(_eye_dtype(node, x.dtype.name))
    return [np.eye(x.shape[0], x.shape[1], k=attribute(node, EYE_LIKE, "k")).astype(dtype)]


EYE_LIKE = Op("EyeLike", _infer_eye_like, _evaluate_eye_like, {"dtype": None, "k": 0}, grows=True)


OPS = (CONSTANT, CONSTANT_OF_SHAPE, RANGE, EYE_LIKE)
