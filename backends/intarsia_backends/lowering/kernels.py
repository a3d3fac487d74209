"""Kernels as data: what the generator is asked for. Equal descriptions are generated once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from intarsia.ir.ops.recurrent import GATES
from intarsia_backends.lowering.access import Access, joined_loops
from intarsia_backends.lowering.expressions import Accumulator, Expression, apply
from intarsia_backends.lowering.kernel import Kernel


@dataclass(frozen=True)
class Nest(Kernel):
    """A nest of loops that stores one element for each step of the kept loops.

    kept      extents of the outer loops
    reduced   extents of the inner loops; () for a plain map
    operands  what is read; `epilogue` reads with the kept strides alone
    output    what is written (strides of the kept loops)
    combine   "add", "mul", "max", "min": how `body` joins the accumulator; "" for a plain map
    initial   accumulator to begin with: an expression over operands at the kept loops
    body      the element of one step
    epilogue  the element that is stored, over `Accumulator()`; for a plain map it is not used

    Called with the operands in order, then the output.
    """

    kept: tuple[int, ...]
    reduced: tuple[int, ...]
    operands: tuple[Access, ...]
    output: Access
    combine: str
    initial: Expression
    body: Expression
    epilogue: Expression

    def __post_init__(self) -> None:
        if not self.combine:
            self.expect("body", self.body, self.output.dtype, reads=self.operands)
            return
        total = self.accumulator_dtype
        self.expect("step", self.step, total, reads=self.operands, accumulator=total)
        self.expect("epilogue", self.epilogue, self.output.dtype, reads=self.operands, accumulator=total)

    @property
    def accumulator_dtype(self) -> str:
        return self.expect("initial", self.initial, reads=self.operands)

    @property
    def step(self) -> Expression:
        """The accumulator after one more element."""
        return apply(self.combine, Accumulator(), self.body)

    @property
    def work(self) -> int:
        return math.prod(self.kept) * math.prod(self.reduced) * (1 + len(self.operands))


@dataclass(frozen=True)
class Surround(Kernel):
    """A number around images [batch, height, width, pitch] that lie inside of a border. Called with the memory."""

    dtype: str
    batch: int
    height: int
    width: int
    pitch: int
    top: int
    left: int
    bottom: int
    right: int
    fill: int = 0


@dataclass(frozen=True)
class Softmax(Kernel):
    """Softmax along the middle axis of float32 [outer, axis, inner]; `log` for its logarithm. Called with x, y."""

    outer: int
    axis: int
    inner: int
    log: bool

    @property
    def work(self) -> int:
        return self.outer * self.axis * self.inner * 16


@dataclass(frozen=True)
class IntegerSoftmax(Kernel):
    """`qsoftmax` along the middle axis of int8 [outer, axis, inner]. Called with x, table int32 [256], y."""

    outer: int
    axis: int
    inner: int

    @property
    def work(self) -> int:
        return self.outer * self.axis * self.inner * 16


@dataclass(frozen=True)
class Normalize(Kernel):
    """(x - mean) / sqrt(variance + epsilon) over the last axis of float32 [outer, axis], scaled and shifted.

    period  outer steps after which scale and shift repeat: 0 where they run along the axis (layer normalization),
            else they hold one number for each of `period` outer steps (instance normalization)
    centre  False for the root mean square alone
    Called with x, scale, shift, y.
    """

    outer: int
    axis: int
    epsilon: float
    period: int
    centre: bool

    @property
    def work(self) -> int:
        return self.outer * self.axis * 8


@dataclass(frozen=True)
class Scatter(Kernel):
    """A nest of loops that stores at computed places, one after the other.

    kept      extents of the loops
    operands  what is read
    output    what is written, at `place` elements after the walk
    elements  size of the output
    place     int32
    body      the element
    combine   "add", "mul", "max", "min": how it joins what stands there; "" where it takes the place
    apart     loops no two steps of which ever store at the same place, so that their steps may go in any order

    Called with the operands in order, then the output.
    """

    kept: tuple[int, ...]
    operands: tuple[Access, ...]
    output: Access
    elements: int
    place: Expression
    body: Expression
    combine: str
    apart: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        dtype = self.output.dtype
        self.expect("place", self.place, "int32", reads=self.operands)
        self.expect("body", self.body, dtype, reads=self.operands)
        if self.combine:
            step = apply(self.combine, Accumulator(), self.body)
            self.expect("step", step, dtype, reads=self.operands, accumulator=dtype)


@dataclass(frozen=True)
class Scan(Kernel):
    """Running sums or products ("add", "mul") along the middle axis of [outer, axis, inner]. Called with x, y."""

    outer: int
    axis: int
    inner: int
    dtype: str
    combine: str
    exclusive: bool
    reverse: bool


@dataclass(frozen=True)
class ArgReduce(Kernel):
    """Where along the middle axis of [outer, axis, inner] the largest (or smallest) element stands; NaN counts as such.

    last  the last among equals instead of the first
    Called with x, y int64 [outer, inner].
    """

    outer: int
    axis: int
    inner: int
    dtype: str
    largest: bool
    last: bool

    @property
    def work(self) -> int:
        return self.outer * self.axis * self.inner * 4


@dataclass(frozen=True)
class TopK(Kernel):
    """The `count` largest (or smallest) along the middle axis of [outer, axis, inner], in order.

    Among equals the earlier comes first; NaN counts as larger than all.
    Called with x, values [outer, count, inner], places int64 of that shape.
    """

    outer: int
    axis: int
    inner: int
    count: int
    dtype: str
    largest: bool

    @property
    def work(self) -> int:
        return self.outer * self.axis * self.inner * self.count * 4


@dataclass(frozen=True)
class Recurrent(Kernel):
    """The steps of one direction of an RNN, GRU or LSTM over float32 [steps, batch, ..].

    functions    of the gates, in ONNX's order: expressions over `Accumulator()`
    clip         limit of what the functions see; 0 for none
    linear       GRU: the reset gate multiplies what the recurrent weights give (`linear_before_reset`)
    coupled      LSTM: the forget gate is 1 - input gate
    peepholes    LSTM: the gates see the cell
    backwards    from each sequence's end to its start
    lengths      whether sequences end before the last step
    y            walk over [steps, batch], hidden units side by side

    Called with inputs [steps, batch, gates * hidden] (times weights, plus biases), recurrent weights
    [hidden, gates * hidden], recurrent bias of the GRU's last gate [hidden], peepholes [3, hidden], lengths int32
    [batch]; then what is written: scratch [(gates + 1) * hidden], the states h and c [batch, hidden], which hold the
    initial ones, and y, which has `elements`.
    """

    op: str
    steps: int
    batch: int
    hidden: int
    functions: tuple[Expression, ...]
    clip: float
    linear: bool
    coupled: bool
    peepholes: bool
    backwards: bool
    lengths: bool
    y: Access
    elements: int

    def __post_init__(self) -> None:
        for function in self.functions:
            self.expect("function", function, "float32", reads=(), accumulator="float32")

    @property
    def gates(self) -> int:
        return GATES[self.op]


_ACCUMULATOR = Accumulator()


def nest(
    kept: Sequence[int],
    operands: Sequence[Access],
    output: Access,
    body: Expression,
    *,
    reduced: Sequence[int] = (),
    combine: str = "",
    initial: Expression = _ACCUMULATOR,
    epilogue: Expression = _ACCUMULATOR,
) -> Nest:
    """A nest with loops in the order of the output's elements, without those of one step, neighbours joined where every
    walk allows it."""
    count = len(kept)
    order = sorted(range(count), key=lambda axis: -abs(output.strides[axis]))
    if order != list(range(count)):
        kept = [kept[axis] for axis in order]
        operands = [
            Access(walk.dtype, (*(walk.strides[axis] for axis in order), *walk.strides[count:]), walk.offset)
            for walk in operands
        ]
        output = Access(output.dtype, tuple(output.strides[axis] for axis in order), output.offset)
    accesses = [*operands, output]
    outer = joined_loops(kept, [access.strides[:count] for access in accesses])
    inner = joined_loops(reduced, [access.strides[count:] for access in operands])
    joined = [
        Access(access.dtype, strides + (inner[1][index] if index < len(operands) else ()), access.offset)
        for index, (access, strides) in enumerate(zip(accesses, outer[1]))
    ]
    return Nest(
        kept=outer[0],
        reduced=inner[0],
        operands=tuple(joined[:-1]),
        output=joined[-1],
        combine=combine,
        initial=initial,
        body=body,
        epilogue=epilogue,
    )
