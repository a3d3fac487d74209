"""PrimFuncs as kernels: text, and what a launch must know of them."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from tvm import tirx
from tvm.tirx import ForKind

from intarsia_backends.gpu.launches import KernelFacts, Parameter
from intarsia_backends.gpu.source.dialect import Dialect
from intarsia_backends.gpu.source.intrinsics import ALIGNED
from intarsia_backends.gpu.source.terms import Terms, called, constant_of, dtype_of, is_place
from intarsia_backends.tir.half import FLOAT_TO_HALF

ROLLED = "rolled"
"""Marks loops that no compiler shall write out: their steps are long."""


@dataclass(frozen=True)
class Work:
    """What a kernel does that makes a product in stages.

    wanted, issued  products of two numbers: those that there are, and those that tiles which reach over edges make
    brought_bytes   that all blocks bring to shared memory: the same numbers again and again, from a cache
    """

    wanted: int
    issued: int
    brought_bytes: int


@dataclass(frozen=True)
class KernelSource:
    """A kernel as text.

    facts          what a launch must know of it
    extensions     what a device must offer beside the language itself
    rounds         whether whole numbers come of floats that were divided: these divisions must be rounded correctly
    work           of a matrix product; None for all else
    """

    text: str
    facts: KernelFacts
    extensions: tuple[str, ...]
    rounds: bool
    work: Work | None = None


def kernel_source(function: Any, name: str, dialect: Dialect, halves: Collection[int] = ()) -> KernelSource:
    """The text of a PrimFunc whose loops over blocks and threads are bound to "blockIdx" and "threadIdx".

    Every buffer among its parameters becomes a pointer and the number of the element that it starts at.

    halves  numbers of float32 parameters that are float16 in memory
    """
    return _Kernel(function, name, dialect, halves).source()


class _Kernel:
    def __init__(self, function: Any, name: str, dialect: Dialect, halves: Collection[int]) -> None:
        self.function, self.name, self.dialect = function, name, dialect
        self.terms = Terms(dialect, self.declared)
        self.lines: list[str] = []
        self.depth = 1
        self.count = 0
        self.extents: dict[str, int] = {}
        self.shared: list[str] = []
        self.shared_bytes = 0
        self.stored: set[Any] = set()
        self.whole: set[Any] = set()
        self.terms.halves.update(function.params[index] for index in halves)
        self.aligned: dict[Any, int] = {}

    def source(self) -> KernelSource:
        buffers = list(self.function.params)
        for index, buffer in enumerate(buffers):
            self.terms.names[buffer] = f"p{index}"
            self.terms.starts[buffer] = f"p{index}_start"
        self.statement(self.function.body)
        parameters = tuple(self.parameter(buffer) for buffer in buffers)
        grid, block = self.extent("blockIdx"), self.extent("threadIdx")
        head = self.head(parameters, block)
        extensions = {self.dialect.extensions[used] for used in self.terms.used if used in self.dialect.extensions}
        return KernelSource(
            text="\n".join([head, *self.shared, *self.lines, "}"]) + "\n",
            facts=KernelFacts(self.name, parameters, grid, block, self.shared_bytes),
            extensions=tuple(sorted(extensions)),
            rounds=self.terms.divides and not self.whole.isdisjoint(buffers),
        )

    def parameter(self, buffer: Any) -> Parameter:
        elements, written = constant_of(buffer.shape[0]), buffer in self.stored
        dtype = "uint16" if buffer in self.terms.halves else str(buffer.dtype)
        return Parameter(dtype, elements, written, self.aligned.get(buffer, 1))

    def extent(self, kind: str) -> tuple[int, int, int]:
        x, y, z = (self.extents.get(f"{kind}.{axis}", 1) for axis in "xyz")
        return x, y, z

    def head(self, parameters: tuple[Parameter, ...], block: tuple[int, int, int]) -> str:
        arguments = []
        for index, parameter in enumerate(parameters):
            kind = self.terms.type(parameter.dtype)
            arguments.append(self.dialect.pointer(kind, not parameter.written, f"p{index}"))
            arguments.append(f"const {self.terms.type('int32')} p{index}_start")
        return f"{self.dialect.kernel(block)} {self.name}({', '.join(arguments)}) {{"

    # ---- statements

    def line(self, text: str) -> None:
        self.lines.append("  " * self.depth + text)

    def fresh(self, kind: str) -> str:
        self.count += 1
        return f"{kind}{self.count}"

    def declared(self, kind: str, value: str) -> str:
        name = self.fresh("t")
        self.line(f"const {kind} {name} = {value};")
        return name

    def statement(self, node: Any) -> None:
        printer = getattr(self, f"_{type(node).__name__.lower()}")
        printer(node)

    def _seqstmt(self, node: Any) -> None:
        for part in node.seq:
            self.statement(part)

    def _attrstmt(self, node: Any) -> None:
        self.statement(node.body)

    def _for(self, node: Any) -> None:
        if node.kind == ForKind.THREAD_BINDING:
            self.bound(node, str(node.thread_binding.thread_tag))
            return
        name = self.fresh("i")
        first, extent = constant_of(node.min), constant_of(node.extent)
        if node.kind == ForKind.UNROLLED:
            self.line("#pragma unroll")
        elif ROLLED in node.annotations:
            self.line("#pragma unroll 1")
        self.terms.names[node.loop_var] = name
        self.line(f"for (int {name} = {first}; {name} < {first + extent}; ++{name}) {{")
        self.inside(node.body)
        self.line("}")

    def bound(self, node: Any, tag: str) -> None:
        """A loop over blocks or threads: all of them run the same text."""
        kind, _, axis = tag.partition(".")
        assert tag not in self.extents, f"{self.name} has two loops over {tag}"
        assert kind in ("blockIdx", "threadIdx") and constant_of(node.min) == 0, tag
        self.extents[tag] = constant_of(node.extent)
        index = (self.dialect.block_index if kind == "blockIdx" else self.dialect.thread_index)[axis]
        self.terms.names[node.loop_var] = self.declared(self.terms.type("int32"), index)
        self.statement(node.body)

    def inside(self, node: Any) -> None:
        self.depth += 1
        self.statement(node)
        self.depth -= 1

    def _ifthenelse(self, node: Any) -> None:
        self.line(f"if ({self.terms.value(node.condition)}) {{")
        self.inside(node.then_case)
        if node.else_case is not None:
            self.line("} else {")
            self.inside(node.else_case)
        self.line("}")

    def _allocbuffer(self, node: Any) -> None:
        buffer = node.buffer
        dtype, elements = str(buffer.dtype), math.prod(constant_of(extent) for extent in buffer.shape)
        kind = self.terms.type(dtype)
        if buffer.scope() == "shared":
            name = self.terms.names[buffer] = self.fresh("s")
            self.shared.append(f"  {self.dialect.shared} {kind} {name}[{elements}];")
            self.shared_bytes += elements * np.dtype(dtype).itemsize
        else:
            name = self.terms.names[buffer] = self.fresh("r")
            if elements == 1:
                self.terms.scalars.add(buffer)
            self.line(f"{kind} {name};" if elements == 1 else f"{kind} {name}[{elements}];")

    def _bind(self, node: Any) -> None:
        """A place, which is never negative."""
        kind = self.terms.type(str(node.var.ty.dtype))
        self.terms.names[node.var] = self.declared(kind, self.terms.place(node.value))

    def _bufferstore(self, node: Any) -> None:
        self.stored.add(node.buffer)
        if "float" not in str(node.buffer.dtype) and called(node.value) != FLOAT_TO_HALF:
            self.whole.add(node.buffer)
        self.line(self.terms.stored(node.buffer, node.indices, node.value))

    def _evaluate(self, node: Any) -> None:
        if isinstance(node.value, tirx.IntImm):
            return
        name = str(node.value.op.name).rpartition(".")[2]
        if name == "tvm_storage_sync":
            self.line(self.dialect.barrier)
            return
        assert name == "call_extern", node
        self.called(str(node.value.args[0].value), list(node.value.args[1:]))

    def called(self, name: str, arguments: list[Any]) -> None:
        """One of `intrinsics`: what it writes comes first."""
        places = [argument.args[0].source for argument in arguments if is_place(argument)]
        if places and is_place(arguments[0]):
            self.stored.add(places[0])
            if not self.whole.isdisjoint(places[1:]):
                self.whole.add(places[0])
        for buffer in places:
            if name in ALIGNED and buffer in self.terms.starts:
                wanted = ALIGNED[name](np.dtype(str(buffer.dtype)).itemsize)
                self.aligned[buffer] = max(wanted, self.aligned.get(buffer, 0))
        self.line(f"{name}({', '.join(self.argument(each) for each in arguments)});")

    def argument(self, term: Any) -> str:
        """Whole numbers of 32 bits are places there, and conditions are made of places."""
        counts = is_place(term) or dtype_of(term) in ("int32", "bool")
        return self.terms.place(term) if counts else self.terms.value(term)
