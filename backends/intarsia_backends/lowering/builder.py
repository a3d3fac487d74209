"""What lowering writes to: memory for values, and the kernel calls of a region in order."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np

from intarsia.dtypes import Array
from intarsia.ir.graph import Graph, Node, Value
from intarsia_backends.lowering.access import Access, row_major
from intarsia_backends.lowering.expressions import Cast, Constant, Expression, Input
from intarsia_backends.lowering.kernel import Kernel
from intarsia_backends.lowering.kernels import nest
from intarsia_backends.lowering.machine import Machine
from intarsia_backends.lowering.multiplication import Multiplication
from intarsia_backends.lowering.program import ALIGNMENT_BYTES, Arranged, Bounds, Buffer, Call, Operand, Program
from intarsia_backends.lowering.views import Halo, Images, View

B = TypeVar("B", bound="Builder", contravariant=True)
"""The builder of a target: what is written for any builder serves every target."""


def _never(builder: Builder, node: Node) -> bool:
    return False


@dataclass(frozen=True)
class ImageReader(Generic[B]):
    """How an op reads its first input where that lies with its channels last.

    halo         what a node wants around it
    takes_bytes  whether a node wants an int8 as bytes, not as int16
    aligned      whether it reads several channels at once, from multiples of some bytes on
    """

    halo: Callable[[B, Node], Halo]
    takes_bytes: Callable[[B, Node], bool] = _never
    aligned: bool = False


@dataclass(frozen=True)
class Pending:
    """A value whose kernel is not called yet, so that elementwise ops after it can become the kernel's end.

    shape       of the value
    expression  the element, over `Accumulator()` where the kernel has an accumulator, and `Input(k)`
    operands    views over the axes of the value
    takes       whether the kernel can read one more operand
    emit        calls the kernel; gets the value to be made, the expression and the operands
    """

    shape: tuple[int, ...]
    expression: Expression
    operands: tuple[View, ...]
    takes: Callable[[View], bool]
    emit: Callable[[Value, Expression, Sequence[View]], None]


class Builder:
    """Hands out memory for values and collects calls while a region is lowered.

    machine  what code is made for
    readers  by op, how it reads values whose channels lie last; other ops read all values in C order
    """

    keeps_int8: ClassVar[bool] = False
    """Whether an int8 whose channels lie last is stored as it is, and the zero point around it; else as another number,
    of which 0 stands for the zero point."""

    def __init__(self, graph: Graph, machine: Machine, readers: Mapping[str, ImageReader[Any]]) -> None:
        self.machine = machine
        self.readers = readers
        self.program = Program()
        self._kept = set(graph.outputs)
        self._views: dict[Value, View] = {}
        self._images: dict[Value, list[tuple[View, Images]]] = {}
        self._plain: dict[Value, Buffer] = {}
        self._pending: dict[Value, Pending] = {}
        self._weights: dict[tuple[str, bytes], Buffer] = {}
        for index, value in enumerate(graph.inputs):
            self.share(value, Buffer("input", value.type.size_bytes, index))

    # ---- where values lie

    def view(self, value: Value) -> View:
        """Where a value lies, however that is. A pending one is made now."""
        pending = self._pending.pop(value, None)
        if pending is not None:
            pending.emit(value, pending.expression, pending.operands)
        if value not in self._views and value.data is not None:
            self.share(value, self.arranged(value.data, _as_it_is, str(value.data.dtype)))
        return self._views[value]

    def read(self, value: Value) -> Buffer:
        """Where a value stands in C order; a copy where it lies in another way."""
        view = self.view(value)
        if view.is_plain(value.shape):
            return view.buffer
        if value not in self._plain:
            buffer = self._plain[value] = Buffer("arena", value.type.size_bytes)
            target = Access(value.dtype, row_major(value.shape))
            self.call(nest(value.shape, [view.access], target, element(view, 0)), [view.buffer], buffer)
        return self._plain[value]

    def images(self, value: Value) -> Sequence[tuple[View, Images]]:
        """The channels-last places where a value lies."""
        self.view(value)
        return self._images.get(value, ())

    def result(self, value: Value) -> Buffer:
        """Fresh memory, in C order, for a value that a node makes."""
        buffer = Buffer("arena", value.type.size_bytes)
        self.share(value, buffer)
        return buffer

    def share(self, value: Value, buffer: Buffer) -> None:
        """`value` stands in that memory, in C order."""
        self._views[value] = View(buffer, value.dtype, row_major(value.shape))

    def lie(self, value: Value, view: View) -> None:
        """`value` lies in the memory of another one."""
        self._views[value] = view

    def place(self, value: Value, view: View, images: Images) -> None:
        """`value` lies there too, channels last; that is its only place where it has no other."""
        self._views.setdefault(value, view)
        self._images.setdefault(value, []).append((view, images))

    def alias(self, value: Value, source: Value) -> None:
        """`value` has the elements of `source` in C order, under another shape."""
        alone = source not in self._kept and source.user_count <= 1
        if value.type == source.type and source in self._pending and alone:
            self._pending[value] = self._pending.pop(source)
        elif value.type == source.type:
            self._views[value] = self.view(source)
            if source in self._images:
                self._images[value] = self._images[source]
        else:
            self.share(value, self.read(source))

    def constant(self, value: Value, data: Array) -> None:
        """`value` is known at compile time."""
        assert value.type.elements == data.size and value.dtype == str(data.dtype)
        self.share(value, self.weight(data))

    def image_step(self, value: Value) -> int:
        """What the channels of a value are rounded up to a multiple of, where they lie last."""
        return self.machine.lanes

    def room(self, value: Value) -> tuple[View, Images] | None:
        """Channels-last memory that is kept for a value which is about to be made; None where it is to get its own."""
        return None

    def walk(self, value: Value) -> View:
        """Where kernels that walk as they are told best read a value: in C order here."""
        return View(self.read(value), value.dtype, row_major(value.shape))

    def makes_images(self, value: Value, beside: bool) -> bool:
        """Whether what an elementwise op makes is to lie with its channels last.

        beside  whether it is made of values that lie so
        """
        return beside

    # ---- values that are still to be made

    def defer(self, value: Value, pending: Pending) -> None:
        """Make `value` when it is first read."""
        self._pending[value] = pending

    def pending(self, value: Value) -> Pending | None:
        """How a value will be made, if that may still change: one node alone reads it."""
        return self._pending.get(value) if self.is_alone(value) else None

    def is_alone(self, value: Value) -> bool:
        """Whether one node alone reads a value."""
        return value not in self._kept and value.user_count == 1

    # ---- memory and calls

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

    def arranged(self, source: Array, arrange: Callable[[Array], Array], dtype: str) -> Buffer:
        """Constant memory for the elements of an array in another order, of which it is known whence they come."""
        buffer = self.weight(arrange(source).astype(dtype, copy=False))
        self.program.arranged.append(Arranged(source, arrange, dtype, buffer))
        return buffer

    @property
    def weights(self) -> Collection[Buffer]:
        """Constant memory that was asked for."""
        return self._weights.values()

    def call(self, kernel: Kernel, operands: Sequence[Operand], *outputs: Operand) -> None:
        """Append a call; what it writes goes last."""
        self.program.calls.append(Call(kernel, (*operands, *outputs)))

    def multiply(self, product: Multiplication) -> None:
        """Call a matrix product: by plain loops here; a target that has kernels for it calls those."""
        kernel, operands = product.as_nest(self.weight)
        self.call(kernel, operands, product.y.buffer)

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

    def finish(self, graph: Graph) -> Program:
        """Write the region's outputs in place where one buffer serves one output, else by a copy at the end."""
        for index, value in enumerate(graph.outputs):
            buffer = self.read(value)
            if buffer.kind == "arena" and buffer.size == value.type.size_bytes:
                buffer.kind, buffer.index = "output", index
            elif (buffer.kind, buffer.index) != ("output", index):
                output = Buffer("output", value.type.size_bytes, index)
                self.program.calls.append(Call(None, (buffer, output)))
        return self.program


def _as_it_is(array: Array) -> Array:
    return array


def element(view: View, index: int) -> Expression:
    """The element of a value that is operand `index`. An int8 that is stored as another type becomes one again."""
    if view.zero is None:
        return Input(index)
    return Cast("int8", Cast("int32", Input(index)) + Constant("int32", view.zero))
