"""MatMul and Gemm with a constant matrix, said as our op `dense`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from intarsia.ir.graph import Graph, Node, Value
from intarsia.passes.base import CHANGED, Answer, Refused, Rewrite, Rewriter, refuse
from intarsia.passes.matching import constant, is_floating, quantized_constant
from intarsia.passes.quantized_constants import reshaped, transposed


@dataclass(frozen=True)
class MakeDense(Rewrite):
    """`MatMul(x, w)`, `Gemm(x, w, b)` -> `dense(x, w, b)` where w is a constant matrix, or one dequantized."""

    name: ClassVar[str] = "make-dense"
    tolerance: ClassVar[float] = 1e-5
    ops: ClassVar[tuple[str, ...]] = ("MatMul", "Gemm")

    def rewrite(self, node: Node, rewriter: Rewriter) -> Answer:
        x, w = node.input(0), node.input(1)
        if not _is_weight(w):
            return refuse(f"its left operand '{x.name}' is the constant") if _is_weight(x) else None
        if not is_floating(x) or not node.output.type.is_static or not x.type.is_static:
            return refuse(f"it multiplies {x.type}, and dense takes floats of a known shape")
        if x.type.rank < 2:
            return refuse(f"its left operand {x.type} is a vector")
        inputs = _matmul(node, rewriter.graph) if node.op == "MatMul" else _gemm(node, rewriter.graph)
        if isinstance(inputs, Refused):
            return inputs
        rewriter.set_inputs(node, inputs)
        node.op, node.opset = "dense", 0
        node.attributes = {key: value for key, value in node.attributes.items() if key.startswith("activation")}
        return CHANGED


def _is_weight(value: Value) -> bool:
    return value.is_constant or quantized_constant(value) is not None


def _matmul(node: Node, graph: Graph) -> list[Value | None] | Refused:
    x, w = node.input(0), node.input(1)
    if w.type.rank == 2:
        return [x, w]
    matrix = w.shape[-2:]
    if w.type.rank < 2 or w.type.elements != matrix[0] * matrix[1] or w.type.rank > x.type.rank:
        return refuse(f"its weight {w.type} is not a matrix")
    if w.data is not None:
        return [x, constant(graph, f"{w.name}_matrix", w.data.reshape(matrix))]
    dequantize = quantized_constant(w)
    assert dequantize is not None
    axis = dequantize.attributes.get("axis", 1) % w.type.rank - (w.type.rank - 2)
    return [x, reshaped(graph, dequantize, matrix, max(axis, 0))]


def _gemm(node: Node, graph: Graph) -> list[Value | None] | Refused:
    x, w, bias = node.input(0), node.input(1), node.optional_input(2)
    alpha, beta = node.attributes.get("alpha", 1.0), node.attributes.get("beta", 1.0)
    if node.attributes.get("transA", 0):
        return refuse("it transposes its left operand (transA)")
    if w.data is None and alpha != 1.0:
        return refuse(f"its weight is quantized and alpha is {alpha:g}")
    outputs = node.output.shape[1]
    if bias is not None:
        if not _is_weight(bias):
            return refuse(f"its bias '{bias.name}' is not constant")
        if bias.data is None and beta != 1.0:
            return refuse(f"its bias is quantized and beta is {beta:g}")
        if bias.type.elements not in (1, outputs) or (bias.type.rank == 2 and bias.shape[0] != 1):
            return refuse(f"its bias {bias.type} is not one number for each of the {outputs} columns")
    if w.data is not None and (alpha != 1.0 or node.attributes.get("transB", 0)):
        data = w.data.T if node.attributes.get("transB", 0) else w.data
        data = data if alpha == 1.0 else (data.astype(np.float64) * alpha).astype(data.dtype)
        w = constant(graph, f"{w.name}_dense", data)
    elif w.data is None and node.attributes.get("transB", 0):
        dequantize = quantized_constant(w)
        assert dequantize is not None
        w = transposed(graph, dequantize)
    if bias is None:
        return [x, w]
    if bias.data is not None:
        if bias.shape == (outputs,) and beta == 1.0:
            return [x, w, bias]
        row = np.broadcast_to(bias.data.reshape(-1).astype(np.float64) * beta, (outputs,))
        return [x, w, constant(graph, f"{bias.name}_dense", row.astype(bias.data.dtype))]
    dequantize = quantized_constant(bias)
    assert dequantize is not None
    if bias.shape == (outputs,):
        return [x, w, bias]
    if bias.type.elements != outputs:
        return refuse(f"its quantized bias {bias.type} is not one number for each of the {outputs} columns")
    return [x, w, reshaped(graph, dequantize, (outputs,), 0)]
