"""float16: every number converts as NumPy converts it, moves keep their bits, and ops round as their meaning does."""

from __future__ import annotations

import numpy as np
from cpu_regions import Layers, load

from intarsia.ir.graph import Graph
from intarsia.ir.types import TensorType


def test_every_half_and_many_floats_convert_exactly() -> None:
    graph = Graph("casts")
    halves = graph.add_input("halves", TensorType("float16", (1 << 16,)))
    wide = graph.add_input("wide", TensorType("float32", (400_000,)))
    graph.outputs = [
        graph.add_node("Cast", [halves], [TensorType("float32", halves.shape)], {"to": 1}, opset=18).output,
        graph.add_node("Cast", [wide], [TensorType("float16", wide.shape)], {"to": 10}, opset=18).output,
    ]
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    random = np.random.default_rng(0)
    numbers = random.integers(0, 1 << 32, 200_000, dtype=np.uint32).view(np.float32)
    middle = random.standard_normal(100_000).astype(np.float32) * np.float32(2.0) ** random.integers(-30, 20, 100_000)
    with np.errstate(invalid="ignore"):
        ties = (every[::2].astype(np.float32) + every[1::2].astype(np.float32)) / np.float32(2)
    floats = np.resize(np.concatenate([numbers, middle.astype(np.float32), ties]), 400_000)
    to_float, to_half = load(graph).run([every, floats]).outputs
    with np.errstate(over="ignore", invalid="ignore"):
        np.testing.assert_array_equal(to_float, every.astype(np.float32))
        np.testing.assert_array_equal(to_half, floats.astype(np.float16))


def test_moves() -> None:
    made = Layers()
    x = made.floats(3, 4, 5).astype(np.float16)
    made.add("Transpose", [x], {"perm": (2, 0, 1)})
    made.add("Concat", [x, x], {"axis": 1})
    made.add("Gather", [x, np.array([2, 0])], {"axis": 1})
    made.add("Slice", [x, np.array([1]), np.array([3]), np.array([1])], constants=(1, 2, 3))
    made.add("Pad", [x, np.array([0, 1, 0, 0, 0, 2]), np.array(0.3, np.float16)], constants=(1, 2))
    made.add("Where", [x > 0, x, np.zeros(5, np.float16)])
    made.add("Trilu", [x])
    made.check(exact=True)


def test_arithmetic() -> None:
    made = Layers()
    a, b = (made.floats(6, 5).astype(np.float16) for _ in range(2))
    for op in ("Add", "Sub", "Mul", "Div", "Min", "Max", "Equal", "Greater"):
        made.add(op, [a, b])
    for op in ("Relu", "Sqrt", "Neg", "Abs", "Reciprocal", "Floor"):
        made.add(op, [np.abs(a)])
    made.check(exact=True)


def test_larger_ops() -> None:
    made = Layers()
    a, b = made.floats(6, 5).astype(np.float16), made.floats(5, 7).astype(np.float16)
    made.add("MatMul", [a, b])
    made.add("Softmax", [a])
    made.add("Tanh", [a])
    made.add("ReduceSum", [a, np.array([1])], constants=(1,))
    made.add("ReduceMax", [a, np.array([0])], constants=(1,))
    made.add("LayerNormalization", [a, made.floats(5).astype(np.float16)])
    made.check(tolerance=2e-3)
