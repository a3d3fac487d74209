"""Kernels of sums of products as CPUs make them, as data: channels or columns in vectors, sums held in registers."""

from __future__ import annotations

import math
from dataclasses import dataclass

from intarsia_backends.cpu.tiling import ProductTiling
from intarsia_backends.lowering.access import Access
from intarsia_backends.lowering.expressions import Expression
from intarsia_backends.lowering.kernel import Kernel, sum_dtype

SHARES = {"float32": 1, "dot2": 2, "dot4": 4, "int16": 1}
"""By what a kernel calls its `products`: how many of them one step of the sum adds for each output."""

WEIGHTS = {"float32": "float32", "dot2": "int16", "dot4": "int8", "int16": "int16"}
"""By the same: the type of the weights."""

STORED = {"float32": "float32", "dot2": "int16", "dot4": "uint8", "int16": "int16"}
"""By the same: the type of what they are multiplied with."""


@dataclass(frozen=True)
class Contraction(Kernel):
    """Sums of products with weights known at compile time or packed before: convolution and matrix product.

    products    "float32"; "dot2" (int16 pairs in an int32, multiplied and added by one instruction); "dot4" (four
                uint8 in an int32, times int8); "int16"
    batch       images or matrices: extent, and steps in x and y
    groups      the same for the groups of channels
    outputs     output channels of one group
    positions   extents of the output positions, the last one in tiles
    reduction   extents of the sum: channels (or twos or fours of them), then the window
    x_batch, x_group, x_positions, x_reduction
                elements from step to step in x
    y_batch, y_group, y_channel, y_positions
                elements from step to step in y
    tile        positions held in registers at most
    flat        whether tiles go on from row to row; for few positions, as each tile is written out
    vectors     vectors of output channels held in registers at once
    lanes       channels in a vector
    operands    what `epilogue` reads beside the accumulator: walks over [batch, channel, *positions]
    padded      whether y, and the operands, have room for the channels of whole vectors
    chunked     whether one step of the reduction's first axis is taken for all positions before the next
    rows_first  whether the blocks of output channels are the inner loop, so that x stays near
    epilogue    expression over `Accumulator()` and `Input(k)`; gives the element of y

    Called with x, weights [groups][blocks][reduction][vectors * lanes] (dot2: [..][2], dot4: [..][4]; the last block
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
    epilogue: Expression

    def __post_init__(self) -> None:
        total = sum_dtype(self.products)
        self.expect("epilogue", self.epilogue, self.y_dtype, reads=self.operands, accumulator=total)

    @property
    def interleaved(self) -> bool:
        """Whether channels stand as x86 packs two vectors of sums into one of int16."""
        packs = self.products == "dot2" or (self.products == "dot4" and self.y_dtype == "int16")
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
class MatrixProduct(Kernel):
    """y[batch.., rows, columns] = epilogue(bias + x times w), for any strides of x, w and y.

    products  "float32"; "dot2" (int16 pairs in an int32, multiplied and added by one instruction); "dot4" (four uint8
              in an int32, times packed int8); "int16"
    batch     extents of the outer axes
    x         walk over (batch.., rows, depth); "dot2", "dot4": int32, depth in twos or fours
    w         walk over (batch.., depth, columns); packed: over (batch..) alone, of [panels][depth][panel] (dot2:
              [..][2], dot4: [..][4]) with the panels as `tiling` has them, absent columns zero
    packed    whether w was laid out before
    bias      whether the sums begin with a row of numbers of the accumulator's type, one for each column of all panels
    further   walks over (batch.., rows, columns) of what else `epilogue` reads
    y         walk over (batch.., rows, columns)
    epilogue  expression over `Accumulator()` and `Input(k)`, k counting `further`; gives the element of y

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
    tiling: ProductTiling
    epilogue: Expression

    def __post_init__(self) -> None:
        total = sum_dtype(self.products)
        self.expect("epilogue", self.epilogue, self.y.dtype, reads=self.further, accumulator=total)

    @property
    def work(self) -> int:
        return math.prod(self.batch) * self.rows * self.depth * self.columns
