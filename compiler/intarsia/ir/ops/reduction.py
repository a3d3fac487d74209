"""Ops that reduce along axes, and the softmax family, which normalizes along one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from intarsia.dtypes import FLOATING, Array
from intarsia.ir.graph import Node
from intarsia.ir.op import Known, Op
from intarsia.ir.ops.rules import (
    NUMERIC,
    Types,
    axes_in,
    axis_in,
    given,
    given_or_none,
    ints_of,
    known_ints,
    known_length,
    optional,
    tensor,
    wide,
)
from intarsia.ir.types import TensorType

_ATTRIBUTES = {"keepdims": 1, "noop_with_empty_axes": 0}

# ---- Reduce*


def _log_sum_exp(x: Array, axis: tuple[int, ...], keepdims: bool) -> Array:
    """log(sum(exp(x))), shifted by the largest element so that nothing overflows."""
    if x.size == 0:
        return np.asarray(np.log(np.sum(x, axis=axis, keepdims=keepdims)))
    top = np.max(x, axis=axis, keepdims=True)
    top = np.where(np.isfinite(top), top, 0)
    total = np.log(np.sum(np.exp(x - top), axis=axis, keepdims=True)) + top
    return np.asarray(total if keepdims else np.squeeze(total, axis=axis))


def _extreme(function: Callable[..., Any], lowest: bool) -> Callable[..., Any]:
    def reduce(x: Array, axis: tuple[int, ...], keepdims: bool) -> Any:
        if x.dtype.kind == "b":
            return (np.any if lowest else np.all)(x, axis=axis, keepdims=keepdims)
        if x.dtype.kind in "iu":
            limits = np.iinfo(x.dtype)
            return function(x, axis=axis, keepdims=keepdims, initial=limits.min if lowest else limits.max)
        return function(x, axis=axis, keepdims=keepdims, initial=x.dtype.type(-np.inf if lowest else np.inf))

    return reduce


def _sum(x: Array, axis: tuple[int, ...], keepdims: bool) -> Any:
    return np.sum(x, axis=axis, keepdims=keepdims, dtype=x.dtype)


_REDUCTIONS: dict[str, Callable[..., Any]] = {
    "ReduceSum": _sum,
    "ReduceMean": np.mean,
    "ReduceMax": _extreme(np.max, lowest=True),
    "ReduceMin": _extreme(np.min, lowest=False),
    "ReduceProd": lambda x, axis, keepdims: np.prod(x, axis=axis, keepdims=keepdims, dtype=x.dtype),
    "ReduceL1": lambda x, axis, keepdims: _sum(np.abs(x), axis, keepdims),
    "ReduceL2": lambda x, axis, keepdims: np.sqrt(_sum(np.square(x), axis, keepdims)),
    "ReduceSumSquare": lambda x, axis, keepdims: _sum(np.square(x), axis, keepdims),
    "ReduceLogSum": lambda x, axis, keepdims: np.log(_sum(x, axis, keepdims)),
    "ReduceLogSumExp": _log_sum_exp,
}


def _axes(node: Node, inputs: Sequence[Array | None], rank: int) -> tuple[int, ...]:
    """The axes to reduce, from the second input or, in the older form, from the attribute."""
    data = given_or_none(inputs, 1)
    axes = ints_of(data) if data is not None else tuple(node.attributes.get("axes", ()))
    if axes:
        return axes_in(node, axes, rank)
    return () if node.attributes.get("noop_with_empty_axes", 0) else tuple(range(rank))


def _reduction(name: str, function: Callable[..., Any], dtypes: Sequence[str]) -> Op:
    def infer(node: Node, types: Types, known: Known) -> list[TensorType]:
        x = tensor(node, types, 0, dtypes)
        keep = node.attributes.get("keepdims", 1)
        hidden = optional(types, 1) is not None and known_ints(known, 1) is None and known_length(types, 1) != 0
        if x.shape is None or hidden:
            unknown = x.shape is None or not keep
            return [TensorType(x.dtype, None if unknown else (None,) * x.rank)]
        axes = _axes(node, known, len(x.shape))
        if keep:
            return [TensorType(x.dtype, tuple(1 if axis in axes else size for axis, size in enumerate(x.shape)))]
        return [TensorType(x.dtype, tuple(size for axis, size in enumerate(x.shape) if axis not in axes))]

    def evaluate(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
        x = given(inputs, 0)
        with np.errstate(all="ignore"):
            keep = bool(node.attributes.get("keepdims", 1))
            axes = _axes(node, inputs, x.ndim)
            if not axes and node.attributes.get("noop_with_empty_axes", 0):
                result = function(wide(x)[np.newaxis], axis=(0,), keepdims=False)
            else:
                result = function(wide(x), axis=axes, keepdims=keep)
        return [np.asarray(result).astype(x.dtype, copy=False)]

    return Op(
        name,
        infer,
        evaluate,
        _ATTRIBUTES,
        keeps_range=name in ("ReduceMean", "ReduceMax"),
        nonnegative=name in ("ReduceL1", "ReduceL2"),
    )


_REDUCE = tuple(
    _reduction(name, function, (*NUMERIC, "bool") if name in ("ReduceMax", "ReduceMin") else NUMERIC)
    for name, function in _REDUCTIONS.items()
)


# ---- softmax


def _softmax(x: Array, axis: int) -> Array:
    with np.errstate(invalid="ignore", under="ignore"):
        weight = np.exp(x - np.max(x, axis=axis, keepdims=True))
        return np.asarray(weight / np.sum(weight, axis=axis, keepdims=True))


def _log_softmax(x: Array, axis: int) -> Array:
    with np.errstate(invalid="ignore", under="ignore", divide="ignore"):
        shifted = x - np.max(x, axis=axis, keepdims=True)
        return np.asarray(shifted - np.log(np.sum(np.exp(shifted), axis=axis, keepdims=True)))


def _hardmax(x: Array, axis: int) -> Array:
    first = np.expand_dims(np.argmax(x, axis=axis), axis)
    result = np.zeros_like(x)
    np.put_along_axis(result, first, 1, axis=axis)
    return result


def normalized_axis(node: Node, rank: int) -> int:
    """The axis of Softmax and its kin, from 0; before opset 13 it is 1 by default."""
    return axis_in(node, node.attributes.get("axis", -1 if node.opset >= 13 else 1), rank)


def _normalizer(name: str, function: Callable[[Array, int], Array]) -> Op:
    """Softmax and its kin. Before opset 13 they see the input as a matrix, cut at the axis, which is 1 by default."""

    def infer(node: Node, types: Types, known: Known) -> list[TensorType]:
        x = tensor(node, types, 0, FLOATING)
        if x.shape is not None:
            normalized_axis(node, len(x.shape))
        return [x]

    def evaluate(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
        x = given(inputs, 0)
        axis, source = normalized_axis(node, x.ndim), wide(x)
        if x.size == 0:
            return [x]
        if node.opset < 13:
            rows = int(np.prod(x.shape[:axis]))
            return [function(source.reshape(rows, -1), 1).reshape(x.shape).astype(x.dtype, copy=False)]
        return [function(source, axis).astype(x.dtype, copy=False)]

    return Op(name, infer, evaluate, {"axis": -1}, nonnegative=name == "Softmax")


_NORMALIZERS = (
    _normalizer("Softmax", _softmax),
    _normalizer("LogSoftmax", _log_softmax),
    _normalizer("Hardmax", _hardmax),
)


OPS = (*_REDUCE, *_NORMALIZERS)
