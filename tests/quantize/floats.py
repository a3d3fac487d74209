"""Small float graphs of the fused stage, for tests of the quantizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from intarsia.dtypes import Array
from intarsia.ir.graph import Graph, Value
from intarsia.ir.infer import infer_node
from intarsia.ir.types import TensorType


class Floats:
    """Builds a graph node by node; types follow from the op table.

    rng  the source of all weights, so that a test is the same every time
    """

    def __init__(self, *shape: int, seed: int = 0) -> None:
        self.graph = Graph("net")
        self.rng = np.random.default_rng(seed)
        self.x = self.graph.add_input("x", TensorType("float32", shape))

    def constant(self, wish: str, data: object, dtype: str = "float32") -> Value:
        return self.graph.add_constant(self.graph.fresh_name(wish), np.asarray(data, dtype))

    def node(self, op: str, inputs: Sequence[Value | None], name: str, **attributes: object) -> Value:
        """A node whose first output is returned."""
        opset = 0 if op == "dense" else 18
        guess = TensorType("float32", ())
        node = self.graph.add_node(op, inputs, [guess], attributes, name=name, output_names=[name], opset=opset)
        types = infer_node(node)
        assert types is not None, op
        node.output.type = types[0]
        return node.output

    def normal(self, *shape: int, scale: float = 1.0) -> Array:
        return (self.rng.standard_normal(shape) * scale).astype(np.float32)

    def conv(self, x: Value, channels: int, kernel: int, name: str, *, group: int = 1, **activation: Any) -> Value:
        """A Conv that keeps the size, for an odd kernel."""
        spatial = x.type.rank - 2
        depth = x.shape[1] // group
        weight = self.constant(f"{name}_w", self.normal(channels, depth, *([kernel] * spatial), scale=depth**-0.5))
        bias = self.constant(f"{name}_b", self.normal(channels, scale=0.3))
        attributes = {
            "kernel_shape": (kernel,) * spatial,
            "strides": (1,) * spatial,
            "pads": (kernel // 2,) * 2 * spatial,
            "dilations": (1,) * spatial,
            "group": group,
        }
        return self.node("Conv", [x, weight, bias], name, **attributes, **activation)

    def dense(self, x: Value, outputs: int, name: str, **activation: object) -> Value:
        depth = x.shape[-1]
        weight = self.constant(f"{name}_w", self.normal(depth, outputs, scale=depth**-0.5))
        bias = self.constant(f"{name}_b", self.normal(outputs, scale=0.3))
        return self.node("dense", [x, weight, bias], name, **activation)

    def done(self, *outputs: Value) -> Graph:
        self.graph.outputs = list(outputs)
        return self.graph

    def samples(self, count: int = 8) -> list[dict[str, Array]]:
        return [{"x": self.normal(*self.x.shape)} for _ in range(count)]
