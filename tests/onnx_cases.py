"""The ONNX backend's node tests as graphs of ours: each model of one node, with its inputs and expected outputs."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import numpy as np

from intarsia.dtypes import Array, dtype_name
from intarsia.ir.graph import Graph
from intarsia.ir.types import TensorType


@functools.cache
def one_node_cases() -> list[Any]:
    """Cases of one node of the standard domain whose inputs and outputs are all tensors."""
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the generators of some cases divide by zero on purpose
        cases = load_model_tests(kind="node")
    return [
        case
        for case in cases
        if len(case.model.graph.node) == 1 and case.model.graph.node[0].domain == "" and _has_tensors(case)
    ]


def _has_tensors(case: Any) -> bool:
    data = [item for inputs, outputs in case.data_sets for item in (*inputs, *outputs)]
    return bool(data) and not any(item is None or isinstance(item, (list, dict)) for item in data)


def graph_of(case: Any, *, constant_inputs: bool = False) -> Graph:
    """The case's node as a graph; its output types are left open.

    constant_inputs  make the inputs constants, as they mostly are for shapes, axes and weights
    """
    proto = case.model.graph.node[0]
    graph = Graph(case.name)
    values: dict[str, Any] = {"": None}
    for name, array in inputs_of(case, 0).items():
        if constant_inputs:
            values[name] = graph.add_constant(name, array)
        else:
            values[name] = graph.add_input(name, TensorType(dtype_name(array.dtype), array.shape))
    node = graph.add_node(
        proto.op_type,
        [values[name] for name in proto.input],
        [TensorType("float32", None) if name else None for name in proto.output],
        node_attributes(proto),
        output_names=list(proto.output),
        opset=opset_of(case),
    )
    graph.outputs = [value for value in node.outputs if value is not None]
    return graph


def opset_of(case: Any) -> int:
    """The opset of ONNX's own ops that a case is written for."""
    return int(next(entry.version for entry in case.model.opset_import if entry.domain == ""))


def node_attributes(proto: Any) -> dict[str, Any]:
    """The attributes of a node, as those of a graph of ours."""
    return {attribute.name: _attribute(attribute) for attribute in proto.attribute}


def array_of(data: Any) -> Array:
    """A tensor of a case; those of types that NumPy lacks come as TensorProto."""
    from onnx import TensorProto, numpy_helper

    return numpy_helper.to_array(data) if isinstance(data, TensorProto) else np.asarray(data)


def inputs_of(case: Any, index: int) -> dict[str, Array]:
    """The arrays of a data set, by input name."""
    return {info.name: array_of(data) for info, data in zip(case.model.graph.input, case.data_sets[index][0])}


def _attribute(proto: Any) -> Any:
    from onnx import AttributeProto, helper, numpy_helper

    value = helper.get_attribute_value(proto)
    if proto.type == AttributeProto.STRING:
        return value.decode()
    if proto.type == AttributeProto.TENSOR:
        return numpy_helper.to_array(value)
    if proto.type == AttributeProto.STRINGS:
        return tuple(item.decode() for item in value)
    return tuple(value) if proto.type in (AttributeProto.INTS, AttributeProto.FLOATS) else value


def mismatch(got: Array, wanted: Array, rtol: float, atol: float) -> str:
    """What differs, or nothing."""
    wanted = array_of(wanted)
    if got.dtype != wanted.dtype and dtype_name(got.dtype) != dtype_name(wanted.dtype):
        return f"type {got.dtype} for {wanted.dtype}"
    if got.shape != wanted.shape:
        return f"shape {got.shape} for {wanted.shape}"
    if wanted.dtype.kind in "OUS":
        return "" if (got == wanted).all() else "other strings"
    if wanted.dtype.kind in "iub":
        return "" if np.array_equal(got, wanted) else "other whole numbers"
    if wanted.dtype.kind == "c":
        return "" if np.allclose(got, wanted, rtol, atol) else "other numbers"
    if wanted.dtype.itemsize < 4:
        rtol, atol = max(rtol, 2e-3), max(atol, 2e-3)
    near = np.allclose(got.astype(np.float64), wanted.astype(np.float64), rtol, max(atol, 1e-6), equal_nan=True)
    return "" if near else "other numbers"
