"""Ops that read, write or choose elements by index: the Gathers, the Scatters, OneHot, Trilu and their kin."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from intarsia.dtypes import Array
from intarsia.ir.graph import Node
from intarsia.ir.op import Known, Op, attribute, refuse
from intarsia.ir.ops.rules import (
    BAD_MODEL,
    WHOLE,
    Types,
    axis_in,
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

# ---- Gather, GatherElements, GatherND


def _infer_gather(node: Node, types: Types, known: Known) -> list[TensorType]:
    x, indices = tensor(node, types, 0), tensor(node, types, 1, WHOLE)
    of_rank(node, x, 1)
    if x.shape is None or indices.shape is None:
        return [TensorType(x.dtype, None)]
    axis = axis_in(node, attribute(node, GATHER, "axis"), len(x.shape))
    size, picked = x.shape[axis], known_ints(known, 1)
    if size is not None and picked and not (-size <= min(picked) and max(picked) < size):
        raise refuse(node, f"indices {min(picked)} to {max(picked)} leave axis {axis} of {x}", BAD_MODEL)
    return [TensorType(x.dtype, (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))]


def _evaluate_gather(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    return [np.asarray(np.take(given(inputs, 0), given(inputs, 1), axis=attribute(node, GATHER, "axis")))]


GATHER = Op("Gather", _infer_gather, _evaluate_gather, {"axis": 0}, work="movement", keeps_scale=True, keeps_range=True)


def _infer_gather_elements(node: Node, types: Types, known: Known) -> list[TensorType]:
    x, indices = tensor(node, types, 0), tensor(node, types, 1, WHOLE)
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
    return [np.asarray(result).reshape((*indices.shape[:-1], *x.shape[batch + indices.shape[-1] :]))]


GATHER_ND = Op("GatherND", _infer_gather_nd, _evaluate_gather_nd, {"batch_dims": 0})


# ---- ScatterElements, ScatterND

_COMBINE: dict[str, Any] = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}


def _infer_scatter(node: Node, types: Types, known: Known) -> list[TensorType]:
    x, indices, updates = tensor(node, types, 0), tensor(node, types, 1, WHOLE), tensor(node, types, 2)
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


# ---- OneHot, Trilu, NonZero, ReverseSequence


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


ONE_HOT = Op("OneHot", _infer_one_hot, _evaluate_one_hot, {"axis": -1}, grows=True)


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


OPS = (
    GATHER,
    GATHER_ELEMENTS,
    GATHER_ND,
    SCATTER_ELEMENTS,
    SCATTER_ND,
    ONE_HOT,
    TRILU,
    NON_ZERO,
    REVERSE_SEQUENCE,
)
