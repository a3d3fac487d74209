"""Scales for the edges that a quantized model leaves without: carried through moves, derived from neighbours, measured.

Quantizers place their scales each in its own way: behind every op, or only in front of convolutions, or at one side of
an addition. What lies between is as good as said: an op that moves elements keeps the scale, a table over 256 integers
has a known range, the operand of an addition whose sum has a scale cannot leave a known range without saturating it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from intarsia.dtypes import Array
from intarsia.ir.graph import Graph, Node, Value
from intarsia.ir.integer import INT8_MAX, INT8_MIN
from intarsia.ir.types import Quantization
from intarsia.passes.calibration import Ranges
from intarsia.passes.quantize.constants import constant_of, data_inputs, scalar_quantization
from intarsia.passes.quantize.elementwise import TABLED, clip_bounds, is_unary, meaning_on, prelu_slope
from intarsia.passes.quantize.forms import Form, form_of
from intarsia.passes.quantize.scales import quantization_of
from intarsia.passes.quantize.split import CLAMPS
from intarsia.passes.quantize.sums import channels_of
from intarsia.passes.ranges import lower_bound

Range = tuple[float, float]

_PRODUCTS = ("Conv", "dense")
_AVERAGES = ("AveragePool", "GlobalAveragePool", "ReduceMean")
_SPREAD = 2.5
"""How far sums may lie from those of an even input, as a multiple of the length of a channel's weights times half the
range of the input: 4.3 standard deviations for evenly distributed inputs, 7 and more for those of real networks."""

_NARROWINGS = 3
_POINTS = 1025


@dataclass
class Edges:
    """What each float value between integer ops gets.

    scales   quantization by float value
    derived  those of them that stand nowhere in the model, nor follow without loss from what stands there
    left     products that stay float, since no scale stands behind them: a measured range would give them one
    """

    scales: dict[Value, Quantization] = field(default_factory=dict)
    derived: list[Value] = field(default_factory=list)
    left: set[Node] = field(default_factory=set)


def integer_values(graph: Graph) -> set[Value]:
    """Float values that can have an int8 form: dequantized ones, and what ops with integer forms make of such alone."""
    able: set[Value] = set()
    for node in graph.nodes:
        if node.op == "DequantizeLinear" and not node.domain:
            if constant_of(node.output) is None and scalar_quantization(node) is not None:
                able.add(node.output)
            continue
        inputs = data_inputs(node)
        if inputs and all(node.input(index) in able for index in inputs) and isinstance(form_of(node), Form):
            able.update(value for value in node.outputs if value is not None and value.dtype == "float32")
    return able


def edge_scales(graph: Graph, ranges: Ranges | None = None) -> Edges:
    """The quantization of every float value that integer ops of a model with scales read or make.

    graph   fused, with activations that are no clamps taken apart
    ranges  measured on real inputs, which are finer than derived ones; None where there are none
    """
    return _Edges(graph, ranges).find()


class _Edges:
    """exact: scales that the model says; bounds: a range that holds the numbers of a value."""

    def __init__(self, graph: Graph, ranges: Ranges | None) -> None:
        self.graph = graph
        self.measured = {} if ranges is None else ranges.bounds
        self.able = integer_values(graph)
        self.forms: dict[Node, Form] = {}
        for node in graph.nodes:
            inputs = data_inputs(node)
            form = form_of(node) if inputs and all(node.input(index) in self.able for index in inputs) else None
            if isinstance(form, Form):
                self.forms[node] = form
        self.exact: dict[Value, Quantization] = {}
        self.bounds: dict[Value, Range] = {}

    def find(self) -> Edges:
        self._read_model()
        self._carry_back()
        wanted = self._wanted()
        self._carry_on(wanted)
        edges = Edges(self.exact, left={node for node in self.forms if node.op in _PRODUCTS and node not in wanted})
        unknown = [value for node in wanted for value in _made(node) if value not in self.exact]
        if unknown:
            self._bound_forward()
            windows = self._windows()
            for value in unknown:
                if value in self.bounds:
                    edges.scales[value] = quantization_of(*_narrowed(self.bounds[value], windows.get(value)))
                    edges.derived.append(value)
        return edges

    # ---- what the model says

    def _read_model(self) -> None:
        for node in self.graph.nodes:
            if node.op == "DequantizeLinear" and node.output in self.able:
                of = scalar_quantization(node)
                assert of is not None
                self.exact[node.output] = of
        for node in self.graph.nodes:
            if node.op == "QuantizeLinear" and not node.domain:
                of = scalar_quantization(node)
                if of is not None:
                    self.exact.setdefault(node.input(0), of)

    def _carry_back(self) -> None:
        """What is moved has the scale that stands behind the move."""
        for node in reversed(self.graph.nodes):
            form = self.forms.get(node)
            if form is None or not (form.keeps or node.op == "Concat"):
                continue
            known = [self.exact[value] for value in _made(node) if value in self.exact]
            for index in data_inputs(node) if known else ():
                self.exact.setdefault(node.input(index), known[0])

    def _wanted(self) -> dict[Node, None]:
        """Nodes that become integer ops: products of a known range, and what lies in front of a scale or such a node.

        A product behind which the model has no scale was left float there: a range derived from weights alone would
        cost it bits that nobody asked for.
        """
        wanted: dict[Node, None] = {}
        for node in reversed(self.graph.nodes):
            form = self.forms.get(node)
            if form is None:
                continue
            readers = [user for value in _made(node) for user in value.users]
            product = node.op in _PRODUCTS and (
                self._is_known(node) or any(value in self.exact for value in _made(node))
            )
            if product or any(user in wanted or _gives_scale(user) for user in readers):
                wanted[node] = None
        return dict.fromkeys(reversed(list(wanted)))

    def _carry_on(self, wanted: dict[Node, None]) -> None:
        """What was moved has the scale that stood in front of the move; averages and clamps keep it too."""
        for node, form in self.forms.items():
            sources = [self.exact.get(node.input(index)) for index in data_inputs(node)]
            alike = len(set(sources)) == 1 and sources[0] is not None
            keeps = form.keeps or node.op == "Concat"
            if node in wanted:
                keeps = keeps or (node.op in (*_AVERAGES, "Relu", "Clip") and not self._is_known(node))
            for value in _made(node):
                if keeps and alike and sources[0] is not None:
                    self.exact.setdefault(value, sources[0])
                elif form.fixed is not None and node in wanted:
                    self.exact.setdefault(value, form.fixed)

    def _is_known(self, node: Node) -> bool:
        return any(value.name in self.measured for value in _made(node))

    # ---- ranges

    def _bound_forward(self) -> None:
        """A range for every value, from those of the inputs; measured ones are finer."""
        for value, of in self.exact.items():
            low, high = _range_of(of)
            quantize = None if value.producer is None else value.producer.input(0).producer
            if quantize is not None and quantize.op == "QuantizeLinear" and not quantize.domain:
                low = max(low, lower_bound(quantize.input(0)))  # half of the steps lie idle behind many a Relu
            self.bounds[value] = low, max(high, low)
        for node in self.forms:
            if all(value in self.bounds for value in _made(node)):
                continue
            sources = [self.bounds.get(node.input(index)) for index in data_inputs(node)]
            if any(source is None for source in sources):
                continue
            own = _clamped(node, _own_bounds(node, [source for source in sources if source is not None]))
            for value in _made(node):
                seen = self.measured.get(value.name)
                if value not in self.bounds and (seen or own):
                    self.bounds[value] = seen or own or (0.0, 0.0)

    def _windows(self) -> dict[Value, Range]:
        """Beyond its window a value changes nothing that is read: the scales behind it saturate."""
        windows: dict[Value, Range] = {value: _range_of(of) for value, of in self.exact.items()}
        for node in reversed(list(self.forms)):
            for index in data_inputs(node):
                value = node.input(index)
                if value in windows or value not in self.bounds or self.graph.is_output(value):
                    continue
                parts = [self._window(user, value, windows) for user in value.users]
                known = [part for part in parts if part is not None]
                if len(known) == len(parts):
                    windows[value] = min(part[0] for part in known), max(part[1] for part in known)
        return windows

    def _window(self, node: Node, value: Value, windows: dict[Value, Range]) -> Range | None:
        """The window that one reader leaves to a value."""
        form = self.forms.get(node)
        window = windows.get(node.output) if form is not None else None
        if form is None or window is None:
            return None
        if node.op == "Concat" or form.keeps:
            return window
        curve = _curve(node)
        if curve is not None:
            return _before_curve(curve, self.bounds[value], window)
        if node.op not in ("Add", "Sub") or len(data_inputs(node)) != 2 or node.input(0) is node.input(1):
            return None
        low, high = _clamped(node, window) or window
        first, second = self.bounds.get(node.input(0)), self.bounds.get(node.input(1))
        if first is None or second is None:
            return None
        if node.op == "Add":
            other = second if value is node.input(0) else first
            return low - other[1], high - other[0]
        return (low + second[0], high + second[1]) if value is node.input(0) else (first[0] - high, first[1] - low)


def _made(node: Node) -> list[Value]:
    return [value for value in node.outputs if value is not None and value.dtype == "float32"]


def _gives_scale(node: Node) -> bool:
    return node.op == "QuantizeLinear" and not node.domain and scalar_quantization(node) is not None


def _range_of(of: Quantization) -> Range:
    return (INT8_MIN - of.zero_point) * of.scale, (INT8_MAX - of.zero_point) * of.scale


def _narrowed(bounds: Range, window: Range | None) -> Range:
    """A range without what lies outside the window."""
    if window is None or window[0] >= bounds[1] or window[1] <= bounds[0]:
        return bounds
    return max(bounds[0], window[0]), min(bounds[1], window[1])


def _clamped(node: Node, bounds: Range | None) -> Range | None:
    """A range behind the clamp that is fused into a node."""
    activation, arguments = node.attributes.get("activation", ""), node.attributes.get("activation_arguments", ())
    if bounds is None or activation not in CLAMPS:
        return None
    low, high = {"": (-np.inf, np.inf), "Relu": (0.0, np.inf)}.get(activation) or tuple(arguments)
    return min(max(bounds[0], low), high), min(max(bounds[1], low), high)


def _own_bounds(node: Node, sources: list[Range]) -> Range | None:
    """The range of a node's output, before its activation."""
    low, high = min(source[0] for source in sources), max(source[1] for source in sources)
    if node.op in _PRODUCTS:
        return _bounds_of_sums(node, low, high)
    if node.op == "Concat" or node.op in _AVERAGES or form_keeps(node):
        return low, high
    curve = _curve(node)
    if curve is not None:
        points = curve(np.linspace(low, high, _POINTS, dtype=np.float32))
        return (float(points.min()), float(points.max())) if np.isfinite(points).all() else None
    affine = channels_of(node)
    if affine is not None:
        ends = np.concatenate([affine.scale * low + affine.shift, affine.scale * high + affine.shift])
        return float(ends.min()), float(ends.max())
    operands = _operand_ranges(node, sources)
    if operands is None:
        return None
    (a, b), (c, d) = operands
    if node.op == "Mul":
        corners = (a * c, a * d, b * c, b * d)
        return min(corners), max(corners)
    return (a + c, b + d) if node.op == "Add" else (a - d, b - c)


def form_keeps(node: Node) -> bool:
    """Whether the output of a node has the scale of its input."""
    form = form_of(node)
    return isinstance(form, Form) and form.keeps


def _operand_ranges(node: Node, sources: list[Range]) -> tuple[Range, Range] | None:
    """The ranges of both operands of Add, Sub or Mul."""
    if node.op not in ("Add", "Sub", "Mul"):
        return None
    remaining, found = list(sources), list[Range]()
    for index in (0, 1):
        if index in data_inputs(node):
            found.append(remaining.pop(0))
            continue
        data = constant_of(node.input(index))
        if data is None or not data.size:
            return None
        found.append((float(data.min()), float(data.max())))
    return found[0], found[1]


def _bounds_of_sums(node: Node, low: float, high: float) -> Range | None:
    """A range for the sums of a Conv or dense: what inputs within [low, high] give, without the all but impossible."""
    weight, bias_value = constant_of(node.input(1)), node.optional_input(2)
    bias = 0.0 if bias_value is None else constant_of(bias_value)
    if weight is None or bias is None or not weight.size:
        return None
    weight = weight.T if node.op == "dense" else weight
    taps = weight.astype(np.float64).reshape(weight.shape[0], weight.shape[1], -1)
    rows, channels = taps.reshape(len(taps), -1), taps.sum(axis=2)
    # The sums of an input that is the same everywhere count in full, those of one that varies from place to place, or
    # from channel to channel, as if it did so at random; no input can give more than every product at its extreme.
    even, middle, half = rows.sum(axis=1), (low + high) / 2.0, (high - low) / 2.0
    varying = [np.sqrt(((part - part.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)) for part in (rows, channels)]
    spread = _SPREAD * half * np.maximum(*varying)
    least = np.minimum(np.minimum(even * low, even * high), even * middle - spread)
    most = np.maximum(np.maximum(even * low, even * high), even * middle + spread)
    ends = np.minimum(rows * low, rows * high).sum(axis=1), np.maximum(rows * low, rows * high).sum(axis=1)
    shift = np.asarray(bias, np.float64).reshape(-1)
    return float((np.maximum(ends[0], least) + shift).min()), float((np.minimum(ends[1], most) + shift).max())


Curve = Callable[[Array], Array]


def _curve(node: Node) -> Curve | None:
    """The function of one number that a node applies to every element, float32 [N] to [N]; None where it is none."""
    if node.attributes.get("activation", "") != "":
        return None
    if node.op == "Relu":
        return lambda x: np.maximum(x, 0)
    if node.op == "Clip":
        bounds = clip_bounds(node)
        return None if bounds is None else lambda x: np.clip(x, *bounds)
    if node.op == "PRelu":
        slope = prelu_slope(node)
        return None if slope is None else lambda x: np.where(x < 0, x * np.float32(slope), x)
    if node.op in (*TABLED, "Add", "Sub", "Mul", "Div") and is_unary(node):
        return lambda x: meaning_on(node, x)
    return None


def _before_curve(curve: Curve, bounds: Range, window: Range) -> Range:
    """The part of an input's range in which the output, as far as its window shows it, does not yet lie flat."""
    low, high = bounds
    step = (window[1] - window[0]) / (INT8_MAX - INT8_MIN)
    for _ in range(_NARROWINGS):
        x = np.linspace(low, high, _POINTS, dtype=np.float32)
        y = curve(x)
        if not np.isfinite(y).all():
            return bounds
        y = np.clip(y, *window)
        from_left, from_right = np.abs(y - y[0]) > step / 4, np.abs(y - y[-1]) > step / 4
        if not (from_left.any() and from_right.any()):
            return low, high
        first = max(int(from_left.argmax()) - 1, 0)
        last = len(x) - max(int(from_right[::-1].argmax()), 1)
        low, high = float(x[first]), float(x[last])
    return low, high
