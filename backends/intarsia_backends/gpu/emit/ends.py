"""The end of a product's tile: sums that lie in shared memory become elements of the output, neighbours by neighbouring
threads, four by each where they start at multiples of four."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from intarsia_backends.gpu.emit import intrinsics
from intarsia_backends.gpu.emit.fours import FOUR, fetched, in_fours, inputs_of
from intarsia_backends.gpu.emit.products import Product, size, unravelled
from intarsia_backends.gpu.emit.shared import held, only, placed
from intarsia_backends.lowering.access import Access
from intarsia_backends.lowering.expressions import Input, apply
from intarsia_backends.lowering.kernels import Nest
from intarsia_backends.tir.expressions import Term, term
from intarsia_backends.tir.nests import address, finished, loaded, stored


@dataclass(frozen=True)
class Block:
    """A block's tile of the output.

    batch          index of the product
    row, column    the first ones
    rows, columns  how many there are in a tile; columns are a multiple of four
    thread         of so many threads
    """

    batch: Term
    row: Term
    column: Term
    rows: int
    columns: int
    thread: Term
    threads: int


class Ends:
    """Stores a tile.

    alignments  by parameter, what its place is a multiple of, in bytes
    """

    def __init__(
        self,
        kernel: Nest,
        product: Product,
        buffers: Sequence[Any],
        output: Any,
        alignments: Sequence[int],
        block: Block,
    ) -> None:
        self.kernel, self.product, self.buffers, self.output = kernel, product, buffers, output
        self.alignments, self.block = alignments, block
        self.width = FOUR if self.goes_in_fours(kernel.output, len(kernel.operands)) else 1
        self.reads = inputs_of(kernel.initial, kernel.epilogue)

    def goes_in_fours(self, access: Access, parameter: int) -> bool:
        """Whether four columns are read or written at once."""
        columns = self.product.columns
        return bool(columns) and in_fours(access, self.kernel.kept, columns[-1], self.alignments[parameter])

    def emit(self, sums: Any, pitch: int, parts: int) -> None:
        """Sums [parts, rows, pitch], of which all parts are added, to memory."""
        block = self.block
        beside = block.columns // self.width
        part = block.rows * pitch
        fixed = block.threads % beside == 0
        own = self.held_columns(beside) if fixed else {}
        with self.places(beside) as (row, column):
            bounds = []
            if size(self.kernel, self.product.rows) % block.rows:
                bounds.append(block.row + row < size(self.kernel, self.product.rows))
            if size(self.kernel, self.product.columns) % block.columns:
                bounds.append(block.column + column < size(self.kernel, self.product.columns))
            with only(_all(bounds)):
                totals = []
                for element in range(self.width):
                    place = row * pitch + column + element
                    total = sums[place]
                    for further in range(1, parts):
                        total = total + sums[place + further * part]
                    totals.append(held(total))
                self.store(block.row + row, block.column + column, totals, own)

    @contextmanager
    def places(self, beside: int) -> Iterator[tuple[Term, Term]]:
        """A loop over what the thread stores: rows, and the first of columns, of the tile."""
        block = self.block
        total = block.rows * beside
        with T.serial(0, -(-total // block.threads)) as turn:
            if block.threads % beside == 0:
                down = block.threads // beside
                row = turn * down + tirx.floordiv(block.thread, beside)
                column = tirx.floormod(block.thread, beside) * self.width
                there = row < block.rows if block.rows % down else None
            else:
                number = turn * block.threads + block.thread
                row, column = tirx.floordiv(number, beside), tirx.floormod(number, beside) * self.width
                there = number < total if total % block.threads else None
            with only(there):
                yield placed(row), placed(column)

    def place(self, row: Term, column: Term) -> list[Term]:
        """Indices of the kept loops."""
        product, kept = self.product, self.kernel.kept
        indices: list[Term] = [None] * len(kept)
        for loops, number in (
            (product.batches, self.block.batch),
            (product.rows, row),
            (product.columns, column),
        ):
            for loop, index in zip(loops, unravelled(number, [kept[loop] for loop in loops])):
                indices[loop] = index
        return indices

    def held_columns(self, beside: int) -> dict[int, list[Term]]:
        """What rows have in common, as biases and factors are: loaded once, since a thread's columns never change."""
        block, columns = self.block, size(self.kernel, self.product.columns)
        column = placed(block.column + tirx.floormod(block.thread, beside) * self.width)
        common = [
            operand
            for operand in self.reads
            if not any(self.kernel.operands[operand].strides[loop] for loop in self.product.rows)
        ]
        if not common:
            return {}
        last = tirx.min(column, columns - self.width) if columns % block.columns else column
        return {operand: self.fetched(operand, tirx.const(0, "int32"), last) for operand in common}

    def fetched(self, operand: int, row: Term, column: Term) -> list[Term]:
        """What the elements of a thread read of an operand."""
        access = self.kernel.operands[operand]
        if self.width == FOUR:
            four = self.goes_in_fours(access, operand)
            return fetched(self.buffers[operand], access, self.place(row, column), self.product.columns[-1], FOUR, four)
        return fetched(self.buffers[operand], access, self.place(row, column), None, 1, False)

    def store(self, row: Term, column: Term, totals: Sequence[Term], own: dict[int, list[Term]]) -> None:
        kernel = self.kernel
        found = {**own, **{each: self.fetched(each, row, column) for each in self.reads if each not in own}}
        four = T.alloc_buffer((FOUR,), stored(kernel.output.dtype))
        for number, total in enumerate(totals):
            place = self.place(row, column + number)

            def load(index: int, further: Term | None) -> Term:
                if further is None:
                    return found[index][number]  # noqa: B023
                return loaded(self.buffers[index], kernel.operands[index], place, further)  # noqa: B023

            pair = term(kernel.initial, load), total
            joined = held(term(apply(kernel.combine, Input(0), Input(1)), lambda index, further: pair[index]))  # noqa: B023
            element = finished(kernel.epilogue, load, joined, kernel.output.dtype)
            if self.width == 1:
                T.buffer_store(self.output, element, [address(kernel.output, place)])
                return
            T.buffer_store(four, element, [number])
        intrinsics.store(self.output, address(kernel.output, self.place(row, column)), four)


def _all(conditions: Sequence[Term]) -> Term | None:
    if not conditions:
        return None
    return conditions[0] if len(conditions) == 1 else tirx.And(*conditions)
