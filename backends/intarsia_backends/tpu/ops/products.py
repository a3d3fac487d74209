"""Matrix products of floats."""

from __future__ import annotations

import math

from intarsia.ir.graph import Node
from intarsia_backends.tpu.body import Body, emitter
from intarsia_backends.tpu.stablehlo import Tensor


def factor(body: Body, x: Tensor) -> Tensor:
    """What is multiplied in sums of products: rounded to bfloat16 where the target is told to."""
    return body.convert(x, "bfloat16") if body.narrow else x


def _matmul(body: Body, node: Node) -> Tensor:
    """NumPy's matmul: vectors are matrices of one row or column, leading axes broadcast."""
    a, b, shape = body.read(node.input(0)), body.read(node.input(1)), node.output.shape
    left = a if a.rank > 1 else body.reshape(a, (1, *a.shape))
    right = b if b.rank > 1 else body.reshape(b, (*b.shape, 1))
    if math.prod(right.shape[:-2]) == 1:
        matrix = body.reshape(right, right.shape[-2:])
        total = body.dot(factor(body, left), factor(body, matrix), (left.rank - 1, 0), dtype="float32")
    else:
        batch = shape[: max(a.rank, b.rank) - 2]
        left, right = (body.spread(x, (*batch, *x.shape[-2:])) for x in (left, right))
        axes, last = range(len(batch)), len(batch)
        total = body.dot(factor(body, left), factor(body, right), (last + 1, last), (axes, axes), "float32")
    return body.reshape(total, shape)


def _dense(body: Body, node: Node) -> Tensor:
    x, w = body.read(node.input(0)), body.read(node.input(1))
    total = body.dot(factor(body, x), factor(body, w), (x.rank - 1, 0), dtype="float32")
    bias = node.optional_input(2)
    if bias is not None:
        total = body.binary("add", total, body.spread(body.read(bias), total.shape))
    return total


def _gemm(body: Body, node: Node) -> Tensor:
    a, b = body.read(node.input(0)), body.read(node.input(1))
    axes = (0 if node.attributes.get("transA", 0) else 1, 1 if node.attributes.get("transB", 0) else 0)
    total = body.dot(factor(body, a), factor(body, b), axes, dtype="float32")
    alpha, beta = (float(node.attributes.get(name, 1.0)) for name in ("alpha", "beta"))
    total = total if alpha == 1 else body.with_number("multiply", total, alpha)
    bias = node.optional_input(2)
    if bias is not None and beta != 0:
        addend = body.spread(body.read(bias), total.shape)
        total = body.binary("add", total, addend if beta == 1 else body.with_number("multiply", addend, beta))
    return total


EMITTERS = {
    "MatMul": emitter(_matmul),
    "dense": emitter(_dense),
    "Gemm": emitter(_gemm),
}
