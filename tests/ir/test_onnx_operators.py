"""Every row of the op table against ONNX's own node tests: values, and shape rules with and without known inputs."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest

from intarsia.dtypes import Array, dtype_name
from intarsia.ir import onnx_reference
from intarsia.ir.evaluate import evaluate_node
from intarsia.ir.graph import Graph
from intarsia.ir.infer import infer_node
from intarsia.ir.ops import OPS
from intarsia.ir.types import TensorType, agree
from onnx_cases import array_of, graph_of, inputs_of, mismatch, one_node_cases

EXCLUDED: dict[str, str] = {}
"""Case name to the reason why it may differ; none does."""

DATA_DEPENDENT = ("NonZero",)
"""Ops whose output sizes no known input tells."""


@functools.cache
def cases_by_op() -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for case in one_node_cases():
        if case.model.graph.node[0].op_type in OPS and case.name not in EXCLUDED:
            found.setdefault(case.model.graph.node[0].op_type, []).append(case)
    return found


WITHOUT_CASES = ("dense", "GlobalLpPool", "pixels", "resample")
"""Rows that onnx has no node test of; they are tested elsewhere."""


@pytest.mark.parametrize(
    "op", sorted(name for name, row in OPS.items() if not row.integer and name not in WITHOUT_CASES)
)
def test_row_agrees_with_onnx(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if op not in cases_by_op():
        pytest.fail(f"onnx has no node test of {op}: test it elsewhere and leave it out here")
    for case in cases_by_op()[op]:
        graph = graph_of(case, constant_inputs=op == "Dropout")
        node = graph.nodes[0]
        if not OPS[op].needs_onnx(node):
            forbid_onnx(monkeypatch)
        for index, (_, outputs) in enumerate(case.data_sets):
            given = inputs_of(case, index)
            arguments = [None if value is None else given[value.name] for value in node.inputs]
            results = evaluate_node(node, arguments)
            kept = [result for result, value in zip(results, node.outputs) if value is not None]
            for result, wanted in zip(kept, outputs):
                assert not (why := mismatch(result, array_of(wanted), case.rtol, case.atol)), f"{case.name}: {why}"
            check_rule(case.name, graph, arguments, results)
        monkeypatch.undo()


def forbid_onnx(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that says it needs no onnx must not go there: on a board there is none."""

    def refuse(*arguments: Any) -> None:
        pytest.fail("the row went to onnx.reference without saying so")

    monkeypatch.setattr(onnx_reference, "evaluate_with_onnx", refuse)


def check_rule(name: str, graph: Graph, arguments: list[Array | None], results: list[Array]) -> None:
    """The shape rule agrees with what was computed, however little it is told."""
    node = graph.nodes[0]
    actual = [TensorType(dtype_name(result.dtype), result.shape) for result in results]
    types = [None if value is None else value.type for value in node.inputs]
    hidden: list[Array | None] = [None] * len(arguments)
    for shapes in ("known", "ranks", "nothing"):
        for value, type in zip(node.inputs, types):
            if value is not None and type is not None:
                value.type = TensorType(type.dtype, open_shape(type.shape, shapes))
        for known in (arguments, hidden):
            inferred = infer_node(node, known)
            assert inferred is not None
            for found, wanted in zip(inferred, actual):
                assert agree(found, wanted), f"{name}: the rule says {found}, computed is {wanted}"
                if shapes == "known" and known is arguments and node.op not in DATA_DEPENDENT:
                    assert found.is_static, f"{name}: the rule says {found}, computed is {wanted}"


def open_shape(shape: Any, shapes: str) -> Any:
    return shape if shapes == "known" else (None,) * len(shape) if shapes == "ranks" else None


def test_cases_are_many() -> None:
    """The oracle itself is there: a loader that finds nothing must not pass for agreement."""
    assert sum(map(len, cases_by_op().values())) > 900


def test_mismatch_sees_a_difference() -> None:
    one = np.ones(3, np.float32)
    assert mismatch(one, one, 1e-3, 1e-7) == ""
    assert mismatch(one, one + 1, 1e-3, 1e-7) == "other numbers"
    assert mismatch(one, one.astype(np.float64), 1e-3, 1e-7).startswith("type")
    assert mismatch(one, one[:2], 1e-3, 1e-7).startswith("shape")
