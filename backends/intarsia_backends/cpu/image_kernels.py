"""Kernels of images with channels side by side, as data."""

from __future__ import annotations

import math
from dataclasses import dataclass

from intarsia_backends.lowering.access import Access
from intarsia_backends.lowering.expressions import Expression
from intarsia_backends.lowering.kernel import Kernel, sum_dtype

UNROLLED_MAX = 3700
"""Products and moves of sums that are written out, one by one, for one row of a `Depthwise`: those of 15x15 taps, which
take 1 to 5 seconds to compile. Loops take as long to run, or up to twice as long."""


def loops_over_taps(kernel: tuple[int, int], stride: int, dilation: int) -> bool:
    """Whether a depthwise window has so many taps that code goes over them in loops.

    stride, dilation  of the columns
    """
    begun = (kernel[1] - 1) * dilation // stride + 1
    return (math.prod(kernel) + begun) * begun > UNROLLED_MAX


@dataclass(frozen=True)
class Depthwise(Kernel):
    """A convolution in which every channel has a window of its own, channels side by side in x and y.

    products   "float32"; "dot2" (int16, two taps at once, x86); "int16"
    channels   rounded up to whole vectors of `lanes`: x and y have that many, weights beyond the real ones are 0
    kernel     taps (rows, columns), with `strides` and `dilations`
    positions  of the output (rows, columns)
    x_steps, y_steps
               elements from image to image, row to row, position to position
    further    operands that `epilogue` reads, after the kernel's own: walks over (batch, channel, *positions)
    epilogue   expression over `Accumulator()`, float32 or int32, and `Input(k)` for further operand k
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
    epilogue: Expression
    rows: int
    columns: int
    lanes: int

    def __post_init__(self) -> None:
        total = sum_dtype(self.products)
        self.expect("epilogue", self.epilogue, self.y_dtype, reads=self.further, accumulator=total)
        assert self.rows == 1 or not self.loops, "loops over taps make one row"

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
    def loops(self) -> bool:
        """Whether code goes over the taps in loops, output by output; then `rows` is 1."""
        return loops_over_taps(self.kernel, self.strides[1], self.dilations[1])

    @property
    def pairs_columns(self) -> bool:
        """Whether the row of x that has no other beside it is multiplied by two columns at once."""
        alone = self.products == "dot2" and self.row_pairs[-1][1] < 0 and not self.loops
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
        if self.products == "dot2":
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
class Winograd(Kernel):
    """A 3x3 convolution with stride 1 by Winograd's algorithm, channels side by side in x and y.

    The windows of a tile of y, `size` rows and columns, lie in `size + 2` rows and columns of x. Transformed tiles of x
    times transformed weights, summed over the channels, are one product of matrices for each point of a tile;
    transformed back they are tiles of y. Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, 2016.

    products   "float32"; "dot2" (int16, two channels at once, x86); "int16": with integers every step is exact
    size       2 or 4: 2.25 or 4 times fewer products
    channels, outputs
               rounded up to whole vectors of `lanes`: x and y have that many, weights beyond the real ones are 0
    positions  of the output (rows, columns)
    x_steps, y_steps
               elements from image to image, row to row, position to position
    further    operands that `epilogue` reads, after the kernel's own: walks over (batch, channel, *positions)
    epilogue   expression over `Accumulator()`, float32 or int32, and `Input(k)` for further operand k
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
    epilogue: Expression
    tiles: int
    tasks: int
    parts: int
    rows: int
    vectors: int
    lanes: int

    def __post_init__(self) -> None:
        total = sum_dtype(self.products)
        self.expect("epilogue", self.epilogue, self.y_dtype, reads=self.further, accumulator=total)

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
        return self.channels // 2 if self.products == "dot2" else self.channels

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
        transforms = {"float32": "float32", "dot2": "int32", "int16": "int16"}[self.products]
        sums = "float32" if self.products == "float32" else "int32"
        slices = self.tasks * self.parts * self.points
        return (transforms, slices * self.transform_step), (sums, slices * self.sum_step)

    @property
    def work(self) -> int:
        return self.blocks * self.tiles * self.points * self.steps * self.outputs
