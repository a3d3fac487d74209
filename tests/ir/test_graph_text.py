"""The text form, read as a person reads it: golden files."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from intarsia.ir.graph import Graph
from intarsia.ir.text import text
from intarsia.ir.types import Quantization, TensorType


def test_float_graph(golden: Callable[[str], None]) -> None:
    graph = Graph("tiny")
    x = graph.add_input("x", TensorType("float32", (1, 3, 8, 8)))
    w = graph.add_constant("w", np.zeros((4, 3, 3, 3), np.float32))
    b = graph.add_constant("b", np.array([0.5, -1, 1e-9, np.inf], np.float32))
    window = {"kernel_shape": (3, 3), "strides": (2, 2), "pads": (1, 1, 1, 1), "dilations": (1, 1), "group": 1}
    fused = {**window, "activation": "Clip", "activation_arguments": (0.0, 6.0)}
    conv = graph.add_node("Conv", [x, w, b], [TensorType("float32", (1, 4, 4, 4))], fused, name="stem", opset=17)
    shape = graph.add_constant("shape", np.array([1, -1], np.int64))
    flat = graph.add_node(
        "Reshape",
        [conv.output, shape],
        [TensorType("float32", (1, 64))],
        name="flatten",
        output_names=["logits"],
        opset=17,
    )
    graph.outputs = [flat.output]
    golden(text(graph))


def test_integer_graph(golden: Callable[[str], None]) -> None:
    graph = Graph("quantized")
    x = graph.add_input("x", TensorType("float32", (1, 4)))
    q = graph.add_node(
        "quantize", [x], [TensorType("int8", (1, 4))], {"scale": 0.0235, "zero_point": -128}, name="quantize_x"
    )
    q.output.quantization = Quantization(0.0235, -128)
    table = graph.add_constant("table", np.arange(-128, 128).astype(np.int8))
    looked = graph.add_node("lookup", [q.output, table], [TensorType("int8", (1, 4))], name="gelu")
    looked.output.quantization = Quantization(1 / 3, 4)
    graph.outputs = [looked.output, q.output]
    golden(text(graph))


def test_everything_odd(golden: Callable[[str], None]) -> None:
    """Open shapes, left out inputs and outputs, foreign domains, strings, bytes, arrays, names with line breaks."""
    graph = Graph("odd names\nof an exporter")
    x = graph.add_input("a b", TensorType("float16", None))
    words = graph.add_constant("words", np.array(["one", "two"], object))
    flags = graph.add_constant("flags", np.array([[True], [False]]))
    attributes = {
        "blob": bytes(100),
        "key": b"ab",
        "mode": "linear interpolation",
        "names": ("x", "y"),
        "on": True,
        "scalar": np.array(2.5, np.float64),
        "table": np.zeros((3, 0), np.int32),
        "waves": np.array([1 + 2j], np.complex64),
    }
    node = graph.add_node(
        "Odd",
        [x, None, words, flags],
        [TensorType("int64", (None, 3)), None],
        attributes,
        name="odd",
        output_names=["first"],
        opset=1,
        domain="com.example",
    )
    graph.outputs = [node.output, words]
    golden(text(graph))
