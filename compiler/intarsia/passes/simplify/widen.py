"""Models in float16 and bfloat16, said in float32, so that what is quantized, or rounded by a target, is found in one
float type alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from intarsia.dtypes import ELEMENT_NUMBERS, ELEMENT_TYPES, NARROW
from intarsia.errors import CompileError
from intarsia.ir.graph import Graph, Node, Value
from intarsia.ir.infer import infer_node
from intarsia.ir.types import TensorType, agree
from intarsia.passes.base import Pass

WIDE = "float32"

_TYPE_ATTRIBUTES = ("to", "dtype", "output_dtype", "output_datatype", "precision", "softmax_precision", "stash_type")
"""Attributes that hold the number of an element type."""

_OPSET = 21


@dataclass(frozen=True)
class WidenFloats(Pass):
    """Compute in float32 what a model computes in float16 or bfloat16: for int8, whose scales are float32, and for
    targets that round to float16 by themselves.

    Inputs and outputs of the graph keep their element types, with a Cast at each; Casts inside have nothing left to do.
    An op whose meaning in float32 is not known, such as If with its branches, stays as it is between Casts. Nothing is
    rounded any more where the model rounded: outputs come nearer to those of the model in float32.
    """

    name: ClassVar[str] = "widen-floats"
    tolerance: ClassVar[float] = float("inf")

    def run(self, graph: Graph) -> int:
        if not any(_is_narrow(value) for value in graph.values()):
            return 0
        return _Widening(graph).run()


def _is_narrow(value: Value | None) -> bool:
    return value is not None and value.dtype in NARROW


class _Widening:
    """former: the element type of each value that was widened; order: the nodes of the graph to be."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.former: dict[Value, str] = {}
        self.narrowed: dict[Value, Value] = {}
        self.order: list[Node] = []
        self.changes = 0

    def run(self) -> int:
        graph, nodes, outputs = self.graph, list(self.graph.nodes), list(self.graph.outputs)
        for value in graph.values():
            if value.data is not None and _is_narrow(value) and not graph.is_output(value):
                self._mark(value)
                value.data = value.data.astype(np.float32)
        for value in dict.fromkeys((*graph.inputs, *outputs)):
            if _is_narrow(value) and value.producer is None:
                self._widened_behind(value)
        for node in nodes:
            before = [node.inputs, node.outputs]
            if any(_is_narrow(value) or value in self.former for values in before for value in values if value):
                self._visit(node)
            else:
                self.order.append(node)
        for value in dict.fromkeys(outputs):
            if value in self.former:
                self._narrow_again(value)
        graph.nodes = self.order
        return self.changes

    def _mark(self, value: Value) -> None:
        self.former[value] = value.dtype
        value.type = TensorType(WIDE, value.type.shape)

    def _visit(self, node: Node) -> None:
        if self._fits(node):
            for value in node.outputs:
                if _is_narrow(value):
                    assert value is not None
                    self._mark(value)
            self.order.append(node)
            self.changes += 1
            return
        for value in node.inputs:
            if value in self.former and value is not None:
                node.replace_input(value, self._narrow_again(value))
        self.order.append(node)
        for value in node.outputs:
            if value is not None and _is_narrow(value):
                self._widened_behind(value)

    def _fits(self, node: Node) -> bool:
        """Whether the op means the same in float32, by its own rule of types; its attributes are then set so."""
        former = dict(node.attributes)
        node.attributes.update({name: _widened(name, value) for name, value in former.items()})
        wanted = [None if value is None else _wide_type(value) for value in node.outputs]
        try:
            found = infer_node(node)
        except CompileError:
            found = None
        known = found is not None and len(found) >= len(wanted)
        if known and all(b is None or agree(a, b) for a, b in zip(found or (), wanted)):
            return True
        node.attributes.clear()
        node.attributes.update(former)
        return False

    def _cast(self, value: Value, dtype: str) -> Value:
        to, type = ELEMENT_NUMBERS[dtype], TensorType(dtype, value.type.shape)
        name, wish = f"{value.name}_{dtype}", f"{value.name}_{WIDE if self.graph.is_output(value) else dtype}"
        node = self.graph.add_node("Cast", [value], [type], {"to": to}, name=name, output_names=[wish], opset=_OPSET)
        self.order.append(node)
        return node.output

    def _narrow_again(self, value: Value) -> Value:
        """A widened value as it was, for a caller or a node that stays."""
        if value not in self.narrowed:
            dtype = self.former[value]
            twin = self.narrowed[value] = self._cast(value, dtype)
            if self.graph.is_output(value):  # the caller knows it by the model's name
                self.graph.outputs.replace(value, twin)
                value.name, twin.name = twin.name, value.name
        return self.narrowed[value]

    def _widened_behind(self, value: Value) -> None:
        """Have everybody but the caller read a value, which stays narrow, as float32."""
        readers = value.users
        if not readers:
            return
        twin = self._cast(value, WIDE)
        self.former[twin] = value.dtype
        self.narrowed[twin] = value
        for user in readers:
            user.replace_input(value, twin)


def _wide_type(value: Value) -> TensorType:
    return TensorType(WIDE if _is_narrow(value) else value.dtype, value.type.shape)


def _widened(name: str, attribute: Any) -> Any:
    """An attribute as the op in float32 has it."""
    if name in _TYPE_ATTRIBUTES and isinstance(attribute, int) and ELEMENT_TYPES.get(attribute) in NARROW:
        return ELEMENT_NUMBERS[WIDE]
    if isinstance(attribute, np.ndarray) and attribute.dtype.name in NARROW:
        return attribute.astype(np.float32)
    return attribute
