"""TIR for sums of products by tensor cores.

A block makes a tile of the output. Stage by stage, its threads bring what the tile needs of both factors to shared
memory, further stages being on their way while one is multiplied. Warps make parts of the tile, or share its sums. In
the end the sums go through shared memory once more, so that neighbouring threads write neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from intarsia_backends.gpu.emit.ends import Block, Ends
from intarsia_backends.gpu.emit.products import unravelled
from intarsia_backends.gpu.emit.shared import only, placed, synchronize
from intarsia_backends.gpu.emit.tensor import intrinsics
from intarsia_backends.gpu.emit.tensor.choice import FIRST, SECOND, SLICE_BYTES, pitch
from intarsia_backends.gpu.emit.tensor.factors import UNIT_BYTES, Bringer, unit_place
from intarsia_backends.gpu.emit.tensor.form import TensorForm
from intarsia_backends.lowering.kernels import Nest
from intarsia_backends.tir.expressions import Term
from intarsia_backends.tir.functions import function, parameter
from intarsia_backends.tir.nests import operands, span, stored

_WARP = 32
_HALF_BYTES = UNIT_BYTES
"""Of a line, in one matrix of 8 rows."""


def emit_tensor(kernel: Nest, form: TensorForm, alignments: Sequence[int]) -> Any:
    """The PrimFunc of a product for tensor cores."""
    extents = (*kernel.kept, *kernel.reduced)

    def body() -> None:
        buffers = operands(kernel.operands, extents, "x")
        output = parameter("y", span(kernel.output, kernel.kept), stored(kernel.output.dtype))
        tile, threads = form.tile, form.tile.threads
        across = -(-form.first.lines // tile.first)
        down = -(-form.second.lines // tile.second)
        with (
            T.thread_binding(0, form.batches * across * down, "blockIdx.x") as block,
            T.thread_binding(0, threads, "threadIdx.x") as thread,
        ):
            memory = T.alloc_buffer((tile.shared_bytes(form.turned) // 4,), kernel.accumulator_dtype, scope="shared")
            batch = placed(tirx.floordiv(block, across * down)) if form.batches > 1 else tirx.const(0, "int32")
            first = placed(tirx.floormod(block, across) * tile.first)
            second = placed(tirx.floormod(tirx.floordiv(block, across), down) * tile.second)
            loops = form.product.batches
            batches = list(zip(loops, unravelled(batch, [kernel.kept[loop] for loop in loops])))
            common = {"stage_bytes": tile.stage_bytes, "thread": thread, "threads": threads, "batch": batches}
            bringers = [
                Bringer(kernel, factor, buffers[factor.operand], memory, lines=lines, start=start, first=line, **common)
                for factor, lines, start, line in (
                    (form.first, tile.first, 0, first),
                    (form.second, tile.second, tile.first * tile.stage_bytes, second),
                )
            ]
            _Warp(form, memory, kernel.accumulator_dtype, thread).emit(bringers)
            (row, rows), (column, columns) = (first, tile.first), (second, tile.second)
            if form.turned:
                (row, rows), (column, columns) = (column, columns), (row, rows)
            place = Block(batch, row, column, rows, columns, thread, threads)
            ends = Ends(kernel, form.product, buffers, output, alignments, place)
            ends.emit(memory, pitch(columns), tile.warps[2])

    return function(body)


class _Warp:
    """A warp's part of the tile, and its lane."""

    def __init__(self, form: TensorForm, memory: Any, sums: str, thread: Term) -> None:
        self.form, self.tile, self.memory = form, form.tile, memory
        down, across, _ = self.tile.warps
        warp, self.lane = tirx.floordiv(thread, _WARP), placed(tirx.floormod(thread, _WARP))
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
        unit = (self.deep * self.tile.slices + number) * (SLICE_BYTES // _HALF_BYTES)
        eighth = tirx.floordiv(lane, 8)
        row = tirx.floormod(lane, 8)
        first_line = self.down + row + tirx.floormod(eighth, 2) * 8
        second_line = self.across + row + tirx.floordiv(eighth, 2) * 8 * (self.tile.wide > 1)
        first = unit_place(first_line, unit + tirx.floordiv(eighth, 2), stage_bytes)
        second = unit_place(second_line, unit + tirx.floormod(eighth, 2), stage_bytes)
        return placed(first), placed(second + self.tile.first * stage_bytes)

    def emit(self, bringers: Sequence[Bringer]) -> None:
        """All stages; the sums lie in shared memory in the end, and everybody sees them."""
        tile = self.tile
        depth_bytes = self.form.depth * self.form.first.item_bytes
        steps, ahead = -(-depth_bytes // tile.stage_bytes), tile.stages - 1
        size_bytes = (tile.first + tile.second) * tile.stage_bytes

        def bring(step: Term) -> None:
            start = placed(tirx.floormod(step, tile.stages) * size_bytes)
            for bringer in bringers:
                bringer.bring(start, step)

        for step in range(ahead):
            if step < steps:
                bring(tirx.const(step, "int32"))
            intrinsics.commit()
        with T.serial(0, steps) as step:
            intrinsics.wait(ahead - 1)
            synchronize()
            # The stage that this fills was multiplied before all came here.
            with only(step + ahead < steps):
                bring(step + ahead)
            intrinsics.commit()
            self.multiply(placed(tirx.floormod(step, tile.stages) * size_bytes))
        intrinsics.wait(0)
        synchronize()
        self.lay_down()
        synchronize()

    def multiply(self, stage: Term) -> None:
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
