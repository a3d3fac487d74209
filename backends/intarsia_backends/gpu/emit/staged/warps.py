"""Products of a tile by tensor cores."""

from __future__ import annotations

from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from intarsia_backends.gpu.emit import intrinsics
from intarsia_backends.gpu.emit.shared import placed
from intarsia_backends.gpu.emit.staged.choice import FIRST, SECOND, SLICE_BYTES, UNIT_BYTES, WARP, TensorTile, pitch
from intarsia_backends.gpu.emit.staged.factors import unit_place
from intarsia_backends.gpu.emit.staged.form import Form
from intarsia_backends.tir.expressions import Term


class Warps:
    """A warp's part of the tile, and its lane."""

    def __init__(self, form: Form, tile: TensorTile, memory: Any, sums: str, thread: Term) -> None:
        self.form, self.tile, self.memory = form, tile, memory
        down, across, _ = self.tile.warps
        warp, self.lane = tirx.floordiv(thread, WARP), placed(tirx.floormod(thread, WARP))
        self.down = placed(tirx.floormod(warp, down) * (FIRST * self.tile.tall))
        self.across = placed(tirx.floormod(tirx.floordiv(warp, down), across) * (SECOND * self.tile.wide))
        self.deep = placed(tirx.floordiv(warp, down * across))
        tall, wide = self.tile.tall, self.tile.wide
        self.sums = T.alloc_buffer((4 * tall * wide,), sums)
        self.first = T.alloc_buffer((4 * tall,), "uint32")
        self.second = T.alloc_buffer((2 * wide,), "uint32")
        for number in range(4 * tall * wide):
            T.buffer_store(self.sums, tirx.const(0, sums), [number])
        self.places = [self.lane_places(number) for number in range(self.tile.slices)]

    def lane_places(self, number: int) -> tuple[Term, Term]:
        """Bytes of a stage where the rows of both factors stand whose places the lane tells, for a slice of the sum."""
        lane, stage_bytes = self.lane, self.tile.stage_bytes
        unit = (self.deep * self.tile.slices + number) * (SLICE_BYTES // UNIT_BYTES)
        eighth = tirx.floordiv(lane, 8)
        row = tirx.floormod(lane, 8)
        first_line = self.down + row + tirx.floormod(eighth, 2) * 8
        second_line = self.across + row + tirx.floordiv(eighth, 2) * 8 * (self.tile.wide > 1)
        first = unit_place(first_line, unit + tirx.floordiv(eighth, 2), stage_bytes)
        second = unit_place(second_line, unit + tirx.floormod(eighth, 2), stage_bytes)
        return placed(first), placed(second + self.tile.first * stage_bytes)

    def multiply(self, stage: Term) -> None:
        """Add the products of a stage."""
        tall, wide, stage_bytes = self.tile.tall, self.tile.wide, self.tile.stage_bytes
        for first, second in self.places:
            for number in range(tall):
                place = stage + first + number * FIRST * stage_bytes
                intrinsics.load_matrices(4, self.first, 4 * number, self.memory, place)
            for number in range(0, wide, 2):
                # The lanes tell the places of two fragments, or of one that is left.
                count = 4 if number + 1 < wide else 2
                place = stage + second + number * SECOND * stage_bytes
                if count == 2 and wide > 1:
                    place = tirx.Select(self.lane < 16, place, stage + second)
                intrinsics.load_matrices(count, self.second, 2 * number, self.memory, place)
            for row in range(tall):
                for column in range(wide):
                    sums = 4 * (row * wide + column)
                    intrinsics.multiply(self.form.dtype, self.sums, sums, self.first, 4 * row, self.second, 2 * column)

    def lay_down(self) -> None:
        """The sums to shared memory, [warps along the sum, rows, columns]."""
        tile, turned = self.tile, self.form.turned
        rows, columns = (tile.second, tile.first) if turned else (tile.first, tile.second)
        line = placed(self.down + tirx.floordiv(self.lane, 4))
        other = placed(self.across + tirx.floormod(self.lane, 4) * 2)
        start = placed(self.deep * (rows * pitch(columns)))
        for row in range(tile.tall):
            for column in range(tile.wide):
                for number in range(4):
                    first = line + (row * FIRST + number // 2 * 8)
                    second = other + (column * SECOND + number % 2)
                    place = second * pitch(columns) + first if turned else first * pitch(columns) + second
                    value = self.sums[4 * (row * tile.wide + column) + number]
                    T.buffer_store(self.memory, value, [start + place])
