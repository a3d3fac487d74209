"""GlobalLpPool, of which onnx has no node test."""

from __future__ import annotations

import numpy as np

from intarsia.ir.evaluate import evaluate_node
from intarsia.ir.graph import Graph
from intarsia.ir.infer import infer_node
from intarsia.ir.types import TensorType


def test_global_lp_pool() -> None:
    graph = Graph("pool")
    x = graph.add_input("x", TensorType("float32", (1, 2, 1, 2)))
    for p, wanted in ((1, (7.0, 17.0)), (2, (5.0, 13.0)), (3, (91 ** (1 / 3), (125 + 12**3) ** (1 / 3)))):
        node = graph.add_node("GlobalLpPool", [x], [x.type], {"p": p}, opset=18)
        assert infer_node(node) == [TensorType("float32", (1, 2, 1, 1))]
        (found,) = evaluate_node(node, [np.array([[[[3, -4]], [[-5, 12]]]], np.float32)])
        np.testing.assert_allclose(found.reshape(-1), wanted, rtol=1e-6)
