"""What becomes integers and at which scales, decided before anything is changed."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from intarsia.dtypes import FLOATING
from intarsia.errors import CompileError, either
from intarsia.ir.facts import is_narrowing
from intarsia.ir.graph import Graph, Node, Value
from intarsia.ir.types import Quantization
from intarsia.passes.base import Refusal, Refused
from intarsia.passes.calibration import Ranges
from intarsia.passes.quantize.constants import data_inputs
from intarsia.passes.quantize.elementwise import TABLED, useful_range
from intarsia.passes.quantize.forms import Form, form_of
from intarsia.passes.quantize.masks import masked_nodes
from intarsia.passes.quantize.moves import fill_of
from intarsia.passes.quantize.offsets import offset_nodes
from intarsia.passes.quantize.scales import quantization_of

_PRODUCTS = ("Conv", "dense", "BatchNormalization")

_CLOSE = 0.75
"""Two ranges this alike may share a scale although one of them is also read elsewhere: it loses under half a bit."""


@dataclass
class Plan:
    """forms: the nodes that become integers; scales: quantization of each float value; refusals: the others, why."""

    forms: dict[Node, Form]
    scales: dict[Value, Quantization]
    refusals: list[Refusal] = field(default_factory=list)


def make_plan(graph: Graph, ranges: Ranges, kept: Collection[str] = ()) -> Plan:
    """Decide for each node of a fused graph, and choose the scales from the ranges.

    kept  names of nodes that stay float because somebody wants them to

    Raises CompileError where a value that has to be quantized was NaN or infinite.
    """
    refusals: list[Refusal] = []
    forms: dict[Node, Form] = {}
    masked = masked_nodes(graph, ranges)
    for node in graph.nodes:
        if not any(value is not None and value.dtype in FLOATING for value in (*node.inputs, *node.outputs)):
            continue  # shapes and indices are integers already
        if is_narrowing(node) or node.op == "pixels":  # bytes already: see quantize.pixels
            continue
        form = form_of(node)
        if isinstance(form, Form) and node.name in kept:
            form = Refused("it is to be kept so")
        if isinstance(form, Form) and node in masked:
            form = Refused(masked[node])
        if isinstance(form, Form):
            form = _with_finite(node, ranges) or form
        if isinstance(form, Form):
            missing = [value.name for value in _floats(node) if value.name not in ranges.bounds]
            if missing:
                form = Refused(f"no sample gave '{missing[0]}' a range")
        if isinstance(form, Refused):
            refusals.append(Refusal(node, form.reason))
        else:
            forms[node] = form
    anyway = {node for node in graph.nodes if node not in forms}
    for node, reason in offset_nodes(graph, ranges, anyway).items():
        del forms[node]
        refusals.append(Refusal(node, reason))
    for node in _softmaxes_of_floats(graph, forms):
        del forms[node]
        refusals.append(Refusal(node, "it stands between ops that stay float"))
    for node, reason in _wanderers(graph, forms, ranges):
        del forms[node]
        refusals.append(Refusal(node, reason))
    return Plan(forms, _choose_scales(graph, forms, ranges), refusals)


def _with_finite(node: Node, ranges: Ranges) -> Refused | None:
    """Why a node stays float that reads or makes NaN or infinity, which int8 cannot show.

    Raises CompileError where it is a product, or reads an input of the model: then the sample is at fault.
    """
    bad = next((value for value in _floats(node) if value.name in ranges.infinite), None)
    if bad is None:
        return None
    sample = ranges.infinite[bad.name]
    if node.op in _PRODUCTS or bad.producer is None:
        raise CompileError(
            where=f"value '{bad.name}' in calibration sample {sample}",
            what="it holds NaN or infinity, which int8 cannot show",
            help="check the sample's preprocessing, or keep the model in float32: "
            + either("--precision float32", "precision='float32'"),
        )
    return Refused(f"'{bad.name}' was NaN or infinite in calibration sample {sample}")


def _floats(node: Node) -> list[Value]:
    """The activations that a node reads and makes."""
    made = [value for value in node.outputs if value is not None and value.dtype == "float32"]
    return [node.input(index) for index in data_inputs(node)] + made


def _softmaxes_of_floats(graph: Graph, forms: dict[Node, Form]) -> list[Node]:
    """Softmaxes that would be quantized for nobody: float ops make the scores, and float ops alone read the weights."""

    def is_float(node: Node | None) -> bool:
        return node is not None and node not in forms and node.op != "Cast"  # to half precision, at an output

    return [
        node
        for node in graph.nodes
        if node.op == "Softmax"
        and node in forms
        and is_float(node.input(0).producer)
        and not graph.is_output(node.output)
        and all(is_float(user) for user in node.output.users)
    ]


def _is_move(node: Node, form: Form) -> bool:
    return form.keeps or node.op == "Concat"


def _wanderers(graph: Graph, forms: dict[Node, Form], ranges: Ranges) -> list[tuple[Node, str]]:
    """Moves that had better stay float: between float ops, and a Concat for float readers that would lose bits."""
    wanted: set[Value] = set()
    for node in reversed(graph.nodes):
        form = forms.get(node)
        if form is not None and (not _is_move(node, form) or any(value in wanted for value in node.outputs)):
            wanted.update(node.input(index) for index in data_inputs(node))
    made: set[Value | None] = set()
    strays = []
    for node in graph.nodes:
        form = forms.get(node)
        if form is None:
            continue
        read = any(value in wanted for value in node.outputs)
        if _is_move(node, form) and not read and not all(node.input(index) in made for index in data_inputs(node)):
            strays.append((node, "it only moves elements, between ops that stay float"))
        elif node.op == "Concat" and not read and _mixes_ranges(node, ranges):
            strays.append((node, "only float ops read it, and one scale for all of its inputs would lose bits of some"))
        else:
            made.update(node.outputs)
    return strays


def _mixes_ranges(concat: Node, ranges: Ranges) -> bool:
    """Whether an input would lose a bit or more at the scale of the whole."""
    low, high = ranges.of(concat.output.name)
    spans = [_span(*ranges.bounds[concat.input(index).name]) for index in data_inputs(concat)]
    return any(0.0 < span < 0.5 * _span(low, high) for span in spans)


def _span(low: float, high: float) -> float:
    return max(high, 0.0) - min(low, 0.0)


class _Classes:
    """Values that share one scale, and the range of each such class."""

    def __init__(self, range_of: Callable[[Value], tuple[float, float]]) -> None:
        self._parents: dict[Value, Value] = {}
        self._members: dict[Value, list[Value]] = {}
        self._ranges: dict[Value, tuple[float, float]] = {}
        self._range_of = range_of
        self.fixed: dict[Value, Quantization] = {}

    def root(self, value: Value) -> Value:
        if value not in self._parents:
            low, high = self._range_of(value)
            self._parents[value], self._members[value] = value, [value]
            self._ranges[value] = (min(low, 0.0), max(high, 0.0))
        while self._parents[value] is not value:
            value = self._parents[value]
        return value

    def members(self, value: Value) -> list[Value]:
        return self._members[self.root(value)]

    def span(self, value: Value) -> float:
        low, high = self._ranges[self.root(value)]
        return high - low

    def range(self, value: Value) -> tuple[float, float]:
        return self._ranges[self.root(value)]

    def narrow(self, value: Value, range: tuple[float, float]) -> None:
        self._ranges[self.root(value)] = (min(range[0], 0.0), max(range[1], 0.0))

    def join(self, first: Value, second: Value) -> None:
        first, second = self.root(first), self.root(second)
        if first is second:
            return
        self._parents[second] = first
        self._members[first] += self._members.pop(second)
        (low, high), (other_low, other_high) = self._ranges[first], self._ranges.pop(second)
        self._ranges[first] = (min(low, other_low), max(high, other_high))
        if second in self.fixed:
            self.fixed[first] = self.fixed.pop(second)

    def quantization(self, value: Value) -> Quantization:
        root = self.root(value)
        return self.fixed[root] if root in self.fixed else quantization_of(*self._ranges[root])


def _choose_scales(graph: Graph, forms: dict[Node, Form], ranges: Ranges) -> dict[Value, Quantization]:
    classes = _Classes(lambda value: ranges.of(value.name))
    values: list[Value] = []
    for node in graph.nodes:
        form = forms.get(node)
        if form is None:
            continue
        values += _floats(node)
        if form.fixed is not None:
            classes.fixed[classes.root(node.output)] = form.fixed
        if form.keeps and node.op != "Pad":
            for value in node.outputs:
                if value is not None and value.dtype == "float32":
                    classes.join(node.input(data_inputs(node)[0]), value)
    pads = [node for node in graph.nodes if node.op == "Pad" and node in forms]
    for node in pads:
        if not _stands_apart(classes, node, graph):
            classes.join(node.input(data_inputs(node)[0]), node.output)
    moves = {node for node, form in forms.items() if form.keeps}
    for node in graph.nodes:
        if node in forms and node.op == "Concat":
            for index in data_inputs(node):
                if _may_join(classes, node, node.input(index), moves):
                    classes.join(node.output, node.input(index))
    for node in graph.nodes:
        if node in forms and node.op in TABLED:
            _trim(classes, node, forms)
    return {value: classes.quantization(value) for value in values}


def _stands_apart(classes: _Classes, pad: Node, graph: Graph) -> bool:
    """Whether a Pad gets a scale of its own: with the number that it fills up with, others would lose steps."""
    fill, source = fill_of(pad), pad.input(0)
    if fill is None or classes.root(source) in classes.fixed:
        return False
    low, high = classes.range(source)
    if high - low >= _CLOSE * (max(high, fill) - min(low, fill)):
        return False
    members = classes.members(source)
    return any(graph.is_output(member) or any(user is not pad for user in member.users) for member in members)


def _trim(classes: _Classes, node: Node, forms: dict[Node, Form]) -> None:
    """Leave flat ends out of the range in front of a table that alone reads it: a Sigmoid needs no numbers below -7."""
    value = node.input(data_inputs(node)[0])
    if classes.members(value) == [value] and value.only_user is node and value.producer in forms:
        if classes.root(value) in classes.fixed:
            return
        step = classes.quantization(node.output).scale
        classes.narrow(value, useful_range(node, *classes.range(value), step))


def _may_join(classes: _Classes, concat: Node, value: Value, moves: set[Node]) -> bool:
    """Whether an input of a Concat may take the scale of its output, so that nothing has to be rescaled."""
    if classes.root(value) in classes.fixed or classes.root(concat.output) in classes.fixed:
        return False
    if classes.span(value) >= _CLOSE * classes.span(concat.output):
        return True
    return all(user is concat or user in moves for member in classes.members(value) for user in member.users)
