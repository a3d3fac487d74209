"""Reshape as the canonical form of every change of shape that moves no element."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from intarsia.ir.graph import Graph, Node, Value
from intarsia.passes.base import CHANGED, Answer, Rewrite, Rewriter, refuse
from intarsia.passes.matching import OPSET, permutation, quantized_constant, shape_constant
from intarsia.passes.quantized_constants import has_one_scale, reshaped


def make_reshape(node: Node, x: Value, graph: Graph) -> None:
    """Turn a node of static output shape into a Reshape of x, in place."""
    shape = node.output.shape
    node.op, node.opset = "Reshape", OPSET
    node.attributes = {"allowzero": 1} if 0 in shape else {}
    node.set_inputs([x, shape_constant(graph, f"{node.output.name}_shape", shape)])


def moves_only_unit_axes(shape: Sequence[int], perm: Sequence[int]) -> bool:
    """True where a transpose leaves the elements in the order in which they lie."""
    order = [axis for axis in perm if shape[axis] != 1]
    return order == sorted(order)


_AVERAGES = ("ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum")
"""Of one element they give that element."""


@dataclass(frozen=True)
class CanonicalizeReshape(Rewrite):
    """Say Flatten, Squeeze, Unsqueeze, Reshapes by computed shapes and means of one element as Reshape.

    transposes  also a Transpose that moves only axes of size 1; better once Transposes had a chance to cancel
    """

    name: ClassVar[str] = "canonicalize-reshape"
    ops: ClassVar[tuple[str, ...]] = ("Flatten", "Squeeze", "Unsqueeze", "Reshape", "Transpose", *_AVERAGES)
    transposes: bool = True

    def rewrite(self, node: Node, rewriter: Rewriter) -> Answer:
        x = node.input(0)
        if node.op == "Transpose" and not (self.transposes and x.type.is_static):
            return None
        if node.op in _AVERAGES and not _keeps_elements(node):
            return None
        if not node.output.type.is_static or not x.type.is_static:
            return refuse("its shape is not known")
        if node.op == "Transpose" and not moves_only_unit_axes(x.shape, permutation(node)):
            return None
        if node.op == "Reshape":
            shape = node.input(1)
            if shape.data is not None and tuple(shape.data.tolist()) == node.output.shape:
                return None
        former = [value.producer for value in node.inputs[1:] if value is not None]
        make_reshape(node, x, rewriter.graph)
        for producer in former:
            rewriter.drop(producer)
        return CHANGED


def _keeps_elements(node: Node) -> bool:
    x, y = node.input(0).type, node.output.type
    return x.is_static and y.is_static and x.elements == y.elements > 0


@dataclass(frozen=True)
class MergeReshapes(Rewrite):
    """`Reshape(Reshape(x))` -> `Reshape(x)`; Reshape of a dequantized constant reshapes the constant."""

    name: ClassVar[str] = "merge-reshapes"
    ops: ClassVar[tuple[str, ...]] = ("Reshape",)

    def rewrite(self, node: Node, rewriter: Rewriter) -> Answer:
        x = node.input(0)
        producer = x.producer
        if producer is None or producer.domain or not node.output.type.is_static:
            return None
        if producer.op == "Reshape":
            make_shape = shape_constant(rewriter.graph, f"{node.output.name}_shape", node.output.shape)
            rewriter.set_inputs(node, [producer.input(0), make_shape])
            node.attributes = {"allowzero": 1} if 0 in node.output.shape else {}
            return CHANGED
        dequantize = quantized_constant(x)
        if dequantize is None:
            return None
        if not has_one_scale(dequantize):
            return refuse(f"'{x.name}' has a scale for each channel, and the channels would move")
        rewriter.supersede(node.output, reshaped(rewriter.graph, dequantize, node.output.shape, 0))
        return CHANGED
