"""The networks that the CPU is measured with: random weights, BatchNorm folded, float32, opset 17.

The shapes are those of torchvision's ResNet-18, ResNet-50 and MobileNetV2, of all-MiniLM-L6 behind its embeddings, and
of the four networks of MLPerf Tiny. Speed depends on shapes alone; that values keep their size from layer to layer is
seen to, so that outputs can be compared.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper


class Net:
    """Writes a graph node by node. Values are known by name; of images the number of channels is kept."""

    def __init__(self, name: str, *shape: int) -> None:
        self.name = name
        self.random = np.random.default_rng(zlib.crc32(name.encode()))
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.input = "input"
        self.shape = shape
        self.channels = {self.input: shape[1]}

    def node(self, op: str, *inputs: str, **attributes: Any) -> str:
        output = f"{op.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [output], name=f"{op}_{len(self.nodes)}", **attributes))
        if inputs[0] in self.channels:
            self.channels[output] = self.channels[inputs[0]]
        return output

    def constant(self, array: Any, dtype: str = "float32") -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array, dtype), name))
        return name

    def weights(self, shape: Sequence[int], fan_in: int, gain: float) -> str:
        return self.constant(self.random.standard_normal(shape) * math.sqrt(gain / fan_in))

    def bias(self, size: int) -> str:
        return self.constant(self.random.standard_normal(size) * 0.05)

    def activate(self, x: str, activation: str) -> str:
        if activation == "Relu6":
            return self.node("Clip", x, self.constant(0.0), self.constant(6.0))
        return self.node(activation, x) if activation else x

    def conv(
        self,
        x: str,
        outputs: int,
        kernel: int | tuple[int, int],
        *,
        stride: int = 1,
        group: int = 1,
        pads: Sequence[int] | None = None,
        activation: str = "Relu",
    ) -> str:
        """Conv with bias and an activation: "Relu", "Relu6" or "". By default the stride alone changes the size."""
        size = (kernel, kernel) if isinstance(kernel, int) else kernel
        channels = self.channels[x] // group
        fan_in = channels * math.prod(size)
        y = self.node(
            "Conv",
            x,
            self.weights((outputs, channels, *size), fan_in, 2.0 if activation else 1.0),
            self.bias(outputs),
            kernel_shape=size,
            strides=(stride, stride),
            pads=pads or [extent // 2 for extent in size] * 2,
            group=group,
        )
        self.channels[y] = outputs
        return self.activate(y, activation)

    def depthwise(self, x: str, *, stride: int = 1, activation: str = "Relu") -> str:
        channels = self.channels[x]
        return self.conv(x, channels, 3, stride=stride, group=channels, activation=activation)

    def gemm(self, x: str, features: int, outputs: int, activation: str = "") -> str:
        weights = self.weights((outputs, features), features, 2.0 if activation else 1.0)
        return self.activate(self.node("Gemm", x, weights, self.bias(outputs), transB=1), activation)

    def classify(self, x: str, classes: int) -> str:
        """Mean over positions, then one number a class."""
        features = self.channels[x]
        return self.gemm(self.node("Flatten", self.node("GlobalAveragePool", x)), features, classes)

    def model(self, output: str) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes,
            self.name,
            [helper.make_tensor_value_info(self.input, onnx.TensorProto.FLOAT, self.shape)],
            [helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, None)],
            self.constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        model = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
        onnx.checker.check_model(model, full_check=True)
        return model


# ---- the networks


def residual(name: str, blocks: Sequence[int], *, bottleneck: bool) -> onnx.ModelProto:
    """ResNet for ImageNet: blocks of two 3x3 convolutions, or of 1x1, 3x3 and 1x1."""
    net = Net(name, 1, 3, 224, 224)
    x = net.conv(net.input, 64, 7, stride=2)
    x = net.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    for stage, count in enumerate(blocks):
        for block in range(count):
            stride, width = (2 if stage and not block else 1), 64 << stage
            outputs = 4 * width if bottleneck else width
            if bottleneck:
                y = net.conv(net.conv(x, width, 1), width, 3, stride=stride)
                y = net.conv(y, outputs, 1, activation="")
            else:
                y = net.conv(net.conv(x, width, 3, stride=stride), outputs, 3, activation="")
            if net.channels[x] != outputs:
                x = net.conv(x, outputs, 1, stride=stride, activation="")
            x = net.node("Relu", net.node("Add", y, x))
    return net.model(net.classify(x, 1000))


def mobilenet_v2(name: str) -> onnx.ModelProto:
    net = Net(name, 1, 3, 224, 224)
    x = net.conv(net.input, 32, 3, stride=2, activation="Relu6")
    for expansion, outputs, count, first_stride in (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ):
        for block in range(count):
            stride = 1 if block else first_stride
            y = x if expansion == 1 else net.conv(x, expansion * net.channels[x], 1, activation="Relu6")
            y = net.conv(net.depthwise(y, stride=stride, activation="Relu6"), outputs, 1, activation="")
            x = net.node("Add", y, x) if stride == 1 and net.channels[x] == outputs else y
    return net.model(net.classify(net.conv(x, 1280, 1, activation="Relu6"), 1000))


def minilm(name: str, *, layers: int = 6, width: int = 384, heads: int = 12, length: int = 128) -> onnx.ModelProto:
    """The layers of a BERT on hidden states [1, length, width], with the GELU by Erf that exporters write."""
    net = Net(name, 1, length, width)
    split = net.constant([1, length, heads, width // heads], "int64")
    joined = net.constant([1, length, width], "int64")
    half, one, root = net.constant(0.5), net.constant(1.0), net.constant(math.sqrt(2))
    scale = net.constant(math.sqrt(width // heads))

    def product(x: str, features: int, outputs: int) -> str:
        y = net.node("MatMul", x, net.weights((features, outputs), features, 1.0))
        return net.node("Add", y, net.bias(outputs))

    def normalized(x: str) -> str:
        scale, shift = net.constant(np.ones(width)), net.constant(np.zeros(width))
        return net.node("LayerNormalization", x, scale, shift, axis=-1, epsilon=1e-12)

    def head(x: str, order: Sequence[int]) -> str:
        return net.node("Transpose", net.node("Reshape", product(x, width, width), split), perm=order)

    x = net.input
    for _ in range(layers):
        query, key, value = (head(x, order) for order in ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]))
        attention = net.node("Softmax", net.node("Div", net.node("MatMul", query, key), scale), axis=-1)
        context = net.node("Transpose", net.node("MatMul", attention, value), perm=[0, 2, 1, 3])
        x = normalized(net.node("Add", product(net.node("Reshape", context, joined), width, width), x))
        y = product(x, width, 4 * width)
        bell = net.node("Add", net.node("Erf", net.node("Div", y, root)), one)
        y = net.node("Mul", net.node("Mul", y, bell), half)
        x = normalized(net.node("Add", product(y, 4 * width, width), x))
    return net.model(x)


def image_classification(name: str) -> onnx.ModelProto:
    """MLPerf Tiny: a ResNet of three blocks on CIFAR-10."""
    net = Net(name, 1, 3, 32, 32)
    x = net.conv(net.input, 16, 3)
    for width in (16, 32, 64):
        stride = 1 if width == 16 else 2
        y = net.conv(net.conv(x, width, 3, stride=stride), width, 3, activation="")
        if stride != 1:
            x = net.conv(x, width, 1, stride=stride, activation="")
        x = net.node("Relu", net.node("Add", y, x))
    return net.model(net.node("Softmax", net.classify(x, 10), axis=-1))


def keyword_spotting(name: str) -> onnx.ModelProto:
    """MLPerf Tiny: depthwise separable convolutions on 49 frames of 10 coefficients."""
    net = Net(name, 1, 1, 49, 10)
    x = net.conv(net.input, 64, (10, 4), stride=2, pads=[4, 1, 5, 1])
    for _ in range(4):
        x = net.conv(net.depthwise(x), 64, 1)
    return net.model(net.node("Softmax", net.classify(x, 12), axis=-1))


def visual_wake_words(name: str) -> onnx.ModelProto:
    """MLPerf Tiny: MobileNetV1 of a quarter of the width on 96x96 pixels."""
    net = Net(name, 1, 3, 96, 96)
    x = net.conv(net.input, 8, 3, stride=2)
    for outputs, stride in ((16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2), *[(128, 1)] * 5, (256, 2), (256, 1)):
        x = net.conv(net.depthwise(x, stride=stride), outputs, 1)
    return net.model(net.node("Softmax", net.classify(x, 2), axis=-1))


def anomaly_detection(name: str) -> onnx.ModelProto:
    """MLPerf Tiny: an auto-encoder of ten dense layers."""
    net = Net(name, 1, 640)
    x, features = net.input, 640
    for outputs in (128, 128, 128, 128, 8, 128, 128, 128, 128):
        x, features = net.gemm(x, features, outputs, "Relu"), outputs
    return net.model(net.gemm(x, features, 640))


NETWORKS: Mapping[str, Callable[[str], onnx.ModelProto]] = {
    "resnet18": lambda name: residual(name, (2, 2, 2, 2), bottleneck=False),
    "resnet50": lambda name: residual(name, (3, 4, 6, 3), bottleneck=True),
    "mobilenetv2": mobilenet_v2,
    "minilm": minilm,
    "resnet8": image_classification,
    "dscnn": keyword_spotting,
    "mbv1_025": visual_wake_words,
    "ad_ae": anomaly_detection,
}
