"""Integer ops: the same bytes as their NumPy meaning."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cpu_regions import Layers, load
from hypothesis import HealthCheck, given, settings

from generated_graphs import examples, graphs, layers, random_inputs
from intarsia.dtypes import Array
from intarsia.errors import RunError
from intarsia.ir.evaluate import evaluate
from intarsia.ir.graph import Graph, Value
from intarsia.ir.types import TensorType
from intarsia_backends.cpu.machine import Machine, machine_features, this_machine
from intarsia_backends.cpu.target import CpuTarget

FEW = settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))


def scales(made: Layers, outputs: int) -> list[Array]:
    bias = made.random.integers(-3000, 3000, outputs).astype(np.int32)
    multiplier = made.random.integers(1 << 20, 1 << 21, outputs).astype(np.int32)
    shift = made.random.integers(22, 29, outputs).astype(np.int32)
    return [bias, multiplier, shift]


def weights(made: Layers, *shape: int) -> Array:
    return made.random.integers(-127, 128, shape).astype(np.int8)


def test_convolutions() -> None:
    made = Layers()
    cases: list[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
        ((1, 3, 9, 11), (16, 3, 3, 3), {"pads": (1, 1, 1, 1)}),
        ((2, 5, 8, 8), (10, 5, 3, 3), {"input_zero_point": -128}),
        ((1, 8, 14, 14), (33, 8, 1, 1), {"clamp_min": -20, "clamp_max": 50}),
        ((1, 16, 7, 7), (24, 16, 1, 1), {"strides": (2, 2), "input_zero_point": 127}),
        ((1, 4, 12, 12), (8, 4, 5, 3), {"strides": (2, 1), "pads": (2, 0, 1, 1)}),
        ((1, 4, 12, 12), (6, 4, 3, 3), {"dilations": (2, 3)}),
        ((1, 12, 10, 10), (12, 1, 3, 3), {"group": 12, "pads": (1, 1, 1, 1)}),
        ((1, 12, 11, 17), (12, 1, 5, 5), {"group": 12, "strides": (2, 2), "pads": (2, 2, 2, 2)}),
        ((1, 8, 9, 9), (12, 2, 3, 3), {"group": 4, "pads": (1, 1, 1, 1)}),
        ((1, 6, 20, 20), (1, 6, 3, 3), {"pads": (1, 1, 1, 1)}),
        ((1, 5, 40), (7, 5, 9), {"pads": (4, 4), "strides": (2,)}),
        ((1, 9, 1, 1), (20, 9, 1, 1), {}),
    ]
    for x, w, attributes in cases:
        spatial = len(w) - 2
        attributes = {
            "strides": (1,) * spatial,
            "pads": (0,) * (2 * spatial),
            "dilations": (1,) * spatial,
            "group": 1,
            "input_zero_point": 5,
            "output_zero_point": -7,
            **attributes,
        }
        inputs = [made.bytes(*x), weights(made, *w), *scales(made, w[0])]
        made.add("qconv", inputs, attributes, constants=(1, 2, 3, 4))
    made.check(exact=True)


def test_rows_of_a_kernel_over_an_odd_number_of_channels() -> None:
    """Taps of a row are summed as channels where no other reader of the input wants it to lie otherwise."""
    made = Layers()
    for channels, size, kernel, pads in [
        (3, (12, 12), (7, 7), (3, 3, 3, 3)),
        (3, (11, 10), (3, 3), (0, 0, 1, 2)),
        (3, (11, 10), (3, 3), (0, 0, 1, 1)),
        (5, (9, 13), (2, 5), (1, 0, 0, 3)),
        (1, (8, 8), (3, 3), (1, 1, 1, 1)),
    ]:
        attributes = {"strides": (2, 2), "pads": pads, "dilations": (1, 1), "group": 1, "input_zero_point": -9}
        inputs = [made.bytes(2, channels, *size), weights(made, 24, channels, *kernel), *scales(made, 24)]
        made.add("qconv", inputs, {**attributes, "output_zero_point": 3}, constants=(1, 2, 3, 4))
    made.check(exact=True)


def test_readers_of_an_odd_number_of_channels_with_other_halos() -> None:
    made = Layers()
    graph = made.graph
    x = graph.add_input("x", TensorType("int8", (1, 3, 12, 12)))
    for index, pad in enumerate((1, 2, 1)):
        numbers = [weights(made, 16, 3, 3, 3), *scales(made, 16)]
        constants = [graph.add_constant(f"c{index}_{place}", data) for place, data in enumerate(numbers)]
        attributes = {"strides": (2, 2), "pads": (pad,) * 4, "dilations": (1, 1), "group": 1}
        zeros = {"input_zero_point": 7, "output_zero_point": 0}
        size = (12 + 2 * pad - 3) // 2 + 1
        kind = TensorType("int8", (1, 16, size, size))
        graph.outputs.append(graph.add_node("qconv", [x, *constants], [kind], {**attributes, **zeros}).output)
    data = made.bytes(1, 3, 12, 12)
    for wanted, found in zip(evaluate(graph, {"x": data}), load(graph).run([data]).outputs):
        np.testing.assert_array_equal(found, wanted)


def test_matrix_products() -> None:
    made = Layers()
    for rows, depth, outputs in [(1, 64, 10), (3, 33, 50), (20, 7, 8), (1, 1, 1)]:
        inputs = [made.bytes(rows, depth), weights(made, depth, outputs), *scales(made, outputs)]
        attributes = {"input_zero_point": -3, "output_zero_point": 9}
        made.add("qmatmul", inputs, attributes, constants=(1, 2, 3, 4))
    made.check(exact=True)


def test_additions_products_and_pools() -> None:
    made = Layers()
    zeros = {"a_zero_point": 3, "b_zero_point": -128, "output_zero_point": 12}
    for a, b in [((2, 3, 5, 5), (2, 3, 5, 5)), ((2, 3, 5, 5), (3, 1, 1)), ((1, 4), (6, 1))]:
        made.add(
            "qadd",
            [made.bytes(*a), made.bytes(*b)],
            {**zeros, "a_multiplier": 1120000, "b_multiplier": 2099, "shift": 21},
        )
        made.add("qmul", [made.bytes(*a), made.bytes(*b)], {**zeros, "multiplier": 90001, "shift": 24, "clamp_max": 90})
    pool = {"kernel_shape": (3, 2), "strides": (2, 1), "pads": (1, 0, 1, 1), "input_zero_point": -9}
    made.add(
        "qaveragepool", [made.bytes(1, 5, 12, 9)], {**pool, "output_zero_point": 4, "multiplier": 100003, "shift": 19}
    )
    everything = {"kernel_shape": (7, 7), "strides": (1, 1), "pads": (0, 0, 0, 0), "input_zero_point": 100}
    made.add(
        "qaveragepool",
        [made.bytes(2, 20, 7, 7)],
        {**everything, "output_zero_point": 0, "multiplier": 90000, "shift": 22},
    )
    x = np.arange(-128, 128).astype(np.int8).reshape(2, 128)
    for multiplier, shift in ((1 << 20, 20), (1599999, 21), (1048577, 24), (2097151, 1)):
        attributes = {"input_zero_point": 3, "output_zero_point": -4, "multiplier": multiplier, "shift": shift}
        made.add("requantize", [x], attributes)
    made.check(exact=True)


def test_lookups_and_softmax() -> None:
    made = Layers()
    x = np.arange(-128, 128).astype(np.int8)
    made.add("lookup", [x.reshape(4, 64), made.bytes(256)], constants=(1,))
    made.add("lookup", [x.view(np.uint8), made.bytes(256).view(np.uint8)], constants=(1,))
    for shape, axis in (((3, 10), -1), ((2, 7, 5), 1), ((1, 300), 1)):
        table = np.round(2**23 * np.exp(-np.arange(256) * 0.1)).astype(np.int32)
        made.add("qsoftmax", [made.bytes(*shape), table], {"axis": axis}, constants=(1,))
    made.check(exact=True)


def test_borders_between_float_and_integer() -> None:
    made = Layers()
    ties = np.arange(-300, 300, dtype=np.float32) / 2
    special = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30, 0.0, -0.0], np.float32)
    for scale in (1.0, 0.1, 1 / 3, 3e-5, 7.0):
        for zero in (0, -128, 127, 5):
            x = np.concatenate([ties * np.float32(scale), special, made.floats(500) * np.float32(100 * scale)])
            made.add("quantize", [x], {"scale": scale, "zero_point": zero})
            made.add("dequantize", [made.bytes(300)], {"scale": scale, "zero_point": zero})
    made.check(exact=True)


def test_onnx_quantization_ops() -> None:
    made = Layers()
    x = made.floats(2, 4, 30) * np.float32(50)
    scale, vector = np.array(0.3, np.float32), np.abs(made.floats(4)) + np.float32(0.1)
    for dtype in (np.int8, np.uint8, np.int16, np.uint16):
        zero = np.array(7, dtype)
        made.add("QuantizeLinear", [x, scale, zero], constants=(1, 2), opset=21)
        zeros = made.random.integers(0, 9, 4).astype(dtype)
        made.add("QuantizeLinear", [x, vector, zeros], {"axis": 1}, constants=(1, 2), opset=21)
        integers = made.random.integers(0, 100, (2, 4, 30)).astype(dtype)
        made.add("DequantizeLinear", [integers, scale, zero], constants=(1, 2), opset=21)
        made.add("DequantizeLinear", [integers, vector, zeros], {"axis": 1}, constants=(1, 2), opset=21)
    made.add("DequantizeLinear", [made.random.integers(-9999, 9999, (4, 5)).astype(np.int32), scale], constants=(1,))
    made.check(exact=True)


def test_sums_that_wrap_and_ties_that_round_to_even() -> None:
    made = Layers()
    x, w = np.full((1, 2, 4, 4), 2, np.int8), np.ones((3, 2, 1, 1), np.int8)
    bias = np.array([2**31 - 1, -(2**31), 2**31 - 3], np.int32)
    attributes = {
        "strides": (1, 1),
        "pads": (0,) * 4,
        "dilations": (1, 1),
        "input_zero_point": 0,
        "output_zero_point": 0,
    }
    tiny = [np.full(3, 1 << 16, np.int32), np.full(3, 41, np.int32)]
    made.add("qconv", [x, w, bias, *tiny], attributes, constants=(1, 2, 3, 4))
    ramp = np.arange(-128, 128).astype(np.int8).reshape(256, 1)
    half = [np.full(9, 1 << 16, np.int32), np.full(9, 17, np.int32)]
    matrix = np.ones((1, 9), np.int8)
    made.add(
        "qmatmul",
        [ramp, matrix, np.arange(9, dtype=np.int32), *half],
        {"input_zero_point": 0, "output_zero_point": 0},
        constants=(1, 2, 3, 4),
    )
    made.check(exact=True)


def test_lookups_behind_every_kind_of_convolution() -> None:
    """A table at the end of a kernel is read at the place that the element names."""
    random = np.random.default_rng(5)
    for group, kernel, outputs in ((16, 3, 16), (1, 3, 32), (1, 1, 24)):
        graph = Graph("tables")
        x = graph.add_input("x", TensorType("int8", (1, 16, 14, 14)))

        def constant(data: Array, dtype: str) -> Value:
            return graph.add_constant(graph.fresh_name("c"), data.astype(dtype))  # noqa: B023

        parameters = [
            constant(random.integers(-127, 128, (outputs, 16 // group, kernel, kernel)), "int8"),
            constant(random.integers(-999, 999, outputs), "int32"),
            constant(random.integers(1 << 19, 1 << 20, outputs), "int32"),
            constant(np.full(outputs, 30), "int32"),
        ]
        attributes = {"strides": (1, 1), "pads": (kernel // 2,) * 4, "dilations": (1, 1), "group": group}
        kind = TensorType("int8", (1, outputs, 14, 14))
        zeros = {"input_zero_point": 3, "output_zero_point": -7, "clamp_min": -128, "clamp_max": 127}
        y = graph.add_node("qconv", [x, *parameters], [kind], {**attributes, **zeros}).output
        table = constant(random.integers(-128, 128, 256), "int8")
        graph.outputs.append(graph.add_node("lookup", [y, table], [kind]).output)
        compare(graph)


def compare(graph: Graph) -> None:
    inputs = random_inputs(graph, 0)
    expected = evaluate(graph, inputs)
    actual = load(graph).run([inputs[value.name] for value in graph.inputs]).outputs
    for value, one, other in zip(graph.outputs, expected, actual):
        assert np.array_equal(one, other), value


@settings(FEW, max_examples=examples(FEW.max_examples))
@given(graphs())
def test_generated_graphs(graph: Graph) -> None:
    compare(graph)


@settings(FEW, max_examples=examples(FEW.max_examples))
@given(layers())
def test_generated_layers(graph: Graph) -> None:
    compare(graph)


def small_convolutions() -> Layers:
    made = Layers()
    for x, w, group in [
        ((1, 5, 9, 9), (11, 5, 3, 3), 1),
        ((1, 8, 6, 6), (8, 1, 3, 3), 8),
        ((1, 6, 5, 5), (8, 3, 1, 1), 2),
    ]:
        attributes = {
            "strides": (1, 1),
            "pads": (1, 1, 1, 1),
            "dilations": (1, 1),
            "group": group,
            "input_zero_point": 5,
            "output_zero_point": -7,
        }
        inputs = [made.bytes(*x), weights(made, *w), *scales(made, w[0])]
        made.add("qconv", inputs, attributes, constants=(1, 2, 3, 4))
    inputs = [made.bytes(3, 33), weights(made, 33, 50), *scales(made, 50)]
    made.add("qmatmul", inputs, {"input_zero_point": -3, "output_zero_point": 9}, constants=(1, 2, 3, 4))
    return made


def test_narrow_vectors_give_the_same_bytes() -> None:
    small_convolutions().check(exact=True, target=CpuTarget(this_machine(portable=True)))


def test_products_of_single_int16_give_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What machines without an instruction for pairs do."""
    for room in ("convolution", "dense"):
        monkeypatch.setattr(f"intarsia_backends.cpu.lower.{room}.products_for", lambda machine: "int16")
    small_convolutions().check(exact=True)


@pytest.mark.skipif(this_machine().name != "x86_64", reason="code for another processor family")
def test_code_for_wide_vectors_is_made_here_and_refused_where_they_are_missing() -> None:
    wide = Machine(
        "x86_64", "avx512", ("avx2", "avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl", "f16c", "fma")
    )
    made = small_convolutions()
    if machine_features().issuperset(wide.features):
        made.check(exact=True, target=CpuTarget(wide))
        return
    with pytest.raises(RunError, match="avx512"):
        made.check(exact=True, target=CpuTarget(wide))
