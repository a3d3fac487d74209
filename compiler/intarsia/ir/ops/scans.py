"""Ops that go along one axis, element after element: ArgMax, ArgMin, TopK, CumSum."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from intarsia.dtypes import Array
from intarsia.ir.graph import Node
from intarsia.ir.op import Known, Op, attribute, refuse
from intarsia.ir.ops.rules import (
    BAD_MODEL,
    NUMERIC,
    WHOLE,
    Types,
    axis_in,
    given,
    known_ints,
    of_rank,
    scalar,
    tensor,
)
from intarsia.ir.types import TensorType


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
    scalar(node, types, 1, WHOLE)
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


OPS = (_arg_extreme("ArgMax", np.argmax), _arg_extreme("ArgMin", np.argmin), TOP_K, CUM_SUM)
