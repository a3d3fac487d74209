"""Products of a tile of float32 numbers, one by one."""

from __future__ import annotations

from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from intarsia_backends.gpu.emit import intrinsics
from intarsia_backends.gpu.emit.shared import placed
from intarsia_backends.gpu.emit.staged.choice import TURNS, UNIT_BYTES, ThreadTile, pitch
from intarsia_backends.gpu.emit.staged.factors import unit_place
from intarsia_backends.gpu.source.kernels import ROLLED
from intarsia_backends.tir.expressions import Term

_ITEMS = UNIT_BYTES // 4
"""Numbers of a unit."""


class Threads:
    """A thread's part of the tile: lines that are as far from each other as there are threads along them, so that
    neighbouring threads read neighbouring lines."""

    def __init__(self, tile: ThreadTile, memory: Any, sums: str, thread: Term) -> None:
        self.tile, self.memory = tile, memory
        down, across, _ = tile.grid
        self.across = placed(tirx.floormod(thread, across))
        self.down = placed(tirx.floormod(tirx.floordiv(thread, across), down))
        self.deep = placed(tirx.floordiv(thread, down * across))
        self.sums = T.alloc_buffer((tile.tall * tile.wide,), sums)
        for number in range(tile.tall * tile.wide):
            T.buffer_store(self.sums, tirx.const(0, sums), [number])
        self.first = [T.alloc_buffer((_ITEMS,), sums) for _ in range(tile.tall)]
        self.second = T.alloc_buffer((_ITEMS,), sums)

    def multiply(self, stage: Term) -> None:
        """Add the products of a stage."""
        tile, (down, across, _) = self.tile, self.tile.grid
        # Written out, the loop would take more registers than there are for large tiles.
        with T.serial(0, tile.units, annotations={ROLLED: True}) as number:
            unit = placed(self.deep * tile.units + number)
            first = _Lines(tile, stage, self.down, unit)
            second = _Lines(tile, stage + tile.first * tile.stage_bytes, self.across, unit)
            for row in range(tile.tall):
                intrinsics.fetch(self.first[row], self.memory, first.place(row * down))
            for column in range(tile.wide):
                intrinsics.fetch(self.second, self.memory, second.place(column * across))
                for item in range(_ITEMS):
                    for row in range(tile.tall):
                        place = row * tile.wide + column
                        grown = self.sums[place] + self.first[row][item] * self.second[item]
                        T.buffer_store(self.sums, grown, [place])

    def lay_down(self) -> None:
        """The sums to shared memory, [groups along the sum, rows, columns]."""
        tile, (down, across, _) = self.tile, self.tile.grid
        for row in range(tile.tall):
            line = self.deep * tile.first + (self.down + row * down)
            for column in range(tile.wide):
                place = line * pitch(tile.second) + (self.across + column * across)
                T.buffer_store(self.memory, self.sums[row * tile.wide + column], [place])


class _Lines:
    """Where a unit of a thread's lines stands.

    start  bytes from where the factor's lines stand
    own    the thread's first line
    """

    def __init__(self, tile: ThreadTile, start: Term, own: Term, unit: Term) -> None:
        self.tile, self.start, self.own, self.unit = tile, start, own, unit
        self.found: dict[int, Term] = {}

    def place(self, further: int) -> Term:
        """Of the line so much further, in numbers; units of every eighth line stand alike."""
        rest = further % TURNS
        if rest not in self.found:
            place = self.start + unit_place(self.own + rest, self.unit, self.tile.stage_bytes)
            self.found[rest] = placed(tirx.floordiv(place, 4))
        return self.found[rest] + (further - rest) * (self.tile.stage_bytes // 4)
