"""The workshop in which float nodes become integer ones: which values have an int8 form, and how new nodes are made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from intarsia.dtypes import Array
from intarsia.ir.graph import Graph, Node, Value
from intarsia.ir.integer import dequantize_linear
from intarsia.ir.types import Quantization, TensorType
from intarsia.passes.base import Refused
from intarsia.passes.quantize.scales import ratio


class Emitter:
    """Makes integer nodes beside the float ones and remembers which int8 value stands for which float value.

    integer  int8 value by float value
    notes    facts that the user should know, as (name of a node, text)
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.integer: dict[Value, Value] = {}
        self.notes: list[tuple[str, str]] = []

    def add(
        self,
        op: str,
        inputs: Sequence[Value | None],
        shape: Sequence[int],
        quantization: Quantization,
        attributes: Mapping[str, object],
        like: Node,
        opset: int = 0,
    ) -> Value:
        """A node with one int8 output; it is called after the float node `like`."""
        type = TensorType("int8", tuple(shape))
        wish = f"{like.name}_int8"
        node = self.graph.add_node(op, inputs, [type], attributes, name=wish, output_names=[wish], opset=opset)
        node.output.quantization = quantization
        return node.output

    def constant(self, wish: str, data: Array, quantization: Quantization | None = None) -> Value:
        """A new constant; its name is `wish`, or like it."""
        value = self.graph.add_constant(self.graph.fresh_name(wish), data)
        value.quantization = quantization
        return value

    def requantized(self, source: Value, target: Quantization, like: Node, clamp: tuple[int, int]) -> Value | Refused:
        """The same real numbers at another scale, clamped."""
        of = quantization(source)
        pair = ratio(of.scale / target.scale)
        if isinstance(pair, Refused):
            return pair
        attributes = {
            "input_zero_point": of.zero_point,
            "output_zero_point": target.zero_point,
            "multiplier": pair[0],
            "shift": pair[1],
            **clamps(clamp),
        }
        return self.add("requantize", [source], source.shape, target, attributes, like)

    def looked_up(self, source: Value, table: Array, target: Quantization, like: Node) -> Value:
        """A lookup node.

        table  int8 [256] in the order of the int8 values -128 to 127
        """
        constant = self.constant(f"{like.name}_table", np.roll(table, -128))
        return self.add("lookup", [source, constant], source.shape, target, {}, like)


def quantization(value: Value) -> Quantization:
    """The quantization of an int8 activation."""
    assert value.quantization is not None, f"{value} has no scale"
    return value.quantization


def clamps(clamp: tuple[int, int]) -> dict[str, int]:
    """The clamp attributes of an integer op."""
    return {"clamp_min": clamp[0], "clamp_max": clamp[1]}


def all_int8(of: Quantization) -> Array:
    """The real numbers of the int8 values -128 to 127, float32 [256]."""
    return dequantize_linear(np.arange(-128, 128, dtype=np.int8), of.scale, of.zero_point)
