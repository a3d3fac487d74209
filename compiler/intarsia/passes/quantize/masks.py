"""Attention masks: numbers far below 0, added to scores or chosen in their place, so that nothing is left of them.

A scale that holds the mask has no steps for the scores: with -10000 a step is 39, with the lowest float32 it is more
than all scores together. So the ops between scores and what forgets the masked places, a Softmax as a rule, stay float;
the scores keep the range that they have before, and masked places get exactly 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from intarsia.ir.facts import keeps_scale
from intarsia.ir.graph import Graph, Node, Value
from intarsia.passes.calibration import Ranges
from intarsia.passes.matching import scalar
from intarsia.passes.quantize.constants import constant_of
from intarsia.passes.quantize.forms import Form, form_of
from intarsia.passes.quantize.moves import fill_of

_SOFTMAXES = ("Softmax", "LogSoftmax")
_SOFT = (*_SOFTMAXES, "Exp")
"""A Softmax, and what one is written with: of numbers far below the others they leave 0."""

_SELECTIVE = (
    *("ArgMax", "GlobalMaxPool", "Hardmax", "MaxPool", "ReduceLogSumExp", "ReduceMax", "Sigmoid", "TopK"),
    *("Equal", "Greater", "GreaterOrEqual", "IsInf", "IsNaN", "Less", "LessOrEqual"),
)
"""Ops that forget numbers far below the others, as a Softmax does, or look at each by itself."""

_PASSING = ("Add", "Cast", "Clip", "Div", "Max", "Min", "Mul", "Neg", "Pad", "Sub", "Where")
"""Ops beside pure moves that may stand between the mask and what forgets the masked places."""

_DEPTH = 20.0
"""So far below 0 a Softmax of int8 gives 0: e**-20 is 2e-9."""

_TIMES = 4.0
"""Scores whose range is this many times shorter than the mask's lose two bits or more at a scale for both."""

_FAR_DEPTH, _FAR_TIMES = 1000.0, 64.0
"""The same where no Softmax follows: numbers of this size, beside others that lose six bits."""

_STEPS = 255.0
"""A Softmax of floats over a longer range than this would have steps of more than 1, so of more than a factor of e."""

_LOOK_BACK = 8


def masked_nodes(graph: Graph, ranges: Ranges) -> dict[Node, str]:
    """Nodes that stay float because of a mask, with the reason.

    graph   fused, with activations that are no clamps taken apart
    ranges  measured, or assumed: then masks are found that are written in the model, not those that are inputs
    """
    return _Masks(graph, ranges).find()


@dataclass
class _Masks:
    """What is known of values.

    softened   those that a Softmax reads, at once or by way of others
    forgotten  those that only such ops read, or nobody but the caller
    found      nodes that stay float, and why
    cone       values that make masks or scores, looked at already
    """

    graph: Graph
    ranges: Ranges
    softened: set[Value] = field(default_factory=set)
    forgotten: set[Value] = field(default_factory=set)
    found: dict[Node, str] = field(default_factory=dict)
    cone: set[Value] = field(default_factory=set)

    def find(self) -> dict[Node, str]:
        self._look_at_readers()
        masked: set[Value] = set()
        for node in self.graph.nodes:
            mask = self._mask_of(node)
            if mask is not None:
                self._mark(node, f"it masks with '{mask.name}', beside which the other numbers would have no steps")
                self._mark_cone(node)
                masked.add(node.output)
            elif any(value in masked for value in node.inputs):
                passes = node.op in _PASSING or keeps_scale(node)
                if passes or node.op in _SOFT or node.op in _SELECTIVE:
                    self._mark(node, "it reads numbers that are masked")
                if node.op == "LogSoftmax":
                    masked.add(node.output)
                elif passes:
                    masked.update(value for value in node.outputs if value in self.softened or value in self.forgotten)
            elif node.op in _SOFTMAXES and self._length(node.input(0)) > _STEPS and not _is_integer(node.input(0)):
                self._mark(node, f"its input '{node.input(0).name}' spreads so far that a step of int8 is more than 1")
        return self.found

    def _mark(self, node: Node, reason: str) -> None:
        self.found.setdefault(node, reason)

    def _look_at_readers(self) -> None:
        for node in reversed(self.graph.nodes):
            made = [value for value in node.outputs if value is not None]
            self._look_at(made)
            passes = node.op in _PASSING or keeps_scale(node)
            if node.op in _SOFT or (passes and any(value in self.softened for value in made)):
                self.softened.update(_reals(node))
        self._look_at(self.graph.inputs)

    def _look_at(self, values: list[Value]) -> None:
        """All readers of the values have been looked at before them."""
        self.forgotten.update(value for value in values if all(self._forgets(user) for user in value.users))

    def _forgets(self, node: Node) -> bool:
        if node.op in _SOFT or node.op in _SELECTIVE:
            return True
        passes = node.op in _PASSING or keeps_scale(node)
        return passes and all(value in self.forgotten for value in node.outputs if value is not None)

    # ---- masks

    def _mask_of(self, node: Node) -> Value | None:
        """The operand that masks the other, for an Add, a Sub or a Where; what a Pad fills up with."""
        if node.op not in ("Add", "Pad", "Sub", "Where") or node.domain or node.output.dtype != "float32":
            return None
        if node.op == "Pad" and fill_of(node) is None:
            return None
        if node.attributes.get("activation", "Clip") != "Clip":
            return None
        first, second = (node.input(0), node.optional_input(2)) if node.op == "Pad" else node.inputs[-2:]
        if first is None or second is None:
            return None
        output = node.output
        soft, far = output in self.softened, output in self.forgotten
        for mask, other in ((second, first), (first, second)):
            if node.op in ("Pad", "Sub") and mask is first:
                continue
            depth, length = self._depth(mask, node.op == "Sub"), self._length(other)
            if soft and depth > _DEPTH and depth > _TIMES * length:
                return mask
            if far and depth >= _FAR_DEPTH and depth > _FAR_TIMES * length:
                return mask
        return None

    def _depth(self, value: Value, above: bool, back: int = _LOOK_BACK) -> float:
        """How far below 0 a value reaches, or above it; infinite where it was so, or never had another number."""
        low, high = self._bounds(value)
        depth = max(high if above else -low, 0.0)
        node = value.producer
        if node is None:
            # An input of the model that is the same everywhere says nothing of what it may be.
            still = not value.is_constant and low == high and not self.ranges.assumed
            return math.inf if still else depth
        return max(depth, self._written_depth(node, above, back) if back and not node.domain else 0.0)

    def _written_depth(self, node: Node, above: bool, back: int) -> float:
        """What the model itself says: (1 - m) * -10000 masks also where no sample had anything to mask."""
        if keeps_scale(node) or node.op == "Cast":
            source = node.input(0)
            return self._depth(source, above, back - 1) if source.dtype == "float32" else 0.0
        if node.op == "Mul":
            factors = [scalar(value) for value in node.inputs]
            size = max((abs(factor) for factor in factors if factor is not None), default=0.0)
            return size if size >= _FAR_DEPTH else 0.0
        if node.op == "Where":
            branches = [node.input(index) for index in (1, 2)]
            return max((self._depth(value, above, 0) for value in branches if value.is_constant), default=0.0)
        return 0.0

    def _bounds(self, value: Value) -> tuple[float, float]:
        data = constant_of(value)
        if data is not None:
            return (float(data.min()), float(data.max())) if data.size else (0.0, 0.0)
        if value.name in self.ranges.infinite:
            return -math.inf, math.inf
        return self.ranges.bounds.get(value.name, (0.0, 0.0))

    def _length(self, value: Value) -> float:
        low, high = self._bounds(value)
        return max(high, 0.0) - min(low, 0.0)

    # ---- what stays float with a mask

    def _mark_cone(self, node: Node) -> None:
        """What makes the mask, and what stands between the scores and a product that makes them."""
        stack = [value for value in _reals(node) if value not in self.cone]
        self.cone.update(stack)
        while stack:
            inner = stack.pop().producer
            if inner is None or inner.domain or not (_is_simple(inner) or keeps_scale(inner)):
                continue
            self._mark(inner, f"it makes a mask or scores of {node.where}, which stay float")
            for value in _reals(inner):
                if value not in self.cone:
                    self.cone.add(value)
                    stack.append(value)


def _is_integer(value: Value) -> bool:
    """Whether a value has the steps of int8 in any case, because an op with an integer form makes it."""
    node = value.producer
    while node is not None and keeps_scale(node):
        node = node.inputs[0].producer if node.inputs[0] is not None else None
    return node is not None and isinstance(form_of(node), Form)


def _reals(node: Node) -> list[Value]:
    """The float32 inputs of a node."""
    return [value for value in node.inputs if value is not None and value.dtype == "float32"]


def _is_simple(node: Node) -> bool:
    """Whether a node combines one float value with single numbers, or masks."""
    if node.op not in _PASSING or node.attributes.get("activation", "Clip") != "Clip":
        return False
    return node.op == "Where" or sum(not value.is_constant for value in _reals(node)) <= 1
