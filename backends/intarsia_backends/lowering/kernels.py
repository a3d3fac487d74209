"""Kernels as data: what the generator is asked for. Equal descriptions are generated once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from intarsia_backends.cpu.image_kernels import Depthwise, Winograd
from intarsia_backends.cpu.tiling import Cut
from intarsia_backends.lowering.access import Access, Expression, joined_loops

PARALLEL_WORK = 250_000
"""Elementary operations (some 5 microseconds of them) from which on a job for several threads pays: those that spin
take it up within a microsecond or two."""

SHARES = {"float32": 1, "pairs": 2, "quads": 4, "int16": 1}
"""By what a kernel calls its `products`: how many of them one step of the sum adds for each output."""

WEIGHTS = {"float32": "float32", "pairs": "int16", "quads": "int8", "int16": "int16"}
"""By the same: the type of the weights."""

STORED = {"float32": "float32", "pairs": "int16", "quads": "uint8", "int16": "int16"}
"""By the same: the type of what they are multiplied with."""


@dataclass(frozen=True)
class Nest:
    """A nest of loops that stores one element for each step of the kept loops.

    kept      extents of the outer loops
    reduced   extents of the inner loops; () for a plain map
    operands  what is read; `finish` reads with the kept strides alone
    output    what is written (strides of the kept loops)
    combine   "add", "mul", "max", "min": how `body` joins the accumulator; "" for a plain map
    initial   accumulator to begin with: an expression over operands at the kept loops
    body      the element of one step
    finish    the element that is stored, over ("acc",); for a plain map it is not used

    Called with the operands in order, then the output.
    """

    kept: tuple[int, ...]
    reduced: tuple[int, ...]
    operands: tuple[Access, ...]
    output: Access
    combine: str
    initial: Expression
    body: Expression
    finish: Expression

    @property
    def work(self) -> int:
        return math.prod(self.kept) * math.prod(self.reduced) * (1 + len(self.operands))


@dataclass(frozen=True)
class Contraction:
    """Sums of products with weights known at compile time or packed before: convolution and matrix product.

    products    "float32"; "pairs" (int16 pairs in an int32, multiplied and added by one instruction); "quads" (four
                uint8 in an int32, times int8); "int16"
    batch       images or matrices: extent, and steps in x and y
    groups      the same for the groups of channels
    outputs     output channels of one group
    positions   extents of the output positions, the last one in tiles
    reduction   extents of the sum: channels (or pairs or quads of them), then the window
    x_batch, x_group, x_positions, x_reduction
                elements from step to step in x
    y_batch, y_group, y_channel, y_positions
                elements from step to step in y
    tile        positions held in registers at most
    flat        whether tiles go on from row to row; for few positions, as each tile is written out
    vectors     vectors of output channels held in registers at once
    lanes       channels in a vector
    operands    what `finish` reads beside the accumulator: walks over [batch, channel, *positions]
    padded      whether y, and the operands, have room for the channels of whole vectors
    chunked     whether one step of the reduction's first axis is taken for all positions before the next
    rows_first  whether the blocks of output channels are the inner loop, so that x stays near
    finish      expression over ("acc",) and ("in", k); gives the element of y

    Called with x, weights [groups][blocks][reduction][vectors * lanes] (pairs: [..][2], quads: [..][4]; the last block
    has the vectors that it needs), bias [groups][blocks][vectors * lanes] of the accumulator's type, the operands, and
    y. Where the channels are `interleaved`, two vectors of a block hold theirs in `interleaving_order`.
    """

    products: str
    batch: int
    groups: int
    outputs: int
    positions: tuple[int, ...]
    reduction: tuple[int, ...]
    x_batch: int
    x_group: int
    x_positions: tuple[int, ...]
    x_reduction: tuple[int, ...]
    y_dtype: str
    y_batch: int
    y_group: int
    y_channel: int
    y_positions: tuple[int, ...]
    tile: int
    flat: bool
    vectors: int
    lanes: int
    operands: tuple[Access, ...]
    padded: bool
    chunked: bool
    rows_first: bool
    finish: Expression

    @property
    def interleaved(self) -> bool:
        """Whether channels stand as x86 packs two vectors of sums into one of int16."""
        packs = self.products == "pairs" or (self.products == "quads" and self.y_dtype == "int16")
        return packs and self.y_channel == 1 and self.padded

    @property
    def group_vectors(self) -> int:
        """Vectors of output channels in a group."""
        return -(-self.outputs // self.lanes)

    @property
    def work(self) -> int:
        positions = math.prod(self.positions)
        return self.batch * self.groups * self.outputs * positions * math.prod(self.reduction)


@dataclass(frozen=True)
class Surround:
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
class MatrixProduct:
    """y[batch.., rows, columns] = finish(bias + x times w), for any strides of x, w and y.

    products  "float32"; "pairs" (int16 pairs in an int32, multiplied and added by one instruction); "quads" (four uint8
              in an int32, times packed int8); "int16"
    batch     extents of the outer axes
    x         walk over (batch.., rows, depth); "pairs", "quads": int32, depth in pairs or quads
    w         walk over (batch.., depth, columns); packed: over (batch..) alone, of [panels][depth][panel] (pairs:
              [..][2], quads: [..][4]) with the panels as `cut` has them, absent columns zero
    packed    whether w was laid out before
    bias      whether the sums begin with a row of numbers of the accumulator's type, one for each column of all panels
    further   walks over (batch.., rows, columns) of what else `finish` reads
    y         walk over (batch.., rows, columns)
    finish    expression over ("acc",) and ("in", k), k counting `further`; gives the element of y

    Called with x, w, bias where there is one, the further operands, and y.
    """

    products: str
    batch: tuple[int, ...]
    rows: int
    depth: int
    columns: int
    x: Access
    w: Access
    packed: bool
    bias: bool
    further: tuple[Access, ...]
    y: Access
    cut: Cut
    finish: Expression

    @property
    def work(self) -> int:
        return math.prod(self.batch) * self.rows * self.depth * self.columns


@dataclass(frozen=True)
class Softmax:
    """Softmax along the middle axis of float32 [outer, axis, inner]; `log` for its logarithm. Called with x, y."""

    outer: int
    axis: int
    inner: int
    log: bool

    @property
    def work(self) -> int:
        return self.outer * self.axis * self.inner * 16


@dataclass(frozen=True)
class IntegerSoftmax:
    """`qsoftmax` along the middle axis of int8 [outer, axis, inner]. Called with x, table int32 [256], y."""

    outer: int
    axis: int
    inner: int

    @property
    def work(self) -> int:
        return self.outer * self.axis * self.inner * 16


@dataclass(frozen=True)
class Normalize:
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
class Scatter:
    """A nest of loops that stores at computed places, one after the other.

    kept      extents of the loops
    operands  what is read
    output    what is written, at `place` elements after the walk
    elements  size of the output
    place     int32
    body      the element
    combine   "add", "mul", "max", "min": how it joins what stands there; "" where it takes the place

    Called with the operands in order, then the output.
    """

    kept: tuple[int, ...]
    operands: tuple[Access, ...]
    output: Access
    elements: int
    place: Expression
    body: Expression
    combine: str


@dataclass(frozen=True)
class Running:
    """Running sums or products ("add", "mul") along the middle axis of [outer, axis, inner]. Called with x, y."""

    outer: int
    axis: int
    inner: int
    dtype: str
    combine: str
    exclusive: bool
    reverse: bool


@dataclass(frozen=True)
class Extreme:
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
class Top:
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
class Recurrent:
    """The steps of one direction of an RNN, GRU or LSTM over float32 [steps, batch, ..].

    functions    of the gates, in ONNX's order: expressions over ("acc",)
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

    @property
    def gates(self) -> int:
        return {"RNN": 1, "GRU": 3, "LSTM": 4}[self.op]


Kernel = (
    Nest
    | Contraction
    | Depthwise
    | MatrixProduct
    | Surround
    | Softmax
    | IntegerSoftmax
    | Normalize
    | Scatter
    | Running
    | Extreme
    | Top
    | Recurrent
    | Winograd
)


def nest(
    kept: Sequence[int],
    operands: Sequence[Access],
    output: Access,
    body: Expression,
    *,
    reduced: Sequence[int] = (),
    combine: str = "",
    initial: Expression = (),
    finish: Expression = ("acc",),
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
    return Nest(outer[0], inner[0], tuple(joined[:-1]), joined[-1], combine, initial, body, finish)
