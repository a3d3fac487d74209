"""A batch normalization that found no op to go into, as a convolution of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from intarsia.ir.graph import Node
from intarsia.passes.base import CHANGED, Answer, Rewrite, Rewriter, refuse
from intarsia.passes.fuse.affine import Affine, affine_of, outside
from intarsia.passes.matching import constant, is_floating

_CONV_OPSET = 11


@dataclass(frozen=True)
class CanonicalizeBatchNorm(Rewrite):
    """Say BatchNormalization as a depthwise Conv of one tap, which every integer engine has."""

    name: ClassVar[str] = "canonicalize-batchnorm"
    tolerance: ClassVar[float] = 1e-5
    ops: ClassVar[tuple[str, ...]] = ("BatchNormalization",)

    def rewrite(self, node: Node, rewriter: Rewriter) -> Answer:
        x = node.input(0)
        if not x.type.is_static or x.type.rank < 3:
            return refuse(f"it normalises {x.type}, and a Conv needs a spatial axis")
        if not is_floating(x) or len(node.outputs) > 1:
            return refuse("it gives running statistics")
        affine = affine_of(node, 1)
        if not isinstance(affine, Affine):
            return affine
        refused = outside(x.dtype, affine.scale, affine.shift)
        if refused is not None:
            return refused
        graph, wish, spatial = rewriter.graph, node.output.name, x.type.rank - 2
        weight = affine.scale.reshape((-1, 1) + (1,) * spatial)
        inputs = [
            x,
            constant(graph, f"{wish}_weight", weight, x.dtype),
            constant(graph, f"{wish}_bias", affine.shift, x.dtype),
        ]
        node.op, node.opset = "Conv", _CONV_OPSET
        node.attributes = {
            "kernel_shape": (1,) * spatial,
            "strides": (1,) * spatial,
            "pads": (0,) * (2 * spatial),
            "dilations": (1,) * spatial,
            "group": x.shape[1],
            **{key: value for key, value in node.attributes.items() if key.startswith("activation")},
        }
        rewriter.set_inputs(node, inputs)
        return CHANGED
