"""Values in a narrow range far from 0: a scale whose steps must hold 0 has few of them left for the numbers that occur.

Inputs between 1.06 and 1.13 get 16 of 256 steps. It does no harm where they are only multiplied; what takes the offset
away, a subtraction, a normalization, a product whose weights cancel, enlarges the error with the difference. Three ways
out: the ops between such a value and what takes the offset away stay float; in front of a product, or behind one, the
offset is subtracted and added in float, and the bias makes up for it; between two products, both biases do.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field, replace

import numpy as np

from intarsia.dtypes import FLOATING, Array
from intarsia.ir.graph import Graph, Node, Value
from intarsia.ir.readers import readers
from intarsia.passes.calibration import Ranges
from intarsia.passes.matching import OPSET, constant
from intarsia.passes.quantize.constants import constant_of, data_inputs
from intarsia.passes.quantize.elementwise import TABLED
from intarsia.passes.quantize.forms import Form, form_of

FAR = 4.0
"""A value is far from 0 where two bits or more of its steps lie between 0 and its range."""

FAR_RESULT = 16.0
"""The same for what the model gives: nobody is known to take its offset away."""

_MARGIN = 0.25
"""What the range of a value without its offset is longer at each end: numbers beyond those of the samples would stay
whole at a scale that reaches to 0."""

_ENLARGED = 2.0
"""An op enlarges the error of an input that is far where one step of it becomes two or more of its output's."""

_ELEMENTWISE = (*TABLED, "Add", "BatchNormalization", "Clip", "Div", "Mul", "PRelu", "Relu", "Sub")
_AVERAGES = ("AveragePool", "GlobalAveragePool", "ReduceMean")
_PRODUCTS = ("Conv", "dense")


def offset_nodes(graph: Graph, ranges: Ranges, floating: Container[Node]) -> dict[Node, str]:
    """Elementwise nodes that stay float because a value beside them is far from 0, with the reason.

    floating  nodes that stay float anyway
    """
    return _Offsets(graph, ranges, floating).nodes()


def centre_products(graph: Graph, ranges: Ranges) -> Ranges:
    """Take offsets off in front of products and add them behind products, where that saves steps; in place.

    returns  the ranges with those of the values that are new
    """
    if ranges.assumed:
        return ranges
    floating = {node for node in graph.nodes if not isinstance(form_of(node), Form)}
    return _Offsets(graph, ranges, floating).centre()


@dataclass
class _Offsets:
    """wanting: values that are far from 0 and whose error is enlarged later on."""

    graph: Graph
    ranges: Ranges
    floating: Container[Node]
    wanting: set[Value] = field(default_factory=set)

    def nodes(self) -> dict[Node, str]:
        self._look_at_readers()
        found: dict[Node, str] = {}
        floats: set[Value | None] = set(self.graph.inputs)
        for node in self.graph.nodes:
            inputs = [node.input(index) for index in data_inputs(node)]
            reason = None
            if node in self.floating:
                floats.update(node.outputs)
                continue
            from_floats = bool(inputs) and all(value in floats for value in inputs)
            if from_floats and (self._keeps(node) or node.op == "Concat"):
                floats.update(node.outputs)
            for value in inputs if node.op in _ELEMENTWISE else ():
                if value in floats and self._far(value) and self._enlarges(node, value):
                    reason = self._reason(value)
            if node.output in self.wanting and (node.op in _ELEMENTWISE or (from_floats and node.op in _AVERAGES)):
                reason = self._reason(node.output)
            if reason is not None:
                found[node] = reason
                floats.update(node.outputs)
        return found

    def _reason(self, value: Value) -> str:
        low, high = self.ranges.bounds[value.name]
        steps = round(256 / self._distance(value))
        return f"'{value.name}' lies between {low:.4g} and {high:.4g}, where int8 would have {steps} steps"

    # ---- how far, and what becomes of it

    def _distance(self, value: Value) -> float:
        """The length of the range with 0, over that of the range; 1 where nothing is known."""
        low, high = self.ranges.bounds.get(value.name, (0.0, 0.0))
        return _span(low, high) / (high - low) if high > low else 1.0

    def _far(self, value: Value) -> bool:
        return self._distance(value) >= FAR

    def _enlarges(self, node: Node, value: Value) -> bool:
        """Whether a step of the input becomes several of the output."""
        output = next((item for item in node.outputs if item is not None), None)
        if output is None:
            return False
        if output.name not in self.ranges.bounds:
            return output.dtype not in FLOATING  # a comparison, or the place of the largest
        reach = _span(*self.ranges.bounds[output.name])
        if node.op in ("Add", "Sub", "Mul") and reach > 0.0:
            other = node.input(1) if value is node.input(0) else node.input(0)
            slope = self._largest(other) if node.op == "Mul" else 1.0
            return slope * _span(*self.ranges.bounds.get(value.name, (0.0, 0.0))) >= _ENLARGED * reach
        return self._distance(value) >= _ENLARGED * self._distance(output)

    def _cancels(self, node: Node) -> bool:
        """Whether the weights of a product take the offset of its input away, which can be done before it too."""
        weight, bounds = constant_of(node.input(1)), self.ranges.bounds.get(node.output.name)
        if weight is None or bounds is None or any(node.attributes.get("pads", ())):
            return False
        axes = 0 if node.op == "dense" else tuple(range(1, weight.ndim))
        length = np.sqrt((weight.astype(np.float64) ** 2).sum(axis=axes)).max(initial=0.0)
        return bool(length * _span(*self.ranges.bounds[node.input(0).name]) >= _ENLARGED * _span(*bounds))

    def _largest(self, value: Value) -> float:
        data = constant_of(value)
        if data is not None:
            return float(np.abs(data).max(initial=0.0))
        low, high = self.ranges.bounds.get(value.name, (0.0, 0.0))
        return max(abs(low), abs(high))

    def _keeps(self, node: Node) -> bool:
        form = form_of(node)
        return isinstance(form, Form) and form.keeps

    def _look_at_readers(self) -> None:
        if self.ranges.assumed:
            return
        for node in reversed(self.graph.nodes):
            self._look_at([value for value in node.outputs if value is not None])
        self._look_at(self.graph.inputs)

    def _look_at(self, values: list[Value]) -> None:
        for value in values:
            if value.dtype == "float32" and self._far(value) and self._is_wanting(value):
                self.wanting.add(value)

    def _is_wanting(self, value: Value) -> bool:
        given = self.graph.is_output(value) or any(user.op == "Cast" for user in value.users)
        return (given and self._distance(value) >= FAR_RESULT) or any(self._wants(user, value) for user in value.users)

    def _wants(self, node: Node, value: Value) -> bool:
        if node.op in _PRODUCTS and node not in self.floating:
            return value is node.input(0) and self._cancels(node)
        passes = node.op in (*_ELEMENTWISE, *_AVERAGES, "Concat") or self._keeps(node)
        return self._enlarges(node, value) or (passes and any(item in self.wanting for item in node.outputs))

    # ---- products

    def centre(self) -> Ranges:
        self._look_at_readers()
        found = self.nodes()
        floats: set[Value | None] = set(self.graph.inputs)
        bounds: dict[str, tuple[float, float]] = {}
        centred: dict[Value, tuple[Value, float]] = {}
        for node in list(self.graph.nodes):
            source = node.inputs[0] if node.inputs else None
            if node in self.floating or node in found or (self._keeps(node) and source in floats):
                floats.update(node.outputs)
            if node.op not in _PRODUCTS or node in self.floating or source is None:
                continue
            if source in floats and self._far(source) and not any(node.attributes.get("pads", ())):
                if source not in centred:
                    centred[source] = self._without_offset(source, bounds)
                self._absorb(node, *centred[source])
            if node.output in self.wanting and self._may_lose_offset(node):
                if self._for_products(node.output):
                    self._hand_over(node, bounds)
                elif self._for_floats(node.output, found):
                    self._add_behind(node, bounds)
        self.graph.sort()
        return replace(self.ranges, bounds={**self.ranges.bounds, **bounds}) if bounds else self.ranges

    def _may_lose_offset(self, node: Node) -> bool:
        """Whether a product has no activation, or one that leaves all numbers about its range alone."""
        activation = node.attributes.get("activation")
        low, high = self.ranges.bounds[node.output.name]
        return activation is None or (activation == "Relu" and low > _MARGIN * (high - low))

    def _for_products(self, value: Value) -> bool:
        """Whether products alone read a value, whose biases can make up for an offset."""
        return not self.graph.is_output(value) and all(
            user.op in _PRODUCTS and user not in self.floating and user.input(0) is value and self._cancels(user)
            for user in value.users
        )

    def _for_floats(self, value: Value, found: Container[Node]) -> bool:
        """Whether float ops, those that take the offset away, and the caller alone read a value, moved or not."""
        return all(
            self._keeps(user)
            or user in self.floating
            or user in found
            or (user.op in _ELEMENTWISE and self._enlarges(user, read))
            for user, read in readers(value, self._keeps)
        )

    def _hand_over(self, node: Node, bounds: dict[str, tuple[float, float]]) -> None:
        """`V (W x + b) + c` as `V (W x + (b - offset)) + (c + offset * sum(V))`."""
        value, offset = node.output, self._middle(node.output)
        around = self._around_middle(value, offset)
        self._lower(node, offset)
        for user in value.users:
            self._absorb(user, value, offset)
        value.name = self.graph.fresh_name(f"{value.name}_centred")
        bounds[value.name] = around

    def _lower(self, node: Node, offset: float) -> None:
        """Less by an offset, and without the activation that changes nothing."""
        node.attributes.pop("activation", None)
        node.attributes.pop("activation_arguments", None)
        self._set(node, node.input(0), np.asarray(-offset))

    def _middle(self, value: Value) -> float:
        low, high = self.ranges.bounds[value.name]
        return float(np.float32(low / 2.0 + high / 2.0))

    def _without_offset(self, value: Value, bounds: dict[str, tuple[float, float]]) -> tuple[Value, float]:
        """x - middle."""
        wish, offset = f"{value.name}_centred", self._middle(value)
        number = constant(self.graph, f"{wish}_offset", np.float32(offset))
        node = self.graph.add_node("Sub", [value, number], [value.type], name=wish, output_names=[wish], opset=OPSET)
        bounds[node.output.name] = self._around_middle(value, offset)
        return node.output, offset

    def _around_middle(self, value: Value, offset: float) -> tuple[float, float]:
        low, high = self.ranges.bounds[value.name]
        more = _MARGIN * (high - low)
        return low - offset - more, high - offset + more

    def _absorb(self, node: Node, source: Value, offset: float) -> None:
        """`W x + b` as `W (x - offset) + (b + offset * sum(W))`."""
        weight = constant_of(node.input(1))
        assert weight is not None
        axes = 0 if node.op == "dense" else tuple(range(1, weight.ndim))
        self._set(node, source, offset * weight.astype(np.float64).sum(axis=axes))

    def _add_behind(self, node: Node, bounds: dict[str, tuple[float, float]]) -> None:
        """`W x + b` as `(W x + (b - offset)) + offset`."""
        old, offset = node.output, self._middle(node.output)
        self._lower(node, offset)
        number = constant(self.graph, f"{old.name}_offset", np.float32(offset))
        wish = f"{old.name}_centred"
        twin = self.graph.add_node("Add", [old, number], [old.type], name=wish, output_names=[wish], opset=OPSET)
        for user in old.users:
            if user is not twin:
                user.replace_input(old, twin.output)
        self.graph.outputs.replace(old, twin.output)
        old.name, twin.output.name = twin.output.name, old.name
        bounds[old.name] = self._around_middle(twin.output, offset)

    def _set(self, node: Node, source: Value, more: Array) -> None:
        """Give a product another input and a bias with more in it."""
        outputs = node.output.shape[-1] if node.op == "dense" else node.output.shape[1]
        given = node.optional_input(2)
        bias = np.zeros(()) if given is None else constant_of(given)
        assert bias is not None
        total = np.broadcast_to(bias.astype(np.float64).reshape(-1) + more, (outputs,)).astype(np.float32)
        node.set_inputs([source, node.input(1), constant(self.graph, f"{node.output.name}_bias", total)])


def _span(low: float, high: float) -> float:
    return max(high, 0.0) - min(low, 0.0)
