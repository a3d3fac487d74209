"""Small models for the importer's tests, and onnxruntime's opinion on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper, parser

from intarsia.dtypes import Array, dtype_name, numpy_dtype
from intarsia.importer import import_model
from intarsia.ir.evaluate import evaluate
from intarsia.ir.graph import Graph
from intarsia.ir.types import TensorType, agree


def model_of(text: str, opset: int = 17, functions: str = "", **arrays: Any) -> onnx.ModelProto:
    """A model from onnx.parser text of its graph, with initializers."""
    head = f'<ir_version: 8, opset_import: ["" : {opset}, "local" : 1, "ai.onnx.ml" : 3]>'
    model = parser.parse_model(f"{head} {text} {functions}")
    for name, data in arrays.items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(data), name))
    return model


def noise(*shape: int, seed: int = 0) -> Array:
    """float32 normal values."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def inputs_of(graph: Graph) -> dict[str, Array]:
    """Something to put into each input of a graph: noise, or small whole numbers."""
    feeds = {}
    for index, value in enumerate(graph.inputs):
        data = noise(*value.shape, seed=index)
        data = data if value.dtype.startswith("float") else data * 4
        feeds[value.name] = np.asarray(data, numpy_dtype(value.dtype))
    return feeds


def assert_like_onnxruntime(model: onnx.ModelProto | Path) -> Graph:
    """Import a model, evaluate it on noise, and compare with onnxruntime; returns the graph."""
    graph = import_model(model)
    data = str(model) if isinstance(model, Path) else model.SerializeToString()
    feeds = inputs_of(graph)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    for value, ours, theirs in zip(graph.outputs, evaluate(graph, feeds), session.run(None, feeds)):
        assert agree(value.type, TensorType(dtype_name(ours.dtype), ours.shape))
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    return graph
