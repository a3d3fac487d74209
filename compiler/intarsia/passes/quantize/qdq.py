"""Models that bring their own scales: DequantizeLinear, op, QuantizeLinear become one integer op."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from intarsia.ir.facts import is_narrowing, keeps_scale
from intarsia.ir.graph import Graph, Node, Value
from intarsia.ir.integer import INT8_RANGE
from intarsia.ir.readers import readers
from intarsia.ir.types import Quantization, TensorType
from intarsia.passes.base import DataPass, Outcome, Refusal, Refused, refuse
from intarsia.passes.calibration import Ranges
from intarsia.passes.context import Context
from intarsia.passes.matching import quantized_constant
from intarsia.passes.quantize.calibrate import Calibrate
from intarsia.passes.quantize.constants import data_inputs, dequantized, scalar_quantization
from intarsia.passes.quantize.edges import Edges, edge_scales, integer_values
from intarsia.passes.quantize.emitter import Emitter, quantization
from intarsia.passes.quantize.forms import form_of
from intarsia.passes.quantize.lower import add_quantize, finish, settle, with_reasons
from intarsia.passes.quantize.qlinear import expand_qlinear
from intarsia.passes.quantize.split import CLAMPS, split_activations
from intarsia.passes.quantize.words import is_word, lower_words

_SCALED = ("QuantizeLinear", "DequantizeLinear", "QLinearConv", "QLinearMatMul")

_WORDS = "its integers have 16 bits, which the CPU computes; the overlay takes 8"
_DERIVED = "the model gives its output no scale: without calibration data it is derived from what stands around it,"
"""What the user is told of such an edge; its quantization follows."""


def is_prequantized(graph: Graph) -> bool:
    """Whether a model brings scales for its activations: QuantizeLinear, DequantizeLinear or QLinear ops.

    A model with nothing but compressed weights (DequantizeLinear of constants) is an ordinary float model.
    """
    computed: set[Value | None] = set(graph.inputs)
    for node in graph.nodes:
        if any(value in computed for value in node.inputs if value is not None):
            if node.op in _SCALED and node.input(0) in computed:
                return True
            computed.update(node.outputs)
    return False


@dataclass(frozen=True)
class CalibrateEdges(DataPass):
    """Measure ranges for `lower-qdq` where a model with scales of its own leaves edges without, if there is data.

    method, percentile  those of `calibrate`
    """

    name: ClassVar[str] = "calibrate-edges"
    method: str = "minmax"
    percentile: float = 99.99

    def check(self, context: Context) -> None:
        if context.calibration is not None:
            Calibrate(self.method, self.percentile).check(context)

    def apply(self, graph: Graph, context: Context) -> Outcome:
        if context.calibration is not None and _misses_scales(graph):
            return Calibrate(self.method, self.percentile).apply(graph, context)
        return Outcome(0)


def _misses_scales(graph: Graph) -> bool:
    """Whether `lower_qdq` would have to derive a range, or leave a product float for want of one."""
    twin = graph.copy()
    expand_qlinear(twin)
    lower_words(twin)
    split_activations(twin, integer_values(twin))
    edges = edge_scales(twin)
    return bool(edges.derived or edges.left)


@dataclass(frozen=True)
class LowerQdq(DataPass):
    """`QuantizeLinear(Conv(DequantizeLinear(x), w, b))` -> `qconv(x)`, with the model's own scales: see `lower_qdq`."""

    name: ClassVar[str] = "lower-qdq"
    tolerance: ClassVar[float] = float("inf")

    def apply(self, graph: Graph, context: Context) -> Outcome:
        return with_reasons(lower_qdq(graph, context.ranges))

    def refusals(self, graph: Graph) -> list[Refusal]:
        return list(lower_qdq(graph.copy()).refusals)


def lower_qdq(graph: Graph, ranges: Ranges | None = None) -> Outcome:
    """Change a fused graph with QuantizeLinear and DequantizeLinear to integer ops, in place.

    ranges  measured on this graph or a copy of it, for edges without a scale; None where there are none

    Scales, zero points and weights stay the model's. Results differ from the float formula of ONNX by one step at most
    in each op, and rarely, where there is a scale on both sides; for edges without, see `edges`. int8 inputs and
    outputs stay int8; uint8 ones stay uint8, with a table behind or before them that moves bytes by 128.
    """
    expand_qlinear(graph)
    words = lower_words(graph)
    split_activations(graph, integer_values(graph))
    outcome = _Lowering(graph, edge_scales(graph, ranges), ranges is not None).run()
    return replace(outcome, changes=outcome.changes + words)


class _Lowering:
    """signed: the int8 value that stands for a uint8 value; done: nodes that integer ones replace."""

    def __init__(self, graph: Graph, edges: Edges, measured: bool) -> None:
        self.graph = graph
        self.edges = edges
        self.measured = measured
        self.emitter = Emitter(graph)
        self.signed: dict[Value, Value] = {}
        self.done: list[Node] = []
        self.refusals: list[Refusal] = []
        self.changes = 0

    def run(self) -> Outcome:
        for node in list(self.graph.nodes):
            if node.outputs[0] is None:  # an LSTM of which only the last state is read
                continue
            if quantized_constant(node.output) is not None:
                continue
            if node.op == "DequantizeLinear":
                self._dequantize(node)
            elif node.op == "QuantizeLinear":
                self._quantize(node)
            elif keeps_scale(node) and node.output.dtype in ("int8", "uint8"):
                self._move_bytes(node)
            elif data_inputs(node) and not is_narrowing(node):
                self._lower(node)
        self._give_unsigned_back()
        finish(self.emitter, self.done)
        self._fold_constants()
        return Outcome(self.changes, tuple(self.refusals), tuple(self.emitter.notes))

    # ---- borders

    def _dequantize(self, node: Node) -> None:
        of, source = scalar_quantization(node), node.input(0)
        if of is None:
            self._refuse(node, _WORDS if is_word(node) else "it has not one scale for 8-bit integers")
            return
        twin = source if source.dtype == "int8" else self._as_signed(source)
        if twin.quantization is None:
            _mark(twin, of)
        if twin.quantization != of:
            self._refuse(node, f"'{source.name}' has another scale elsewhere")
            return
        self.emitter.integer[node.output] = twin
        self.done.append(node)

    def _quantize(self, node: Node) -> None:
        target = scalar_quantization(node)
        if target is None:
            self._refuse(node, _WORDS if is_word(node) else "it has not one scale for 8-bit integers")
            return
        twin = self._quantized(node, target)
        if isinstance(twin, Refused):
            self._refuse(node, twin.reason)
            return
        self.done.append(node)
        old = node.output
        if old.dtype == "uint8":
            self.signed[old] = twin
            return
        if self.graph.is_output(old) and (twin.producer is None or self.graph.is_output(twin)):
            copy = self.graph.add_node("Identity", [twin], [old.type], name=f"{node.name}_copy", opset=18)
            copy.output.quantization, twin = target, copy.output
        name = old.name
        self.graph.replace_uses(old, twin)
        if twin.producer is not None and twin.name != name:
            old.name, twin.name = twin.name, name

    def _quantized(self, node: Node, target: Quantization) -> Value | Refused:
        """The int8 value that a QuantizeLinear makes."""
        source = node.input(0)
        if source not in self.emitter.integer:
            return add_quantize(self.emitter, source, target)
        twin = self.emitter.integer[source]
        if twin.quantization == target:
            return twin
        return self.emitter.requantized(twin, target, node, INT8_RANGE)

    def _as_signed(self, value: Value) -> Value:
        """The int8 twin of a uint8 value; a table moves its bytes where nothing made the twin yet."""
        if value not in self.signed:
            self.signed[value] = self._flipped(value, "int8", f"{value.name}_int8")
        return self.signed[value]

    def _flipped(self, value: Value, dtype: str, wish: str) -> Value:
        """The bytes of a value moved by 128: from uint8 to int8 or back."""
        table = (np.arange(256, dtype=np.uint8) ^ np.uint8(0x80)).view(dtype)
        constant = self.emitter.constant(f"{value.name}_shift", table)
        type = TensorType(dtype, value.shape)
        return self.graph.add_node("lookup", [value, constant], [type], name=wish, output_names=[wish]).output

    def _give_unsigned_back(self) -> None:
        gone = set(self.done)
        for value, twin in list(self.signed.items()):
            readers = [user for user in value.users if user not in gone]
            if value.producer not in gone or not (readers or self.graph.is_output(value)):
                continue
            back = self._flipped(twin, "uint8", f"{value.name}_uint8")
            for user in readers:
                user.replace_input(value, back)
            if self.graph.is_output(value):
                self.graph.outputs.replace(value, back)
                value.name, back.name = back.name, value.name

    # ---- ops

    def _move_bytes(self, node: Node) -> None:
        """An op that moves integers as they are."""
        moved = [value for value in node.inputs if value is not None and value.dtype == node.output.dtype]
        if node.output.dtype == "int8":
            known = {value.quantization for value in moved}
            if len(known) == 1:
                for value in node.outputs:
                    if value is not None:
                        value.quantization = moved[0].quantization
            return
        if not any(value in self.signed for value in moved) and not _reaches_scale(node):
            return
        inputs = [
            self._signed_constant(value) if value in moved and value is not None else value for value in node.inputs
        ]
        types = [None if value is None else TensorType("int8", value.shape) for value in node.outputs]
        twin = self.graph.add_node(node.op, inputs, types, node.attributes, name=f"{node.name}_int8", opset=node.opset)
        for value, result in zip(node.outputs, twin.outputs):
            if value is not None and result is not None:
                result.quantization = inputs[0].quantization if inputs[0] is not None else None
                self.signed[value] = result
        self.done.append(node)

    def _signed_constant(self, value: Value) -> Value:
        if value.data is None:
            return self._as_signed(value)
        return self.emitter.constant(f"{value.name}_int8", (value.data ^ np.uint8(0x80)).view(np.int8))

    def _lower(self, node: Node) -> None:
        """A float op between scales."""
        results = self._emit(node)
        if isinstance(results, Refused):
            self._refuse(node, results.reason)
            return
        settle(self.emitter, node, results)
        self.done.append(node)
        self.changes += 1

    def _emit(self, node: Node) -> list[Value] | Refused:
        form = form_of(node)
        if isinstance(form, Refused):
            return form
        activation = node.attributes.get("activation", "")
        if activation not in CLAMPS:
            return refuse(f"the model gives no scale between it and {activation}")
        sources = []
        for index in data_inputs(node):
            value = node.input(index)
            if value not in self.emitter.integer:
                return refuse(f"its input '{value.name}' has no scale")
            sources.append(self.emitter.integer[value])
        target = self.edges.scales.get(node.output)
        if target is None and (form.keeps or (node.op == "Concat" and len({s.quantization for s in sources}) == 1)):
            target = quantization(sources[0])
        if target is None:
            left = node in self.edges.left
            return refuse("its output has no scale" + (": calibration data would give it one" if left else ""))
        results = form.emit(self.emitter, node, sources, target)
        if node.output in self.edges.derived and not (self.measured or isinstance(results, Refused)):
            self.emitter.notes.append((node.name, f"{_DERIVED} {target}"))
        return results

    def _refuse(self, node: Node, reason: str) -> None:
        self.refusals.append(Refusal(node, reason))

    def _fold_constants(self) -> None:
        """Write the weights of ops that stayed float as float constants."""
        folded = []
        for node in self.graph.nodes:
            if node.op == "DequantizeLinear" and quantized_constant(node.output) is not None:
                value = self.emitter.constant(f"{node.output.name}_float", dequantized(node))
                self.graph.replace_uses(node.output, value)
                folded.append(node)
        self.graph.erase_all(folded)


def _mark(value: Value, of: Quantization) -> None:
    """Note the scale of an int8 value and of what it was moved from."""
    value.quantization = of
    node = value.producer
    while node is not None and keeps_scale(node) and node.op != "Concat":
        value = node.input(0)
        if value.quantization is not None or value.dtype != "int8" or value.is_constant:
            return
        value.quantization = of
        node = value.producer


def _reaches_scale(node: Node) -> bool:
    """Whether what a node moves is read as scaled integers further on."""
    moved = [value for value in node.outputs if value is not None]
    return any(user.op == "DequantizeLinear" for value in moved for user, _ in readers(value, keeps_scale))
