"""A region as one StableHLO module: the table of ops, and the text with what stands beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from intarsia.dtypes import Array
from intarsia.ir.graph import Graph, Node
from intarsia.targets import Support, no
from intarsia_backends.lowering.ops.table import Lowering, refused, supports
from intarsia_backends.tpu.body import Body
from intarsia_backends.tpu.ops import elementwise, images, integer, movement, products, reductions
from intarsia_backends.tpu.ops.functions import activated, knows_activation
from intarsia_backends.tpu.stablehlo import Tensor

EMITTERS: Mapping[str, Lowering[Any]] = {
    **elementwise.EMITTERS,
    **movement.EMITTERS,
    **reductions.EMITTERS,
    **products.EMITTERS,
    **images.EMITTERS,
    **integer.EMITTERS,
}
"""By op, what writes it."""


def supported(node: Node) -> Support:
    """Whether a node can be written in StableHLO, and if not, which rule refuses it."""
    name = f"{node.domain}.{node.op}" if node.domain else node.op
    row = None if node.domain else EMITTERS.get(node.op)
    if row is None:
        return no("operator", f"no StableHLO is written for {name}", "nothing needs to change, the CPU takes it")
    if not knows_activation(node):
        return refused("activation", f"no StableHLO is written for {node.attributes['activation']}")
    return supports(row, node)


@dataclass(frozen=True)
class Module:
    """A region written out.

    text     StableHLO: `main` takes the region's inputs and then the weights, and gives its outputs and then one bool,
             [], for each guard
    weights  arrays, in order
    guards   what is wrong where one of those bools is false
    """

    text: str
    weights: tuple[Array, ...]
    guards: tuple[str, ...]


def write_region(graph: Graph, narrow: bool = False) -> Module:
    """The module of a region whose nodes are all supported.

    narrow  whether products of float32 are made of operands rounded to bfloat16
    """
    body = Body(narrow)
    inputs = []
    for index, value in enumerate(graph.inputs):
        inputs.append(Tensor(f"%x{index}", value.dtype, value.shape))
        body.give(value, inputs[-1])
    for node in graph.nodes:
        made: Any = EMITTERS[node.op].lower(body, node)  # type: ignore[func-returns-value]
        tensors = [activated(body, node, made)] if isinstance(made, Tensor) else made
        for output, tensor in zip(node.outputs, tensors):
            if output is not None:
                body.give(output, tensor)
    outputs = [body.read(value) for value in graph.outputs]
    text = body.module(inputs, [*outputs, *(tensor for tensor, _ in body.guards)])
    return Module(text, tuple(body.weights), tuple(what for _, what in body.guards))
