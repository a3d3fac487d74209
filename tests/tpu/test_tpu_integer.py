"""Integer ops as StableHLO, run by XLA on a CPU: the bytes of `evaluate`, without exception."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xla_regions import Layers, check_bytes, load

from generated_graphs import examples, graphs, layers, networks, random_inputs
from intarsia.dtypes import Array
from intarsia.ir.graph import Graph
from intarsia.ir.integer import INT8_MAX, INT8_MIN, SHIFT_MAX, fixed_point, quantize_linear
from intarsia.ir.types import TensorType

EVERY_BYTE = np.arange(-128, 128).astype(np.int8)


@given(layers(limit_elements=4000))
@settings(max_examples=examples(10))
def test_generated_layers(graph: Graph) -> None:
    check_bytes(graph, random_inputs(graph, 0))


@given(graphs(limit_elements=4000, longest=5))
@settings(max_examples=examples(6))
def test_generated_graphs(graph: Graph) -> None:
    check_bytes(graph, random_inputs(graph, 1))


@given(networks(largest=24, limit_elements=8000))
@settings(max_examples=examples(3))
def test_generated_networks(graph: Graph) -> None:
    check_bytes(graph, random_inputs(graph, 2))


@pytest.mark.slow
@given(st.one_of(layers(), graphs(), networks()))
@settings(max_examples=examples(1000))
def test_a_thousand_generated_graphs(graph: Graph) -> None:
    """About half an hour: XLA compiles each."""
    check_bytes(graph, random_inputs(graph, 3))


def test_sums_round_half_to_even_and_wrap() -> None:
    """Products that lie half-way between two steps, on both sides of 0, and sums that leave 32 bits."""
    side, rows = Layers(), np.stack([EVERY_BYTE, EVERY_BYTE[::-1]], axis=1)
    attributes = {"input_zero_point": 0, "output_zero_point": 0}
    for multiplier, shift in ((1, 1), (1, 3), (3, 2), ((1 << 21) - 1, 22), (1 << 20, 21), (1 << 20, SHIFT_MAX)):
        for bias in (0, 5, -(1 << 31), (1 << 31) - 1):
            scales = [np.full(2, number, np.int32) for number in (bias, multiplier, shift)]
            weight = np.array([[1, -3], [2, 5]], np.int8)
            side.add("qmatmul", [rows, weight, *scales], attributes, constants=(1, 2, 3, 4))
    side.check(exact=True)


def test_large_sums_are_exact() -> None:
    """Sums beyond 2**24, which float32 would round."""
    side = Layers(1)
    for zero in (-128, 0, 127):
        x, w = side.bytes(2, 3000), np.full((3000, 3), 127, np.int8)
        x[:] = np.where(side.random.random(x.shape) < 0.9, 127, x)
        multiplier, shift = fixed_point(1.0 / 400_000)
        scales = [np.full(3, number, np.int32) for number in (17, multiplier, shift)]
        attributes = {"input_zero_point": zero, "output_zero_point": 3, "clamp_min": -100, "clamp_max": 90}
        side.add("qmatmul", [x, w, *scales], attributes, constants=(1, 2, 3, 4))
    side.check(exact=True)


def test_scales_of_one_operand_and_two() -> None:
    side = Layers(2)
    a, b = np.meshgrid(EVERY_BYTE, EVERY_BYTE[::5])
    zeros = {"a_zero_point": -3, "b_zero_point": 7, "output_zero_point": -1}
    for shift in (1, 19, 29, 30, 31, 40, SHIFT_MAX):
        scale = {"a_multiplier": (1 << 21) - 1, "b_multiplier": 1_234_567, "shift": shift}
        side.add("qadd", [a, b], {**zeros, **scale})
    side.add("qmul", [a, b], {**zeros, "multiplier": 1_500_000, "shift": 27})
    for multiplier, shift in ((1 << 20, 20), (1_999_999, 19), (0, 1)):
        facts = {"input_zero_point": 5, "output_zero_point": -5, "multiplier": multiplier, "shift": shift}
        side.add("requantize", [EVERY_BYTE], facts)
    side.check(exact=True)


def test_tables() -> None:
    side = Layers(3)
    for dtype in (np.int8, np.uint8):
        table = side.random.permutation(256).astype(np.uint8).view(dtype)
        side.add("lookup", [EVERY_BYTE, table], constants=(1,))
        side.add("lookup", [EVERY_BYTE.view(np.uint8).reshape(4, 64), table], constants=(1,))
    side.check(exact=True)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_softmax(axis: int) -> None:
    side = Layers(4)
    for scale in (0.001, 0.05, 0.9):
        table = np.rint(2.0**23 * np.exp(-np.arange(256) * scale)).astype(np.int32)
        for x in (side.bytes(3, 5, 7), np.full((2, 4, 6), -128, np.int8), EVERY_BYTE.reshape(4, 8, 8)):
            side.add("qsoftmax", [x, table], {"axis": axis}, constants=(1,))
    side.check(exact=True)


def test_windows_that_are_rounded_up_or_lie_on_padding() -> None:
    side = Layers(5)
    for pads, strides, ceil in (((1, 1, 1, 1), (2, 2), 1), ((0, 1, 1, 0), (3, 2), 1), ((1, 0, 1, 0), (1, 3), 0)):
        window: dict[str, Any] = {"kernel_shape": (3, 2), "strides": strides, "pads": pads}
        side.add("MaxPool", [side.bytes(1, 3, 8, 7)], {**window, "ceil_mode": ceil})
        scale = {"input_zero_point": -7, "output_zero_point": 2, "multiplier": 1_400_000, "shift": 23}
        side.add("qaveragepool", [side.bytes(1, 3, 8, 7)], {**window, **scale})
    side.check(exact=True)


# ---- between floats and integers


def thresholds(scale: float, zero_point: int) -> Array:
    """For each int8 k above -128 the least float32 that `quantize_linear` takes to k or above.

    returns  float32 [255]
    """
    infinity = int(np.float32(np.inf).view(np.int32))
    wanted = np.arange(INT8_MIN + 1, INT8_MAX + 1)
    low, high = np.full(255, -infinity), np.full(255, infinity)  # the infinities go to -128 and 127
    while (low < high).any():
        middle = (low + high) // 2
        reached = quantize_linear(_in_order(middle), scale, zero_point) >= wanted
        low, high = np.where(reached, low, middle + 1), np.where(reached, middle, high)
    return _in_order(high)


def _in_order(places: Array) -> Array:
    """The float32 at places of the order of all floats: 0 at 0, the least above it at 1, the largest below it at -1."""
    sign = np.where(places < 0, np.int64(1) << 31, 0)
    return np.asarray((np.abs(places) | sign).astype(np.uint32).view(np.float32))


def near_edges(scale: float, zero: int, random: np.random.Generator) -> Array:
    """Where `quantize_linear` takes its steps, the floats on both sides, and others."""
    steps = thresholds(scale, zero)
    sides = [np.nextafter(steps, np.float32(bound)) for bound in (-np.inf, np.inf)]
    further = [np.nextafter(side, np.float32(bound)) for side, bound in zip(sides, (-np.inf, np.inf))]
    wide = random.standard_normal(300) * scale * 80
    ends = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e38, -1e38, 1e-45]
    return np.concatenate([steps, *sides, *further, wide, ends]).astype(np.float32)


@pytest.mark.parametrize("seed", range(max(1, examples(25) // 25)))
def test_quantize_steps_where_numpy_steps(seed: int) -> None:
    """Scales of any bits, elements on both sides of every edge."""
    side = Layers(seed)
    bits = side.random.integers(1 << 28, 0x6B << 24, 22).astype(np.int32).view(np.float32)
    for scale in (*map(float, bits), 2.0**-7, 1.0 + 2.0**-23, 2.0 - 2.0**-23):
        zero = int(side.random.choice([-128, 127, 0, *side.random.integers(-128, 128, 3)]))
        side.add("quantize", [near_edges(scale, zero, side.random)], {"scale": scale, "zero_point": zero})
    side.check(exact=True)


def test_quantize_and_dequantize() -> None:
    side = Layers(6)
    for scale, zero in ((0.0235294122248888, -128), (1.0, 0), (1 / 3, 5), (3e-5, 127)):
        side.add("quantize", [near_edges(scale, zero, side.random)], {"scale": scale, "zero_point": zero})
        side.add("dequantize", [EVERY_BYTE], {"scale": scale, "zero_point": zero})
    side.check(exact=True)


def test_convolutions_keep_int8_operands() -> None:
    """What XLA reads: no float anywhere, sums in int32, ends in int64."""
    graph = Graph("conv")
    x = graph.add_input("x", TensorType("int8", (1, 4, 6, 6)))
    random = np.random.default_rng(0)
    constants = [
        graph.add_constant("w", random.integers(-127, 128, (8, 2, 3, 3)).astype(np.int8)),
        *(
            graph.add_constant(name, np.full(8, number, np.int32))
            for name, number in (("b", 9), ("m", 1500000), ("s", 30))
        ),
    ]
    attributes = {
        "strides": (1, 1),
        "pads": (1, 1, 1, 1),
        "dilations": (1, 1),
        "group": 2,
        "input_zero_point": 4,
        "output_zero_point": 0,
    }
    node = graph.add_node("qconv", [x, *constants], [TensorType("int8", (1, 8, 6, 6))], attributes)
    graph.outputs = [node.output]
    text = load(graph).listing()
    (line,) = [line for line in text.splitlines() if "stablehlo.convolution" in line]
    assert "(tensor<1x4x8x8xi8>, tensor<8x2x3x3xi8>) -> tensor<1x8x6x6xi32>" in line
    assert "xi64>" in text and not any(kind in text for kind in ("f32", "f64", "bf16"))
    check_bytes(graph, random_inputs(graph, 0))
