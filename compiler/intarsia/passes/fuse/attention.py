"""Attention in one form: the products, the mask and the Softmax as ops of their own, the scale on the queries."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from intarsia.dtypes import Array
from intarsia.ir.graph import Graph, Node, Value
from intarsia.passes.base import CHANGED, Answer, Refused, Rewrite, Rewriter, refuse, type_like
from intarsia.passes.matching import OPSET, constant, plain_producer, shape_constant, times_constant

_MOVES = ("Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")
_TO_SOFTMAX = (*_MOVES, "Add", "Sub", "Where")
_FAR = 12
_KNOWN = {
    *("is_causal", "kv_num_heads", "q_num_heads", "qk_matmul_output_mode", "scale", "softcap", "softmax_precision"),
}


@dataclass(frozen=True)
class CanonicalizeAttention(Rewrite):
    """Say `Attention(q, k, v)` as `MatMul(Softmax(MatMul(q * scale, Transpose(k)) + mask), v)`.

    The scale of scores, wherever it stands (behind the product, on the keys, half of it on either side), goes to where
    the queries are made, so that it can become part of their weights.
    """

    name: ClassVar[str] = "canonicalize-attention"
    tolerance: ClassVar[float] = 1e-4
    ops: ClassVar[tuple[str, ...]] = ("Attention", "MatMul")

    def rewrite(self, node: Node, rewriter: Rewriter) -> Answer:
        if node.output.dtype != "float32" or not node.output.type.is_static or "activation" in node.attributes:
            return None
        return _spell(node, rewriter) if node.op == "Attention" else _gather_scales(node, rewriter)


# ---- the op


def _spell(node: Node, rewriter: Rewriter) -> Answer:
    graph, wish = rewriter.graph, node.output.name
    refused = _why_not(node)
    if refused is not None:
        return refused
    q, k, v = (node.input(index) for index in range(3))
    flat = q.type.rank == 3
    heads = int(node.attributes["q_num_heads"]) if flat else q.shape[1]
    depth = q.shape[-1] // heads if flat else q.shape[-1]
    scale = node.attributes.get("scale")
    mask = _mask(node, q.shape[-2], k.shape[-2])
    if isinstance(mask, Refused):
        return mask
    number = constant(graph, f"{wish}_scale", np.float32(1.0 / math.sqrt(depth) if scale is None else scale))
    parts = _Parts(graph, wish)
    scaled = parts.add("Mul", [q, number], q.shape)
    if flat:
        scaled, turned = parts.split(scaled, heads, (0, 2, 1, 3)), parts.split(k, heads, (0, 2, 3, 1))
        v = parts.split(v, heads, (0, 2, 1, 3))
    else:
        turned = parts.add("Transpose", [k], (*k.shape[:-2], k.shape[-1], k.shape[-2]), perm=(0, 1, 3, 2))
    shape = (*scaled.shape[:-1], turned.shape[-1])
    scores = parts.add("MatMul", [scaled, turned], shape)
    if mask is not None:
        scores = parts.add("Add", [scores, constant(graph, f"{wish}_mask", mask)], shape)
    weights = parts.add("Softmax", [scores], shape, axis=-1)
    if not flat:
        node.op, node.opset, node.attributes = "MatMul", 13, {}
        rewriter.set_inputs(node, [weights, v])
        return CHANGED
    result = parts.add("MatMul", [weights, v], (*shape[:-1], v.shape[-1]))
    merged = parts.add("Transpose", [result], tuple(result.shape[axis] for axis in (0, 2, 1, 3)), perm=(0, 2, 1, 3))
    sizes = shape_constant(graph, f"{wish}_shape", node.output.shape)
    node.op, node.opset, node.attributes = "Reshape", OPSET, {}
    rewriter.set_inputs(node, [merged, sizes])
    return CHANGED


def _why_not(node: Node) -> Refused | None:
    """Why an Attention is left to its ONNX function."""
    if any(value is not None for value in (*node.inputs[4:], *node.outputs[1:])):
        return refuse("it has a past, or gives more than its result")
    tensors = [node.input(index) for index in range(3)]
    if not all(value.type.is_static and value.type.elements and value.dtype == "float32" for value in tensors):
        return refuse("its operands have no fixed shape of float32")
    strange = sorted(set(node.attributes) - _KNOWN)
    if strange:
        return refuse(f"it has {strange[0]}")
    if node.attributes.get("softcap", 0.0) or node.attributes.get("softmax_precision", 1) != 1:
        return refuse("it bounds its scores, or computes in another type")
    q, k, v = tensors
    if q.type.rank == 4:
        return None if q.shape[:2] == k.shape[:2] == v.shape[:2] else refuse("queries share keys")
    same = node.attributes.get("q_num_heads") == node.attributes.get("kv_num_heads")
    return None if same else refuse("queries share keys")


def _mask(node: Node, rows: int, columns: int) -> Array | Refused | None:
    """What is added to the scores, float32; refused where a row may be masked as a whole, whose weights are 0 then."""
    given, total = node.optional_input(3), None
    if given is not None:
        if given.data is None:
            return refuse("its mask is computed at run time")
        data = given.data
        total = np.where(data, 0.0, -np.inf) if data.dtype == np.bool_ else data.astype(np.float64)
        if total.shape[-1] != columns:
            return refuse("its mask is shorter than the keys")
    if node.attributes.get("is_causal", 0):
        causal = np.where(np.tril(np.ones((rows, columns), np.bool_)), 0.0, -np.inf)
        total = causal if total is None else total + causal
    if total is None:
        return None
    if not np.isfinite(total.max(axis=-1)).all():
        return refuse("its mask leaves nothing of a row")
    return total.astype(np.float32)


class _Parts:
    """Makes the nodes that stand for one Attention."""

    def __init__(self, graph: Graph, wish: str) -> None:
        self.graph, self.wish = graph, wish

    def add(self, op: str, inputs: Sequence[Value | None], shape: Sequence[int], **attributes: object) -> Value:
        like = inputs[0]
        assert like is not None
        name = self.graph.fresh_name(f"{self.wish}_{op.lower()}")
        return self.graph.add_node(
            op, inputs, [type_like(like, tuple(shape))], attributes, name=name, output_names=[name], opset=OPSET
        ).output

    def split(self, x: Value, heads: int, perm: tuple[int, ...]) -> Value:
        """[B, L, H * D] as [B, L, H, D], transposed."""
        batch, rows, width = x.shape
        sizes = (batch, rows, heads, width // heads)
        apart = self.add("Reshape", [x, shape_constant(self.graph, f"{x.name}_heads", sizes)], sizes)
        return self.add("Transpose", [apart], tuple(sizes[axis] for axis in perm), perm=perm)


# ---- the scale


def _gather_scales(node: Node, rewriter: Rewriter) -> Answer:
    """The scale of a product whose result a Softmax reads, to the source of its first operand."""
    graph = rewriter.graph
    if any(node.input(index).is_constant for index in (0, 1)):
        return None
    behind = _scales_behind(node, graph)
    if not _reaches_softmax(behind[-1].output if behind else node.output, graph):
        return None
    queries, keys = (_scales_before(node.input(index), graph) for index in (0, 1))
    scales = [*behind, *queries.scales, *keys.scales]
    if not scales or (not behind and not keys.scales and len(queries.scales) == 1 and queries.at_source):
        return None
    factor, usual = math.prod(_factor(scale) for scale in scales), 1.0 / math.sqrt(node.input(0).shape[-1])
    if abs(factor - usual) <= 1e-6 * usual:
        factor = usual  # what several roundings to float32 meant
    for scale in (*queries.scales, *keys.scales):
        rewriter.replace(scale.output, _operand(scale))
    if behind:
        rewriter.supersede(behind[-1].output, node.output)
    source, first = queries.source, queries.reader or node
    wish = f"{source.name}_scaled"
    scaled = graph.add_node(
        "Mul",
        [source, constant(graph, f"{wish}_by", np.float32(factor))],
        [source.type],
        name=graph.fresh_name(wish),
        output_names=[graph.fresh_name(wish)],
        opset=OPSET,
    ).output
    if first is node:
        rewriter.set_inputs(node, [scaled, node.input(1)])
    else:
        first.replace_input(source, scaled)
    return CHANGED


@dataclass
class _Chain:
    """How an operand is made of moves and scales.

    source     what the first of them reads
    reader     the first move behind the source, or None where the product itself reads it
    scales     nodes that multiply by a single number
    at_source  the one scale stands in front of all moves
    """

    source: Value
    reader: Node | None
    scales: list[Node]
    at_source: bool


def _scales_before(value: Value, graph: Graph) -> _Chain:
    chain = _Chain(value, None, [], False)
    for _ in range(_FAR):
        node = plain_producer(value)
        alone = value.user_count == 1 and not graph.is_output(value)
        if node is None or not alone:
            break
        if times_constant(value) is not None and _operand(node).type == value.type:
            chain.scales.append(node)
            chain.at_source = True
            value = _operand(node)
        elif node.op in _MOVES:
            chain.reader, chain.at_source = node, False
            value = node.input(0)
        else:
            break
    chain.source = value
    return chain


def _scales_behind(node: Node, graph: Graph) -> list[Node]:
    found: list[Node] = []
    value = node.output
    while len(found) < _FAR and value.user_count == 1 and not graph.is_output(value):
        reader = value.users[0]
        scaled = times_constant(reader.output) if reader.outputs[0] is not None else None
        if scaled is None or scaled[0] is not value or reader.output.type != node.output.type:
            break
        found.append(reader)
        value = reader.output
    return found


def _reaches_softmax(value: Value, graph: Graph) -> bool:
    for _ in range(_FAR):
        reader = value.only_user
        if reader is None or graph.is_output(value):
            return False
        if reader.op == "Softmax":
            return True
        if reader.op not in _TO_SOFTMAX:
            return False
        value = reader.output
    return False


def _operand(node: Node) -> Value:
    scaled = times_constant(node.output)
    assert scaled is not None
    return scaled[0]


def _factor(node: Node) -> float:
    scaled = times_constant(node.output)
    assert scaled is not None
    return scaled[1]
