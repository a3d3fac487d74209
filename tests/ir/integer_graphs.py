"""Nodes of integer ops for tests, and their meaning written slowly in Python's own integers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np

from intarsia.dtypes import Array, dtype_name
from intarsia.ir.graph import Graph, Node, Value
from intarsia.ir.types import TensorType


def node_of(op: str, arrays: Sequence[Array | None], attributes: Mapping[str, Any], *, constants: int = 0) -> Node:
    """A node alone in a graph; the last `constants` inputs are constants, the others inputs."""
    graph = Graph("test")
    values: list[Value | None] = []
    for index, array in enumerate(arrays):
        if array is None:
            values.append(None)
        elif index >= len(arrays) - constants:
            values.append(graph.add_constant(f"c{index}", array))
        else:
            values.append(graph.add_input(f"x{index}", TensorType(dtype_name(array.dtype), array.shape)))
    node = graph.add_node(op, values, [TensorType("int8", None)], attributes, opset=0 if op[0].islower() else 21)
    graph.outputs = [node.output]
    return node


def half_even(numerator: int, shift: int) -> int:
    """numerator / 2**shift, rounded half to even."""
    return round(Fraction(numerator, 1 << shift))


def scaled(accumulator: int, multiplier: int, shift: int, attributes: Mapping[str, Any]) -> int:
    """Fixed-point scale, zero point and clamp of one accumulator."""
    value = half_even(accumulator * multiplier, shift) + int(attributes["output_zero_point"])
    return min(max(value, int(attributes.get("clamp_min", -128))), int(attributes.get("clamp_max", 127)))


def wrapped(value: int) -> int:
    """A 32-bit register."""
    return (value + (1 << 31)) % (1 << 32) - (1 << 31)


def slow_qconv(
    x: Array, w: Array, bias: Array, multiplier: Array, shift: Array, attributes: Mapping[str, Any]
) -> Array:
    """qconv by its definition: one output, one tap, one channel at a time."""
    kernel, group, rank = w.shape[2:], attributes["group"], w.ndim - 2
    strides, dilations, pads = attributes["strides"], attributes["dilations"], attributes["pads"]
    zero = attributes["input_zero_point"]
    sizes = [
        (x.shape[2 + a] + pads[a] + pads[rank + a] - dilations[a] * (kernel[a] - 1) - 1) // strides[a] + 1
        for a in range(rank)
    ]
    out = np.zeros((x.shape[0], w.shape[0], *sizes), np.int8)
    for image, channel, *place in product(*map(range, out.shape)):
        total = int(bias[channel])
        first = channel // (w.shape[0] // group) * w.shape[1]
        for depth, *tap in product(*map(range, w.shape[1:])):
            where = [place[a] * strides[a] + tap[a] * dilations[a] - pads[a] for a in range(rank)]
            if all(0 <= where[a] < x.shape[2 + a] for a in range(rank)):
                total += int(w[(channel, depth, *tap)]) * (int(x[(image, first + depth, *where)]) - zero)
        out[(image, channel, *place)] = scaled(
            wrapped(total), int(multiplier[channel]), int(shift[channel]), attributes
        )
    return out
