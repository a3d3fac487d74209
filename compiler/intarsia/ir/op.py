"""What the graph knows of an op: attributes, shape rule, meaning, facts. The table of all ops is `ir.ops`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from intarsia.dtypes import Array
from intarsia.errors import CompileError
from intarsia.ir.graph import Graph, Node
from intarsia.ir.types import TensorType

Known = Sequence[Array | None]
"""For each input the elements, where they are known at compile time (shapes, axes, weights), else None."""

Infer = Callable[[Node, Sequence[TensorType | None], Known], list[TensorType]]
Evaluate = Callable[[Node, Sequence[Array | None]], list[Array]]
Run = Callable[[Graph, Sequence[Array]], list[Array]]
"""Outputs of a graph for arrays in the order of its inputs."""

Control = Callable[[Node, Sequence[Array | None], Run], list[Array]]

CAPTURED = "captured"
"""Attribute of If, Loop, Scan: the names, inside the subgraphs, of the trailing inputs taken from the outer graph."""

Work = Literal["compute", "movement", "conversion"]
"""What an op does, as partition and reports count it: calculate, move elements, or write them in another type."""


def never(node: Node) -> bool:
    """The answer of facts that hold for no node of an op."""
    return False


def always(node: Node) -> bool:
    """The answer of facts that hold for every node of an op."""
    return True


def no_macs(node: Node) -> int:
    """Multiply-accumulates of an op that is no sum of products."""
    return 0


@dataclass(frozen=True)
class Op:
    """One row of the op table.

    name        as nodes spell it
    infer       types of the outputs from types of the inputs; raises CompileError through `refuse` for a broken node;
                None where onnx's own rule is asked
    evaluate    the meaning, in NumPy; None where the meaning is onnx.reference's
    attributes  names it may carry, with defaults; `required` marks those that must be given
    integer     True for our own ops on quantized integers
    control     the meaning of an op that runs graphs of its own, where the importer could read them all: its attributes
                then hold each as a Graph, whose inputs are the op's formal ones and behind them the captured values;
                else as bytes, and onnx.reference is asked
    rare        tells the forms of the op for which `evaluate` itself asks onnx.reference (`needs_onnx` asks it)

    Facts, which passes, partition and code generators ask for (`ir.facts` asks them of a node):

    work                what reports count it as
    macs                multiply-accumulates of one run of a node whose shapes are all known
    carries_activation  it may apply an activation: attributes `activation` and `activation_arguments`
    keeps_scale         it moves quantized integers as they are: its outputs have scale and zero point of its inputs
    keeps_range         no element of its outputs is below the least, or above the largest, of its first input (of all
                        inputs of Concat; zeros of padding that AveragePool was told to count are inputs too)
    nonnegative         no element of its output is below 0
    random              tells the nodes that may give other numbers every time
    grows               it may make much of little: the size of an output can depend on an input's elements
    optional_outputs    its outputs behind the first may be left out
    """

    name: str
    infer: Infer | None
    evaluate: Evaluate | None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    integer: bool = False
    control: Control | None = None
    rare: Callable[[Node], bool] = never
    work: Work = "compute"
    macs: Callable[[Node], int] = no_macs
    carries_activation: bool = False
    keeps_scale: bool = False
    keeps_range: bool = False
    nonnegative: bool = False
    random: Callable[[Node], bool] = never
    grows: bool = False
    optional_outputs: bool = False

    def needs_onnx(self, node: Node) -> bool:
        """Whether this node can be evaluated only where the package onnx is, so not on a board; without a look at the
        nodes of its own graphs, where it has any (`facts.needs_onnx` looks at them)."""
        if self.control is not None:
            return not bodies_of(node)
        return self.evaluate is None or self.rare(node)


def bodies_of(node: Node) -> list[Graph]:
    """The graphs that a node runs, as far as the importer has read them; none where onnx.reference runs them."""
    return [value for value in node.attributes.values() if isinstance(value, Graph)]


class _Required:
    def __repr__(self) -> str:
        return "required"


required = _Required()
"""Marks an attribute without default in Op.attributes."""


def refuse(node: Node, what: str, help: str) -> CompileError:
    """The error for a node that breaks a rule; the caller raises it."""
    return CompileError(where=node.where, what=what, help=help)


def attribute(node: Node, op: Op, name: str) -> Any:
    """The attribute as given, else the op's default."""
    if name in node.attributes:
        return node.attributes[name]
    default = op.attributes[name]
    if isinstance(default, _Required):
        raise refuse(node, f"the attribute '{name}' is missing", "every exporter must write it; export the model again")
    return default
