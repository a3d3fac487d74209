"""Ops that move elements: byte for byte, for floats, bytes and integers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cpu_regions import Layers

from intarsia.dtypes import Array
from intarsia.ir.graph import Graph
from intarsia.ir.types import TensorType
from intarsia_backends.cpu.lower.region import LOWERINGS, lower_region, supported
from intarsia_backends.cpu.machine import this_machine


def ints(*numbers: int) -> Array:
    return np.array(numbers, np.int64)


@pytest.mark.parametrize("dtype", ["float32", "int8", "int64", "bool"])
def test_movement(dtype: str) -> None:
    made = Layers()

    def data(*shape: int) -> Array:
        return made.random.integers(-100, 100, shape).astype(dtype)

    x = data(2, 3, 4, 5)
    for order in ((0, 2, 3, 1), (3, 2, 1, 0), (0, 1, 3, 2), (0, 1, 2, 3)):
        made.add("Transpose", [x], {"perm": order})
    made.add("Transpose", [x])
    for axis in (0, 1, -1):
        pieces = [data(2, 3, 4), data(2, 3, 4), data(2, 3, 4)]
        made.add("Concat", pieces, {"axis": axis})
    made.add("Concat", [data(2, 1), data(2, 6)], {"axis": 1})
    made.add("Split", [data(2, 7, 3), ints(1, 4, 2)], {"axis": 1}, constants=(1,), outputs=3)
    for starts, ends, axes, steps in [
        ((1,), (3,), (2,), (1,)),
        ((0, -1), (9, -6), (1, 3), (2, -2)),
        ((-1,), (-100,), (0,), (-1,)),
        ((1, 1), (3, 100), (-1, -2), (1, 1)),
    ]:
        made.add("Slice", [x, ints(*starts), ints(*ends), ints(*axes), ints(*steps)], constants=(1, 2, 3, 4))
    made.add("Slice", [x, ints(0, 1), ints(1, 3)], constants=(1, 2))
    made.add("Reshape", [x, ints(6, -1)], constants=(1,))
    made.add("Flatten", [x], {"axis": 2})
    made.add("Unsqueeze", [x, ints(0, 3)], constants=(1,))
    made.add("Squeeze", [data(1, 3, 1), ints(0)], constants=(1,))
    made.add("Identity", [x])
    made.add("Expand", [data(3, 1), ints(2, 3, 4)], constants=(1,))
    made.add("Tile", [data(2, 3), ints(2, 3)], constants=(1,))
    made.add("Gather", [x, ints(2, 0, -1, 1)], {"axis": 2}, constants=(1,))
    made.add("Gather", [x, ints(3, 1)], {"axis": 3}, constants=(1,))
    made.add("Gather", [x, np.array(1)], {"axis": 1}, constants=(1,))
    made.add("Gather", [x, ints(0, 0, 1, 1, 2, 2).reshape(2, 3)], {"axis": 1}, constants=(1,))
    if dtype != "bool":
        number = np.array(7, dtype)
        made.add("Pad", [x, ints(0, 0, 1, 2, 0, 0, 3, 0), number], constants=(1, 2))
        made.add("Pad", [x, ints(0, 1, -1, 2, 1, 0, 0, -2), number], constants=(1, 2))
        made.add("Pad", [x, ints(1, 2, 0, 1), number, ints(2, 3)], constants=(1, 2, 3))
        for mode in ("reflect", "edge"):
            made.add("Pad", [x, ints(0, 1, 2, 3, 0, 0, 1, 2)], {"mode": mode}, constants=(1,))
    made.check(exact=True)


def test_depth_and_space() -> None:
    made = Layers()
    for mode in ("DCR", "CRD"):
        made.add("DepthToSpace", [made.floats(2, 12, 3, 4)], {"blocksize": 2, "mode": mode})
        made.add("SpaceToDepth", [made.floats(2, 3, 4, 6)], {"blocksize": 2, "mode": mode})
    made.check(exact=True)


def resize(made: Layers, x: Array, sizes: tuple[int, ...], scales: tuple[float, ...] | None, **attributes: Any) -> None:
    inputs: list[Array | None] = [x, None, None, ints(*sizes)]
    if scales is not None:
        inputs = [x, None, np.array(scales, np.float32)]
    made.add("Resize", inputs, attributes, constants=(1, 2, 3), opset=19)


def test_resize() -> None:
    made = Layers()
    for mode in ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"):
        for rounding in ("round_prefer_floor", "floor", "ceil", "round_prefer_ceil"):
            facts = {"coordinate_transformation_mode": mode, "nearest_mode": rounding}
            resize(made, made.floats(1, 2, 4, 5), (1, 2, 7, 15), None, mode="nearest", **facts)
            resize(made, made.bytes(1, 2, 8, 6), (1, 2, 4, 3), None, mode="nearest", **facts)
        facts = {"coordinate_transformation_mode": mode}
        resize(made, made.floats(1, 2, 4, 5), (1, 2, 8, 11), None, mode="linear", **facts)
        resize(made, made.floats(1, 2, 9, 5), (1, 2, 4, 5), None, mode="linear", **facts)
        resize(made, made.floats(1, 2, 6, 5), (1, 2, 4, 9), None, mode="cubic", exclude_outside=1, **facts)
        resize(made, made.floats(1, 2, 4, 5), (), (1.0, 1.0, 0.6, 1.7), mode="linear", **facts)
    resize(made, made.floats(1, 2, 4, 5), (), (1.0, 1.0, 2.0, 2.0), mode="nearest", nearest_mode="floor")
    resize(made, made.floats(1, 2, 4, 5), (), (1.0, 1.0, 1.5, 2.5), mode="linear")
    made.check(tolerance=1e-6)


def test_renaming_a_shape_copies_nothing() -> None:
    graph = Graph("renamed")
    x = graph.add_input("x", TensorType("float32", (2, 6)))
    shape = graph.add_constant("shape", ints(3, 4))
    first = graph.add_node("Relu", [x], [x.type], opset=18).output
    second = graph.add_node("Reshape", [first, shape], [TensorType("float32", (3, 4))], opset=18).output
    third = graph.add_node("Relu", [second], [second.type], opset=18).output
    graph.outputs = [third]
    program = lower_region(graph, this_machine())
    assert [call.kernel is not None for call in program.calls] == [True, True]


def test_every_lowering_refuses_dynamic_shapes() -> None:
    graph = Graph("dynamic")
    x = graph.add_input("x", TensorType("float32", (None, 3)))
    for op in LOWERINGS:
        answer = supported(graph.add_node(op, [x], [x.type], opset=18))
        assert not answer.ok and answer.rule == "static-shape", op
