"""A region as a list of kernel calls over buffers: what lowering makes and what the C entry is written from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from intarsia.dtypes import Array
from intarsia_backends.lowering.kernel import Kernel

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
class Part:
    """A buffer from some byte on.

    start  bytes from its beginning
    """

    buffer: Buffer
    start: int


Operand = Buffer | Part
"""What a kernel is called with."""


def buffer_of(operand: Operand) -> Buffer:
    """The whole buffer that an operand lies in."""
    return operand.buffer if isinstance(operand, Part) else operand


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
    operands: tuple[Operand, ...]


@dataclass(frozen=True, eq=False)
class Arranged:
    """Constant memory that holds the elements of an array in another order, with zeros between.

    source   the array, or a view of it
    arrange  puts elements of any type into that order
    dtype    of the elements in memory, which hold the same numbers
    """

    source: Array
    arrange: Callable[[Array], Array]
    dtype: str
    buffer: Buffer


@dataclass
class Program:
    """A lowered region.

    calls    in order
    weights  contents of the file of weights
    arena    bytes of scratch memory; set by the planner
    arranged where constants lie in the weights
    sources  how many kernels could be made in several ways, by who chose the one; empty where a target has no choice
    """

    calls: list[Call] = field(default_factory=list)
    weights: bytearray = field(default_factory=bytearray)
    arena: int = 0
    arranged: list[Arranged] = field(default_factory=list)
    sources: Counter[str] = field(default_factory=Counter)

    @property
    def bounds(self) -> list[Bounds]:
        """The checks, in order; the one that fails is known by its index."""
        return [call.kernel for call in self.calls if isinstance(call.kernel, Bounds)]
