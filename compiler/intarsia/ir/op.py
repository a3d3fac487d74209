"""What the graph knows of an op: its attributes, its shape rule and its meaning. The table of all ops is `ir.ops`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from intarsia.dtypes import Array
from intarsia.errors import CompileError
from intarsia.ir.graph import Node
from intarsia.ir.types import TensorType

Known = Sequence[Array | None]
"""For each input the elements, where they are known at compile time (shapes, axes, weights), else None."""

Infer = Callable[[Node, Sequence[TensorType | None], Known], list[TensorType]]
Evaluate = Callable[[Node, Sequence[Array | None]], list[Array]]


@dataclass(frozen=True)
class Op:
    """One row of the op table.

    name        as nodes spell it
    infer       types of the outputs from types of the inputs; raises CompileError through `refuse` for a broken node
    evaluate    the meaning, in NumPy; None where the meaning is onnx.reference's
    attributes  names it may carry, with defaults; `required` marks those that must be given
    integer     True for our own ops on quantized integers
    rare        tells the forms of the op for which `evaluate` itself asks onnx.reference (`needs_onnx` asks it)
    """

    name: str
    infer: Infer
    evaluate: Evaluate | None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    integer: bool = False
    rare: Callable[[Node], bool] = lambda node: False

    def needs_onnx(self, node: Node) -> bool:
        """Whether this node can be evaluated only where the package onnx is, so not on a board."""
        return self.evaluate is None or self.rare(node)


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
