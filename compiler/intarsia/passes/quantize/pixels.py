"""Bytes of pictures to int8 in one step, where a float stood between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from intarsia.dtypes import Array
from intarsia.ir.evaluate import evaluate_node
from intarsia.ir.facts import keeps_scale
from intarsia.ir.graph import Node, Value
from intarsia.ir.types import Quantization, TensorType
from intarsia.passes.base import CHANGED, Answer, Rewrite, Rewriter, refuse


@dataclass(frozen=True)
class FusePixels(Rewrite):
    """`quantize(pixels(x))` -> `pixel_lookup(x)`, or `lookup(x)` where all channels have one table.

    What moves elements between the two moves int8 then. The table holds what the two make of each byte: nothing is
    rounded anew.
    """

    name: ClassVar[str] = "fuse-pixels"
    ops: ClassVar[tuple[str, ...]] = ("quantize",)

    def rewrite(self, node: Node, rewriter: Rewriter) -> Answer:
        chain = _behind_pixels(node.input(0))
        if chain is None:
            return None
        pixels, *moves = chain
        if any(len(step.output.users) > 1 or rewriter.graph.is_output(step.output) for step in chain):
            return refuse(f"the numbers of {pixels.where} are read elsewhere, as floats")
        graph, scale = rewriter.graph, node.output.quantization
        assert scale is not None, f"{node.where} has no scale"
        x, table = pixels.input(0), _table(node, pixels)
        same = bool((table == table[:1]).all())
        data = graph.add_constant(graph.fresh_name(f"{pixels.name}_table"), table[0] if same else table)
        made = self._int8(rewriter, "lookup" if same else "pixel_lookup", [x, data], pixels, scale)
        for move in moves:
            made = self._int8(rewriter, move.op, [made, *move.inputs[1:]], move, scale)
        rewriter.supersede(node.output, made)
        return CHANGED

    def _int8(self, rewriter: Rewriter, op: str, inputs: list[Value | None], like: Node, scale: Quantization) -> Value:
        """A node of that op after `like`, on int8."""
        wish = f"{like.name}_int8"
        attributes = like.attributes if op == like.op else {}
        type = TensorType("int8", like.output.shape)
        node = rewriter.graph.add_node(
            op, inputs, [type], attributes, name=wish, output_names=[wish], opset=like.opset if op == like.op else 0
        )
        node.output.quantization = scale
        return node.output


def _behind_pixels(value: Value) -> list[Node] | None:
    """A `pixels` node and what moves its numbers until they are `value`."""
    chain: list[Node] = []
    node = value.producer
    while node is not None:
        chain.insert(0, node)
        if node.op == "pixels":
            return chain
        if (
            not keeps_scale(node)
            or len(node.outputs) != 1
            or not all(v is None or v.is_constant for v in node.inputs[1:])
        ):
            return None
        node = node.input(0).producer
    return None


def _table(quantize: Node, pixels: Node) -> Array:
    """int8 [C, 256]: what the two make of each byte of each channel."""
    mean, scale = pixels.input(1).data, pixels.input(2).data
    assert mean is not None and scale is not None
    every = np.repeat(np.arange(256, dtype=np.uint8), len(mean)).reshape(1, 1, 256, len(mean))
    (numbers,) = evaluate_node(pixels, [every, mean, scale])
    (made,) = evaluate_node(quantize, [numbers])
    return np.ascontiguousarray(made[0, 0].T)
