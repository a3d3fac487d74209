"""A node on its way into the graph: everything but its types, so that upgrades may rewrite it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from intarsia.dtypes import Array
from intarsia.errors import CompileError
from intarsia.ir.graph import Attribute, Value


@dataclass
class Draft:
    """See intarsia.ir.graph.Node; `outputs` are names, "" for those left out."""

    op: str
    name: str
    domain: str
    opset: int
    inputs: list[Value | None]
    outputs: list[str]
    attributes: dict[str, Attribute] = field(default_factory=dict)

    @property
    def where(self) -> str:
        """The node, as errors name it."""
        return f"{self.op} '{self.name}'"

    def input(self, index: int) -> Value | None:
        """An input, or None where it is left out."""
        return self.inputs[index] if index < len(self.inputs) else None

    def set_input(self, index: int, value: Value | None) -> None:
        """Put an input at a place, leaving out those before it that are not there."""
        self.inputs += [None] * (index + 1 - len(self.inputs))
        self.inputs[index] = value

    def refuse(self, what: str, help: str) -> CompileError:
        """The error for this node; the caller raises it."""
        return CompileError(where=self.where, what=what, help=help)


class Workshop(Protocol):
    """What an upgrade may use besides the draft itself."""

    @property
    def inference(self) -> Known:
        """What is known of values so far."""

    def constant(self, wish: str, data: Array) -> Value:
        """A new constant; its name is `wish`, or like it."""

    def emit(self, draft: Draft) -> Value:
        """Add a node; returns its first output."""


class Known(Protocol):
    """What is known of values at compile time."""

    def elements(self, value: Value | None) -> Array | None:
        """The elements of a value, or None where they are not known."""
