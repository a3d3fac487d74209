"""Float32 networks of images that tests grow op by op."""

from __future__ import annotations

import numpy as np

from intarsia.dtypes import Array
from intarsia.ir.graph import Graph, Value
from intarsia.ir.infer import infer_node
from intarsia.ir.types import TensorType


class ImageNetwork:
    """A float32 network that grows op by op."""

    def __init__(self, seed: int, *shape: int) -> None:
        self.graph, self.random = Graph("images"), np.random.default_rng(seed)
        self.input = self.graph.add_input("x", TensorType("float32", shape))

    def add(self, op: str, *inputs: Value, **attributes: object) -> Value:
        node = self.graph.add_node(op, inputs, [TensorType("float32", None)], attributes, opset=18)
        found = infer_node(node)
        assert found is not None and found[0] is not None
        node.output.type = found[0]
        return node.output

    def conv(
        self, x: Value, outputs: int, kernel: int, *, stride: int = 1, pad: int = 0, group: int = 1, relu: bool = False
    ) -> Value:
        channels = x.shape[1] // group
        weights = self.random.standard_normal((outputs, channels, kernel, kernel)) / (kernel * channels**0.5)
        activation = {"activation": "Relu"} if relu else {}
        return self.add(
            "Conv",
            x,
            self.constant(weights),
            self.constant(self.random.standard_normal(outputs)),
            kernel_shape=(kernel, kernel),
            strides=(stride, stride),
            pads=(pad,) * 4,
            dilations=(1, 1),
            group=group,
            **activation,
        )

    def pool(self, op: str, x: Value, kernel: int, stride: int, pad: int) -> Value:
        return self.add(op, x, kernel_shape=(kernel, kernel), strides=(stride, stride), pads=(pad,) * 4)

    def constant(self, data: Array) -> Value:
        return self.graph.add_constant(self.graph.fresh_name("c"), np.asarray(data, np.float32))
