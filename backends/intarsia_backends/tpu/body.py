"""The body of a region under way: which tensor stands for which value, and what must hold of indices at run time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from intarsia.ir.graph import Node, Value
from intarsia_backends.lowering.ops.table import Lowering
from intarsia_backends.tpu.stablehlo import Tensor, Writer


class Body(Writer):
    """A writer that knows the values of a graph.

    narrow  whether products of float32 are made of operands rounded to bfloat16
    guards  tensors of bool, [], true where all is well, and what is wrong where they are not
    """

    def __init__(self, narrow: bool = False) -> None:
        super().__init__()
        self.narrow = narrow
        self.guards: list[tuple[Tensor, str]] = []
        self._tensors: dict[Value, Tensor] = {}

    def give(self, value: Value, tensor: Tensor) -> None:
        """A value is made."""
        assert (value.dtype, value.shape) == (tensor.dtype, tensor.shape), f"{value} is written as {tensor}"
        self._tensors[value] = tensor

    def read(self, value: Value) -> Tensor:
        """The tensor of a value that was made, or is a constant."""
        if value not in self._tensors:
            assert value.data is not None, f"'{value.name}' is read before it is made"
            return self.constant(value.data)
        return self._tensors[value]

    def inputs(self, node: Node) -> list[Tensor]:
        """The tensors of the inputs that are there, in order."""
        return [self.read(value) for value in node.inputs if value is not None]

    def guard(self, indices: Tensor, size: int, where: str) -> None:
        """Indices made at run time lie in [-size, size)."""
        low, high = self.like(-size, indices), self.like(size - 1, indices)
        inside = self.binary("and", self.compare("GE", indices, low), self.compare("LE", indices, high))
        every = self.reduce("and", inside, True, range(inside.rank))
        self.guards.append((every, f"{where}: an index is outside an axis of {size}"))


Made = Tensor | Sequence[Tensor]
"""What a node makes: its output, or all of them."""


def emitter(emit: Callable[[Body, Node], Made], **facts: Any) -> Lowering[Any]:
    """A row of the table: what writes a node, and which nodes it takes (see `Lowering`)."""
    return Lowering(cast(Any, emit), **facts)
