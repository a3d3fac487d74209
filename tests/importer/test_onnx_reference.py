"""Ops without a row in the op table, evaluated by onnx.reference one node at a time."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import onnx
import pytest
from onnx_models import model_of, noise

from intarsia.dtypes import ELEMENT_TYPES
from intarsia.errors import RunError
from intarsia.importer import import_model
from intarsia.importer.types import element_name, element_types
from intarsia.ir import onnx_reference
from intarsia.ir.onnx_reference import evaluate_with_onnx


def test_optional_outputs_stay_in_their_places() -> None:
    model = model_of(
        "g (float[3,1,4] x) => (h) { all, h = LSTM <hidden_size = 2> (x, w, r) }",
        w=noise(1, 8, 4),
        r=noise(1, 8, 2, seed=1),
    )
    model.graph.node[0].output[0] = ""
    (node,) = import_model(model).nodes
    results = evaluate_with_onnx(node, [noise(3, 1, 4), noise(1, 8, 4), noise(1, 8, 2, seed=1)])
    assert [getattr(result, "shape", None) for result in results] == [None, (1, 1, 2)]


def test_evaluators_are_kept_with_their_node_and_go_with_it() -> None:
    node = import_model(model_of("g (float[2,2] x) => (y) { y = Det (x) }")).nodes[0]
    (first,) = evaluate_with_onnx(node, [np.eye(2, dtype=np.float32) * 3])
    evaluator = onnx_reference._evaluators[node][1]
    evaluate_with_onnx(node, [noise(2, 2)])
    assert first == 9 and onnx_reference._evaluators[node][1] is evaluator
    count = len(onnx_reference._evaluators)
    del node
    gc.collect()
    assert len(onnx_reference._evaluators) < count


def test_another_element_type_makes_another_evaluator() -> None:
    node = import_model(model_of("g (float[2,2] x) => (y) { y = Det (x) }")).nodes[0]
    for dtype in (np.float32, np.float64):
        (result,) = evaluate_with_onnx(node, [np.eye(2, dtype=dtype)])
        assert result.dtype == dtype


def test_sequences_go_in_and_out() -> None:
    graph = import_model(model_of("g (float[2] x) => (y) { s = SequenceConstruct (x, x)  y = SequenceLength (s) }"))
    given: list[Any] = evaluate_with_onnx(graph.nodes[0], [noise(2), noise(2)])
    assert [type(item) for item in given] == [list]
    assert evaluate_with_onnx(graph.nodes[1], given) == [2]


def test_what_cannot_be_computed_is_refused() -> None:
    node = import_model(model_of("g (float[2,2] x) => (y) { y = Det (x) }")).nodes[0]
    with pytest.raises(RunError, match=r"Det 'y': onnx.reference cannot compute it: "):
        evaluate_with_onnx(node, [noise(2, 3)])


def test_element_types_are_all_named() -> None:
    names = element_types()
    assert names[1] == "float32" and names[11] == "float64" and names[8] == "string"
    assert {"int4", "bfloat16", "float8_e4m3fn", "float8_e5m2fnuz"} <= set(names.values())


def test_numbers_of_element_types_are_those_of_onnx() -> None:
    theirs = {number: element_name(name) for name, number in onnx.TensorProto.DataType.items()}
    assert {number: theirs[number] for number in ELEMENT_TYPES} == ELEMENT_TYPES
