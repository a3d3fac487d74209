"""Integer convolutions that end in the addition of a residual: two vectors of sums at once, ties included."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cpu_kernels import machines
from cpu_regions import load

from intarsia.dtypes import Array
from intarsia.ir.evaluate import evaluate
from intarsia.ir.graph import Graph, Value
from intarsia.ir.types import Quantization, TensorType
from intarsia_backends.cpu.emit.packed_epilogues import packed_epilogue
from intarsia_backends.cpu.kernels import Contraction
from intarsia_backends.cpu.lower.region import lower_region
from intarsia_backends.cpu.machine import Machine, this_machine
from intarsia_backends.cpu.target import CpuTarget
from intarsia_backends.lowering.requantize import sum_ties


class _Network:
    """A convolution whose output is added to that of another."""

    def __init__(self, seed: int = 0) -> None:
        self.random = np.random.default_rng(seed)
        self.graph = Graph("residual")

    def convolution(
        self, x: Value, outputs: int, kernel: int, stride: int, *, depthwise: bool = False, zero: int = 4
    ) -> Value:
        channels, size = x.shape[1], x.shape[2]
        pad = kernel // 2
        out = (size + 2 * pad - kernel) // stride + 1
        index = len(self.graph.nodes)
        random = self.random
        numbers: list[Array] = [
            random.integers(-127, 128, (outputs, 1 if depthwise else channels, kernel, kernel)).astype(np.int8),
            random.integers(-3000, 3000, outputs).astype(np.int32),
            random.integers(1 << 20, 1 << 21, outputs).astype(np.int32),
            random.integers(29, 31, outputs).astype(np.int32),
        ]
        constants = [self.graph.add_constant(f"c{index}_{place}", data) for place, data in enumerate(numbers)]
        attributes: dict[str, Any] = {
            "kernel_shape": (kernel, kernel),
            "strides": (stride, stride),
            "pads": (pad,) * 4,
            "dilations": (1, 1),
            "group": channels if depthwise else 1,
            "input_zero_point": 5 if x.quantization is None else x.quantization.zero_point,
            "output_zero_point": zero,
            "clamp_min": -120,
            "clamp_max": 127,
        }
        kind = TensorType("int8", (x.shape[0], outputs, out, out))
        node = self.graph.add_node("qconv", [x, *constants], [kind], attributes)
        node.output.quantization = Quantization(0.05, zero)
        return node.output

    def addition(self, a: Value, b: Value, multipliers: tuple[int, int], shift: int, low: int) -> Value:
        attributes = {
            "a_zero_point": 4,
            "b_zero_point": -9,
            "a_multiplier": multipliers[0],
            "b_multiplier": multipliers[1],
            "shift": shift,
            "output_zero_point": low,
            "clamp_min": low,
            "clamp_max": 127,
        }
        node = self.graph.add_node("qadd", [a, b], [a.type], attributes)
        node.output.quantization = Quantization(0.05, low)
        return node.output


SUMS = [
    ((1 << 19, 1 << 19), 20, -128),  # every odd sum lies half-way
    ((1 << 19, -(3 << 18)), 20, -20),
    ((1271651, 1595876), 20, -128),
    ((-1595876, 1048577), 21, 3),
    ((32767, 16384), 15, -128),
    ((1, 1), 1, -128),
]


@pytest.mark.parametrize("machine", machines(), ids=lambda machine: machine.level)
@pytest.mark.parametrize("outputs", [8, 16, 24, 40, 64])
def test_residuals(machine: Machine, outputs: int) -> None:
    network = _Network(outputs)
    graph = network.graph
    x = graph.add_input("x", TensorType("int8", (1, 16, 9, 9)))
    other = network.convolution(x, outputs, 1, 1, zero=-9)
    graph.outputs.append(other)
    for kernel in (1, 3):
        for multipliers, shift, low in SUMS:
            graph.outputs.append(
                network.addition(network.convolution(x, outputs, kernel, 1), other, multipliers, shift, low)
            )
    strided = network.convolution(x, 64, 1, 2, zero=-9)
    graph.outputs.append(network.addition(network.convolution(x, 64, 3, 2), strided, *SUMS[0]))
    graph.outputs.append(network.addition(network.convolution(x, 64, 1, 2), strided, *SUMS[2]))
    wide = network.convolution(other, outputs, 3, 1, depthwise=True)
    graph.outputs.append(network.addition(wide, other, *SUMS[0]))
    region = load(graph, CpuTarget(machine))
    for seed in range(2):
        data = {"x": np.random.default_rng(seed).integers(-128, 128, (1, 16, 9, 9)).astype(np.int8)}
        for value, wanted, found in zip(graph.outputs, evaluate(graph, data), region.run([data["x"]]).outputs):
            np.testing.assert_array_equal(found, wanted, err_msg=value.name)


def test_the_addition_is_part_of_the_packed_end() -> None:
    machine = this_machine()
    if machine.name != "x86_64" or machine.level == "baseline":
        pytest.skip("the end of two vectors needs fused multiply-adds of x86")
    network = _Network()
    graph = network.graph
    x = graph.add_input("x", TensorType("int8", (1, 16, 9, 9)))
    other = network.convolution(x, 32, 1, 1, zero=-9)
    for multipliers, shift, low in SUMS[1:3]:
        graph.outputs.append(network.addition(network.convolution(x, 32, 1, 1), other, multipliers, shift, low))
    calls = [call.kernel for call in lower_region(graph, machine).calls]
    ends = [packed_epilogue(kernel.epilogue, kernel.operands) for kernel in calls if isinstance(kernel, Contraction)]
    additions = [end.addition for end in ends if end is not None and end.addition is not None]
    assert sorted(addition.tied for addition in additions) == [False, True]


def test_ties_of_sums() -> None:
    numbers = range(-128, 128)
    for multipliers, zeros, shift in [
        ((3, 5), (0, 0), 4),
        ((2, 4), (1, -7), 3),
        ((4, 8), (0, 3), 2),
        ((1, 0), (0, 0), 9),
    ]:
        found = any(
            (multipliers[0] * (a - zeros[0]) + multipliers[1] * (b - zeros[1])) % (1 << shift) == 1 << shift - 1
            for a in numbers
            for b in numbers
        )
        assert sum_ties(multipliers, zeros, shift) == found
    assert not sum_ties((4, 8), (0, 3), 2)
