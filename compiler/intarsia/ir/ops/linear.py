"""Matrix products: MatMul, Gemm, and our `dense`, a product with constant weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from intarsia.dtypes import FLOATING, Array
from intarsia.ir.graph import Node
from intarsia.ir.op import Known, Op, attribute, refuse
from intarsia.ir.ops.rules import (
    NUMERIC,
    Shape,
    Types,
    broadcast,
    fitting,
    given,
    given_or_none,
    of_rank,
    optional,
    same_dtype,
    tensor,
    wide,
)
from intarsia.ir.types import TensorType

_MISFIT = "the last size of the left operand must be the second to last of the right one; check the transposes"


def matmul_shape(node: Node, a: TensorType, b: TensorType) -> Shape:
    """The shape of a product by NumPy's matmul rule: 1-D operands are vectors, leading axes broadcast."""
    of_rank(node, a, 1)
    of_rank(node, b, 1)
    if a.shape is None or b.shape is None:
        return None
    inner = b.shape[-2] if len(b.shape) > 1 else b.shape[0]
    if not fitting(a.shape[-1], inner):
        raise refuse(node, f"{a} times {b}: inner sizes {a.shape[-1]} and {inner} differ", _MISFIT)
    batch = broadcast(node, TensorType(a.dtype, a.shape[:-2]), TensorType(b.dtype, b.shape[:-2]))
    assert batch is not None
    rows = a.shape[-2:-1] if len(a.shape) > 1 else ()
    columns = b.shape[-1:] if len(b.shape) > 1 else ()
    return (*batch, *rows, *columns)


def _infer_matmul(node: Node, types: Types, known: Known) -> list[TensorType]:
    a, b = tensor(node, types, 0, NUMERIC), tensor(node, types, 1, NUMERIC)
    return [TensorType(same_dtype(node, a, b), matmul_shape(node, a, b))]


def _evaluate_matmul(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    a, b = given(inputs, 0), given(inputs, 1)
    return [np.asarray(np.matmul(wide(a), wide(b))).astype(a.dtype, copy=False)]


def matmul_macs(node: Node) -> int:
    """Each output element sums along the last axis of the first input."""
    return node.output.type.elements * node.input(0).shape[-1]


MATMUL = Op("MatMul", _infer_matmul, _evaluate_matmul, macs=matmul_macs, carries_activation=True)


def _infer_gemm(node: Node, types: Types, known: Known) -> list[TensorType]:
    a, b, c = tensor(node, types, 0, NUMERIC), tensor(node, types, 1, NUMERIC), optional(types, 2)
    same_dtype(node, a, b, c)
    of_rank(node, a, 2, 2)
    of_rank(node, b, 2, 2)
    left = a.shape if a.shape is not None else (None, None)
    right = b.shape if b.shape is not None else (None, None)
    rows, depth = left[::-1] if attribute(node, GEMM, "transA") else left
    inner, columns = right[::-1] if attribute(node, GEMM, "transB") else right
    if not fitting(depth, inner):
        flags = f"transA {attribute(node, GEMM, 'transA')}, transB {attribute(node, GEMM, 'transB')}"
        raise refuse(node, f"{a} times {b} with {flags}: inner sizes {depth} and {inner} differ", _MISFIT)
    result = TensorType(a.dtype, (rows, columns))
    if c is not None:
        together = broadcast(node, result, c)
        if together is not None and not (
            len(together) == 2 and fitting(together[0], rows) and fitting(together[1], columns)
        ):
            raise refuse(node, f"bias {c} does not broadcast to {result}", "give a bias [M] or [N,M]")
    return [result]


def _evaluate_gemm(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    a, b, c = given(inputs, 0), given(inputs, 1), given_or_none(inputs, 2)
    alpha, beta = attribute(node, GEMM, "alpha"), attribute(node, GEMM, "beta")
    left = wide(a.T if attribute(node, GEMM, "transA") else a)
    right = wide(b.T if attribute(node, GEMM, "transB") else b)
    total = np.matmul(left, right)
    if alpha != 1:
        total = total * _factor(alpha, total)
    if c is not None and beta != 0:
        total = total + (wide(c) if beta == 1 else wide(c) * _factor(beta, total))
    return [np.asarray(total).astype(a.dtype, copy=False)]


def _factor(number: float, like: Array) -> Array:
    """alpha or beta; whole numbers are scaled in float64 and cut at the end."""
    return np.asarray(number, like.dtype if like.dtype.kind == "f" else np.float64)


def _gemm_macs(node: Node) -> int:
    return node.output.type.elements * node.input(0).shape[0 if node.attributes.get("transA") else -1]


GEMM = Op(
    "Gemm",
    _infer_gemm,
    _evaluate_gemm,
    {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0},
    macs=_gemm_macs,
    carries_activation=True,
)


def _infer_dense(node: Node, types: Types, known: Known) -> list[TensorType]:
    x, w, bias = tensor(node, types, 0, FLOATING), tensor(node, types, 1, FLOATING), optional(types, 2)
    same_dtype(node, x, w, bias)
    of_rank(node, x, 1)
    of_rank(node, w, 2, 2)
    shape = matmul_shape(node, x, w)
    if bias is not None and w.shape is not None and bias.shape is not None:
        of_rank(node, bias, 1, 1)
        if not fitting(bias.shape[0], w.shape[1]):
            raise refuse(node, f"bias {bias} does not fit weight {w}", "give one bias a column")
    return [TensorType(x.dtype, shape)]


def _evaluate_dense(node: Node, inputs: Sequence[Array | None]) -> list[Array]:
    x, w, bias = given(inputs, 0), given(inputs, 1), given_or_none(inputs, 2)
    total = np.matmul(wide(x), wide(w))
    if bias is not None:
        total = total + wide(bias)
    return [np.asarray(total).astype(x.dtype, copy=False)]


DENSE = Op("dense", _infer_dense, _evaluate_dense, macs=matmul_macs, carries_activation=True)
"""Inputs x [...,K], weight [K,M], optional bias [M], all of one floating type: x @ weight + bias, [...,M]."""


OPS = (MATMUL, GEMM, DENSE)
