"""GroupNormalization in one form: named, written with Reshape and InstanceNormalization, or spelled out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from intarsia.dtypes import Array, numpy_dtype
from intarsia.ir.graph import Graph, Node, Value
from intarsia.passes.base import CHANGED, Answer, Rewrite, Rewriter, refuse, type_like
from intarsia.passes.fuse.affine import channel_vector
from intarsia.passes.matching import OPSET, constant, constant_operand, plain_producer, shape_constant


@dataclass(frozen=True)
class CanonicalizeGroupNorm(Rewrite):
    """Say GroupNormalization as PyTorch exports it: InstanceNormalization of groups between Reshapes, then a BatchNorm.

    `GroupNormalization(x, a, b)` and `Mul(Reshape(InstanceNormalization(Reshape(x))), a)` become
    `BatchNormalization(Reshape(InstanceNormalization(Reshape(x))), a, b, 0, 1)`; groups have three axes.
    """

    name: ClassVar[str] = "canonicalize-group-norm"
    tolerance: ClassVar[float] = 1e-5
    ops: ClassVar[tuple[str, ...]] = ("GroupNormalization", "InstanceNormalization", "LayerNormalization", "Mul")

    def rewrite(self, node: Node, rewriter: Rewriter) -> Answer:
        if node.output.dtype != "float32" or not node.output.type.is_static or "activation" in node.attributes:
            return None
        if node.op == "GroupNormalization":
            return _named(node, rewriter)
        if node.op == "Mul":
            return _scaled(node, rewriter)
        return _grouped(node, rewriter)


def _named(node: Node, rewriter: Rewriter) -> Answer:
    x, graph, groups = node.input(0), rewriter.graph, int(node.attributes["num_groups"])
    scale, bias = node.input(1).data, node.input(2).data
    if scale is None or bias is None:
        return refuse("its scale or bias is computed at run time")
    if x.type.rank < 3 or not x.type.elements:
        return refuse(f"it normalizes {x.type}, which has no spatial axis")
    if len(scale) != x.shape[1]:  # one for each group, before opset 21
        scale, bias = np.repeat(scale, x.shape[1] // groups), np.repeat(bias, x.shape[1] // groups)
    wish = f"{node.output.name}_groups"
    rows = _reshaped(graph, x, (x.shape[0], groups, -1), wish)
    parameters = [constant(graph, f"{wish}_{name}", np.full(groups, number, np.float32)) for name, number in _PLAIN]
    attributes = {"epsilon": node.attributes.get("epsilon", 1e-5)}
    made = graph.add_node(
        "InstanceNormalization", [rows, *parameters], [rows.type], attributes, name=wish, output_names=[wish], opset=6
    ).output
    if (scale == 1.0).all() and (bias == 0.0).all():
        node.op, node.opset, node.attributes = "Reshape", OPSET, {}
        rewriter.set_inputs(node, [made, shape_constant(graph, f"{node.output.name}_shape", x.shape)])
    else:
        _make_batch_norm(node, rewriter, _reshaped(graph, made, x.shape, node.output.name), scale, bias)
    return CHANGED


_PLAIN = (("scale", 1.0), ("shift", 0.0))


def _reshaped(graph: Graph, x: Value, shape: tuple[int, ...], wish: str) -> Value:
    sizes = shape if -1 not in shape else (*shape[:-1], x.type.elements // int(np.prod(shape[:-1])))
    name = graph.fresh_name(f"{wish}_reshaped")
    inputs: list[Value | None] = [x, shape_constant(graph, f"{name}_shape", sizes)]
    return graph.add_node("Reshape", inputs, [type_like(x, sizes)], name=name, output_names=[name], opset=OPSET).output


def _make_batch_norm(node: Node, rewriter: Rewriter, x: Value, scale: Array, bias: Array) -> None:
    """y = x * scale + bias for each channel, to be merged with what follows."""
    graph, wish, dtype = rewriter.graph, node.output.name, numpy_dtype(x.dtype)
    parts = {"scale": scale, "bias": bias, "mean": np.zeros_like(scale), "variance": np.ones_like(scale)}
    inputs = [constant(graph, f"{wish}_{name}", data.astype(dtype)) for name, data in parts.items()]
    node.op, node.opset, node.attributes = "BatchNormalization", 15, {"epsilon": 0.0}
    rewriter.set_inputs(node, [x, *inputs])


def _scaled(node: Node, rewriter: Rewriter) -> Answer:
    """A factor for each channel behind groups that are normalized."""
    pair = constant_operand(node)
    back = None if pair is None else plain_producer(pair[0])
    norm = plain_producer(back.input(0)) if back is not None and back.op == "Reshape" else None
    if pair is None or norm is None or norm.op != "InstanceNormalization" or pair[0].type != node.output.type:
        return None
    x = pair[0]
    vector = channel_vector(pair[1], x.shape, 1) if x.type.rank >= 3 else None
    if vector is None or norm.output.shape[0] != x.shape[0] or x.shape[1] % norm.output.shape[1]:
        return None
    _make_batch_norm(node, rewriter, x, vector, np.zeros_like(vector))
    return CHANGED


def _grouped(node: Node, rewriter: Rewriter) -> Answer:
    """Groups of any number of axes between Reshapes, as groups of three."""
    graph, before, behind = rewriter.graph, plain_producer(node.input(0)), node.output.only_user
    if before is None or before.op != "Reshape" or behind is None or graph.is_output(node.output):
        return None
    x, source = node.input(0), before.input(0)
    if behind.op != "Reshape" or not source.type.is_static or behind.output.type != source.type:
        return None
    if x.type.rank < 3 or source.type.rank < 3 or x.shape[0] != source.shape[0] or source.shape[1] % x.shape[1]:
        return None
    if node.op == "LayerNormalization":
        scale = node.input(1).data
        axis = int(node.attributes.get("axis", -1)) % x.type.rank
        if scale is None or (scale != 1.0).any() or axis != 2 or len(node.inputs) > 2 or len(node.outputs) > 1:
            return None
        groups = x.shape[1]
        parameters = [
            constant(graph, f"{node.output.name}_{name}", np.full(groups, number, np.float32))
            for name, number in _PLAIN
        ]
        node.op, node.opset = "InstanceNormalization", 6
        node.attributes = {"epsilon": node.attributes.get("epsilon", 1e-5)}
    elif x.type.rank > 3:
        parameters = [node.input(1), node.input(2)]
    else:
        return None
    rows = _reshaped(graph, source, (*x.shape[:2], -1), node.output.name)
    rewriter.set_inputs(node, [rows, *parameters])
    node.output.type = rows.type
    return CHANGED
