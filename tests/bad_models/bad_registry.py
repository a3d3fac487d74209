"""The list of bad models: one function each, whose docstring says what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper, parser

Builder = Callable[[Path], Any]
"""Makes the model, in a folder if it needs files, and gives what import_model takes."""

BAD: dict[str, Builder] = {}


def bad(builder: Builder) -> Builder:
    """Add a builder to the list under its own name."""
    assert builder.__name__ not in BAD, f"two bad models are called {builder.__name__}"
    BAD[builder.__name__] = builder
    return builder


def graph(text: str, opset: int = 17, functions: str = "") -> onnx.ModelProto:
    """A model from onnx.parser text of its graph."""
    return parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}, "local" : 1]> {text} {functions}')


def fill(model: onnx.ModelProto, **arrays: Any) -> onnx.ModelProto:
    """Add initializers."""
    for name, data in arrays.items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(data), name))
    return model


def zeros(*shape: int) -> Any:
    return np.zeros(shape, np.float32)


def good() -> onnx.ModelProto:
    """A small valid model to be spoilt: Conv, Relu, Reshape, MatMul."""
    model = graph(
        """good (float[N,3,8,8] x) => (float[N,10] y) {
             c = Conv <kernel_shape = [3,3], pads = [1,1,1,1]> (x, w)
             r = Relu (c)
             f = Reshape (r, to)
             y = MatMul (f, m)
           }"""
    )
    return fill(model, w=zeros(4, 3, 3, 3), to=np.array([0, -1]), m=zeros(256, 10))


def one_node(op: str, inputs: dict[str, Any], outputs: int = 1, opset: int = 17, **attributes: Any) -> onnx.ModelProto:
    """A model of one node.

    inputs  by name: a list is the shape of a float input, (dtype, shape) an input of any type, an array a constant
    """
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node(op, list(inputs), [f"y{index}" for index in range(outputs)], name="node", **attributes)],
            "one",
            [],
            [helper.make_empty_tensor_value_info(f"y{index}") for index in range(outputs)],
        ),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=8,
    )
    for name, what in inputs.items():
        if isinstance(what, np.ndarray):
            fill(model, **{name: what})
        elif name:
            dtype, shape = what if isinstance(what, tuple) else (onnx.TensorProto.FLOAT, what)
            model.graph.input.append(helper.make_tensor_value_info(name, dtype, shape))
    return model
