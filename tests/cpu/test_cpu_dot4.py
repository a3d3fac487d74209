"""Sums of four bytes at a time: where they are made, how images are stored for them, and the same bytes in the end."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cpu_regions import Layers
from emulated import runs_here
from test_cpu_integer import scales, weights
from test_cpu_machines import check_layers, compare, x86_region

from intarsia.dtypes import Array
from intarsia.ir.graph import Graph, Value
from intarsia.ir.types import TensorType
from intarsia_backends.cpu.image_kernels import Depthwise, Winograd
from intarsia_backends.cpu.kernels import Contraction
from intarsia_backends.cpu.lower.dot4 import OFFSET, dot4_bias, takes_dot4
from intarsia_backends.cpu.lower.region import lower_region
from intarsia_backends.cpu.machine import machine_of

VNNI = [
    pytest.param(level, marks=() if runs_here(machine_of("x86_64", level)) else pytest.mark.slow)
    for level in ("avxvnni", "avx512vnni")
]
BEST = machine_of("x86_64", "avx512vnni")


class Network:
    """int8 layers behind one input, [1, 16, 10, 10]; zero points are 5 unless others are asked for."""

    def __init__(self) -> None:
        self.graph, self.random = Graph("bytes"), np.random.default_rng(0)
        self.x = self.graph.add_input("x", TensorType("int8", (1, 16, 10, 10)))

    def constant(self, data: Array, dtype: str) -> Value:
        return self.graph.add_constant(self.graph.fresh_name("c"), data.astype(dtype))

    def conv(self, x: Value, outputs: int, kernel: int, *, stride: int = 1, group: int = 1, zero: int = 5) -> Value:
        channels, size = x.shape[1] // group, -(-x.shape[2] // stride)
        parameters = [
            self.constant(self.random.integers(-128, 128, (outputs, channels, kernel, kernel)), "int8"),
            self.constant(self.random.integers(-3000, 3000, outputs), "int32"),
            self.constant(self.random.integers(1 << 20, 1 << 21, outputs), "int32"),
            self.constant(self.random.integers(27, 30, outputs), "int32"),
        ]
        attributes: dict[str, Any] = {"strides": (stride,) * 2, "pads": (kernel // 2,) * 4, "dilations": (1, 1)}
        attributes |= {"group": group, "input_zero_point": zero, "output_zero_point": 5}
        made = TensorType("int8", (1, outputs, size, size))
        return self.graph.add_node("qconv", [x, *parameters], [made], attributes).output

    def add(self, op: str, *values: Value, **attributes: Any) -> Value:
        opset = 18 if op[0].isupper() else 0
        return self.graph.add_node(op, list(values), [values[0].type], attributes, opset=opset).output

    def kernels(self, *outputs: Value, level: str = "avx512vnni") -> list[Any]:
        self.graph.outputs = list(outputs)
        calls = lower_region(self.graph, machine_of("x86_64", level)).calls
        return [call.kernel for call in calls if isinstance(call.kernel, (Contraction, Depthwise, Winograd))]

    def check(self, level: str, *outputs: Value) -> None:
        self.graph.outputs = list(outputs)
        x = self.random.integers(-128, 128, self.x.shape).astype(np.int8)
        compare(self.graph, {"x": x}, x86_region(self.graph, level).run([x]).outputs)


def test_the_bias_makes_good_what_is_added() -> None:
    random = np.random.default_rng(0)
    x, w = random.integers(-128, 128, (7, 90)), random.integers(-128, 128, (11, 90))
    bias = random.integers(-9999, 9999, 11)
    for zero in (-128, -3, 0, 127):
        assert np.array_equal((x - zero) @ w.T + bias, (x + OFFSET) @ w.T + dot4_bias(w, bias, zero))


def test_sums_that_could_leave_32_bits_stay_pairs() -> None:
    bias = np.zeros(3, np.int32)
    assert takes_dot4(BEST, np.full((3, 30_000), -128, np.int8), bias)
    assert not takes_dot4(BEST, np.full((3, 40_000), -128, np.int8), bias)
    assert not takes_dot4(machine_of("x86_64", "avx512"), np.ones((3, 8), np.int8), bias)


def test_images_are_bytes_where_all_readers_want_them() -> None:
    network = Network()
    first = network.conv(network.x, 32, 1)
    alone = network.conv(first, 32, 3, group=32)
    last = network.conv(alone, 24, 1)
    kinds = [(type(kernel), kernel.products, kernel.y_dtype) for kernel in network.kernels(last)]
    assert kinds == [(Contraction, "dot4", "int16"), (Depthwise, "dot2", "uint8"), (Contraction, "dot4", "int16")]
    assert all(kernel.products == "dot2" for kernel in network.kernels(last, level="avx512"))


def test_a_value_that_a_pool_reads_too_is_no_bytes() -> None:
    network = Network()
    first = network.conv(network.x, 32, 1)
    pool = network.add("MaxPool", first, kernel_shape=(3, 3), strides=(1, 1), pads=(1, 1, 1, 1))
    kernels = network.kernels(network.conv(first, 24, 1), pool)
    assert kernels[0].y_dtype == "int16"


@pytest.mark.parametrize("level", VNNI)
def test_products_of_rows(level: str) -> None:
    made = Layers()
    for rows, depth, columns in ((9, 65, 50), (1, 640, 128), (33, 128, 100), (64, 4, 16), (5, 3, 7), (40, 37, 19)):
        x, w = made.bytes(rows, depth), weights(made, depth, columns)
        x[0, :2], x[-1, -2:], w[0, 0] = -128, 127, -128
        zeros = {"input_zero_point": int(made.random.integers(-128, 128)), "output_zero_point": 9}
        made.add("qmatmul", [x, w, *scales(made, columns)], zeros, constants=(1, 2, 3, 4))
    check_layers(made, level)


@pytest.mark.parametrize("level", VNNI)
def test_networks_with_readers_of_every_kind(level: str) -> None:
    """What is read as bytes, as int16 without a zero point or another one, and by ops on elements."""
    network = Network()
    first = network.conv(network.x, 32, 1)
    wide = network.conv(first, 36, 3, stride=2)
    residual = network.add(
        "qadd",
        network.conv(first, 32, 3, group=2),
        first,
        a_zero_point=5,
        b_zero_point=5,
        output_zero_point=-20,
        a_multiplier=1120000,
        b_multiplier=900001,
        shift=21,
    )
    after = network.conv(residual, 20, 3, stride=2, zero=-20)
    pool = {"kernel_shape": (3, 3), "strides": (1, 1), "pads": (1, 1, 1, 1)}
    mean = {"input_zero_point": 5, "output_zero_point": 4, "multiplier": 9001, "shift": 16}
    largest = network.add("MaxPool", wide, **pool)
    network.check(
        level,
        after,
        largest,
        network.conv(wide, 40, 1),
        network.conv(largest, 33, 3, stride=2),
        network.conv(network.x, 24, 3, stride=2, zero=-128),
        network.conv(network.x, 16, 3, group=16, zero=-128),
        network.conv(network.x, 32, 3),
        network.add("MaxPool", network.x, **pool),
        network.add("qaveragepool", network.x, **pool, **mean),
    )
