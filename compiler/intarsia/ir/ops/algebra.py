"""Sums and products over axes that an attribute names: Einsum, Det, CumProd, Col2Im. Shapes by onnx."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from intarsia.dtypes import Array
from intarsia.ir.graph import Node
from intarsia.ir.op import Op, attribute, required
from intarsia.ir.ops.rules import axis_in, given, ints_of, wide


def _evaluate_einsum(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    equation = str(attribute(node, EINSUM, "equation")).replace(" ", "")
    operands = [given(inputs, index) for index in range(len(inputs))]
    result = np.einsum(equation, *map(wide, operands), optimize=True)
    return [np.asarray(result).astype(operands[0].dtype, copy=False)]


EINSUM = Op("Einsum", None, _evaluate_einsum, {"equation": required})


def _evaluate_det(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    x = given(inputs, 0)
    return [np.asarray(np.linalg.det(wide(x))).astype(x.dtype, copy=False)]


def _evaluate_cum_prod(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    x = given(inputs, 0)
    axis = axis_in(node, int(given(inputs, 1).reshape(-1)[0]), x.ndim)
    backwards = attribute(node, CUM_PROD, "reverse")
    source = np.flip(x, axis) if backwards else x
    if attribute(node, CUM_PROD, "exclusive"):
        ones = np.ones_like(np.take(source, [0] if source.shape[axis] else [], axis=axis))
        source = np.concatenate([ones, np.take(source, range(source.shape[axis] - 1), axis=axis)], axis)
    result = np.cumprod(source, axis=axis, dtype=x.dtype)
    return [np.ascontiguousarray(np.flip(result, axis) if backwards else result)]


CUM_PROD = Op("CumProd", None, _evaluate_cum_prod, {"exclusive": 0, "reverse": 0})


def _evaluate_col2im(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    """Columns [N, C * taps, windows] are added where their windows lie: [N, C, *image]."""
    x, image, kernel = given(inputs, 0), ints_of(given(inputs, 1)), ints_of(given(inputs, 2))
    rank = len(image)
    strides = node.attributes.get("strides", (1,) * rank)
    dilations = node.attributes.get("dilations", (1,) * rank)
    pads = node.attributes.get("pads", (0,) * 2 * rank)
    sizes = [size + pads[a] + pads[rank + a] for a, size in enumerate(image)]
    windows = [(sizes[a] - dilations[a] * (kernel[a] - 1) - 1) // strides[a] + 1 for a in range(rank)]
    columns = x.reshape(x.shape[0], -1, math.prod(kernel), *windows)
    result = np.zeros((*columns.shape[:2], *sizes), x.dtype)
    for index, tap in enumerate(itertools.product(*map(range, kernel))):
        first = [offset * dilation for offset, dilation in zip(tap, dilations)]
        places: Any = [slice(a, a + (count - 1) * step + 1, step) for a, count, step in zip(first, windows, strides)]
        result[(..., *places)] += columns[:, :, index]
    kept: Any = [slice(pads[a], pads[a] + size) for a, size in enumerate(image)]
    return [result[(..., *kept)]]


OPS = (EINSUM, Op("Det", None, _evaluate_det), CUM_PROD, Op("Col2Im", None, _evaluate_col2im))
