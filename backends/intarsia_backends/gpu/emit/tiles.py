"""TIR for sums of products in tiles: matrix products, and convolutions as such.

A block makes a tile of the output, every thread some elements of it in registers. For a few steps of the sum at a time,
the block brings what it needs of both factors to shared memory, so that each number comes from memory once a tile and
not once an element.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from intarsia_backends.gpu.emit.products import Product, product_of, size, unravelled, within
from intarsia_backends.gpu.emit.shared import only, synchronize
from intarsia_backends.lowering.expressions import Apply, Expression, Input
from intarsia_backends.lowering.kernels import Nest
from intarsia_backends.tir.expressions import Term, term
from intarsia_backends.tir.functions import function, parameter
from intarsia_backends.tir.half import float_of_half
from intarsia_backends.tir.nests import address, finished, loaded, operands, span, stored

_ACROSS, _DOWN = 16, 8
"""Threads of a block along the columns and along the rows of its tile."""

_STEPS = 16
"""Steps of the sum for which both factors are in shared memory."""

_REGISTERS = 4
"""Rows, and columns, of which a thread makes elements, at most."""

_LEAST = 8
"""Rows, columns and steps from which on a tile pays."""


def tiles_of(kernel: Nest) -> Product | None:
    """The nest as a matrix product that is worth tiles; None where it is none."""
    product = product_of(kernel)
    if product is None or "bool" in (access.dtype for access in kernel.operands):
        return None
    _, *sizes = product.sizes(kernel)
    return product if min(sizes) >= _LEAST else None


def emit_tiles(kernel: Nest, tiles: Product) -> Any:
    """The PrimFunc of a nest in tiles."""
    extents = (*kernel.kept, *kernel.reduced)

    def body() -> None:
        buffers = operands(kernel.operands, extents, "x")
        output = parameter("y", span(kernel.output, kernel.kept), stored(kernel.output.dtype))
        _Tile(kernel, tiles, buffers, output).emit()

    return function(body)


class _Tile:
    """One tile of the output."""

    def __init__(self, kernel: Nest, tiles: Product, buffers: list[Any], output: Any) -> None:
        self.kernel, self.tiles, self.buffers, self.output = kernel, tiles, buffers, output
        self.size = {loops: size(kernel, loops) for loops in (tiles.batches, tiles.rows, tiles.columns)}
        self.depth = math.prod(kernel.reduced)
        self.own_rows = min(_REGISTERS, -(-self.size[tiles.rows] // _DOWN))
        self.own_columns = min(_REGISTERS, -(-self.size[tiles.columns] // _ACROSS))
        self.tall, self.wide = self.own_rows * _DOWN, self.own_columns * _ACROSS

    def emit(self) -> None:
        tiles = self.tiles
        down, across = (
            -(-self.size[loops] // tile) for loops, tile in ((tiles.rows, self.tall), (tiles.columns, self.wide))
        )
        blocks = self.size[tiles.batches] * down * across
        with (
            T.thread_binding(0, blocks, "blockIdx.x") as block,
            T.thread_binding(0, _ACROSS * _DOWN, "threadIdx.x") as thread,
        ):
            self.batch = tirx.floordiv(block, down * across)
            self.row = tirx.floormod(tirx.floordiv(block, across), down) * self.tall
            self.column = tirx.floormod(block, across) * self.wide
            self.thread = thread
            self.thread_row, self.thread_column = tirx.floordiv(thread, _ACROSS), tirx.floormod(thread, _ACROSS)
            self.sums()

    # ---- places

    def place(self, batch: Term, row: Term, column: Term) -> list[Term]:
        """The indices of the kept loops."""
        indices: list[Term] = [None] * len(self.kernel.kept)
        for loops, number in ((self.tiles.batches, batch), (self.tiles.rows, row), (self.tiles.columns, column)):
            extents = [self.kernel.kept[loop] for loop in loops]
            for loop, index in zip(loops, unravelled(number, extents)):
                indices[loop] = index
        return indices

    def own(self, row: int, column: int) -> tuple[Term, Term]:
        """Row and column of an element that a thread makes."""
        return (
            self.row + self.thread_row + row * _DOWN,
            self.column + self.thread_column + column * _ACROSS,
        )

    def inside(self, row: Term, column: Term) -> tuple[Term, Term]:
        """The nearest element that there is."""
        tiles = self.tiles
        return (
            within(row, self.size[tiles.rows], self.tall),
            within(column, self.size[tiles.columns], self.wide),
        )

    # ---- the sums

    def sums(self) -> None:
        kernel, own = self.kernel, [(i, j) for i in range(self.own_rows) for j in range(self.own_columns)]
        totals = {}
        for element in own:
            totals[element] = T.alloc_buffer((1,), kernel.accumulator_dtype)
            place = self.place(self.batch, *self.inside(*self.own(*element)))
            T.buffer_store(totals[element], self.expression(kernel.initial, place), [0])
        steps = min(_STEPS, self.depth)
        left = _Factor(self, self.tiles.left, self.tall, steps, is_left=True)
        right = _Factor(self, self.tiles.right, self.wide, steps, is_left=False)
        step_of = kernel.step.transformed(_from_half_done)
        with T.serial(0, -(-self.depth // steps)) as chunk:
            left.bring(chunk * steps)
            right.bring(chunk * steps)
            synchronize()
            with T.serial(0, steps) as step:
                rows = [left.held(step, self.thread_row + row * _DOWN) for row in range(self.own_rows)]
                columns = [
                    right.held(step, self.thread_column + column * _ACROSS) for column in range(self.own_columns)
                ]
                for row, column in own:
                    factors = {self.tiles.left: rows[row], self.tiles.right: columns[column]}
                    total = totals[row, column]
                    grown = term(step_of, lambda index, further: factors[index], total[0])  # noqa: B023
                    T.buffer_store(total, grown, [0])
            synchronize()
        for element in own:
            self.store(*self.own(*element), totals[element][0])

    def store(self, row: Term, column: Term, total: Term) -> None:
        kernel, tiles = self.kernel, self.tiles
        bounds = []
        if self.size[tiles.rows] % self.tall:
            bounds.append(row < self.size[tiles.rows])
        if self.size[tiles.columns] % self.wide:
            bounds.append(column < self.size[tiles.columns])
        place = self.place(self.batch, row, column)

        def load(index: int, further: Term | None) -> Term:
            return loaded(self.buffers[index], kernel.operands[index], place, further)

        def write() -> None:
            element = finished(kernel.epilogue, load, total, kernel.output.dtype)
            T.buffer_store(self.output, element, [address(kernel.output, place)])

        if not bounds:
            write()
            return
        with T.If(bounds[0] if len(bounds) == 1 else tirx.And(*bounds)), T.Then():
            write()

    def expression(self, expression: Expression, place: Sequence[Term]) -> Term:
        def load(index: int, further: Term | None) -> Term:
            return loaded(self.buffers[index], self.kernel.operands[index], place, further)

        return term(expression, load)


def _from_half_done(part: Expression) -> Expression:
    """A factor that is a float32 already."""
    match part:
        case Apply("from_half", (Input() as factor,)):
            return factor
    return part


class _Factor:
    """What a tile needs of one factor, for some steps of the sum: numbers [steps, lines] in shared memory.

    lines    rows or columns of the tile
    is_left  whether they are rows
    """

    def __init__(self, tile: _Tile, operand: int, lines: int, steps: int, *, is_left: bool) -> None:
        self.tile, self.operand, self.lines, self.steps, self.is_left = tile, operand, lines, steps, is_left
        access = tile.kernel.operands[operand]
        # Neighbouring threads read neighbours in memory: along the sum, or across it.
        self.along = abs(access.strides[-1]) == 1
        self.pitch = lines + (1 if self.along else 0)  # so that they do not write to one bank of shared memory
        # A float16 is converted once, on its way there.
        self.dtype = "float32" if access.dtype == "float16" else stored(access.dtype)
        self.memory = T.alloc_buffer((steps * self.pitch,), self.dtype, scope="shared")

    def bring(self, first: Term) -> None:
        """All threads bring the numbers from a step on; 0 stands for those behind the last."""
        numbers, threads = self.steps * self.lines, _ACROSS * _DOWN
        for turn in range(-(-numbers // threads)):
            number = self.tile.thread + turn * threads
            with only(number < numbers if (turn + 1) * threads > numbers else None):
                size = self.steps if self.along else self.lines
                outer, inner = tirx.floordiv(number, size), tirx.floormod(number, size)
                line, step = (outer, inner) if self.along else (inner, outer)
                T.buffer_store(self.memory, self.number(line, first + step), [step * self.pitch + line])

    def number(self, line: Term, step: Term) -> Term:
        tile, kernel = self.tile, self.tile.kernel
        row, column = (tile.row + line, tile.column) if self.is_left else (tile.row, tile.column + line)
        kept = tile.place(tile.batch, *tile.inside(row, column))
        cut = tile.depth % self.steps != 0
        reduced = unravelled(tirx.min(step, tile.depth - 1) if cut else step, kernel.reduced)
        access = kernel.operands[self.operand]
        number = loaded(self.tile.buffers[self.operand], access, [*kept, *reduced])
        if access.dtype == "float16":
            number = float_of_half(number)
        return tirx.Select(step < tile.depth, number, tirx.const(0, self.dtype)) if cut else number

    def held(self, step: Term, line: Term) -> Term:
        """A number, in a register."""
        register = T.alloc_buffer((1,), self.dtype)
        T.buffer_store(register, self.memory[step * self.pitch + line], [0])
        return register[0]
