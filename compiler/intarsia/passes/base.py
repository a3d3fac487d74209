"""What a pass is: a value with a name, options and a count of what it changed; and how passes run one after another."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import ClassVar

from intarsia.ir.graph import Graph, Node, Value
from intarsia.ir.types import TensorType
from intarsia.passes.context import Context, Folding


@dataclass(frozen=True)
class Refusal:
    """A place where a rule nearly matched, and why it did not fire."""

    node: Node
    reason: str

    def __str__(self) -> str:
        return f"{self.node.where}: {self.reason}"


@dataclass(frozen=True)
class Outcome:
    """What came of a pass, or of several.

    changes   how much was changed; 0 when the graph is as it was
    refusals  nodes that it left alone, each with its reason, where that is known without asking again
    notes     facts that the user should know, as (name of a node, text)
    """

    changes: int
    refusals: tuple[Refusal, ...] = ()
    notes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Pass(ABC):
    """A change of a graph that keeps its meaning. The fields of a subclass are its options and its whole state.

    name       as pipelines spell it
    tolerance  how far an output may drift, relative to the largest magnitude in it; 0 for bit equality, infinity where
               numbers before and after have no common measure (float and int8): see `instruments.Compare`
    """

    name: ClassVar[str]
    tolerance: ClassVar[float] = 0.0

    def __str__(self) -> str:
        """The text that makes the pass again, e.g. `fold-constants{keep_dequantize=False}`."""
        options = ", ".join(f"{field.name}={getattr(self, field.name)!r}" for field in fields(self))
        return f"{self.name}{{{options}}}" if options else self.name

    @abstractmethod
    def run(self, graph: Graph) -> int:
        """Change the graph; returns the number of changes, 0 when the graph is as it was."""

    def apply(self, graph: Graph, context: Context) -> Outcome:
        """Change the graph, as a pipeline does it: with what lies beside the graph, and telling what came of it."""
        return Outcome(self.run(graph))

    def check(self, context: Context) -> None:  # noqa: B027  # most take nothing
        """Raise CompileError where what the pass takes from the context was not given.

        A compilation asks this of all its passes before the first one runs, so that nobody waits for nothing.
        """

    def refusals(self, graph: Graph) -> list[Refusal]:
        """Why the rule does not fire where it nearly matches. The graph is left alone."""
        return []


@dataclass(frozen=True)
class DataPass(Pass):
    """A pass that takes something from the context or leaves something there, or has something to tell."""

    @abstractmethod
    def apply(self, graph: Graph, context: Context) -> Outcome: ...

    def run(self, graph: Graph) -> int:
        return self.apply(graph, Context()).changes


@dataclass(frozen=True)
class Refused:
    """A rule's answer for a node that nearly matches."""

    reason: str


CHANGED = True
"""A rule's answer for a node that it rewrote."""

Answer = bool | Refused | None
"""CHANGED, `refuse(...)`, or None where the rule has nothing to do with the node."""


def refuse(reason: str) -> Refused:
    """Said by a rule that nearly matched: `return refuse("weight 'w' is also read by 'head'")`."""
    return Refused(reason)


class Rewriter:
    """What a rule may do to the graph while a sweep is under way.

    Nodes that lose their last reader are cut off at once, so that `Value.users` counts living readers alone, and are
    taken out of the node list when the sweep ends. New nodes go to the end of the list; the sweep sorts it again.
    """

    def __init__(self, graph: Graph, folding: Folding | None = None) -> None:
        self.graph = graph
        self.dead: dict[Node, None] = {}
        self.folding = folding
        """What constant folding may still spend."""
        self.looked_at = 0
        """Elements that rules have computed on, for those that keep a limit."""

    def replace(self, old: Value, new: Value) -> None:
        """Read `new` wherever `old` was read; both hold the same elements. A maker of `old` without readers goes."""
        self.graph.replace_uses(old, new)
        self.drop(old.producer)

    def supersede(self, old: Value, new: Value) -> None:
        """Like `replace`, where `new` holds from now on what `old` held: it takes over the name.

        That way a name stands for the same elements before and after a pass, and graphs can be compared value by value.
        """
        before = old.name
        self.graph.replace_uses(old, new)
        if new.name != before:
            old.name, new.name = new.name, old.name
        self.drop(old.producer)

    def set_inputs(self, node: Node, inputs: Sequence[Value | None]) -> None:
        """Give a node other inputs; makers of the former ones go where nobody else reads them."""
        former = [value.producer for value in node.inputs if value is not None]
        node.set_inputs(inputs)
        for producer in former:
            self.drop(producer)

    def drop(self, node: Node | None) -> None:
        """Cut a node off when nobody reads it, and then its inputs' makers likewise."""
        stack = [node]
        while stack:
            node = stack.pop()
            if node is None or node in self.dead:
                continue
            if any(value is not None and (value.user_count or self.graph.is_output(value)) for value in node.outputs):
                continue
            self.dead[node] = None
            stack.extend(value.producer for value in node.inputs if value is not None)
            node.set_inputs(())

    def finish(self) -> None:
        """Take out what died and put the nodes in a runnable order."""
        if self.dead:
            self.graph.erase_all(self.dead)
            self.dead = {}
        self.graph.sort()


class Rewrite(Pass):
    """A pass that asks a rule about node after node, until no node changes any more.

    ops  the ops that the rule looks at; () for all
    """

    ops: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def rewrite(self, node: Node, rewriter: Rewriter) -> Answer:
        """Change the graph around the node, or say why not, or None."""

    def run(self, graph: Graph) -> int:
        changes = 0
        while True:
            changed, _ = self._sweep(graph)
            changes += changed
            if not changed:
                return changes

    def refusals(self, graph: Graph) -> list[Refusal]:
        copy = graph.copy()
        while True:
            changed, refused = self._sweep(copy)
            if not changed:
                break
        mine = {node.name: node for node in graph.nodes}
        return [Refusal(mine.get(refusal.node.name, refusal.node), refusal.reason) for refusal in refused]

    def _sweep(self, graph: Graph, rewriter: Rewriter | None = None) -> tuple[int, list[Refusal]]:
        rewriter, changes = rewriter or Rewriter(graph), 0
        refused: list[Refusal] = []
        for node in [node for node in graph.nodes if self._looks_at(node)]:
            # A node may answer more than once: a fused Clip uncovers the next.
            while node not in rewriter.dead and self._looks_at(node):
                answer = self.rewrite(node, rewriter)
                if isinstance(answer, Refused):
                    refused.append(Refusal(node, answer.reason))
                if answer is not CHANGED:
                    break
                changes += 1
        if changes:
            rewriter.finish()
        return changes, refused

    def _looks_at(self, node: Node) -> bool:
        return node.domain == "" and (not self.ops or node.op in self.ops)


class Hook:
    """What happens between passes. Every method does nothing here; instruments override what they need."""

    def start(self, graph: Graph) -> None:
        """Called once, before the first pass."""

    def before(self, step: Pass, graph: Graph) -> None:
        """Called before each pass."""

    def after(self, step: Pass, graph: Graph, changes: int, seconds: float) -> None:
        """Called after each pass, with what it changed and how long it took."""

    def failed(self, step: Pass, graph: Graph, error: Exception) -> None:
        """Called when a pass raised, or an instrument behind it did; the error goes on to the caller afterwards."""

    def did(self, what: str, seconds: float) -> None:
        """Called after each step of a compilation that is no pass, such as "import" or "compile region 0_cpu"."""


def run_passes(
    graph: Graph, passes: Iterable[Pass], *, hook: Hook | None = None, context: Context | None = None
) -> Outcome:
    """Run passes in order; returns what came of them together. Errors of a pass go to the hook, then to the caller.

    context  what the passes share beside the graph; an empty one where none is given
    """
    hook, context = hook or Hook(), context or Context()
    outcomes: list[Outcome] = []
    hook.start(graph)
    for step in passes:
        hook.before(step, graph)
        started = time.perf_counter()
        try:
            outcomes.append(step.apply(graph, context))
            hook.after(step, graph, outcomes[-1].changes, time.perf_counter() - started)
        except Exception as error:
            hook.failed(step, graph, error)
            raise
    return Outcome(
        sum(outcome.changes for outcome in outcomes),
        tuple(refusal for outcome in outcomes for refusal in outcome.refusals),
        tuple(note for outcome in outcomes for note in outcome.notes),
    )


def type_like(value: Value, shape: Sequence[int | None] | None) -> TensorType:
    """The element type of a value with another shape."""
    return TensorType(value.dtype, None if shape is None else tuple(shape))
