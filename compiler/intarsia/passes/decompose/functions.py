"""Ops that ONNX itself defines by simpler ones: the body of its function, which the importer reads."""

from __future__ import annotations

from collections.abc import Callable

from intarsia.errors import CompileError
from intarsia.ir.graph import Graph, Node
from intarsia.passes.decompose.parts import Expanded, Kept, NotMade

FUNCTIONS = frozenset(
    (
        *("AffineGrid", "Attention", "CausalConvWithState", "CenterCropPad", "DynamicQuantizeLinear"),
        *("GroupNormalization", "LayerNormalization", "LinearAttention", "MeanVarianceNormalization"),
        *("NegativeLogLikelihoodLoss", "RMSNormalization", "RotaryEmbedding", "SoftmaxCrossEntropyLoss", "SwiGLU"),
    )
)
"""Ops whose ONNX function is put in place. Not among them: those that code is made for in all forms."""


def expand_function(node: Node, function: Callable[[Node], Graph]) -> Expanded:
    """The parts of a node as ONNX's function says.

    function  gives the body; see `Advice`

    Raises NotMade where ONNX has no function for the node, or it does not come out static.
    """
    try:
        body = function(node)
    except CompileError as error:
        raise NotMade(Kept("function", error.what)) from None
    read = [value for value in node.inputs if value is not None and value.data is None]
    return Expanded(body, dict(zip(body.inputs, read, strict=True)))
