"""TIR for sums of products in tiles whose factors come to shared memory in stages.

A block makes a tile of the output. Stage by stage, its threads bring what the tile needs of both factors to shared
memory, further stages being on their way while one is multiplied. Threads make parts of the tile, or share its sums. In
the end the sums go through shared memory once more, so that neighbouring threads write neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm import tirx
from tvm.script.ir_builder import tirx as T

from intarsia_backends.gpu.emit import intrinsics
from intarsia_backends.gpu.emit.ends import Block, Ends
from intarsia_backends.gpu.emit.products import unravelled
from intarsia_backends.gpu.emit.shared import only, placed, synchronize
from intarsia_backends.gpu.emit.staged.choice import TensorTile, ThreadTile, pitch
from intarsia_backends.gpu.emit.staged.factors import Bringer
from intarsia_backends.gpu.emit.staged.form import Form
from intarsia_backends.gpu.emit.staged.threads import Threads
from intarsia_backends.gpu.emit.staged.warps import Warps
from intarsia_backends.gpu.source.kernels import ROLLED
from intarsia_backends.lowering.kernels import Nest
from intarsia_backends.tir.expressions import Term
from intarsia_backends.tir.functions import function, parameter
from intarsia_backends.tir.nests import operands, span, stored


def emit_staged(kernel: Nest, form: Form, alignments: Sequence[int]) -> Any:
    """The PrimFunc of a product in stages."""
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
            sums = kernel.accumulator_dtype
            makers: Warps | Threads
            if isinstance(tile, TensorTile):
                makers = Warps(form, tile, memory, sums, thread)
            else:
                assert isinstance(tile, ThreadTile)
                makers = Threads(tile, memory, sums, thread)
            _emit_stages(form, bringers, makers)
            (row, rows), (column, columns) = (first, tile.first), (second, tile.second)
            if form.turned:
                (row, rows), (column, columns) = (column, columns), (row, rows)
            place = Block(batch, row, column, rows, columns, thread, threads)
            ends = Ends(kernel, form.product, buffers, output, alignments, place)
            ends.emit(memory, pitch(columns), tile.parts)

    return function(body)


def _emit_stages(form: Form, bringers: Sequence[Bringer], makers: Warps | Threads) -> None:
    """All stages; the sums lie in shared memory in the end, and everybody sees them."""
    tile = form.tile
    depth_bytes = form.depth * form.first.item_bytes
    steps, ahead = -(-depth_bytes // tile.stage_bytes), tile.stages - 1
    size_bytes = (tile.first + tile.second) * tile.stage_bytes

    def bring(step: Term) -> None:
        start = placed(tirx.floormod(step, tile.stages) * size_bytes)
        for bringer in bringers:
            bringer.bring(start, step)

    for first in range(ahead):
        if first < steps:
            bring(tirx.const(first, "int32"))
        intrinsics.commit()
    with T.serial(0, steps, annotations={ROLLED: True}) as step:
        intrinsics.wait(ahead - 1)
        synchronize()
        # The stage that this fills was multiplied before all came here.
        if steps > ahead:
            with only(step + ahead < steps):
                bring(step + ahead)
        intrinsics.commit()
        makers.multiply(placed(tirx.floormod(step, tile.stages) * size_bytes))
    intrinsics.wait(0)
    synchronize()
    makers.lay_down()
    synchronize()
