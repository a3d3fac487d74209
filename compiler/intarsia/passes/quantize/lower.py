"""A float graph and its ranges to a graph of integer ops, with conversions at the borders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from intarsia.arguments import check_text, near
from intarsia.errors import CompileError, either
from intarsia.ir.graph import Graph, Node, Value
from intarsia.ir.types import Quantization, TensorType
from intarsia.passes.base import DataPass, Outcome, Refusal, Refused
from intarsia.passes.calibration import Ranges
from intarsia.passes.context import Context
from intarsia.passes.quantize.calibrate import assumed_ranges
from intarsia.passes.quantize.constants import data_inputs
from intarsia.passes.quantize.emitter import Emitter, quantization
from intarsia.passes.quantize.offsets import centre_products
from intarsia.passes.quantize.plan import make_plan
from intarsia.passes.quantize.split import split_activations


@dataclass(frozen=True)
class Quantize(DataPass):
    """A fused float graph to integer ops, with scales from the ranges in the context: see `quantize`.

    keep  names of nodes that stay float
    """

    name: ClassVar[str] = "quantize"
    tolerance: ClassVar[float] = float("inf")
    keep: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.name}{{keep={self.keep!r}}}" if self.keep else self.name

    def check(self, context: Context) -> None:
        for name in self.keep:
            check_text(CompileError, "keep_float", name, "give names of ops")

    def apply(self, graph: Graph, context: Context) -> Outcome:
        if context.ranges is None:
            raise CompileError(
                where=f"pass {self}",
                what="no pass before it measured, read or assumed the ranges of activations",
                help="write calibrate before it in the pipeline",
            )
        return with_reasons(quantize(graph, context.ranges, self.keep))

    def refusals(self, graph: Graph) -> list[Refusal]:
        """Why nodes would stay float, whatever their ranges: these are assumed."""
        twin = graph.copy()
        return list(quantize(twin, assumed_ranges(twin), self.keep).refusals)


def with_reasons(outcome: Outcome) -> Outcome:
    """The outcome, with a note for every node that stays float."""
    reasons = tuple((refusal.node.name, f"stays float: {refusal.reason}") for refusal in outcome.refusals)
    return replace(outcome, notes=outcome.notes + reasons)


def quantize(graph: Graph, ranges: Ranges, keep: Sequence[str] = ()) -> Outcome:
    """Change a fused float graph to integer ops, in place.

    ranges  of every float value, from `calibrate` on this graph or a copy of it
    keep    names of nodes that stay float, with the activations that are fused into them

    Inputs and outputs keep their names and float types, with `quantize` and `dequantize` at them. What has no integer
    form stays float between the two. Biases, weights, multipliers and clamps are chosen so that no sum leaves 32 bits.

    Raises CompileError where no node has a name that is to be kept.
    """
    kept = _named(graph, keep)
    split_activations(graph)
    ranges = centre_products(graph, ranges)
    plan = make_plan(graph, ranges, kept)
    emitter, refusals, done = Emitter(graph), list(plan.refusals), list[Node]()
    for node in list(graph.nodes):
        form = plan.forms.get(node)
        if form is None:
            continue
        sources = [_as_int8(emitter, node.input(index), plan.scales) for index in data_inputs(node)]
        results = form.emit(emitter, node, sources, plan.scales[node.output])
        if isinstance(results, Refused):
            refusals.append(Refusal(node, results.reason))
            continue
        settle(emitter, node, results)
        done.append(node)
    finish(emitter, done)
    return Outcome(len(done), tuple(refusals), tuple(emitter.notes))


def _named(graph: Graph, names: Sequence[str]) -> frozenset[str]:
    """Names of nodes, each looked up; that of a value, as in tables of noise, stands for the node that makes it."""
    known = {value.name: node.name for node in graph.nodes for value in node.outputs if value is not None}
    known |= {node.name: node.name for node in graph.nodes}
    found = [known.get(wish, known.get(wish.removesuffix("_int8"), "")) for wish in names]
    for name, wish in zip(found, names):
        if not name:
            raise CompileError(
                where=either(f"--keep-float {wish}", f"keep_float '{wish}'"),
                what=f"no op of the fused graph has that name{near(wish, known)}",
                help="`intarsia explain MODEL --target cpu --precision float32 --all` lists the names",
            )
    return frozenset(found)


def require_measured(ranges: Ranges) -> None:
    """Raise CompileError for assumed ranges: code made with them would compute nonsense."""
    if ranges.assumed:
        raise CompileError(
            where="int8",
            what="no activation range was measured",
            help=f"give real inputs: {either('--calibration images.npz', 'calibration=array')}",
        )


def _as_int8(emitter: Emitter, value: Value, scales: dict[Value, Quantization]) -> Value:
    """The int8 form of a float value; a `quantize` node where a float op or the caller makes it."""
    if value not in emitter.integer:
        emitter.integer[value] = add_quantize(emitter, value, scales[value])
    return emitter.integer[value]


def add_quantize(emitter: Emitter, value: Value, target: Quantization) -> Value:
    """A `quantize` node behind a float value."""
    attributes = {"scale": target.scale, "zero_point": target.zero_point}
    wish = f"{value.name}_int8"
    type = TensorType("int8", value.shape)
    node = emitter.graph.add_node(
        "quantize", [value], [type], attributes, name=f"quantize_{value.name}", output_names=[wish]
    )
    node.output.quantization = target
    return node.output


def settle(emitter: Emitter, node: Node, results: list[Value]) -> None:
    """Note the int8 forms of a node's outputs; they and the last new node take over the names."""
    for value, result in zip((value for value in node.outputs if value is not None), results):
        emitter.integer[value] = result
        if not emitter.graph.is_output(value):
            value.name, result.name = result.name, value.name
    twin = results[0].producer
    assert twin is not None
    node.name, twin.name = twin.name, node.name


def finish(emitter: Emitter, done: list[Node]) -> None:
    """Give float readers their floats back, take out what nobody reads, and restore the order."""
    graph, gone = emitter.graph, set(done)
    for node in done:
        for value in node.outputs:
            if value is not None and (graph.is_output(value) or any(user not in gone for user in value.users)):
                _give_back(emitter, value, gone)
    remove_unread(graph, gone)
    graph.sort()


def _give_back(emitter: Emitter, value: Value, gone: set[Node]) -> None:
    """A `dequantize` node for the float ops and the callers that still read a value."""
    graph, integer = emitter.graph, emitter.integer[value]
    of = quantization(integer)
    attributes = {"scale": of.scale, "zero_point": of.zero_point}
    wish = f"{integer.name}_float"
    node = graph.add_node(
        "dequantize", [integer], [value.type], attributes, name=f"dequantize_{integer.name}", output_names=[wish]
    )
    for user in value.users:
        if user not in gone:
            user.replace_input(value, node.output)
    if graph.is_output(value):
        graph.outputs.replace(value, node.output)
        value.name, node.output.name = node.output.name, value.name


def remove_unread(graph: Graph, gone: set[Node]) -> None:
    """Erase the nodes in `gone` and, again and again, all whose outputs nobody reads."""
    graph.erase_all(gone)
    while True:
        unread = [
            node
            for node in graph.nodes
            if not any(value is not None and (value.user_count or graph.is_output(value)) for value in node.outputs)
        ]
        if not unread:
            return
        graph.erase_all(unread)
