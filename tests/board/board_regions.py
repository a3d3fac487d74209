"""Small regions for the tests of boards: one compiled graph, its inputs, and what must come out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from intarsia.dtypes import Array
from intarsia.ir.evaluate import evaluate
from intarsia.ir.graph import Graph
from intarsia.ir.types import TensorType
from intarsia.runtime.device import RegionFiles
from intarsia_backends.overlay.compiler.target import OverlayTarget
from intarsia_backends.overlay.machine.config import TINY, OverlayConfig


def small_graph(seed: int = 3) -> Graph:
    """A convolution of a small picture, and a pool; weights by `seed`."""
    random, graph = np.random.default_rng(seed), Graph(f"small{seed}")
    x = graph.add_input("x", TensorType("int8", (1, 20, 10, 6)))
    constants = [
        graph.add_constant("weight", random.integers(-127, 128, (24, 20, 3, 3)).astype(np.int8)),
        graph.add_constant("bias", random.integers(-2000, 2000, 24).astype(np.int32)),
        graph.add_constant("multiplier", random.integers(1 << 16, 1 << 17, 24).astype(np.int32)),
        graph.add_constant("shift", random.integers(25, 28, 24).astype(np.int32)),
    ]
    window = {"strides": (1, 1), "pads": (1,) * 4, "dilations": (1, 1)}
    points = {"input_zero_point": 3, "output_zero_point": -5}
    conv = graph.add_node("qconv", [x, *constants], [TensorType("int8", (1, 24, 10, 6))], {**window, **points})
    pooling = {"kernel_shape": (2, 2), "strides": (2, 2), "pads": (0,) * 4, "dilations": (1, 1), "ceil_mode": 0}
    pool = graph.add_node("MaxPool", [conv.output], [TensorType("int8", (1, 24, 5, 3))], pooling, opset=18)
    graph.outputs = [pool.output]
    return graph


def region_of(graph: Graph, config: OverlayConfig = TINY) -> RegionFiles:
    """The whole graph as a region."""
    blob = OverlayTarget(config, "for tests").compile(graph)
    inputs = tuple((value.name, value.dtype, value.shape) for value in graph.inputs)
    outputs = tuple((value.name, value.dtype, value.shape) for value in graph.outputs)
    return RegionFiles(graph.name, blob.device, inputs, outputs, blob.files, blob.metadata, blob.layers)


def random_inputs(graph: Graph, seed: int) -> list[Array]:
    random = np.random.default_rng(seed)
    return [random.integers(-128, 128, value.shape).astype(value.dtype) for value in graph.inputs]


def meaning(graph: Graph, inputs: Sequence[Array]) -> list[Array]:
    """What `evaluate` says."""
    return list(evaluate(graph, {value.name: array for value, array in zip(graph.inputs, inputs)}))
