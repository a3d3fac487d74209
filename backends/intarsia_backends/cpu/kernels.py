"""Kernels as data: what the generator is asked for. Equal descriptions are generated once.

An expression is a nested tuple, the head being its kind:

    ("in", k)            operand k at the place of the loop
    ("gather", k, e)     operand k, e elements after the place of the loop
    ("acc",)             the accumulator of a reduction
    ("const", dtype, x)  a number
    ("cast", dtype, e)   e at another element type
    (name, e, ...)       a function of `intarsia_backends.cpu.emit.expressions`
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from intarsia_backends.cpu.cuts import Cut

Expression = tuple[Any, ...]

PARALLEL_WORK = 250_000
"""Elementary operations (some 5 microseconds of them) from which on a job for several threads pays: those that spin
take it up within a microsecond or two."""


@dataclass(frozen=True)
class Access:
    """How a nest of loops walks over a buffer.

    dtype    element type
    strides  elements from one step of each loop to the next, kept loops first, then reduced ones
    offset   element at which the walk starts
    """

    dtype: str
    strides: tuple[int, ...]
    offset: int = 0


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

    products    "float32"; "pairs" (int16 pairs in an int32, multiplied and added by one instruction); "int16"
    batch       images or matrices: extent, and steps in x and y
    groups      the same for the groups of channels
    outputs     output channels of one group
    positions   extents of the output positions, the last one in tiles
    reduction   extents of the sum: channels (or pairs of them), then the window
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

    Called with x, weights [groups][blocks][reduction][vectors * lanes] (pairs: [..][2]; the last block has the vectors
    that it needs), bias [groups][blocks][vectors * lanes] of the accumulator's type, the operands, and y.
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
    def group_vectors(self) -> int:
        """Vectors of output channels in a group."""
        return -(-self.outputs // self.lanes)

    @property
    def work(self) -> int:
        positions = math.prod(self.positions)
        return self.batch * self.groups * self.outputs * positions * math.prod(self.reduction)


@dataclass(frozen=True)
class Surround:
    """Zeros around images [batch, height, width, pitch] that lie inside of a border. Called with the memory."""

    dtype: str
    batch: int
    height: int
    width: int
    pitch: int
    top: int
    left: int
    bottom: int
    right: int


@dataclass(frozen=True)
class MatrixProduct:
    """y[batch.., rows, columns] = finish(bias + x times w), for any strides of x, w and y.

    products  "float32"; "pairs" (int16 pairs in an int32, multiplied and added by one instruction); "int16"
    batch     extents of the outer axes
    x         walk over (batch.., rows, depth); "pairs": int32, depth in pairs
    w         walk over (batch.., depth, columns); packed: over (batch..) alone, of [panels][depth][panel] (pairs:
              [..][2]) with the panels as `cut` has them, absent columns zero
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


@dataclass(frozen=True)
class Depthwise:
    """A convolution in which every channel has a window of its own, channels side by side in x and y.

    products   "float32"; "pairs" (int16, two taps at once, x86); "int16"
    channels   rounded up to whole vectors of `lanes`: x and y have that many, weights beyond the real ones are 0
    kernel     taps (rows, columns), with `strides` and `dilations`
    positions  of the output (rows, columns)
    x_steps, y_steps
               elements from image to image, row to row, position to position
    further    operands that `finish` reads, after the kernel's own: walks over (batch, channel, *positions)
    finish     expression over ("acc",), float32 or int32, and ("in", k) for further operand k
    rows, columns
               of the output made one behind the other for one unit of channels: rows share what they read

    Called with x (at the first tap of the first output: padding is a part of the image in memory), the weights and the
    bias as `intarsia_backends.cpu.depthwise` packs them, the further operands, and y.
    """

    products: str
    batch: int
    channels: int
    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    positions: tuple[int, int]
    x_steps: tuple[int, int, int]
    y_dtype: str
    y_steps: tuple[int, int, int]
    further: tuple[Access, ...]
    finish: Expression
    rows: int
    columns: int
    lanes: int

    @property
    def unit(self) -> int:
        """Channels made at once: a vector of what is loaded. The last ones may overlap those before them."""
        whole = self.lanes if self.products == "float32" else 2 * self.lanes
        return whole if self.channels >= whole else self.lanes

    @property
    def starts(self) -> tuple[int, ...]:
        """First channel of each unit."""
        return tuple(min(start, self.channels - self.unit) for start in range(0, self.channels, self.unit))

    @property
    def row_pairs(self) -> tuple[tuple[int, int], ...]:
        """Rows of x, from the first that `rows` rows of y read, that are interleaved: (row, row), or (row, -1)."""
        return paired_rows(self.rows, self)

    @property
    def pairs_columns(self) -> bool:
        """Whether the row of x that has no other beside it is multiplied by two columns at once."""
        alone = self.products == "pairs" and self.row_pairs[-1][1] < 0
        return alone and self.kernel[1] > 1 and self.dilations[1] == 1 and self.strides[1] <= 2

    def column_pair(self, age: int) -> tuple[int, int]:
        """Taps of a lone row that two neighbouring columns meet in the output begun `age` steps ago; -1 for none.

        With stride 1 the columns are those of the step before and of this one; with stride 2 both are of this one.
        """
        taps = self.kernel[1]
        if self.strides[1] == 2:
            return (2 * age, 2 * age + 1 if 2 * age + 1 < taps else -1) if 2 * age < taps else (-1, -1)
        if age % 2:
            return (age - 1, age) if age < taps else (-1, -1)
        return (-1, age) if age == taps - 1 else (-1, -1)

    @property
    def unit_weights(self) -> int:
        """Weights of a unit."""
        taps = math.prod(self.kernel)
        if self.products == "pairs":
            taps = self.rows * len(self.row_pairs) * self.kernel[1] * 2
        return taps * self.unit

    def reads(self, row: int, rows_of_x: tuple[int, int]) -> bool:
        """Whether a row of y, counted like those of x, reads one of two rows of x."""
        return not {row * self.strides[0] + tap * self.dilations[0] for tap in range(self.kernel[0])}.isdisjoint(
            rows_of_x
        )

    @property
    def work(self) -> int:
        return self.batch * self.channels * math.prod(self.positions) * (math.prod(self.kernel) + 4)


def paired_rows(rows: int, kernel: Depthwise) -> tuple[tuple[int, int], ...]:
    """Rows of x that `rows` rows of y read, two by two; -1 beside a last one alone."""
    taps = range(kernel.kernel[0])
    read = sorted({row * kernel.strides[0] + tap * kernel.dilations[0] for row in range(rows) for tap in taps})
    return tuple(zip(read[::2], [*read[1::2], *([-1] * (len(read) % 2))]))


@dataclass(frozen=True)
class Winograd:
    """A 3x3 convolution with stride 1 by Winograd's algorithm, channels side by side in x and y.

    The windows of a tile of y, `size` rows and columns, lie in `size + 2` rows and columns of x. Transformed tiles of x
    times transformed weights, summed over the channels, are one product of matrices for each point of a tile;
    transformed back they are tiles of y. Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, 2016.

    products   "float32"; "pairs" (int16, two channels at once, x86); "int16": with integers every step is exact
    size       2 or 4: 2.25 or 4 times fewer products
    channels, outputs
               rounded up to whole vectors of `lanes`: x and y have that many, weights beyond the real ones are 0
    positions  of the output (rows, columns)
    x_steps, y_steps
               elements from image to image, row to row, position to position
    further    operands that `finish` reads, after the kernel's own: walks over (batch, channel, *positions)
    finish     expression over ("acc",), float32 or int32, and ("in", k) for further operand k
    tiles      of y made behind one another by one thread: their transforms lie in the scratch, and pass through the
               weights together
    tasks      parts of the blocks of tiles that threads may take
    parts      of the outputs that threads may take: each transforms the tiles for itself; every part of every task has
               its own slice of the scratch
    rows, vectors
               tiles and vectors of outputs held in registers at once

    Called with x (at the first tap of the first output; whole tiles are read, so `size * tile_rows + 2` rows and
    likewise columns must be readable, and finite), the weights and the bias as `intarsia_backends.cpu.winograd` packs
    them, the further operands, the scratches for transforms and for sums (`scratch` says how large), and y.
    """

    products: str
    size: int
    batch: int
    channels: int
    outputs: int
    positions: tuple[int, int]
    x_steps: tuple[int, int, int]
    y_dtype: str
    y_steps: tuple[int, int, int]
    further: tuple[Access, ...]
    finish: Expression
    tiles: int
    tasks: int
    parts: int
    rows: int
    vectors: int
    lanes: int

    @property
    def points(self) -> int:
        """Points of a tile: products of matrices."""
        return (self.size + 2) ** 2

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of tiles."""
        return -(-self.positions[0] // self.size), -(-self.positions[1] // self.size)

    @property
    def blocks(self) -> int:
        """Blocks of `tiles` tiles, over all images."""
        return -(-self.batch * self.grid[0] * self.grid[1] // self.tiles)

    @property
    def steps(self) -> int:
        """Steps of the sum over channels."""
        return self.channels // 2 if self.products == "pairs" else self.channels

    @property
    def output_blocks(self) -> tuple[int, ...]:
        """Vectors of the blocks of outputs whose sums are held at once."""
        whole, left = divmod(self.outputs // self.lanes, self.vectors)
        return (self.vectors,) * whole + ((left,) if left else ())

    @property
    def transform_step(self) -> int:
        """Elements of transformed x from point to point. Not a power of two, which would fill few sets of a cache."""
        return self.tiles * self.steps + (16 if self.products != "int16" else 32)

    @property
    def sum_step(self) -> int:
        """Sums from point to point."""
        return self.tiles * self.vectors * self.lanes + 16

    @property
    def scratch(self) -> tuple[tuple[str, int], tuple[str, int]]:
        """Element type and number of elements of the scratches: transformed x, and sums."""
        transforms = {"float32": "float32", "pairs": "int32", "int16": "int16"}[self.products]
        sums = "float32" if self.products == "float32" else "int32"
        slices = self.tasks * self.parts * self.points
        return (transforms, slices * self.transform_step), (sums, slices * self.sum_step)

    @property
    def work(self) -> int:
        return self.blocks * self.tiles * self.points * self.steps * self.outputs


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


def joined_loops(
    extents: Sequence[int], strides: Sequence[tuple[int, ...]]
) -> tuple[tuple[int, ...], list[tuple[int, ...]]]:
    """Loops and, for each walk, its strides, after leaving out and joining."""
    loops: list[tuple[int, list[int]]] = []
    for position, extent in enumerate(extents):
        if extent == 1:
            continue
        steps = [walk[position] for walk in strides]
        if loops and all(before == step * extent for before, step in zip(loops[-1][1], steps)):
            loops[-1] = (loops[-1][0] * extent, steps)
        else:
            loops.append((extent, steps))
    if not loops and extents:
        loops.append((1, [0] * len(strides)))
    return tuple(extent for extent, _ in loops), [
        tuple(steps[index] for _, steps in loops) for index in range(len(strides))
    ]


def row_major(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides of a C-contiguous array, in elements."""
    strides, step = [], 1
    for extent in reversed(shape):
        strides.append(step)
        step *= extent
    return tuple(reversed(strides))


def broadcast(shape: Sequence[int], to: Sequence[int]) -> tuple[int, ...]:
    """Strides that walk a C-contiguous array of `shape` as NumPy broadcasts it to the shape `to`."""
    strides = [0] * (len(to) - len(shape)) + [
        0 if extent == 1 else stride for extent, stride in zip(shape, row_major(shape))
    ]
    return tuple(strides)
