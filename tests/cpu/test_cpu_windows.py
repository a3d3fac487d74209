"""Convolutions with weights made at run time, and LpPool."""

from __future__ import annotations

from typing import Any

import numpy as np
from cpu_regions import Layers, load
from test_cpu_float import CONVOLUTIONS, full

from intarsia.ir.evaluate import evaluate
from intarsia.ir.graph import Graph
from intarsia.ir.types import TensorType


def test_convolutions_with_weights_made_at_run_time() -> None:
    layers = Layers()
    for index, (x, w, attributes) in enumerate(CONVOLUTIONS):
        fused = {"activation": "Relu", "activation_arguments": ()} if index % 2 else {}
        inputs = [layers.floats(*x), layers.floats(*w), layers.floats(w[0]) if index % 3 else None]
        layers.add("Conv", inputs, {**full(w, attributes), **fused})
    doubles = [layers.floats(*shape).astype(np.float64) for shape in ((1, 2, 5, 5), (3, 2, 3, 3))]
    layers.add("Conv", doubles, full((3, 2, 3, 3), {}))
    layers.check()


def test_convolutions_with_weights_made_at_run_time_read_what_others_make() -> None:
    graph, facts = Graph("images"), full((16, 16, 3, 3), {"pads": (1, 1, 1, 1)})
    random, type = np.random.default_rng(0), TensorType("float32", (1, 16, 8, 8))
    x, w = graph.add_input("x", type), graph.add_input("w", TensorType("float32", (16, 16, 3, 3)))
    weights = graph.add_constant("c", random.standard_normal((16, 16, 3, 3)).astype(np.float32))
    first = graph.add_node("Conv", [x, weights], [type], facts, opset=18)
    graph.outputs = [graph.add_node("Conv", [first.output, w], [type], facts, opset=18).output]
    inputs = {value.name: random.standard_normal(value.shape).astype(np.float32) for value in graph.inputs}
    (expected,) = evaluate(graph, inputs)
    (actual,) = load(graph).run([inputs["x"], inputs["w"]]).outputs
    assert np.allclose(actual, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_transposed_convolutions_with_weights_made_at_run_time() -> None:
    layers = Layers()
    cases: list[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
        ((1, 4, 5, 5), (4, 6, 2, 2), {"strides": (2, 2)}),
        ((1, 4, 5, 6), (4, 3, 3, 3), {"strides": (2, 1), "pads": (1, 1, 1, 1), "output_padding": (1, 0)}),
        ((1, 6, 4, 4), (6, 2, 3, 3), {"group": 3, "dilations": (2, 1)}),
        ((2, 3, 9), (3, 5, 4), {"strides": (3,), "pads": (1, 2)}),
        ((2, 3, 9), (3, 5, 2), {"strides": (2,), "pads": (3, 3)}),
        ((1, 2, 6, 6), (2, 3, 1, 1), {"strides": (1, 2), "pads": (2, 1, 2, 1)}),
    ]
    for x, w, attributes in cases:
        attributes = full(w, {"output_padding": (0,) * (len(x) - 2), **attributes})
        channels = w[1] * attributes["group"]
        layers.add("ConvTranspose", [layers.floats(*x), layers.floats(*w), layers.floats(channels)], attributes)
    layers.check()


def test_pools_of_powers() -> None:
    layers = Layers()
    cases: list[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
        ((1, 3, 8, 8), (2, 2), {"strides": (2, 2)}),
        ((2, 3, 13), (3,), {"pads": (1, 1)}),
        ((1, 4, 15, 15), (3, 2), {"strides": (2, 2), "pads": (1, 0, 1, 1), "ceil_mode": 1}),
        ((1, 2, 9, 9), (2, 2), {"dilations": (2, 2)}),
    ]
    for p in (1, 2, 3):
        for x, kernel, attributes in cases:
            facts = {"strides": (1,) * len(kernel), "pads": (0,) * (2 * len(kernel)), "dilations": (1,) * len(kernel)}
            layers.add("LpPool", [layers.floats(*x)], {**facts, "kernel_shape": kernel, "p": p, **attributes})
        layers.add("GlobalLpPool", [layers.floats(2, 5, 7, 7)], {"p": p})
    layers.check()
