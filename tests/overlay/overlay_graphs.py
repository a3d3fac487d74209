"""Small integer graphs for the overlay's tests, built with random but reproducible weights."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from intarsia.ir.graph import Graph, Value
from intarsia.ir.types import TensorType


class Net:
    """Builds a graph of integer ops, one layer a call; scales are chosen such that outputs use the int8 range."""

    def __init__(self, name: str = "net", seed: int = 0) -> None:
        self.graph = Graph(name)
        self.random = np.random.default_rng(seed)

    def input(self, *shape: int, name: str = "x", dtype: str = "int8") -> Value:
        return self.graph.add_input(name, TensorType(dtype, shape))

    def output(self, *values: Value) -> Graph:
        self.graph.outputs = list(values)
        return self.graph

    def _scales(self, outputs: int, depth: int, name: str) -> list[Value]:
        shift = 21 + 6 + int(np.log2(depth) / 2)
        arrays = {
            "bias": self.random.integers(-2000, 2000, outputs, dtype=np.int32),
            "multiplier": self.random.integers(1 << 20, 1 << 21, outputs, dtype=np.int32),
            "shift": self.random.integers(shift - 1, shift + 2, outputs, dtype=np.int32),
        }
        return [self.graph.add_constant(self.graph.fresh_name(f"{name}_{key}"), data) for key, data in arrays.items()]

    def _zero(self) -> int:
        return int(self.random.integers(-20, 20))

    def _ends(self) -> dict[str, int]:
        return {"input_zero_point": self._zero(), "output_zero_point": self._zero()}

    def conv(
        self,
        x: Value,
        outputs: int,
        kernel: int | tuple[int, ...] = 3,
        stride: int | tuple[int, ...] = 1,
        pads: int | tuple[int, ...] | None = None,
        dilation: int | tuple[int, ...] = 1,
        group: int = 1,
        name: str = "conv",
    ) -> Value:
        rank = len(x.shape) - 2
        kernels, strides, dilations = (
            (value,) * rank if isinstance(value, int) else value for value in (kernel, stride, dilation)
        )
        if pads is None:
            pads = tuple((size - 1) * step // 2 for size, step in zip(kernels, dilations)) * 2
        elif isinstance(pads, int):
            pads = (pads,) * 2 * rank
        weight = self.random.integers(-127, 128, (outputs, x.shape[1] // group, *kernels)).astype(np.int8)
        sizes = tuple(
            (x.shape[2 + i] + pads[i] + pads[rank + i] - dilations[i] * (kernels[i] - 1) - 1) // strides[i] + 1
            for i in range(rank)
        )
        constants = [
            self.graph.add_constant(self.graph.fresh_name(f"{name}_weight"), weight),
            *self._scales(outputs, int(np.prod(weight.shape[1:])), name),
        ]
        attributes = {"strides": strides, "pads": pads, "dilations": dilations, "group": group, **self._ends()}
        attributes["clamp_min"] = int(self.random.integers(-128, -60))
        return self._node("qconv", [x, *constants], (1, outputs, *sizes), attributes, name)

    def matmul(self, x: Value, outputs: int, name: str = "dense") -> Value:
        weight = self.random.integers(-127, 128, (x.shape[1], outputs)).astype(np.int8)
        constants = [
            self.graph.add_constant(self.graph.fresh_name(f"{name}_weight"), weight),
            *self._scales(outputs, x.shape[1], name),
        ]
        return self._node("qmatmul", [x, *constants], (x.shape[0], outputs), self._ends(), name)

    def add(self, a: Value, b: Value, name: str = "add") -> Value:
        attributes = {
            "a_multiplier": int(self.random.integers(1 << 18, 1 << 21)),
            "b_multiplier": int(self.random.integers(1 << 18, 1 << 21)),
            "shift": 21,
            "a_zero_point": self._zero(),
            "b_zero_point": self._zero(),
            "output_zero_point": self._zero(),
        }
        return self._node("qadd", [a, b], np.broadcast_shapes(a.shape, b.shape), attributes, name)

    def mul(self, a: Value, b: Value, name: str = "mul") -> Value:
        attributes = {
            "multiplier": int(self.random.integers(1 << 20, 1 << 21)),
            "shift": 27,
            "a_zero_point": self._zero(),
            "b_zero_point": self._zero(),
            "output_zero_point": self._zero(),
        }
        return self._node("qmul", [a, b], np.broadcast_shapes(a.shape, b.shape), attributes, name)

    def max_pool(self, x: Value, kernel: int = 2, stride: int = 2, pad: int = 0, name: str = "max") -> Value:
        sizes = tuple((size + 2 * pad - kernel) // stride + 1 for size in x.shape[2:])
        rank = len(sizes)
        attributes = {"kernel_shape": (kernel,) * rank, "strides": (stride,) * rank, "pads": (pad,) * 2 * rank}
        return self._node("MaxPool", [x], (*x.shape[:2], *sizes), attributes, name, opset=12)

    def average_pool(
        self,
        x: Value,
        kernel: int | tuple[int, ...] | None = None,
        stride: int = 1,
        pad: int = 0,
        name: str = "average",
    ) -> Value:
        """A global pool without kernel."""
        rank = len(x.shape) - 2
        kernels = x.shape[2:] if kernel is None else (kernel,) * rank if isinstance(kernel, int) else kernel
        sizes = tuple((size + 2 * pad - taps) // stride + 1 for size, taps in zip(x.shape[2:], kernels))
        attributes = {
            "kernel_shape": kernels,
            "strides": (stride,) * rank,
            "pads": (pad,) * 2 * rank,
            "multiplier": round((1 << 24) / int(np.prod(kernels))) >> 8,
            "shift": 16,
            **self._ends(),
        }
        return self._node("qaveragepool", [x], (*x.shape[:2], *sizes), attributes, name)

    def requantize(self, x: Value, name: str = "scale") -> Value:
        attributes = {"multiplier": int(self.random.integers(1 << 20, 1 << 21)), "shift": 20, **self._ends()}
        return self._node("requantize", [x], x.shape, attributes, name)

    def lookup(self, x: Value, name: str = "lookup") -> Value:
        table = self.graph.add_constant(
            self.graph.fresh_name("table"), self.random.integers(-128, 128, 256).astype(np.int8)
        )
        return self._node("lookup", [x, table], x.shape, {}, name)

    def concat(self, *values: Value, name: str = "concat") -> Value:
        shape = (values[0].shape[0], sum(value.shape[1] for value in values), *values[0].shape[2:])
        return self._node("Concat", list(values), shape, {"axis": 1}, name, opset=13)

    def resize(self, x: Value, name: str = "resize") -> Value:
        scales = self.graph.add_constant(self.graph.fresh_name("scales"), np.array([1, 1, 2, 2], np.float32))
        attributes = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        shape = (*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3])
        return self._node("Resize", [x, None, scales], shape, attributes, name, opset=18)

    def flatten(self, x: Value, name: str = "flatten") -> Value:
        return self._node("Flatten", [x], (x.shape[0], int(np.prod(x.shape[1:]))), {"axis": 1}, name, opset=13)

    def reshape(self, x: Value, *shape: int, name: str = "reshape") -> Value:
        wanted = self.graph.add_constant(self.graph.fresh_name("shape"), np.array(shape, np.int64))
        return self._node("Reshape", [x, wanted], shape, {}, name, opset=14)

    def _node(
        self,
        op: str,
        inputs: list[Value | None],
        shape: tuple[int, ...],
        attributes: Mapping[str, object],
        name: str,
        opset: int = 0,
    ) -> Value:
        type = TensorType("int8", tuple(int(size) for size in shape))
        node = self.graph.add_node(op, inputs, [type], attributes, name=name, opset=opset)
        node.output.name = node.name
        return node.output


def resnet8(seed: int = 0) -> Graph:
    """The MLPerf Tiny image classification network with random weights."""
    net = Net("resnet8", seed)
    x = net.conv(net.input(1, 3, 32, 32), 16, name="stem")
    for number, outputs in enumerate((16, 32, 64)):
        stride = 1 if number == 0 else 2
        pads = None if stride == 1 else (0, 0, 1, 1)
        y = net.conv(x, outputs, 3, stride, pads, name=f"block{number}_a")
        y = net.conv(y, outputs, 3, name=f"block{number}_b")
        shortcut = x if stride == 1 else net.conv(x, outputs, 1, 2, 0, name=f"block{number}_short")
        x = net.add(shortcut, y, name=f"block{number}_add")
    pooled = net.average_pool(x)
    return net.output(net.matmul(net.flatten(pooled), 10))
