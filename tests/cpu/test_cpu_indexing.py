"""Ops that pick, scatter and sort at places that the data say: exactly what the NumPy meaning gives, or its error."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cpu_regions import Layers, load

from intarsia.errors import RunError
from intarsia.ir.graph import Graph
from intarsia.ir.types import TensorType

DTYPES = ("float32", "int8", "int64", "bool")


def numbers(made: Layers, dtype: str, *shape: int) -> Any:
    if dtype == "float32":
        return made.floats(*shape)
    return made.random.integers(0, 2 if dtype == "bool" else 100, shape).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_gather_and_scatter(dtype: str) -> None:
    made = Layers()

    def data(*shape: int) -> Any:
        return numbers(made, dtype, *shape)

    def places(size: int, *shape: int, kind: str = "int64") -> Any:
        return made.random.integers(-size, size, shape).astype(kind)

    x = data(3, 4, 5)
    for axis in (0, 1, -1):
        size = x.shape[axis]
        made.add("Gather", [x, places(size, 2, 3)], {"axis": axis})
        made.add("Gather", [x, places(size)], {"axis": axis})
        made.add("GatherElements", [x, places(size, 2, 3, 4, kind="int32")], {"axis": axis})
        made.add("GatherElements", [x, places(size, 3, 4, 5)], {"axis": axis}, constants=(1,))
        made.add("ScatterElements", [x, places(size, 2, 3, 4), data(2, 3, 4)], {"axis": axis})
    made.add("GatherND", [x, places(3, 4, 2)])
    made.add("GatherND", [x, np.array([[0, 3, 4], [-3, -4, -5]])])
    made.add("GatherND", [x, places(4, 3, 2, 1)], {"batch_dims": 1})
    made.add("GatherND", [x, np.stack([places(4, 3, 2), places(5, 3, 2)], -1)], {"batch_dims": 1})
    made.add("GatherND", [x, np.array([[1, 3], [2, -1]])], constants=(1,))
    made.add("ScatterND", [x, np.array([[0], [2]]), data(2, 4, 5)])
    made.add("ScatterND", [x, np.array([[0, 3, 1], [-1, -1, -1], [0, 3, 1]]), data(3)])
    made.check(exact=True)


def test_scatter_joins_what_stands_there() -> None:
    made = Layers()
    indices = np.array([[0, 1], [1, 1], [2, 0]])
    for reduction in ("add", "mul", "max", "min"):
        for dtype in ("float32", "int32"):
            x, updates = numbers(made, dtype, 3, 2), numbers(made, dtype, 3)
            made.add("ScatterND", [x, indices, updates], {"reduction": reduction})
            made.add("ScatterElements", [x, indices, numbers(made, dtype, 3, 2)], {"reduction": reduction, "axis": 0})
    made.check()


def test_extremes_and_top() -> None:
    made = Layers()
    few = made.random.integers(-3, 3, (3, 7, 5))
    broken = made.floats(3, 7, 5)
    broken[0, 2:4, 1] = np.nan
    for x in (
        few.astype(np.float32),
        few.astype(np.int8),
        few.astype(np.uint8),
        few,
        broken,
        broken.astype(np.float64),
    ):
        for axis in (0, 1, -1):
            for op in ("ArgMax", "ArgMin"):
                made.add(op, [x], {"axis": axis, "keepdims": axis & 1, "select_last_index": axis % 2})
            for largest in (0, 1):
                attributes = {"axis": axis, "largest": largest}
                made.add("TopK", [x, np.array([3])], attributes, constants=(1,), outputs=2)
    made.add("TopK", [made.floats(2, 1), np.array([1])], constants=(1,), outputs=2)
    made.check(exact=True)


def test_running_sums() -> None:
    made = Layers()
    for axis in (0, 1, -1):
        for reverse in (0, 1):
            for exclusive in (0, 1):
                attributes = {"exclusive": exclusive, "reverse": reverse}
                made.add("CumSum", [made.floats(3, 4, 5), np.array(axis)], attributes, constants=(1,))
                made.add("CumSum", [numbers(made, "int32", 3, 4, 5), np.array(axis)], attributes, constants=(1,))
    made.check()


def test_tables() -> None:
    made = Layers()
    indices = np.array([[0, 2, -1], [4, 9, -9]])
    for axis in (-1, 0, 1):
        for kind in ("int64", "float32", "int8"):
            values = np.array([-1, 7], np.float32)
            made.add("OneHot", [indices.astype(kind), np.array(5), values], {"axis": axis}, constants=(1,))
    for dtype in DTYPES:
        for upper in (0, 1):
            made.add("Trilu", [numbers(made, dtype, 2, 4, 5)], {"upper": upper})
            for k in (-2, 1, 100, -100):
                made.add("Trilu", [numbers(made, dtype, 4, 5), np.array(k)], {"upper": upper}, constants=(1,))
        made.add("ReverseSequence", [numbers(made, dtype, 4, 3, 2), np.array([1, 4, 2])])
        made.add(
            "ReverseSequence", [numbers(made, dtype, 3, 4), np.array([1, 4, 2])], {"time_axis": 1, "batch_axis": 0}
        )
    made.add("EyeLike", [made.floats(3, 5)], {"k": 1})
    made.add("EyeLike", [made.floats(3, 5)], {"dtype": 7})
    made.add("Dropout", [made.floats(3, 5)], outputs=2)
    made.add("Dropout", [made.floats(3, 5), np.array(0.5, np.float32), np.array(False)], constants=(1, 2), outputs=1)
    made.check(exact=True)


@pytest.mark.parametrize("op", ["Gather", "GatherElements", "GatherND", "ScatterElements", "ScatterND"])
@pytest.mark.parametrize("bad", [3, -4])
def test_a_place_outside_of_the_axis_is_an_error(op: str, bad: int) -> None:
    made = Layers()
    x, good = made.floats(3, 2), np.array([[0], [1]])
    inputs = [x, good] if op.startswith("Gather") else [x, good, made.floats(2, 2 if op == "ScatterND" else 1)]
    made.add(op, inputs)
    region = load(made.graph)
    region.run(made.inputs)
    wrong = [array if array is not good else np.array([[0], [bad]]) for array in made.inputs]
    with pytest.raises(RunError, match="outside of -3 to 2"):
        region.run(wrong)


def test_each_column_of_indices_has_its_own_limits() -> None:
    graph = Graph("columns")
    x = graph.add_input("x", TensorType("float32", (2, 5)))
    places = graph.add_input("places", TensorType("int64", (1, 2)))
    graph.outputs = [graph.add_node("GatherND", [x, places], [TensorType("float32", (1,))], opset=13).output]
    region, data = load(graph), np.arange(10, dtype=np.float32).reshape(2, 5)
    assert region.run([data, np.array([[1, 4]])]).outputs[0] == 9
    with pytest.raises(RunError, match="outside of -2 to 1"):
        region.run([data, np.array([[4, 1]])])


def test_numbers_that_the_model_declares_are_held_to_at_run_time() -> None:
    made = Layers()
    made.add("TopK", [made.floats(2, 6), np.array([3])], outputs=2)
    made.add("Trilu", [made.floats(4, 5), np.array(-1)])
    made.add("OneHot", [np.array([0, 2]), np.array(4), np.array([0, 1], np.float32)])
    made.check(exact=True)
    inputs = [np.array([2]) if array.shape == (1,) else array for array in made.inputs]
    with pytest.raises(RunError, match="outside of 3 to 3"):
        load(made.graph).run(inputs)


def test_tensors_without_elements() -> None:
    made = Layers()
    empty = np.zeros((2, 0), np.float32)
    made.add("Concat", [empty, made.floats(2, 3), empty], {"axis": 1})
    made.add("Relu", [empty])
    made.add("Split", [made.floats(2, 3), np.array([0, 3])], {"axis": 1}, constants=(1,), outputs=2)
    made.check(exact=True)
