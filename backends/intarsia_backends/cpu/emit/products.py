"""TIR for `MatrixProduct`: tiles of rows times panels of columns, held in registers.

A panel is a few vectors wide. While the sum runs, each step loads a row of the panel and one number of x for each row
of the tile. All row tiles go over a panel before the next panel comes, and a panel is cut along the depth where it
would not fit the nearest cache beside the rows; the sums then wait in y. What is made at run time is laid out in
panels first, just before it is used, where several tiles will read it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
from tvm import tirx
from tvm.script.ir_builder import tirx as T

from intarsia_backends.cpu.emit.dot_products import LINE_BYTES, add_dot4, broadcast_dot2, prefetch
from intarsia_backends.cpu.kernels import SHARES, WEIGHTS, MatrixProduct
from intarsia_backends.cpu.tiling import split_evenly, sum_chains
from intarsia_backends.lowering.expressions import Accumulator, Apply, Cast, Constant, Expression, Gather, Input
from intarsia_backends.tir.expressions import Term, over_lanes, term
from intarsia_backends.tir.functions import function, parameter
from intarsia_backends.tir.nests import address, loaded, span, stored
from intarsia_backends.tir.schedule import Schedule
from intarsia_backends.tir.vectors import load, spread, store, transposed

_REUSES = 3
"""Row tiles from which on a panel that is made at run time is laid out before it is used."""


_AHEAD_BYTES = 2048
"""How far ahead weights that are read once are asked for."""

_SMALL_FINISH = 4
"""Functions up to which the end of a sum is worked out in the registers; a longer one becomes a loop."""

_STACK_BYTES = 1023
"""Up to which TVM keeps an array on the stack: a larger one is allocated each time."""

E = TypeVar("E", bound="ProductEmitter")


def emit_product(kernel: MatrixProduct, schedule: Schedule) -> Any:
    """The PrimFunc of a matrix product."""

    def body() -> None:
        product_emitter(kernel, ProductEmitter).emit(schedule)

    return function(body)


def product_emitter(kernel: MatrixProduct, kind: type[E]) -> E:
    """An emitter of a product, with the parameters that the kernel is called with."""
    x_dtype = {"dot2": "int32", "dot4": "int32"}.get(kernel.products, kernel.products)
    w_dtype = WEIGHTS[kernel.products]
    total = "float32" if kernel.products == "float32" else "int32"
    columns = kernel.tiling.vectors * kernel.tiling.lanes
    x = parameter("x", span(kernel.x, (*kernel.batch, kernel.rows, kernel.depth)), x_dtype)
    if kernel.packed:
        w_elements = span(kernel.w, kernel.batch) - 1 + kernel.depth * columns * SHARES[kernel.products]
    else:
        w_elements = span(kernel.w, (*kernel.batch, kernel.depth, kernel.columns))
    w = parameter("w", w_elements, w_dtype)
    bias = parameter("b", columns, total) if kernel.bias else None
    kept = (*kernel.batch, kernel.rows, kernel.columns)
    further = [
        parameter(f"f{index}", span(access, kept), stored(access.dtype)) for index, access in enumerate(kernel.further)
    ]
    y = parameter("y", span(kernel.y, kept), stored(kernel.y.dtype))
    return kind(kernel, x, w, bias, further, y, total)


@dataclass(frozen=True)
class PanelKind:
    """Panels of one shape.

    widths  columns of each vector as they are computed
    kept    columns of each vector as they are stored
    first   the first panel of this kind
    """

    widths: tuple[int, ...]
    kept: tuple[int, ...]
    first: int
    first_column: int

    @property
    def width(self) -> int:
        return sum(self.widths)


class ProductEmitter:
    """A product and the parameters of its function."""

    def __init__(
        self, kernel: MatrixProduct, x: Any, w: Any, bias: Any, further: Sequence[Any], y: Any, total: str
    ) -> None:
        self.kernel, self.tiling = kernel, kernel.tiling
        self.x, self.w, self.bias, self.further, self.y = x, w, bias, further, y
        self.total = total
        self.share = SHARES[kernel.products]
        self.rank = len(kernel.batch)
        self.depth_blocks = -(-kernel.depth // self.tiling.depth_block)
        tiles = split_evenly(kernel.rows, self.tiling.tiles[0])[0]
        column_step = kernel.w.strides[-1] if not kernel.packed else 1
        self.packs = not kernel.packed and (column_step != 1 or tiles >= _REUSES)
        self.panel: Any = None
        self.streams = kernel.packed and tiles == 1

    # ---- the loops around a tile

    def kinds(self) -> list[PanelKind]:
        """Wide panels, narrow ones, and the last one where its columns do not fill its vectors."""
        tiling, lanes = self.tiling, self.tiling.lanes
        kinds = []
        for first, count, vectors in (
            (0, tiling.wide_panels, tiling.wide),
            (tiling.wide_panels, tiling.panels, tiling.wide - 1),
        ):
            if first < count:
                full = (lanes,) * vectors
                kinds.append(PanelKind(full, full, first, first * tiling.wide * lanes))
        rest = self.kernel.columns % lanes
        if rest:
            last = kinds[-1]
            kept = (*last.kept[:-1], rest)
            computed = last.widths if self.kernel.packed or self.packs else kept
            start = last.first_column + (tiling.panels - 1 - last.first) * last.width
            if last.first == tiling.panels - 1:
                kinds.pop()
            kinds.append(PanelKind(computed, kept, tiling.panels - 1, start))
        return kinds

    def emit(self, schedule: Schedule) -> None:
        kernel, tiling = self.kernel, self.tiling
        extents = (*kernel.batch, tiling.row_blocks, tiling.chunks)
        with ExitStack() as stack:
            *batch, row_block, chunk = schedule.loops(stack, extents, kernel.work, len(extents))
            if self.packs:
                size = tiling.depth_block * tiling.wide * tiling.lanes * self.share
                self.panel = T.alloc_buffer((size,), self.w.dtype)
            size = -(-tiling.panels // tiling.chunks)
            with T.serial(0, self.depth_blocks) as block:
                begin = chunk * size
                count = size if tiling.panels % size == 0 else tirx.min(size, tiling.panels - begin)
                with T.serial(0, count) as step:
                    self.emit_panel(self.kinds(), batch, row_block, block, begin + step)

    def emit_panel(
        self, kinds: Sequence[PanelKind], batch: Sequence[Term], row_block: Term, block: Term, panel: Term
    ) -> None:
        kind, *others = kinds
        if not others:
            self.emit_rows(kind, batch, row_block, block, panel)
            return
        with T.If(panel < others[0].first):
            with T.Then():
                self.emit_rows(kind, batch, row_block, block, panel)
            with T.Else():
                self.emit_panel(others, batch, row_block, block, panel)

    def emit_rows(self, kind: PanelKind, batch: Sequence[Term], row_block: Term, block: Term, panel: Term) -> None:
        kernel, tiling = self.kernel, self.tiling
        column = (panel - kind.first) * kind.width + kind.first_column
        depth = block * tiling.depth_block
        length = (
            tiling.depth_block
            if kernel.depth % tiling.depth_block == 0
            else tirx.min(tiling.depth_block, kernel.depth - depth)
        )
        if self.packs:
            self.pack(kind, batch, depth, length, column)
        tallest = tiling.tiles[0] if len(kind.widths) == tiling.wide else tiling.tiles[1]
        tiles, size, high = split_evenly(kernel.rows, tallest)
        each = -(-tiles // tiling.row_blocks)
        begin = row_block * each
        count = each if tiles % each == 0 else tirx.max(0, tirx.min(each, tiles - begin))
        with T.serial(0, count) as step:
            tile = begin + step
            if kernel.packed and not self.streams:
                self.ask(kind, batch, depth, column, step, each)
            make = partial(TileEmitter, self, kind, batch, block, column, depth, length)
            if high == tiles:
                make(tile * size, size).emit()
            else:
                with T.If(tile < high):
                    with T.Then():
                        make(tile * size, size).emit()
                    with T.Else():
                        make(tile * (size - 1) + high, size - 1).emit()

    def chains(self, kind: PanelKind, rows: int) -> int:
        """Parts of each sum of a tile."""
        return sum_chains(rows, len(kind.widths)) if self.depth_blocks == 1 else 1

    # ---- where things stand

    def place(self, strides: Sequence[int], places: Sequence[Term], offset: int = 0) -> Term:
        result: Term = tirx.const(offset, "int32")
        for stride, place in zip(strides, places):
            if stride:
                result = result + place * stride
        return result

    def w_walk(self, kind: PanelKind, batch: Sequence[Term], depth: Term, column: Term) -> tuple[Any, Term, int]:
        """The buffer that holds a panel, where it starts, and the elements from step to step of the sum."""
        if self.packs:
            return self.panel, tirx.const(0, "int32"), kind.width * self.share
        start = self.place(self.kernel.w.strides, batch, self.kernel.w.offset)
        if self.kernel.packed:
            # All panels before this one together are as wide as the column where it starts.
            return (
                self.w,
                start + (column * self.kernel.depth + depth * kind.width) * self.share,
                kind.width * self.share,
            )
        row = self.kernel.w.strides[-2]
        return self.w, start + depth * row + column, row

    def ask(self, kind: PanelKind, batch: Sequence[Term], depth: Term, column: Term, step: Term, steps: int) -> None:
        """Ask for part of the next panel: all of it in so many steps."""
        buffer, start, row = self.w_walk(kind, batch, depth, column)
        size = np.dtype(str(buffer.dtype)).itemsize
        lines = -(-self.tiling.depth_block * row * size // (LINE_BYTES * steps))
        for line in range(lines):
            prefetch(buffer, start + self.kernel.depth * row + (step * lines + line) * (LINE_BYTES // size))

    def pack(self, kind: PanelKind, batch: Sequence[Term], depth: Term, length: Term, column: Term) -> None:
        """Lay out a panel of what is made at run time."""
        row, step = self.kernel.w.strides[-2:]
        start = self.place(self.kernel.w.strides, batch, self.kernel.w.offset) + depth * row + column * step
        lanes = self.tiling.lanes
        whole = row == 1 and step != 1 and lanes > 1
        blocks = tirx.floordiv(length, lanes) if whole else 0
        for index, (width, kept) in enumerate(zip(kind.widths, kind.kept)):
            place = start + index * lanes * step
            if whole:
                with T.serial(0, blocks) as block:
                    self.turn(kind, place + block * lanes, step, kept, block * lanes * kind.width + index * lanes)
            done = blocks * lanes if whole else 0
            with T.serial(0, length - done) as rest:
                source, target = place + (done + rest) * row, (done + rest) * kind.width + index * lanes
                if kept < width:
                    store(self.panel, target, spread(tirx.const(0, str(self.w.dtype)), width), width)
                if step == 1:
                    store(self.panel, target, load(self.w, source, kept), kept)
                else:
                    for lane in range(kept):
                        T.buffer_store(self.panel, self.w[source + lane * step], [target + lane])

    def turn(self, kind: PanelKind, source: Term, step: int, kept: int, target: Term) -> None:
        """Columns that lie along the depth become a square block of the panel."""
        lanes = self.tiling.lanes
        zero = spread(tirx.const(0, str(self.w.dtype)), lanes)
        rows = [load(self.w, source + lane * step, lanes) if lane < kept else zero for lane in range(lanes)]
        for index, vector in enumerate(transposed(rows, lanes, str(self.w.dtype))):
            store(self.panel, target + index * kind.width, vector, lanes)


class TileEmitter:
    """One tile of rows by one panel, over one block of the depth."""

    def __init__(
        self,
        product: ProductEmitter,
        kind: PanelKind,
        batch: Sequence[Term],
        block: Term,
        column: Term,
        depth: Term,
        length: Term,
        row: Term,
        rows: int,
    ) -> None:
        self.product, self.kernel, self.kind = product, product.kernel, kind
        self.batch, self.block, self.column = batch, block, column
        self.depth, self.length, self.row, self.rows = depth, length, row, rows
        self.chains = product.chains(kind, rows)
        self.starts = [sum(kind.widths[:index]) for index in range(len(kind.widths))]

    def emit(self) -> None:
        total = self.product.total
        self.sums = [
            [[T.alloc_buffer((width,), total) for width in self.kind.widths] for _ in range(self.rows)]
            for _ in range(self.chains)
        ]
        self.begin()
        self.emit_sum()
        self.join()
        self.end()

    def each(self) -> list[tuple[int, int]]:
        return [(row, index) for row in range(self.rows) for index in range(len(self.kind.widths))]

    def begin(self) -> None:
        last = self.product.depth_blocks - 1
        if not last:
            self.begin_anew()
            return
        with T.If(self.block == 0):
            with T.Then():
                self.begin_anew()
            with T.Else():
                for row, index in self.each():
                    width, kept = self.kind.widths[index], self.kind.kept[index]
                    place = self.y_place(row, index)
                    if kept == width:
                        store(self.sums[0][row][index], 0, load(self.product.y, place, width), width)
                    else:
                        aside = T.alloc_buffer((width,), self.product.total)
                        store(aside, 0, self.zero(width), width)
                        store(aside, 0, load(self.product.y, place, kept), kept)
                        store(self.sums[0][row][index], 0, load(aside, 0, width), width)

    def zero(self, width: int) -> Term:
        return spread(tirx.const(0, self.product.total), width)

    def begin_anew(self) -> None:
        bias = self.product.bias
        for chain in range(self.chains):
            for row, index in self.each():
                width = self.kind.widths[index]
                first = bias is not None and chain == 0
                start = load(bias, self.column + self.starts[index], width) if first else self.zero(width)
                store(self.sums[chain][row][index], 0, start, width)

    def emit_sum(self) -> None:
        row_step, depth_step = self.kernel.x.strides[-2:]
        start = self.product.place(self.kernel.x.strides, [*self.batch, self.row, self.depth], self.kernel.x.offset)
        buffer, w_start, w_step = self.product.w_walk(self.kind, self.batch, self.depth, self.column)
        chains = self.chains

        def step(place: Term, chain: int) -> None:
            self.emit_step(start + place * depth_step, row_step, buffer, w_start + place * w_step, self.sums[chain])

        if chains == 1:
            with T.serial(0, self.length) as place:
                step(place, 0)
            return
        assert isinstance(self.length, int)
        if self.length // chains:
            with T.serial(0, self.length // chains) as place:
                for chain in range(chains):
                    step(place * chains + chain, chain)
        for rest in range(self.length % chains):
            step(tirx.const(self.length // chains * chains + rest, "int32"), rest)

    def emit_step(self, x_place: Term, row_step: int, w: Any, w_place: Term, sums: Sequence[Sequence[Any]]) -> None:
        """The fewer of numbers and vectors stay in registers, the others are loaded when their turn comes."""
        widths, share = self.kind.widths, self.product.share

        def number(row: int) -> Term:
            return self.product.x[x_place + row * row_step]

        def weight(index: int) -> Term:
            return load(w, w_place + self.starts[index] * share, widths[index] * share)

        def add(row: int, index: int, number: Term, weight: Term) -> None:
            total, width = sums[row][index], widths[index]
            before = load(total, 0, width)
            if self.kernel.products == "dot4":
                store(total, 0, add_dot4(before, number, weight, width), width)
            else:
                store(total, 0, before + self.multiplied(number, weight, width), width)

        if self.product.streams:
            size = np.dtype(str(w.dtype)).itemsize
            for line in range(0, sum(widths) * share * size, LINE_BYTES):
                prefetch(w, w_place + (_AHEAD_BYTES + line) // size)
        if len(widths) <= self.rows:
            held = [weight(index) for index in range(len(widths))]
            for row in range(self.rows):
                for index, vector in enumerate(held):
                    add(row, index, number(row), vector)
        else:
            held = [number(row) for row in range(self.rows)]
            for index in range(len(widths)):
                for row, scalar in enumerate(held):
                    add(row, index, scalar, weight(index))

    def multiplied(self, number: Term, weight: Term, width: int) -> Term:
        if self.kernel.products == "float32":
            return spread(number, width) * weight
        if self.kernel.products == "int16":
            return spread(tirx.Cast("int32", number), width) * tirx.Cast(
                f"int32x{width}" if width > 1 else "int32", weight
            )
        return broadcast_dot2(number, weight, width)

    def join(self) -> None:
        """Add up the chains, neighbours first."""
        count = self.chains
        while count > 1:
            half = -(-count // 2)
            for chain in range(count - half):
                for row, index in self.each():
                    width = self.kind.widths[index]
                    total = self.sums[chain][row][index]
                    store(total, 0, load(total, 0, width) + load(self.sums[chain + half][row][index], 0, width), width)
            count = half

    # ---- the end of the sums

    def y_place(self, row: Term | int, index: int, within: Term | int = 0) -> Term:
        return address(self.kernel.y, [*self.batch, self.row + row, self.column + self.starts[index] + within])

    def end(self) -> None:
        last = self.product.depth_blocks - 1
        if not last:
            self.finish()
            return
        with T.If(self.block == last):
            with T.Then():
                self.finish()
            with T.Else():
                for row, index in self.each():
                    width, kept = self.kind.widths[index], self.kind.kept[index]
                    store(self.product.y, self.y_place(row, index), self.part(row, index, width, kept), kept)

    def part(self, row: int, index: int, width: int, kept: int) -> Term:
        """The first columns of a sum."""
        total = load(self.sums[0][row][index], 0, width)
        if kept == width:
            return total
        aside = T.alloc_buffer((width,), self.product.total)
        store(aside, 0, total, width)
        return load(aside, 0, kept)

    def finish(self) -> None:
        if functions_in(self.kernel.epilogue) <= _SMALL_FINISH:
            for row, index in self.each():
                total = self.sums[0][row][index]
                if self.kind.kept[index] != self.kind.widths[index]:
                    aside = T.alloc_buffer((self.kind.widths[index],), self.product.total)
                    store(aside, 0, load(total, 0, self.kind.widths[index]), self.kind.widths[index])
                    total = aside
                self.store_lanes(row, index, lambda lane, total=total: total[lane])  # type: ignore[misc]
            return
        most = max(1, _STACK_BYTES // (4 * self.kind.width))
        for start in range(0, self.rows, most):
            self.finish_rows(range(start, min(start + most, self.rows)))

    def finish_rows(self, rows: range) -> None:
        width = self.kind.width
        aside = T.alloc_buffer((len(rows) * width,), self.product.total)
        for row, index in self.each():
            if row in rows:
                columns = self.kind.widths[index]
                place = (row - rows.start) * width + self.starts[index]
                store(aside, place, load(self.sums[0][row][index], 0, columns), columns)
        with T.serial(0, len(rows)) as row:
            for index, start in enumerate(self.starts):
                self.store_lanes(
                    rows.start + row,
                    index,
                    lambda lane, start=start: aside[row * width + start + lane],  # type: ignore[misc]
                )

    def store_lanes(self, row: Term | int, index: int, total: Callable[[Term], Term]) -> None:
        """Work out and store the elements of one vector."""
        with over_lanes(self.kind.kept[index]) as lane:
            places = [*self.batch, self.row + row, self.column + self.starts[index] + lane]
            further = zip(self.kernel.further, self.product.further)
            reads = [partial(loaded, buffer, access, places) for access, buffer in further]
            element = term(self.kernel.epilogue, lambda k, more: reads[k](more), total(lane))
            if self.kernel.y.dtype == "bool":
                element = tirx.Cast("uint8", element)
            T.buffer_store(self.product.y, element, [address(self.kernel.y, places)])


def functions_in(expression: Expression) -> int:
    """How many functions an expression names, long ones counted as many."""
    return sum(_weight(part) for part in expression.walk())


def _weight(part: Expression) -> int:
    match part:
        case Input() | Accumulator() | Constant():
            return 0
        case Cast() | Gather() | Apply("add" | "sub" | "mul" | "floor_at" | "ceil_at"):
            return 1
    return 4
