"""Pools over windows and over whole images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from intarsia.dtypes import FLOATING, Array
from intarsia.ir.graph import Node
from intarsia.ir.op import Known, Op, attribute
from intarsia.ir.ops.convolution import at_tap, each_tap
from intarsia.ir.ops.geometry import Window, spatial_shape, window_of
from intarsia.ir.ops.rules import Types, given, of_rank, tensor, wide
from intarsia.ir.ops.windows import pad_spatial
from intarsia.ir.types import TensorType

_WINDOW = {"kernel_shape": (), "strides": (), "pads": (), "dilations": (), "auto_pad": "NOTSET", "ceil_mode": 0}


def _infer_pool(node: Node, types: Types, dtypes: Sequence[str]) -> TensorType:
    x = tensor(node, types, 0, dtypes)
    of_rank(node, x, 3)
    if x.shape is None:
        return x
    window = window_of(node, len(x.shape) - 2)
    return TensorType(x.dtype, (*x.shape[:2], *spatial_shape(node, window, x.shape[2:])))


def _padded(x: Array, window: Window, fill: Any) -> tuple[Array, list[int]]:
    """The input with its pads, and more at the end where ceil_mode wants it; and the windows along each axis."""
    pads, rank = window.pads_for(x.shape[2:]), window.rank
    positions = [window.positions(a, x.shape[2 + a], pads[a], pads[rank + a]) for a in range(rank)]
    ends = [
        max(pads[rank + a], (positions[a] - 1) * window.strides[a] + window.reach(a) - x.shape[2 + a] - pads[a])
        for a in range(rank)
    ]
    return pad_spatial(x, (*pads[:rank], *ends), fill), positions


# ---- MaxPool


def _infer_max_pool(node: Node, types: Types, known: Known) -> list[TensorType]:
    result = _infer_pool(node, types, (*FLOATING, "int8", "uint8"))
    return [result, TensorType("int64", result.shape)][: max(len(node.outputs), 1)]


def _evaluate_max_pool(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    x = given(inputs, 0)
    window = window_of(node, x.ndim - 2)
    lowest = np.iinfo(x.dtype).min if x.dtype.kind in "iu" else -np.inf
    padded, positions = _padded(x, window, lowest)
    if len(node.outputs) > 1 and node.outputs[1] is not None:
        return _max_with_indices(node, x, padded, window, positions)
    result = None
    for tap in each_tap(window.kernel):
        part = at_tap(padded, tap, positions, window)
        result = part.copy() if result is None else np.maximum(result, part, out=result)
    assert result is not None
    return [result]


def _max_with_indices(node: Node, x: Array, padded: Array, window: Window, positions: Sequence[int]) -> list[Array]:
    """The maxima and where they stand in the whole input, as if it were flat; the first of equals counts."""
    sizes, pads, rank = x.shape[2:], window.pads_for(x.shape[2:]), window.rank
    order = range(rank) if attribute(node, MAX_POOL, "storage_order") else range(rank - 1, -1, -1)
    steps, step = [0] * rank, 1
    for axis in order:
        steps[axis], step = step, step * sizes[axis]
    images = np.arange(x.shape[0] * x.shape[1]).reshape(*x.shape[:2], *(1,) * rank) * step
    best, where = None, None
    for tap in each_tap(window.kernel):
        part = at_tap(padded, tap, positions, window)
        place = np.zeros((1,) * rank, np.int64)
        for axis in range(rank):
            along = np.arange(positions[axis]) * window.strides[axis] + tap[axis] * window.dilations[axis] - pads[axis]
            place = place + along.reshape([-1 if other == axis else 1 for other in range(rank)]) * steps[axis]
        if best is None or where is None:
            best, where = part.copy(), np.broadcast_to(images + place, part.shape).copy()
            continue
        better = part > best
        where = np.where(better, images + place, where)
        best = np.maximum(best, part)
    assert best is not None and where is not None
    return [best, where]


MAX_POOL = Op(
    "MaxPool",
    _infer_max_pool,
    _evaluate_max_pool,
    {**_WINDOW, "storage_order": 0},
    carries_activation=True,
    keeps_scale=True,
    keeps_range=True,
    optional_outputs=True,
)


# ---- AveragePool


def _infer_average_pool(node: Node, types: Types, known: Known) -> list[TensorType]:
    return [_infer_pool(node, types, FLOATING)]


def _evaluate_average_pool(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    x = given(inputs, 0)
    window = window_of(node, x.ndim - 2)
    total = _sum_taps(wide(x), window)
    counted = np.ones((1, 1, *x.shape[2:]), total.dtype)
    if attribute(node, AVERAGE_POOL, "count_include_pad"):
        pads = window.pads_for(x.shape[2:])
        counted = pad_spatial(counted, pads, 1)
        window = Window(window.kernel, window.strides, window.dilations, (0,) * (2 * window.rank), ceil_mode=True)
        count = _sum_taps(counted, window)[(slice(None), slice(None), *(slice(size) for size in total.shape[2:]))]
    else:
        count = _sum_taps(counted, window)
    with np.errstate(invalid="ignore", divide="ignore"):
        return [(total / count).astype(x.dtype, copy=False)]


def _sum_taps(x: Array, window: Window) -> Array:
    padded, positions = _padded(x, window, 0)
    total = np.zeros((*x.shape[:2], *positions), x.dtype)
    for tap in each_tap(window.kernel):
        total += at_tap(padded, tap, positions, window)
    return total


AVERAGE_POOL = Op(
    "AveragePool",
    _infer_average_pool,
    _evaluate_average_pool,
    {**_WINDOW, "count_include_pad": 0},
    carries_activation=True,
    keeps_range=True,
)


# ---- whole images


def _global(name: str, function: Callable[..., Any]) -> Op:
    def infer(node: Node, types: Types, known: Known) -> list[TensorType]:
        x = tensor(node, types, 0, FLOATING)
        of_rank(node, x, 3)
        return [TensorType(x.dtype, None if x.shape is None else (*x.shape[:2], *(1,) * (len(x.shape) - 2)))]

    def evaluate(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
        x = given(inputs, 0)
        result = function(wide(x), axis=tuple(range(2, x.ndim)), keepdims=True)
        return [np.asarray(result).astype(x.dtype, copy=False)]

    return Op(name, infer, evaluate, carries_activation=True, keeps_range=True)


def _infer_global_lp(node: Node, types: Types, known: Known) -> list[TensorType]:
    x = tensor(node, types, 0, FLOATING)
    of_rank(node, x, 3)
    return [TensorType(x.dtype, None if x.shape is None else (*x.shape[:2], *(1,) * (len(x.shape) - 2)))]


def _evaluate_global_lp(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    """The p-th root of the sum of p-th powers of magnitudes; onnx.reference does not know this op."""
    x, power = given(inputs, 0), attribute(node, GLOBAL_LP_POOL, "p")
    size = np.abs(wide(x))
    total = np.sum(size**power, axis=tuple(range(2, x.ndim)), keepdims=True)
    return [np.asarray(total ** total.dtype.type(1 / power)).astype(x.dtype, copy=False)]


GLOBAL_LP_POOL = Op("GlobalLpPool", _infer_global_lp, _evaluate_global_lp, {"p": 2})


def _evaluate_lp_pool(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    x, power = given(inputs, 0), attribute(node, LP_POOL, "p")
    total = _sum_taps(np.abs(wide(x)) ** power, window_of(node, x.ndim - 2))
    return [np.asarray(total ** total.dtype.type(1 / power)).astype(x.dtype, copy=False)]


LP_POOL = Op("LpPool", _infer_average_pool, _evaluate_lp_pool, {**_WINDOW, "p": 2})


OPS = (
    MAX_POOL,
    AVERAGE_POOL,
    _global("GlobalAveragePool", np.mean),
    _global("GlobalMaxPool", np.max),
    GLOBAL_LP_POOL,
    LP_POOL,
)
