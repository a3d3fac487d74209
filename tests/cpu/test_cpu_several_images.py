"""Several images in one call: the bytes of each are those that it has alone, whatever lies beside it."""

from __future__ import annotations

import numpy as np
import pytest
from cpu_regions import LEVELS, level_target, load
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from generated_graphs import examples, graphs, random_inputs
from intarsia.dtypes import Array
from intarsia.errors import RunError
from intarsia.ir.evaluate import evaluate
from intarsia.ir.graph import Graph, Value
from intarsia.ir.types import TensorType
from intarsia.runtime.device import LoadedRegion, Processors
from intarsia_backends.cpu import target as target_module
from intarsia_backends.cpu.device import CpuDevice
from intarsia_backends.cpu.lower.region import lower_region
from intarsia_backends.cpu.several_images import several_images
from intarsia_backends.cpu.target import CpuTarget
from intarsia_backends.lowering.memory_plan import plan
from side_by_side import region_files

COUNTS = (1, 2, 3, 4, 5, 7, 11, 20, 65)
WIDTHS = (200, 8, 30, 50, 1, 17, 130, 33)
"""Outputs of layers: panels of one vector and of many, whole ones and others, on every set of instructions."""


def floats(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def float_network() -> Graph:
    """Layers of many widths; residuals, vectors, reductions and softmax between them; a value that is read twice."""
    graph = Graph("rows")
    x = graph.add_input("x", TensorType("float32", (1, 40)))
    value: Value = x
    for index, width in enumerate(WIDTHS):
        depth = value.shape[-1]
        weights = graph.add_constant(f"w{index}", floats(depth, width, seed=index) / np.float32(depth**0.5))
        bias = graph.add_constant(f"b{index}", floats(width, seed=100 + index))
        type = TensorType("float32", (1, width))
        activation = ("Relu", "Tanh", "Sigmoid")[index % 3]
        attributes = {"activation": activation, "activation_arguments": ()}
        made = graph.add_node("dense", [value, weights, bias], [type], attributes).output
        if index % 4 == 1:
            made = graph.add_node("Softmax", [made], [type], {"axis": -1}, opset=18).output
        if index % 4 == 2:
            mean = graph.add_node(
                "ReduceMean", [made], [TensorType("float32", (1, 1))], {"axes": (1,), "keepdims": 1}, opset=13
            ).output
            made = graph.add_node("Sub", [made, mean], [type], opset=18).output
        value = made
    weights = graph.add_constant("last", floats(value.shape[-1], 40, seed=77))
    type = TensorType("float32", (1, 40))
    last = graph.add_node("MatMul", [value, weights], [type], opset=18).output
    graph.outputs = [graph.add_node("Add", [last, x], [type], opset=18).output, value]
    return graph


def shared_products(graph: Graph, target: CpuTarget) -> int:
    program = lower_region(graph, target.machine)
    plan(program)
    return len(several_images(program, target.machine).kernels)


def check(region: LoadedRegion, inputs: list[Array]) -> None:
    """Inputs [images, *shape]."""
    images = len(inputs[0])
    alone = [region.run([array[index] for array in inputs]).outputs for index in range(images)]
    together = region.run_images(inputs, images).outputs
    for index, outputs in enumerate(alone):
        for found, expected in zip(together, outputs):
            assert found.dtype == expected.dtype and found[index].shape == expected.shape
            assert found[index].tobytes() == expected.tobytes(), f"image {index} of {images}"


@pytest.mark.parametrize("level", LEVELS)
def test_a_rows_bytes_do_not_depend_on_what_lies_beside_it(level: str) -> None:
    target, graph = level_target(level), float_network()
    assert shared_products(graph, target) >= len(WIDTHS) // 2
    blob = target.compile(graph)
    for threads in (1, 3):
        device = CpuDevice()
        device.processors = Processors(threads)
        region = device.load(region_files(graph, blob))
        for images in COUNTS:
            check(region, [floats(images, 1, 40, seed=images)])


@pytest.mark.parametrize("level", [*LEVELS, "native"])
def test_integer_rows(level: str) -> None:
    target, graph = CpuTarget() if level == "native" else level_target(level), Graph("integers")
    value = graph.add_input("x", TensorType("int8", (1, 37)))
    random = np.random.default_rng(3)
    for index, width in enumerate(WIDTHS):
        depth = value.shape[-1]
        constants: list[Array] = [
            random.integers(-127, 128, (depth, width)).astype(np.int8),
            random.integers(-1000, 1000, width).astype(np.int32),
            random.integers(1 << 16, 1 << 17, width).astype(np.int32),
            random.integers(20, 26, width).astype(np.int32),
        ]
        inputs = [value, *(graph.add_constant(f"c{index}_{k}", data) for k, data in enumerate(constants))]
        attributes = {"input_zero_point": index % 7 - 3, "output_zero_point": index % 5}
        value = graph.add_node("qmatmul", inputs, [TensorType("int8", (1, width))], attributes).output
    graph.outputs = [value]
    if level != "baseline":
        assert shared_products(graph, target) >= len(WIDTHS) // 2
    region = load(graph, target)
    for images in COUNTS:
        x = random.integers(-128, 128, (images, 1, 37)).astype(np.int8)
        check(region, [x])
        assert region.run_images([x], images).outputs[0][-1].tobytes() == evaluate(graph, {"x": x[-1]})[0].tobytes()


@settings(max_examples=examples(4), deadline=None, suppress_health_check=list(HealthCheck))
@given(graphs(), st.integers(1, 9), st.integers(1, 3))
def test_generated_graphs(graph: Graph, images: int, threads: int) -> None:
    device = CpuDevice()
    device.processors = Processors(threads)
    region = device.load(region_files(graph, CpuTarget().compile(graph)))
    given_inputs = [random_inputs(graph, seed) for seed in range(images)]
    stacked = [np.stack([arrays[value.name] for arrays in given_inputs]) for value in graph.inputs]
    outputs = region.run_images(stacked, images).outputs
    for index, arrays in enumerate(given_inputs):
        for found, expected in zip(outputs, evaluate(graph, arrays)):
            assert found[index].tobytes() == expected.tobytes()


def convolutions_and_a_product() -> Graph:
    """What goes image by image, before and after what does not; the same memory for all images, and for each."""
    graph = Graph("tail")
    value = graph.add_input("x", TensorType("float32", (1, 3, 12, 12)))
    for index, channels in enumerate((8, 16)):
        weights = graph.add_constant(f"w{index}", floats(channels, value.shape[1], 3, 3, seed=index))
        attributes = {"pads": (1, 1, 1, 1), "kernel_shape": (3, 3), "strides": (1, 1), "dilations": (1, 1), "group": 1}
        value = graph.add_node(
            "Conv", [value, weights], [TensorType("float32", (1, channels, 12, 12))], attributes, opset=11
        ).output
    flat = graph.add_node("Flatten", [value], [TensorType("float32", (1, 2304))], {"axis": 1}, opset=13).output
    weights = graph.add_constant("dense", floats(2304, 100, seed=9))
    scores = graph.add_node("MatMul", [flat, weights], [TensorType("float32", (1, 100))], opset=13).output
    graph.outputs = [
        graph.add_node("Softmax", [scores], [TensorType("float32", (1, 100))], {"axis": -1}, opset=13).output
    ]
    return graph


def test_convolutions_go_image_by_image_and_the_product_for_all() -> None:
    graph, target = convolutions_and_a_product(), CpuTarget()
    assert shared_products(graph, target) == 1
    region = load(graph, target)
    for images in (1, 2, 6, 17, 70):
        check(region, [floats(images, 1, 3, 12, 12, seed=images)])


def test_an_index_outside_ends_the_run_as_it_does_alone() -> None:
    graph = Graph("indices")
    table = graph.add_constant("table", floats(10, 30))
    weights = graph.add_constant("w", floats(30, 50))
    index = graph.add_input("index", TensorType("int64", (1,)))
    row = graph.add_node("Gather", [table, index], [TensorType("float32", (1, 30))], {"axis": 0}, opset=13).output
    graph.outputs = [graph.add_node("MatMul", [row, weights], [TensorType("float32", (1, 50))], opset=13).output]
    region = load(graph)
    good = np.arange(9).reshape(9, 1)
    check(region, [good])
    with pytest.raises(RunError) as alone:
        region.run([np.array([10])])
    bad = good.copy()
    bad[7] = 10
    with pytest.raises(RunError) as together:
        region.run_images([bad], 9)
    assert str(alone.value) == str(together.value)
    check(region, [good])


def test_regions_of_the_interface_before_run_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(target_module, "INTERFACE", 3)
    graph = convolutions_and_a_product()
    region = load(graph)
    assert region.images_at_once == 0
    x = floats(1, 3, 12, 12)
    np.testing.assert_allclose(region.run([x]).outputs[0], evaluate(graph, {"x": x})[0], atol=1e-4)
