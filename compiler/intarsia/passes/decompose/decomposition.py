"""The pass: which nodes are taken apart, and how their parts come to stand in their places."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from intarsia.errors import CompileError
from intarsia.ir.budget import spending
from intarsia.ir.facts import fix_for_sizes
from intarsia.ir.graph import Graph, Node, Value
from intarsia.ir.types import agree
from intarsia.passes.base import Outcome, Pass, Refusal
from intarsia.passes.context import Context
from intarsia.passes.decompose.expansions import expansion_of
from intarsia.passes.decompose.functions import FUNCTIONS, expand_function
from intarsia.passes.decompose.half import is_half, widened
from intarsia.passes.decompose.parts import Expanded, Kept, NotMade, expand

_ELEMENTS_MAX = 1 << 31
"""Nothing is made for larger values, so that no table of such a size is made either."""


class Answer(Protocol):
    """Whether a node is taken as it is, and if not, why. `targets.Support` is one: passes stand below targets."""

    @property
    def ok(self) -> bool: ...
    @property
    def rule(self) -> str: ...
    @property
    def reason(self) -> str: ...
    @property
    def fix(self) -> str: ...


@dataclass(frozen=True)
class Advice:
    """What the pass asks of whoever runs it: it stands below the targets and beside the importer.

    taken     whether some target takes a node as it is; where none does, the answer of the last one
    function  the body of the ONNX function that defines a node's op: a fresh graph, simplified. Its inputs stand for
              those of the node that are no constants, in order, its outputs for those that the node does not leave out.
              CompileError where there is none
    told      hears, by its name, why a node that no target takes stays whole
    """

    taken: Callable[[Node], Answer]
    function: Callable[[Node], Graph]
    told: Callable[[str, Kept], None] = lambda name, why: None


@dataclass(frozen=True)
class Decompose(Pass):
    """Make what no target takes whole out of parts that are taken.

    A node is asked about as it is; then in float32 between casts, where it is of float16; else as an expansion of ours
    or ONNX's function says. It stays whole unless every part is taken, or can be taken apart in turn. A node that the
    evaluator will run anyway stays as the model has it.

    Whole numbers come out the same; float32 differs by the order of sums, some 1e-6. In float16 parts round where the
    meaning of the op does, save inside of some ops such as Sigmoid and LayerNormalization: by one unit in the last
    place, 7e-4, which adds up along a network.

    targets  names of those that answer, in the order in which they are asked
    advice   their answers. No option: the driver gives it, by these names where the pass comes from text
    """

    name: ClassVar[str] = "decompose"
    tolerance: ClassVar[float] = 5e-3
    targets: tuple[str, ...] = ()
    advice: Advice | None = field(default=None, repr=False, compare=False)

    def __str__(self) -> str:
        return f"{self.name}{{targets={self.targets!r}}}"

    def apply(self, graph: Graph, context: Context) -> Outcome:
        with spending(None if context.folding is None else context.folding.budget):
            return Outcome(self.run(graph))

    def run(self, graph: Graph) -> int:
        advice = self._advice()
        kept: dict[str, Kept] = {}
        changes = _decompose(graph, advice, kept)
        for name, why in kept.items():
            advice.told(name, why)
        return changes

    def refusals(self, graph: Graph) -> list[Refusal]:
        kept: dict[str, Kept] = {}
        _decompose(graph.copy(), self._advice(), kept)
        return [Refusal(node, kept[node.name].reason) for node in graph.nodes if node.name in kept]

    def _advice(self) -> Advice:
        if self.advice is None:
            raise CompileError(
                where=f"pass {self}",
                what="nobody is here to say what these targets take",
                help="run it by `intarsia.driver`, which finds targets by their names",
            )
        return self.advice


def _decompose(graph: Graph, advice: Advice, kept: dict[str, Kept] | None = None) -> int:
    """Put parts in the place of nodes; returns of how many.

    kept  gets the reasons for what stays whole. Without it all nodes must be taken: NotMade at the first that is not
    """
    order: list[Node] = []
    gone: list[Node] = []
    for node in list(graph.nodes):
        try:
            parts = _parts_of(node, advice, asks_all=kept is None)
        except NotMade as refusal:
            if kept is None:
                text = f"its part {node.op}: {refusal.kept.reason}"
                raise NotMade(Kept(refusal.kept.rule, text, refusal.kept.fix)) from None
            kept[node.name] = refusal.kept
            parts = None
        if parts is None:
            order.append(node)
        else:
            order += _put_in_place(graph, node, parts)
            gone.append(node)
    if gone:
        graph.nodes = order
        graph.erase_all(gone)
    return len(gone)


def _parts_of(node: Node, advice: Advice, asks_all: bool) -> Expanded | None:
    """The parts of a node, all of which are taken; None where it is to stay whole. Raises NotMade where it has none.

    asks_all  whether a node that could not be taken apart must be taken
    """
    expansion = None
    if not node.domain:
        expansion = widened if is_half(node) else expansion_of(node)
    is_made = expansion is not None or (node.op in FUNCTIONS and not node.domain)
    if not (is_made or asks_all):
        return None
    answer = advice.taken(node)
    if answer.ok:
        return None
    if not is_made:
        raise NotMade(Kept(answer.rule, answer.reason, answer.fix))
    _check_sizes(node)
    parts = expand_function(node, advice.function) if expansion is None else expand(expansion, node)
    _decompose(parts.graph, advice)
    return parts


def _check_sizes(node: Node) -> None:
    """Parts are made for fixed sizes, none of them 0 save those of constants."""
    for value in (*node.inputs, *node.outputs):
        if value is None or (value.data is not None and value.data.size == 0 and value.type.rank == 1):
            continue
        if not value.type.is_static:
            text = f"'{value.name}' is {value.type}"
            raise NotMade(Kept("static-shape", text, fix_for_sizes(value)))
        if value.type.elements == 0:
            raise NotMade(Kept("empty", f"'{value.name}' is {value.type}"))
        if value.type.elements >= _ELEMENTS_MAX:
            text = f"'{value.name}' has {value.type.elements} elements, under 2**31"
            raise NotMade(Kept("size", text, "use smaller inputs"))


def _put_in_place(graph: Graph, node: Node, parts: Expanded) -> list[Node]:
    """Copies of the parts, at the end of the graph's nodes; they make the values that the node made.

    A part is called after the node and its own op: `attention/MatMul_1`. So is what it makes, save the node's outputs.
    """
    outside: dict[Value, Value] = dict(parts.sources)
    held = {id(value.data): value for value in node.inputs if value is not None and value.data is not None}
    wanted = [value for value in node.outputs if value is not None]
    made: dict[Value, Value] = {}
    for output, value in zip(parts.graph.outputs, wanted, strict=True):
        if not agree(output.type, value.type):
            raise CompileError(
                where=node.where,
                what=f"its output {value.name!r} is {value.type}, but by the ops that define it {output.type}",
                help="its inputs do not fit together: check their shapes; export the model again",
            )
        if output.producer is not None:
            made.setdefault(output, value)

    def read(value: Value | None) -> Value | None:
        if value is None or value in outside:
            return None if value is None else outside[value]
        assert value.data is not None, f"{node.where}: nothing makes {value.name!r}"
        outside[value] = held.get(id(value.data)) or graph.add_constant(
            graph.fresh_name(f"{node.name}/constant"), value.data
        )
        return outside[value]

    placed = []
    for part in parts.graph.nodes:
        copy = graph.add_node(
            part.op,
            [read(value) for value in part.inputs],
            [None if value is None or value in made else value.type for value in part.outputs],
            part.attributes,
            name=f"{node.name}/{part.op}",
            opset=part.opset,
            domain=part.domain,
        )
        for index, inner in enumerate(part.outputs):
            if inner is None:
                continue
            if inner in made:
                copy.outputs[index] = made[inner]
                made[inner].producer = copy
            outside[inner] = _present(copy.outputs[index])
        placed.append(copy)
    node.outputs = [value for value in wanted if value not in made.values()]
    for output, value in zip(parts.graph.outputs, wanted):
        if value in node.outputs:  # an input, a constant, or the same as another output
            graph.replace_uses(value, _present(read(output)))
    return placed


def _present(value: Value | None) -> Value:
    assert value is not None
    return value
