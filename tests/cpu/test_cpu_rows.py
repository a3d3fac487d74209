"""Softmax, normalization, reductions and moves of every length, on every set of instructions this machine can run."""

from __future__ import annotations

import math

import numpy as np
import pytest
from cpu_regions import LEVELS, Layers, level_target, load

from intarsia.ir.graph import Graph
from intarsia.ir.types import TensorType


@pytest.mark.parametrize("level", LEVELS)
def test_softmax_of_every_length(level: str) -> None:
    layers = Layers()
    for length in (1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 40, 67, 130):
        op = ("Softmax", "LogSoftmax")[length % 2]
        layers.add(op, [layers.floats(3, length) * 20], {"axis": -1})
        layers.add(op, [layers.floats(2, 5, length) * 5], {"axis": 1})
    row = layers.floats(4, 21)
    row[0, 3], row[1, 5], row[2, 7] = np.nan, -np.inf, np.inf
    with np.errstate(invalid="ignore"):
        layers.add("Softmax", [row], {"axis": -1})
        layers.add("Softmax", [row], {"axis": 0})
    layers.add("Softmax", [np.array([[0, -100, -1000, -np.inf]], np.float32)], {"axis": -1})
    layers.check(tolerance=1e-6, target=level_target(level))


@pytest.mark.parametrize("level", LEVELS)
def test_normalization_of_every_length(level: str) -> None:
    layers = Layers()
    for length in (2, 3, 4, 7, 8, 9, 16, 17, 33, 67, 384, 5000):
        scale, shift = layers.floats(length), layers.floats(length)
        layers.add("LayerNormalization", [layers.floats(3, length), scale, shift], {"axis": -1})
        layers.add("RMSNormalization", [layers.floats(3, length) + 3, scale], {"axis": -1}, opset=23)
    layers.add("InstanceNormalization", [layers.floats(2, 3, 90, 101) + 5, layers.floats(3), layers.floats(3)])
    layers.check(tolerance=1e-5, target=level_target(level))


@pytest.mark.parametrize("level", LEVELS)
def test_reductions_along_every_axis(level: str) -> None:
    layers = Layers()
    ops = ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2")
    for shape in ((3, 5, 7), (4, 9, 17), (2, 40, 70), (1, 33, 129)):
        for axes in ((0,), (1,), (2,), (0, 2), (1, 2)):
            index = len(layers.inputs)
            layers.add(ops[index % 6], [layers.floats(*shape), np.array(axes)], {"keepdims": index % 2}, constants=(1,))
    row = layers.floats(6, 70)
    row[1, 3], row[2, 69], row[3, 40] = np.nan, np.nan, np.inf
    for op in ("ReduceMax", "ReduceMin"):
        for axis in (0, 1):
            layers.add(op, [row, np.array([axis])], {"keepdims": 0}, constants=(1,))
    layers.check(tolerance=1e-5, target=level_target(level))


@pytest.mark.parametrize("level", LEVELS)
def test_moves_across_rows(level: str) -> None:
    layers = Layers()
    for rows in (3, 4, 9, 17, 33):
        for columns in (4, 8, 21):
            layers.add("Transpose", [layers.floats(rows, columns)], {"perm": (1, 0)})
            layers.add("Transpose", [layers.bytes(2, rows, columns)], {"perm": (0, 2, 1)})
    layers.add("Transpose", [layers.floats(2, 3, 20, 30)], {"perm": (0, 2, 3, 1)})
    layers.add("Transpose", [layers.floats(20, 3, 30)], {"perm": (2, 1, 0)})
    layers.check(exact=True, target=level_target(level))


def test_errors_of_functions() -> None:
    """As the comment beside their coefficients has them."""
    x = np.concatenate([np.linspace(-12, 12, 200_001), np.geomspace(1e-8, 1, 2000)]).astype(np.float32)
    graph = Graph("functions")
    value = graph.add_input("x", TensorType("float32", x.shape))
    meanings = {"Erf": math.erf, "Tanh": math.tanh}
    graph.outputs = [graph.add_node(op, [value], [value.type], opset=18).output for op in meanings]
    for (op, meaning), actual in zip(meanings.items(), load(graph).run([x]).outputs):
        exact = np.array([meaning(float(number)) for number in x])
        assert np.abs(actual - exact).max() < 4e-7, op
        assert (np.abs(actual - exact) <= 4e-7 * np.abs(exact)).all(), op
        assert np.abs(actual).max() == 1.0, op
