"""Where a node of another dialect becomes several of ONNX's own, as protobuf."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from intarsia.dtypes import Array
from intarsia.importer.structure import subgraphs


class Workbench:
    """Makes nodes and constants with names that nothing else has.

    graph         whose nodes they are
    opset         of ONNX's own ops
    outer         the bench of the graph around, for a graph that a node carries
    nodes         what the node at hand became so far
    initializers  what was added
    """

    def __init__(self, graph: onnx.GraphProto, opset: int, outer: Workbench | None = None) -> None:
        self.opset = opset
        self.graph = graph
        self.outer = outer
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self._tensors = {tensor.name: tensor for tensor in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant" and not node.domain:
                self._tensors.update((node.output[0], item.t) for item in node.attribute if item.name == "value")
        self._taken: set[str] = _names(graph) if outer is None else outer._taken
        self._wish = ""

    def begin(self, node: onnx.NodeProto) -> None:
        """Clear the bench for a node."""
        self.nodes = []
        self._wish = node.name or (node.output[0] if node.output else "node")

    def attributes(self, node: onnx.NodeProto) -> dict[str, Any]:
        """Attributes by name; strings as text."""
        found = {item.name: helper.get_attribute_value(item) for item in node.attribute}
        return {name: item.decode() if isinstance(item, bytes) else item for name, item in found.items()}

    def attribute(self, node: onnx.NodeProto, name: str, default: Any) -> Any:
        """One attribute."""
        return self.attributes(node).get(name, default)

    def inputs(self, node: onnx.NodeProto, count: int) -> list[str]:
        """Names of `count` inputs; empty ones for those left out."""
        return [*node.input, *[""] * count][:count]

    def known(self, name: str) -> Array | None:
        """The elements of an initializer or Constant, or None."""
        tensor = self._tensors.get(name)
        if tensor is None and self.outer is not None:
            return self.outer.known(name)
        if tensor is None or tensor.data_location == onnx.TensorProto.EXTERNAL:
            return None
        return np.asarray(numpy_helper.to_array(tensor))

    def rank(self, name: str) -> int | None:
        """The number of axes that the model declares for a value, or None."""
        for value in (*self.graph.input, *self.graph.value_info, *self.graph.output):
            if value.name == name and value.type.tensor_type.HasField("shape"):
                return len(value.type.tensor_type.shape.dim)
        return None if self.outer is None else self.outer.rank(name)

    def fresh(self, wish: str) -> str:
        """A name that nothing else has, after the node at hand."""
        name = f"{self._wish}_{wish}"
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        return name

    def constant(self, wish: str, data: Array) -> str:
        """A new initializer; returns its name."""
        name = self.fresh(wish)
        tensor = numpy_helper.from_array(np.asarray(data), name)
        self.initializers.append(tensor)
        self._tensors[name] = tensor
        return name

    def add(
        self, op: str, inputs: list[str], outputs: list[str] | None = None, attributes: dict[str, Any] | None = None
    ) -> str:
        """A node of ONNX's own; returns its first output. A last node with given outputs keeps the node's name."""
        return self._add(op, inputs, outputs or [self.fresh(op.lower())], bool(outputs), attributes)[0]

    def several(self, op: str, inputs: list[str], count: int) -> list[str]:
        """A node of several outputs, which are returned."""
        return self._add(op, inputs, [self.fresh(f"{op.lower()}_{index}") for index in range(count)], False, None)

    def _add(
        self, op: str, inputs: list[str], names: list[str], last: bool, attributes: dict[str, Any] | None
    ) -> list[str]:
        while inputs and not inputs[-1]:
            inputs = inputs[:-1]
        name = self._wish if last else names[0]
        self.nodes.append(helper.make_node(op, inputs, names, name=name, **(attributes or {})))
        return names

    def scalar(self, name: str) -> str:
        """A scale or zero point of one element without axes, which ONNX wants for a whole tensor."""
        data = self.known(name) if name else None
        return name if data is None or data.ndim == 0 or data.size != 1 else self.constant("scalar", data.reshape(()))

    def dequantized(self, integers: str, scale: str, zero: str = "", axis: int | None = None) -> str:
        """DequantizeLinear; `axis` holds where there is more than one scale."""
        known = self.known(scale)
        many = known is not None and known.size > 1
        attributes = {"axis": axis} if many and axis is not None else {}
        if many and zero:
            zeros = self.known(zero)
            if zeros is not None and known is not None and zeros.size == 1:
                zero = self.constant("zeros", np.broadcast_to(zeros.reshape(-1), known.shape).copy())
        names = [integers, scale, zero] if many else [integers, self.scalar(scale), self.scalar(zero)]
        return self.add("DequantizeLinear", names, None, attributes)

    def quantized(self, real: str, scale: str, zero: str, like: str, output: str) -> None:
        """QuantizeLinear to `output`; without a zero point it is 0, of the type of the zero point `like`."""
        if not zero:
            other = self.known(like) if like else None
            zero = self.constant("zero", np.zeros((), np.uint8 if other is None else other.dtype))
        self.add("QuantizeLinear", [real, self.scalar(scale), self.scalar(zero)], [output])


def _names(graph: onnx.GraphProto) -> set[str]:
    """All names of values in a graph and in those that its nodes carry."""
    found = {tensor.name for tensor in graph.initializer} | {value.name for value in (*graph.input, *graph.output)}
    for node in graph.node:
        found.update((*node.input, *node.output))
        for inner in subgraphs(node):
            found |= _names(inner)
    return found
