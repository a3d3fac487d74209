"""TIR for `ImageRows`: as for a product, whose panels are gone over by tiles of as many rows as there are at run time.

Tiles are as even as two heights allow. Where they do not add up to the rows, the last ones begin before the end of
those before them, and write the same again.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from intarsia_backends.cpu.emit.products import PanelKind, ProductEmitter, TileEmitter, product_emitter
from intarsia_backends.cpu.image_rows import ImageRows, row_chains
from intarsia_backends.cpu.tiling import split_evenly
from intarsia_backends.tir.expressions import Term
from intarsia_backends.tir.functions import function, parameter
from intarsia_backends.tir.schedule import Schedule


def emit_image_rows(kernel: ImageRows, schedule: Schedule) -> Any:
    """The PrimFunc of the rows of several images."""

    def body() -> None:
        count = parameter("n", 1, "int32")
        emitter = product_emitter(kernel.product, _Rows)
        emitter.size, emitter.most_vectors, emitter.count = kernel.rows, kernel.vectors, count[0]
        emitter.emit(schedule)

    return function(body)


@dataclass(frozen=True)
class _Part(PanelKind):
    """Neighbouring vectors of panels.

    whole    columns of the panel
    before   of them, before this part
    vectors  of the panel
    """

    whole: int
    before: int
    vectors: int


class _Rows(ProductEmitter):
    size: int
    most_vectors: int
    count: Term

    def emit(self, schedule: Schedule) -> None:
        tiling = self.tiling
        with ExitStack() as stack:
            (chunk,) = schedule.loops(stack, (tiling.chunks,), self.kernel.work // 8, 1)
            size = -(-tiling.panels // tiling.chunks)
            begin = chunk * size
            count = size if tiling.panels % size == 0 else tirx.min(size, tiling.panels - begin)
            with T.serial(0, count) as step:
                self.emit_panel(self.kinds(), (), tirx.const(0, "int32"), tirx.const(0, "int32"), begin + step)

    def emit_rows(self, kind: PanelKind, batch: Sequence[Term], row_block: Term, block: Term, panel: Term) -> None:
        column = (panel - kind.first) * kind.width + kind.first_column
        parts, largest, wide = split_evenly(len(kind.widths), self.most_vectors)
        start = before = 0
        for index in range(parts):
            end = start + (largest if index < wide else largest - 1)
            part = _Part(
                kind.widths[start:end],
                kind.kept[start:end],
                kind.first,
                kind.first_column,
                kind.width,
                before,
                len(kind.widths),
            )
            self.emit_tiles(part, block, column + before)
            start, before = end, before + part.width

    def emit_tiles(self, part: _Part, block: Term, column: Term) -> None:
        size, count, zero = self.size, self.count, tirx.const(0, "int32")
        tiles = tirx.floordiv(count + (size - 1), size)
        high = tirx.max(zero, count - tiles * (size - 1))
        with T.serial(0, tiles) as tile, T.If(tile < high):
            with T.Then():
                self.emit_tile(part, block, column, tile * size, size)
            with T.Else():
                row = tirx.min(high + tile * (size - 1), count - (size - 1))
                self.emit_tile(part, block, column, row, size - 1)

    def emit_tile(self, part: _Part, block: Term, column: Term, row: Term, rows: int) -> None:
        depth = tirx.const(0, "int32")
        TileEmitter(self, part, (), block, column, depth, self.kernel.depth, row, rows).emit()

    def chains(self, kind: PanelKind, rows: int) -> int:
        assert isinstance(kind, _Part)
        return row_chains(self.kernel, rows, len(kind.widths), kind.vectors)

    def w_walk(self, kind: PanelKind, batch: Sequence[Term], depth: Term, column: Term) -> tuple[Any, Term, int]:
        assert isinstance(kind, _Part)
        panel = (column - kind.before) * self.kernel.depth
        start = self.place(self.kernel.w.strides, (), self.kernel.w.offset)
        return self.w, start + (panel + depth * kind.whole + kind.before) * self.share, kind.whole * self.share
