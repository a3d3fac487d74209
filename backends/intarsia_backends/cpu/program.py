"""A region as a list of kernel calls over buffers: what lowering makes and what the C entry is written from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from intarsia.dtypes import Array
from intarsia.ir.graph import Graph, Value
from intarsia_backends.cpu.kernels import Kernel
from intarsia_backends.cpu.machine import Machine

ALIGNMENT_BYTES = 64


@dataclass(eq=False)
class Buffer:
    """Memory that kernels read and write.

    kind    "input", "output", "weight" or "arena"
    size    bytes
    index   which input or output; unused for the other kinds
    offset  bytes from the start of the weights or of the arena; set by the planner for the arena
    """

    kind: str
    size: int
    index: int = 0
    offset: int = 0


@dataclass(frozen=True)
class Bounds:
    """A check of whole numbers that are used as places: one outside of low..high ends the run.

    dtype  "int32" or "int64"
    text   what to tell the user then
    """

    dtype: str
    count: int
    low: int
    high: int
    text: str


@dataclass(frozen=True)
class Call:
    """One kernel call. `kernel` None copies the first operand to the last. What is written goes last; Bounds write
    nothing."""

    kernel: Kernel | Bounds | None
    operands: tuple[Buffer, ...]


@dataclass
class Program:
    """A lowered region.

    calls    in order
    weights  contents of the file of weights
    arena    bytes of scratch memory; set by the planner
    """

    calls: list[Call] = field(default_factory=list)
    weights: bytearray = field(default_factory=bytearray)
    arena: int = 0

    @property
    def bounds(self) -> list[Bounds]:
        """The checks, in order; the one that fails is known by its index."""
        return [call.kernel for call in self.calls if isinstance(call.kernel, Bounds)]


class Builder:
    """Hands out buffers for values and collects calls while a region is lowered."""

    def __init__(self, graph: Graph, machine: Machine) -> None:
        self.machine = machine
        self.program = Program()
        self._buffers: dict[Value, Buffer] = {}
        self._weights: dict[tuple[str, bytes], Buffer] = {}
        for index, value in enumerate(graph.inputs):
            self._buffers[value] = Buffer("input", value.type.size_bytes, index)

    def read(self, value: Value) -> Buffer:
        """Where a value stands: made earlier, an input, or a constant."""
        if value not in self._buffers and value.data is not None:
            return self.weight(value.data)
        return self._buffers[value]

    def result(self, value: Value) -> Buffer:
        """Fresh memory for a value that a node makes."""
        buffer = Buffer("arena", value.type.size_bytes)
        self._buffers[value] = buffer
        return buffer

    def alias(self, value: Value, source: Value) -> None:
        """`value` is the memory of `source`, read with another shape."""
        self._buffers[value] = self.read(source)

    def scratch(self, elements: int, dtype: str) -> Buffer:
        """Memory between two calls of one node."""
        return Buffer("arena", elements * np.dtype(dtype).itemsize)

    def weight(self, data: Array) -> Buffer:
        """Constant memory; equal contents are held once."""
        content = np.ascontiguousarray(data).tobytes()
        key = (str(data.dtype), content)
        if key not in self._weights:
            weights = self.program.weights
            weights.extend(bytes(-len(weights) % ALIGNMENT_BYTES))
            self._weights[key] = Buffer("weight", len(content), offset=len(weights))
            weights.extend(content)
        return self._weights[key]

    def call(self, kernel: Kernel, operands: Sequence[Buffer], *outputs: Buffer) -> None:
        """Append a call; what it writes goes last."""
        self.program.calls.append(Call(kernel, (*operands, *outputs)))

    def guard(self, value: Value, low: int, high: int, where: str) -> None:
        """End the run, with a reason, where a whole number of a value that is made at run time is outside low..high."""
        if value.data is None:
            self.guard_buffer(
                self.read(value), value.dtype, value.type.elements, low, high, f"{where}: an element of '{value.name}'"
            )

    def guard_buffer(self, buffer: Buffer, dtype: str, count: int, low: int, high: int, what: str) -> None:
        """The same for memory between two calls."""
        bounds = Bounds(dtype, count, low, high, f"{what} is outside of {low} to {high}")
        self.program.calls.append(Call(bounds, (buffer,)))

    def constant(self, value: Value, data: Array) -> None:
        """`value` is known at compile time."""
        assert value.type.elements == data.size and value.dtype == str(data.dtype)
        self._buffers[value] = self.weight(data)

    def share(self, value: Value, buffer: Buffer) -> None:
        """`value` stands in that memory."""
        self._buffers[value] = buffer

    def finish(self, graph: Graph) -> Program:
        """Write the region's outputs in place where one buffer serves one output, else by a copy at the end."""
        for index, value in enumerate(graph.outputs):
            buffer = self.read(value)
            if buffer.kind == "arena":
                buffer.kind, buffer.index = "output", index
            elif (buffer.kind, buffer.index) != ("output", index):
                output = Buffer("output", value.type.size_bytes, index)
                self.program.calls.append(Call(None, (buffer, output)))
        return self.program
