"""Ops that find, sort, pick and scatter elements, or make tensors from few numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from intarsia.dtypes import Array, numpy_dtype
from intarsia.ir.graph import Node
from intarsia.ir.op import Known, Op, attribute, refuse
from intarsia.ir.ops.rules import (
    BAD_MODEL,
    NUMERIC,
    Types,
    axis_in,
    element_type_of,
    fallback,
    fitting,
    given,
    given_or_none,
    known_ints,
    of_rank,
    optional,
    same_dtype,
    scalar,
    tensor,
)
from intarsia.ir.types import Dimension, TensorType

_WHOLE = ("int64", "int32")

# ---- ArgMax, ArgMin, TopK, CumSum


def _arg_extreme(name: str, function: Callable[..., Any]) -> Op:
    def infer(node: Node, types: Types, known: Known) -> list[TensorType]:
        x, keep = tensor(node, types, 0, NUMERIC), node.attributes.get("keepdims", 1)
        if x.shape is None:
            return [TensorType("int64", None)]
        axis = axis_in(node, node.attributes.get("axis", 0), len(x.shape))
        return [TensorType("int64", (*x.shape[:axis], *((1,) if keep else ()), *x.shape[axis + 1 :]))]

    def evaluate(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
        x, keep = given(inputs, 0), node.attributes.get("keepdims", 1)
        axis = axis_in(node, node.attributes.get("axis", 0), x.ndim)
        if node.attributes.get("select_last_index", 0):
            result = x.shape[axis] - 1 - function(np.flip(x, axis), axis=axis)
        else:
            result = function(x, axis=axis)
        result = np.asarray(result, np.int64)
        return [np.expand_dims(result, axis) if keep else result]

    return Op(name, infer, evaluate, {"axis": 0, "keepdims": 1, "select_last_index": 0})


def _infer_top_k(node: Node, types: Types, known: Known) -> list[TensorType]:
    x, count = tensor(node, types, 0, NUMERIC), known_ints(known, 1)
    scalar(node, types, 1, ("int64",))
    of_rank(node, x, 1)
    if count and count[0] < 0:
        raise refuse(node, f"k is {count[0]}", BAD_MODEL)
    if x.shape is None:
        return [x, TensorType("int64", None)]
    axis = axis_in(node, attribute(node, TOP_K, "axis"), len(x.shape))
    size = x.shape[axis]
    if count and size is not None and count[0] > size:
        raise refuse(node, f"k is {count[0]}, and axis {axis} of {x} has {size}", "ask for at most the axis' size")
    shape = (*x.shape[:axis], count[0] if count else None, *x.shape[axis + 1 :])
    return [TensorType(x.dtype, shape), TensorType("int64", shape)]


def _evaluate_top_k(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    x, count = given(inputs, 0), int(given(inputs, 1).reshape(-1)[0])
    axis = axis_in(node, attribute(node, TOP_K, "axis"), x.ndim)
    if attribute(node, TOP_K, "largest"):
        # A stable sort of the flipped axis, read backwards: the largest first, and the lower index first among equals.
        order = np.flip(x.shape[axis] - 1 - np.argsort(np.flip(x, axis), axis=axis, kind="stable"), axis)
    else:
        order = np.argsort(x, axis=axis, kind="stable")
    picked = np.take(order, np.arange(count), axis=axis).astype(np.int64)
    return [np.take_along_axis(x, picked, axis=axis), picked]


TOP_K = Op("TopK", _infer_top_k, _evaluate_top_k, {"axis": -1, "largest": 1, "sorted": 1})


def _infer_cum_sum(node: Node, types: Types, known: Known) -> list[TensorType]:
    x, axis = tensor(node, types, 0, NUMERIC), known_ints(known, 1)
    scalar(node, types, 1, _WHOLE)
    if x.shape is not None and axis:
        axis_in(node, axis[0], len(x.shape))
    return [x]


def _evaluate_cum_sum(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    x = given(inputs, 0)
    axis = axis_in(node, int(given(inputs, 1).reshape(-1)[0]), x.ndim)
    backwards = attribute(node, CUM_SUM, "reverse")
    source = np.flip(x, axis) if backwards else x
    result = np.cumsum(source, axis=axis, dtype=x.dtype)
    if attribute(node, CUM_SUM, "exclusive"):
        result = result - source
    return [np.ascontiguousarray(np.flip(result, axis) if backwards else result).astype(x.dtype, copy=False)]


CUM_SUM = Op("CumSum", _infer_cum_sum, _evaluate_cum_sum, {"exclusive": 0, "reverse": 0})


# ---- GatherElements, GatherND


def _infer_gather_elements(node: Node, types: Types, known: Known) -> list[TensorType]:
    x, indices = tensor(node, types, 0), tensor(node, types, 1, _WHOLE)
    if x.shape is not None and indices.shape is not None:
        axis_in(node, attribute(node, GATHER_ELEMENTS, "axis"), len(x.shape))
        of_rank(node, indices, len(x.shape), len(x.shape))
    return [TensorType(x.dtype, indices.shape)]


def _wrapped(indices: Array, size: int) -> Array:
    return np.where(indices < 0, indices + size, indices)


def _evaluate_gather_elements(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    x, indices = given(inputs, 0), given(inputs, 1)
    axis = axis_in(node, attribute(node, GATHER_ELEMENTS, "axis"), x.ndim)
    return [np.asarray(x[_element_index(indices, axis, x.shape[axis])])]


def _element_index(indices: Array, axis: int, size: int) -> tuple[Array, ...]:
    """Where the elements named by indices along an axis lie, as a NumPy index; other axes keep their place."""
    grid = list(np.ogrid[tuple(slice(0, length) for length in indices.shape)])
    grid[axis] = _wrapped(indices, size)
    return tuple(np.broadcast_arrays(*grid))


GATHER_ELEMENTS = Op("GatherElements", _infer_gather_elements, _evaluate_gather_elements, {"axis": 0})


def _infer_gather_nd(node: Node, types: Types, known: Known) -> list[TensorType]:
    x, indices, batch = (
        tensor(node, types, 0),
        tensor(node, types, 1, ("int64",)),
        attribute(node, GATHER_ND, "batch_dims"),
    )
    of_rank(node, x, 1)
    of_rank(node, indices, 1)
    if x.shape is None or indices.shape is None or indices.shape[-1] is None:
        return [TensorType(x.dtype, None)]
    depth = indices.shape[-1]
    if not 0 <= batch < min(len(x.shape), len(indices.shape)) or batch + depth > len(x.shape):
        raise refuse(node, f"{depth} indices after {batch} batch axes leave {x}", BAD_MODEL)
    return [TensorType(x.dtype, (*indices.shape[:-1], *x.shape[batch + depth :]))]


def _evaluate_gather_nd(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    x, indices, batch = given(inputs, 0), given(inputs, 1), attribute(node, GATHER_ND, "batch_dims")
    count = math.prod(indices.shape[:batch])
    rows = x.reshape(count, *x.shape[batch:])
    picks = indices.reshape(count, -1, indices.shape[-1])
    which = np.arange(count)[:, np.newaxis]
    result = rows[(which, *np.moveaxis(picks, -1, 0))]
    return [np.asarray(result).reshape(*indices.shape[:-1], *x.shape[batch + indices.shape[-1] :])]


GATHER_ND = Op("GatherND", _infer_gather_nd, _evaluate_gather_nd, {"batch_dims": 0})


# ---- ScatterElements, ScatterND

_COMBINE: dict[str, Any] = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}


def _infer_scatter(node: Node, types: Types, known: Known) -> list[TensorType]:
    x, indices, updates = tensor(node, types, 0), tensor(node, types, 1, _WHOLE), tensor(node, types, 2)
    same_dtype(node, x, updates)
    if node.attributes.get("reduction", "none") not in ("none", *_COMBINE):
        raise refuse(node, f"reduction {node.attributes['reduction']!r} is none of ONNX's", BAD_MODEL)
    if x.shape is None or indices.shape is None:
        return [x]
    if node.op == "ScatterElements":
        axis_in(node, node.attributes.get("axis", 0), len(x.shape))
        of_rank(node, indices, len(x.shape), len(x.shape))
        wanted: tuple[Dimension, ...] = indices.shape
    else:
        depth = indices.shape[-1] if indices.shape else None
        if depth is None:
            return [x]
        if depth > len(x.shape):
            raise refuse(node, f"{depth} indices leave {x}", BAD_MODEL)
        wanted = (*indices.shape[:-1], *x.shape[depth:])
    if updates.shape is not None and not (
        len(wanted) == len(updates.shape) and all(map(fitting, wanted, updates.shape))
    ):
        raise refuse(node, f"updates {updates} do not fit indices {indices}", BAD_MODEL)
    return [x]


def _scatter(node: Node, x: Array, where: tuple[Array, ...], updates: Array) -> Array:
    result, reduction = x.copy(), node.attributes.get("reduction", "none")
    if reduction == "none":
        result[where] = updates
    else:
        _COMBINE[reduction].at(result, where, updates)
    return result


def _evaluate_scatter_elements(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    x, indices, updates = given(inputs, 0), given(inputs, 1), given(inputs, 2)
    axis = axis_in(node, node.attributes.get("axis", 0), x.ndim)
    return [_scatter(node, x, _element_index(indices, axis, x.shape[axis]), updates)]


def _evaluate_scatter_nd(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    x, indices, updates = given(inputs, 0), given(inputs, 1), given(inputs, 2)
    return [_scatter(node, x, tuple(np.moveaxis(indices, -1, 0)), updates)]


SCATTER_ELEMENTS = Op("ScatterElements", _infer_scatter, _evaluate_scatter_elements, {"axis": 0, "reduction": "none"})
SCATTER_ND = Op("ScatterND", _infer_scatter, _evaluate_scatter_nd, {"reduction": "none"})


# ---- Range, OneHot, EyeLike, Trilu, NonZero, ReverseSequence


def _range(start: Array, limit: Array, delta: Array) -> Array:
    first, last, step = (item.reshape(())[()] for item in (start, limit, delta))
    count = max(math.ceil((last.item() - first.item()) / step.item()), 0)
    return np.asarray(first + np.arange(count) * step).astype(start.dtype)


def _infer_range(node: Node, types: Types, known: Known) -> list[TensorType]:
    start = scalar(node, types, 0, NUMERIC)
    same_dtype(node, start, scalar(node, types, 1), scalar(node, types, 2))
    parts = [item for item in known[:3] if item is not None]
    if len(parts) < 3:
        return [TensorType(start.dtype, (None,))]
    if parts[2].reshape(-1)[0] == 0:
        raise refuse(node, "the step is 0", BAD_MODEL)
    return [TensorType(start.dtype, _range(*parts).shape)]


def _evaluate_range(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    return [_range(given(inputs, 0), given(inputs, 1), given(inputs, 2))]


RANGE = Op("Range", _infer_range, _evaluate_range)


def _infer_one_hot(node: Node, types: Types, known: Known) -> list[TensorType]:
    indices, values, depth = tensor(node, types, 0), tensor(node, types, 2), known[1]
    scalar(node, types, 1)
    if values.shape is not None and values.shape not in ((2,), (None,)):
        raise refuse(node, f"values {values} are not two", BAD_MODEL)
    if indices.shape is None:
        return [TensorType(values.dtype, None)]
    axis = axis_in(node, attribute(node, ONE_HOT, "axis"), len(indices.shape) + 1)
    size = None if depth is None else int(depth.reshape(-1)[0])
    if size is not None and size < 0:
        raise refuse(node, f"depth is {size}", BAD_MODEL)
    return [TensorType(values.dtype, (*indices.shape[:axis], size, *indices.shape[axis:]))]


def _evaluate_one_hot(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    indices, depth, values = given(inputs, 0), int(given(inputs, 1).reshape(-1)[0]), given(inputs, 2)
    axis = axis_in(node, attribute(node, ONE_HOT, "axis"), indices.ndim + 1)
    along = np.arange(depth).reshape([-1 if index == axis else 1 for index in range(indices.ndim + 1)])
    # Indices outside [-depth, depth) match nothing.
    whole = np.expand_dims(indices.astype(np.int64), axis)
    return [np.where(along == _wrapped(whole, depth), values[1], values[0]).astype(values.dtype, copy=False)]


ONE_HOT = Op("OneHot", _infer_one_hot, _evaluate_one_hot, {"axis": -1})


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


EYE_LIKE = Op("EyeLike", _infer_eye_like, _evaluate_eye_like, {"dtype": None, "k": 0})


def _infer_trilu(node: Node, types: Types, known: Known) -> list[TensorType]:
    x = tensor(node, types, 0)
    of_rank(node, x, 2)
    if optional(types, 1) is not None:
        scalar(node, types, 1)
    return [x]


def _evaluate_trilu(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    x, diagonal = given(inputs, 0), given_or_none(inputs, 1)
    k = 0 if diagonal is None else int(diagonal.reshape(-1)[0])
    return [(np.triu if attribute(node, TRILU, "upper") else np.tril)(x, k)]


TRILU = Op("Trilu", _infer_trilu, _evaluate_trilu, {"upper": 1})


def _infer_non_zero(node: Node, types: Types, known: Known) -> list[TensorType]:
    x = tensor(node, types, 0)
    return [TensorType("int64", None if x.shape is None else (len(x.shape), None))]


def _evaluate_non_zero(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    x = given(inputs, 0)
    if x.ndim == 0:
        return [np.zeros((0, int(bool(x))), np.int64)]
    return [np.array(np.nonzero(x), np.int64)]


NON_ZERO = Op("NonZero", _infer_non_zero, _evaluate_non_zero)


def _infer_reverse_sequence(node: Node, types: Types, known: Known) -> list[TensorType]:
    x, lengths = tensor(node, types, 0), tensor(node, types, 1, ("int64",))
    of_rank(node, x, 2)
    of_rank(node, lengths, 1, 1)
    axes = (attribute(node, REVERSE_SEQUENCE, "time_axis"), attribute(node, REVERSE_SEQUENCE, "batch_axis"))
    if sorted(axes) != [0, 1]:
        raise refuse(node, f"time_axis {axes[0]} and batch_axis {axes[1]} are not 0 and 1", BAD_MODEL)
    return [x]


def _evaluate_reverse_sequence(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    x, lengths = given(inputs, 0), given(inputs, 1)
    by_batch = attribute(node, REVERSE_SEQUENCE, "batch_axis") == 0
    rows = np.array(x if by_batch else x.swapaxes(0, 1))
    for index, length in enumerate(lengths.tolist()):
        rows[index, :length] = rows[index, :length][::-1].copy()
    return [np.ascontiguousarray(rows if by_batch else rows.swapaxes(0, 1))]


REVERSE_SEQUENCE = Op(
    "ReverseSequence", _infer_reverse_sequence, _evaluate_reverse_sequence, {"batch_axis": 1, "time_axis": 0}
)


# ---- Dropout


def _infer_dropout(node: Node, types: Types, known: Known) -> list[TensorType]:
    x = tensor(node, types, 0)
    return [x, TensorType("bool", x.shape)][: max(len(node.outputs), 1)]


def _evaluate_dropout(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    x, training = given(inputs, 0), given_or_none(inputs, 2)
    if training is not None and bool(training.reshape(-1)[0]):
        return fallback(node, inputs)
    return [x, np.ones(x.shape, np.bool_)][: max(len(node.outputs), 1)]


def _may_train(node: Node) -> bool:
    training = node.optional_input(2)
    return training is not None and (training.data is None or bool(training.data.reshape(-1)[0]))


DROPOUT = Op("Dropout", _infer_dropout, _evaluate_dropout, rare=_may_train)


OPS = (
    _arg_extreme("ArgMax", np.argmax),
    _arg_extreme("ArgMin", np.argmin),
    TOP_K,
    CUM_SUM,
    GATHER_ELEMENTS,
    GATHER_ND,
    SCATTER_ELEMENTS,
    SCATTER_ND,
    RANGE,
    ONE_HOT,
    EYE_LIKE,
    TRILU,
    NON_ZERO,
    REVERSE_SEQUENCE,
    DROPOUT,
)
