"""Rewriting the constant behind a DequantizeLinear, so that a change of shape costs nothing at run time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from intarsia.dtypes import Array
from intarsia.ir.graph import Graph, Node, Value
from intarsia.passes.base import type_like
from intarsia.passes.matching import constant

_PER_AXIS_OPSET = 13
"""The first opset in which DequantizeLinear has an axis."""


def has_one_scale(dequantize: Node) -> bool:
    """True where one scale serves the whole tensor."""
    return dequantize.input(1).type.elements == 1 and not dequantize.attributes.get("block_size", 0)


def reshaped(graph: Graph, dequantize: Node, shape: Sequence[int], axis: int) -> Value:
    """A DequantizeLinear of the same constant in another shape.

    axis  where the channels are in the new shape, if each has a scale
    """
    data = dequantize.input(0).data
    assert data is not None
    return _twin(graph, dequantize, data.reshape(tuple(shape)), axis, "reshaped")


def transposed(graph: Graph, dequantize: Node) -> Value:
    """A DequantizeLinear of the transposed matrix."""
    data = dequantize.input(0).data
    assert data is not None
    axis = dequantize.attributes.get("axis", 1) % 2
    return _twin(graph, dequantize, np.ascontiguousarray(data.T), 1 - axis, "transposed")


def rescaled(graph: Graph, dequantize: Node, scale: Array, axis: int) -> Value | None:
    """A DequantizeLinear of the same integers, `scale` times as large along one axis; the scales of it may be negative.

    scale    float64 [M], one number for each slice of the axis
    returns  None where its own scales run along another axis or in blocks
    """
    own, zero = dequantize.input(1).data, dequantize.optional_input(2)
    source = dequantize.input(0).data
    assert own is not None and source is not None
    if dequantize.attributes.get("block_size", 0):
        return None
    if own.size > 1 and (dequantize.attributes.get("axis", 1) % source.ndim != axis or own.shape != scale.shape):
        return None
    with np.errstate(over="ignore"):
        scales = (own.astype(np.float64).reshape(-1) * scale).astype(own.dtype)
    if not np.isfinite(scales).all():
        return None
    inputs: list[Value | None] = [dequantize.input(0), constant(graph, f"{dequantize.input(1).name}_rescaled", scales)]
    if zero is not None:
        assert zero.data is not None
        zeros = np.ascontiguousarray(np.broadcast_to(zero.data.reshape(-1), scales.shape))
        inputs.append(constant(graph, f"{zero.name}_rescaled", zeros))
    return graph.add_node(
        "DequantizeLinear",
        inputs,
        [dequantize.output.type],
        {**dequantize.attributes, "axis": axis},
        name=f"{dequantize.name}_rescaled",
        output_names=[f"{dequantize.output.name}_rescaled"],
        opset=max(dequantize.opset, _PER_AXIS_OPSET),
    ).output


def rows_reordered(graph: Graph, dequantize: Node, order: Array, axis: int) -> Value:
    """A DequantizeLinear of the constant with the slices along one axis, which must share their scales, reordered."""
    data = dequantize.input(0).data
    assert data is not None
    return _twin(graph, dequantize, np.take(data, order, axis), dequantize.attributes.get("axis", 1), "reordered")


def _twin(graph: Graph, dequantize: Node, data: Array, axis: int, suffix: str) -> Value:
    old = dequantize.input(0)
    one = has_one_scale(dequantize)
    inputs: list[Value | None] = [constant(graph, f"{old.name}_{suffix}", data)]
    for value in dequantize.inputs[1:]:
        if one and value is not None and value.data is not None and value.data.ndim:
            value = constant(graph, f"{value.name}_scalar", value.data.reshape(()))
        inputs.append(value)
    attributes = {key: value for key, value in dequantize.attributes.items() if key != "axis"}
    if not one:
        attributes["axis"] = axis
    return graph.add_node(
        "DequantizeLinear",
        inputs,
        [type_like(dequantize.output, data.shape)],
        attributes,
        name=f"{dequantize.name}_{suffix}",
        output_names=[f"{dequantize.output.name}_{suffix}"],
        opset=dequantize.opset,
    ).output
