"""Weights of more than 8 bits in exact products: several int8 weights for one, over an input that is read as often."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from intarsia.ir.graph import Node, Value
from intarsia.ir.types import TensorType
from intarsia.passes.base import Refused, refuse
from intarsia.passes.quantize.emitter import Emitter, quantization
from intarsia.passes.quantize.scales import Weight, copies

_OPSET = 18


def spread_dense(emitter: Emitter, node: Node, source: Value, weight: Weight) -> tuple[Value, Weight]:
    """The input of a dense, and its weights int8 [count * K, M], so that their products are those of the node."""
    weight, count = copies(weight, 0)
    _tell(emitter, node, count)
    return _repeated(emitter, node, source, source.type.rank - 1, count), weight


def spread_conv(
    emitter: Emitter, node: Node, source: Value, weight: Weight, attributes: Mapping[str, object]
) -> tuple[Value, Weight, dict[str, object]] | Refused:
    """The input of a Conv, its weights as int8, and its attributes, so that their products are those of the node.

    Without groups all channels are there several times. With groups every pixel is, along a spatial axis whose taps
    have no gaps: windows, strides and pads of that axis grow with it.
    """
    if node.attributes["group"] == 1:
        weight, count = copies(weight, 1)
        _tell(emitter, node, count)
        return _repeated(emitter, node, source, 1, count), weight, dict(attributes)
    kernel, rank = node.input(1).shape[2:], source.type.rank - 2
    dense = [
        index for index, (size, gap) in enumerate(zip(kernel, node.attributes["dilations"])) if size == 1 or gap == 1
    ]
    if not dense:
        reach = int(np.abs(weight.integers).max())
        return refuse(
            f"its weights reach {reach} steps from their zero point, and it has groups and dilations: "
            "quantize them symmetrically"
        )
    axis = dense[-1]
    weight, count = copies(Weight(weight.integers[..., np.newaxis], weight.scales, weight.clamped), -1)
    parts = np.moveaxis(weight.integers, -1, axis + 3)
    shape = (*parts.shape[: axis + 2], kernel[axis] * count, *parts.shape[axis + 4 :])
    weight = Weight(np.ascontiguousarray(parts.reshape(shape)), weight.scales, weight.clamped)
    _tell(emitter, node, count)
    strides, dilations = list(node.attributes["strides"]), list(node.attributes["dilations"])
    pads = list(node.attributes["pads"])
    strides[axis], dilations[axis] = strides[axis] * count, 1
    for side in (axis, axis + rank):
        pads[side] *= count
    window = {"strides": tuple(strides), "pads": tuple(pads), "dilations": tuple(dilations)}
    return _stretched(emitter, node, source, axis + 2, count), weight, {**attributes, **window}


def _tell(emitter: Emitter, node: Node, count: int) -> None:
    text = f"its weights of more than 127 steps from their zero point are computed as {count} weights of int8 each"
    emitter.notes.append((node.name, text))


def _repeated(emitter: Emitter, node: Node, source: Value, axis: int, count: int) -> Value:
    """The input as often as there are weights, along an axis."""
    return _moved(emitter, node, "Concat", [source] * count, axis, count, {"axis": axis})


def _stretched(emitter: Emitter, node: Node, source: Value, axis: int, count: int) -> Value:
    """Every element of the input as often as there are weights, along an axis."""
    factors = np.ones(source.type.rank, np.float32)
    factors[axis] = count
    attributes = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    inputs = [source, None, emitter.constant(f"{node.name}_factors", factors)]
    return _moved(emitter, node, "Resize", inputs, axis, count, attributes)


def _moved(
    emitter: Emitter,
    node: Node,
    op: str,
    inputs: list[Value | None] | list[Value],
    axis: int,
    count: int,
    attributes: Mapping[str, object],
) -> Value:
    source, wish = inputs[0], f"{node.name}_{op.lower()}"
    assert source is not None
    shape = list(source.shape)
    shape[axis] *= count
    type = TensorType("int8", tuple(shape))
    twin = emitter.graph.add_node(op, inputs, [type], attributes, name=wish, output_names=[wish], opset=_OPSET)
    twin.output.quantization = quantization(source)
    return twin.output
