"""Ops that are made of simpler ones: a node as a small graph of other nodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from intarsia.dtypes import ELEMENT_NUMBERS
from intarsia.ir.budget import OverBudget, raising
from intarsia.ir.evaluate import evaluate_node
from intarsia.ir.graph import Graph, Node, Value
from intarsia.ir.infer import infer_node
from intarsia.ir.types import TensorType

OPSET = 21
"""Opset of the nodes that parts are made of; the ops used mean the same in the canonical form of an import."""


@dataclass(frozen=True)
class Kept:
    """Why a node that no target takes stays whole all the same.

    rule, reason, fix  as a target's answer has them: what decided, what was found, what the user may change
    """

    rule: str
    reason: str
    fix: str = "the NumPy evaluator takes it; nothing needs to change"


class NotMade(Exception):
    """A node cannot be taken apart; `kept` says why."""

    def __init__(self, kept: Kept) -> None:
        super().__init__(kept.reason)
        self.kept = kept


@dataclass(frozen=True)
class Expanded:
    """A node taken apart.

    graph    its parts; outputs in the order of those that the node does not leave out
    sources  for each input of the graph the value that the node reads
    """

    graph: Graph
    sources: Mapping[Value, Value]


class Parts:
    """The small graph of one node, as an expansion puts it together.

    node     what is taken apart
    inputs   its inputs, as values of the small graph; constants keep their elements
    """

    def __init__(self, node: Node) -> None:
        self.node = node
        self.graph = Graph(node.name)
        self.twins: dict[Value, Value] = {}
        self.inputs = [None if value is None else self._twin(value) for value in node.inputs]

    def _twin(self, value: Value) -> Value:
        if value not in self.twins:
            name = self.graph.fresh_name(value.name)
            if value.data is not None:
                self.twins[value] = self.graph.add_constant(name, value.data)
            else:
                self.twins[value] = self.graph.add_input(name, value.type)
        return self.twins[value]

    def input(self, index: int) -> Value:
        """Input `index`, which must be present."""
        value = self.inputs[index]
        assert value is not None, f"{self.node.where} has no input {index}"
        return value

    def optional_input(self, index: int) -> Value | None:
        return self.inputs[index] if index < len(self.inputs) else None

    def constant(self, data: Any, dtype: str) -> Value:
        """A constant of the small graph."""
        return self.graph.add_constant(self.graph.fresh_name("constant"), np.asarray(data, dtype))

    def ints(self, *numbers: int) -> Value:
        """A constant of int64 numbers."""
        return self.constant(numbers, "int64")

    def add(self, op: str, *inputs: Value | None, **attributes: Any) -> Value:
        """A node of one output. Where all inputs are constant it is computed at once."""
        return self.several(op, 1, *inputs, **attributes)[0]

    def several(self, op: str, count: int, *inputs: Value | None, opset: int = OPSET, **attributes: Any) -> list[Value]:
        """A node of several outputs."""
        types: list[TensorType | None] = [TensorType("float32", None)] * count
        node = self.graph.add_node(op, inputs, types, attributes, opset=opset)
        if all(value is None or value.data is not None for value in inputs):
            results = evaluate_node(node, [None if value is None else value.data for value in inputs])
            self.graph.erase_all([node])
            return [self.constant(result, str(result.dtype)) for result in results]
        found = infer_node(node)
        assert found is not None, f"{op} has no shape rule"
        made = []
        for value, type in zip(node.outputs, found):
            assert value is not None
            value.type = type
            made.append(value)
        return made

    # ---- what many ops are made of

    def reshape(self, x: Value, *shape: int) -> Value:
        return x if x.type.shape == shape else self.add("Reshape", x, self.ints(*shape), allowzero=1)

    def transpose(self, x: Value, *order: int) -> Value:
        return x if order == tuple(range(len(order))) else self.add("Transpose", x, perm=order)

    def reduce(self, op: str, x: Value, *axes: int, keepdims: int = 1) -> Value:
        return self.add(op, x, self.ints(*axes), keepdims=keepdims)

    def number(self, like: Value, number: float) -> Value:
        """A scalar of the element type of `like`."""
        return self.constant(number, like.dtype)

    def cast(self, x: Value, dtype: str) -> Value:
        return x if x.dtype == dtype else self.add("Cast", x, to=ELEMENT_NUMBERS[dtype])

    def slice(self, x: Value, axis: int, start: int, end: int) -> Value:
        """Elements start..end of one axis."""
        if start == 0 and end == x.shape[axis]:
            return x
        return self.add("Slice", x, self.ints(start), self.ints(end), self.ints(axis))

    def refuse(self, rule: str, reason: str) -> NotMade:
        """What to raise for a form that the expansion does not know."""
        return NotMade(Kept(rule, reason))


Expansion = Callable[[Parts], Sequence[Value | None]]
"""Puts the small graph together and gives the outputs of the node in it; raises NotMade."""


def expand(expansion: Expansion, node: Node) -> Expanded:
    """The parts of a node; outputs that it leaves out are not made. Raises NotMade."""
    parts = Parts(node)
    try:
        made = list(expansion(parts))
    except OverBudget as error:
        raise parts.refuse(
            error.limit, f"for its parts {error.what}; to raise it, {raising(error.limit, kept=True)}"
        ) from None
    outputs = []
    for value, wanted in zip(made, node.outputs):
        if wanted is None:
            continue
        assert value is not None, f"{node.where}: an output is not made"
        if value.type != wanted.type:  # sizes may be declared that the inputs known here do not tell
            raise parts.refuse("static-shape", f"its parts give {value.type}, and {wanted.type} is declared")
        outputs.append(value)
    missing = [value for value in node.outputs[len(made) :] if value is not None]
    if missing:
        raise parts.refuse("outputs", f"{len(missing)} outputs more than {len(made)}")
    parts.graph.outputs = outputs
    _drop_dead(parts.graph)
    return Expanded(parts.graph, {twin: value for value, twin in parts.twins.items() if twin.data is None})


def _drop_dead(graph: Graph) -> None:
    """Take out nodes for outputs that the node leaves out."""
    for node in reversed(list(graph.nodes)):
        if not any(value is not None and (value.user_count or graph.is_output(value)) for value in node.outputs):
            graph.erase_all([node])
