"""A channels-last Flatten before a matrix product: the rows of the weight move instead of the activations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from intarsia.dtypes import Array
from intarsia.ir.graph import Graph, Node, Value
from intarsia.passes.base import CHANGED, Answer, Rewrite, Rewriter, refuse, type_like
from intarsia.passes.matching import constant, permutation, quantized_constant, shape_constant, why_shared
from intarsia.passes.quantized_constants import has_one_scale, rows_reordered

_ELEMENTWISE = frozenset(
    (
        *("Relu", "Clip", "LeakyRelu", "Sigmoid", "Tanh", "HardSigmoid", "HardSwish", "Elu"),
        *("QuantizeLinear", "DequantizeLinear", "Cast", "Identity", "Abs", "Neg", "Sqrt", "Exp"),
    )
)
_PRODUCTS = ("MatMul", "Gemm", "dense")


@dataclass(frozen=True)
class AbsorbTranspose(Rewrite):
    """`MatMul(Reshape(Transpose(x)), w)` -> `MatMul(Reshape(x), w[order])`, through ops on single elements too."""

    name: ClassVar[str] = "absorb-transpose"
    tolerance: ClassVar[float] = 1e-5  # the sum runs in another order
    ops: ClassVar[tuple[str, ...]] = ("Transpose",)

    def rewrite(self, node: Node, rewriter: Rewriter) -> Answer:
        x = node.input(0)
        if not x.type.is_static or (perm := permutation(node))[0] != 0:
            return None
        path = _path(node)
        if path is None:
            return None
        *members, product = path
        shape = x.shape
        if members[-1].output.shape != (shape[0], x.type.elements // max(shape[0], 1)):
            return None
        for before, after in zip((node, *members), path):
            shared = why_shared(rewriter.graph, before.output, after)
            if shared is not None:
                return refuse(f"{before.where} on the way to {product.where} must stay: {shared}")
        inner = np.arange(x.type.elements // shape[0]).reshape(shape[1:])
        order = inner.transpose([axis - 1 for axis in perm[1:]]).reshape(-1)
        weight = _reordered(rewriter.graph, product, np.argsort(order))
        if weight is None:
            return refuse(f"the weight of {product.where} has a scale for each row, or is not constant")
        value, flat = x, False
        for member in members:
            flat = flat or member.op == "Reshape"
            value = _twin(rewriter.graph, member, value, flat)
        rewriter.set_inputs(product, [value, weight, *product.inputs[2:]])
        return CHANGED


def _path(node: Node) -> list[Node] | None:
    """What follows a Transpose up to a matrix product, with exactly one Reshape on the way."""
    path: list[Node] = []
    reshapes = 0
    while len(path) < 16:
        readers = node.output.users
        if not readers:
            return None
        reader = readers[0]
        if reader.domain or reader.input(0) is not node.output or not reader.output.type.is_static:
            return None
        path.append(reader)
        if reader.op in _PRODUCTS:
            usual = not reader.attributes.get("transA", 0) and reader.input(1) is not node.output
            return path if reshapes == 1 and usual else None
        if reader.op == "Reshape":
            reshapes += 1
        elif reader.op not in _ELEMENTWISE or (len(reader.inputs) > 1 and not _single_numbers(reader)):
            return None
        node = reader
    return None


def _single_numbers(node: Node) -> bool:
    """True where everything beside the first operand is one number, so that no axis has a meaning."""
    return all(value is None or (value.is_constant and value.type.elements == 1) for value in node.inputs[1:])


def _reordered(graph: Graph, product: Node, order: Array) -> Value | None:
    """The weight of a matrix product with its rows (the axis of the sum) in another order."""
    weight = product.input(1)
    if weight.type.rank != 2:
        return None
    rows = 1 if product.attributes.get("transB", 0) else 0
    if weight.data is not None:
        return constant(graph, f"{weight.name}_reordered", np.take(weight.data, order, rows))
    dequantize = quantized_constant(weight)
    if dequantize is None:
        return None
    along = dequantize.attributes.get("axis", 1) % 2
    if not has_one_scale(dequantize) and along == rows:
        return None
    return rows_reordered(graph, dequantize, order, rows)


def _twin(graph: Graph, node: Node, value: Value, flat: bool) -> Value:
    """The node again, on a value whose elements lie in the other order."""
    shape = node.output.shape if flat else value.shape
    rest = [shape_constant(graph, f"{node.output.name}_shape", shape)] if node.op == "Reshape" else node.inputs[1:]
    twin = graph.add_node(
        node.op,
        [value, *rest],
        [type_like(node.output, shape)],
        node.attributes,
        name=node.name,
        output_names=[f"{node.output.name}_reordered"],
        opset=node.opset,
    )
    twin.name, node.name = node.name, twin.name
    return twin.output
