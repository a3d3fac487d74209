"""Work of the vector unit on tiles: pooling, element-wise operations and copies, channel block by channel block."""

from __future__ import annotations

from dataclasses import replace

from intarsia_backends.overlay.compiler import emitter
from intarsia_backends.overlay.compiler.convolve import cut
from intarsia_backends.overlay.compiler.program_builder import ProgramBuilder, TileBanks
from intarsia_backends.overlay.compiler.schedule import Item, Unit
from intarsia_backends.overlay.compiler.steps import VecStep
from intarsia_backends.overlay.compiler.tensors import Rect, Tensor, View, Window, resident_view, tile_view
from intarsia_backends.overlay.machine.config import LANES
from intarsia_backends.overlay.machine.isa import Memory, VecOperation


class VecEmitter:
    """Emits one step of the vector unit."""

    def __init__(self, builder: ProgramBuilder, step: VecStep, banks: TileBanks) -> None:
        self.builder, self.step, self.banks = builder, step, banks
        self.config = builder.config
        self.source = step.inputs[0]
        self.second = step.second
        self.target = step.output
        self.repeats = self.second is not None and (self.second.height, self.second.width) != (
            self.target.height,
            self.target.width,
        )

    def emit(self) -> None:
        """Append the step's units."""
        if self.step.shifted or (self.step.operation == VecOperation.COPY and not self.step.upsample):
            self._emit_copy()
            return
        table = self._load_table()
        found = self._size()
        if found is None:
            self._emit_long_sums()
            return
        rows, columns, blocks, copies = found
        places = self.banks.take(self._buffers(rows, columns, blocks) * copies)
        count = len(places) // copies
        number = 0
        for block in range(0, self.target.blocks, blocks):
            for tile in cut(self.target.height, self.target.width, rows, columns, 2 if self.step.upsample else 1):
                unit = self.builder.unit()
                if number == 0 and table is not None:
                    unit.loads.append(table[0])
                at = number % copies * count
                self._tile(unit, tile, block, min(blocks, self.target.blocks - block), places[at : at + count], table)
                number += 1

    def _load_table(self) -> tuple[Item, int] | None:
        if self.step.table is None:
            return None
        at = self.builder.tables.take(1)
        offset = self.builder.pool.add(self.step.table.tobytes())
        return emitter.load_constants(Memory.TABLES, offset, at, 1, self.step.tag, self.config), at

    def _reach(self, rows: int, columns: int) -> int:
        if self.step.upsample:
            return (rows + 1) // 2 * ((columns + 1) // 2)
        return self.step.window.reach(rows, columns, self.source.height, self.source.width)

    def _buffers(self, rows: int, columns: int, blocks: int) -> list[int]:
        """Words of the source's, the second operand's and the target's tile; 0 where it is resident."""
        first = 0 if self.source.resident else self._reach(rows, columns) * blocks
        second = 0
        if self.second is not None and not self.second.resident:
            second = (1 if self.repeats else rows * columns) * blocks
        return [first, second, 0 if self.target.resident else rows * columns * blocks]

    def _size(self) -> tuple[int, int, int, int] | None:
        """Rows, columns, blocks and copies of the tiles: as many blocks as fit with whole planes, else fewer pixels."""
        height, width, blocks = self.target.height, self.target.width, self.target.blocks
        even = 2 if self.step.upsample else 1
        for copies in (2, 1):
            if not any(self._buffers(height, width, blocks)):
                return height, width, blocks, 1
            for count in _halves(blocks):
                if self.banks.fits(self._buffers(height, width, count) * copies):
                    return height, width, count, copies
            for rows in _halves(height, even):
                if self.banks.fits(self._buffers(rows, width, 1) * copies):
                    return rows, width, 1, copies
            for columns in _halves(width, even):
                if self.banks.fits(self._buffers(even, columns, 1) * copies):
                    return even, columns, 1, copies
        return None

    def _tile(
        self,
        unit: Unit,
        tile: Rect,
        block: int,
        blocks: int,
        places: list[int],
        table: tuple[Item, int] | None,
    ) -> None:
        step = self.step
        if step.upsample:
            needed = Rect(tile.y0 // 2, (tile.y1 + 1) // 2, tile.x0 // 2, (tile.x1 + 1) // 2)
        else:
            needed = step.window.needs(tile, self.source.height, self.source.width)
        source = self._operand(unit, self.source, needed, block, blocks, places[0])
        second = None
        if self.second is not None:
            rect = self.second.rect if self.repeats else tile
            second = self._operand(unit, self.second, rect, block, blocks, places[1])
        target = self._target(tile, block, blocks, places[2])
        unit.body.append(
            emitter.vec(step, source, second, target, self.config, window=step.window, table=table[1] if table else 0)
        )
        self._finish(unit, target)

    def _operand(self, unit: Unit, tensor: Tensor, rect: Rect, block: int, blocks: int, place: int) -> View:
        if tensor.resident:
            return resident_view(tensor).part(rect, block, blocks)
        view = tile_view(place, rect, block, blocks)
        if rect.pixels:
            unit.loads.append(emitter.load(tensor, view, self.step.tag, self.config))
        return view

    def _target(self, tile: Rect, block: int, blocks: int, place: int) -> View:
        if self.target.resident:
            return resident_view(self.target).part(tile, block, blocks)
        return tile_view(place, tile, block, blocks)

    def _finish(self, unit: Unit, target: View) -> None:
        if not self.target.resident:
            unit.body.append(emitter.store(self.target, target, self.step.tag, self.config))

    # ---- copies into a part of another tensor

    def _emit_copy(self) -> None:
        """Copy the source's channels to the output's from channel output_block * 16 + shifted on.

        An output block that this copy fills only in part must keep its other lanes: a tile of it is loaded first.
        """
        step, lanes = self.step, self.step.shifted
        first = step.output_block
        last = first + (lanes + self.source.channels - 1) // LANES
        height, width = self.target.height, self.target.width
        size = None
        for rows, columns in [(rows, width) for rows in _halves(height)] + [(1, columns) for columns in _halves(width)]:
            sizes = [
                0 if self.source.resident else 2 * rows * columns,
                0 if self.target.resident else rows * columns,
            ]
            if self.banks.fits(sizes * 2):
                size = (rows, columns)
                break
        assert size is not None, "one pixel of two blocks does not fit the free banks"
        places = self.banks.take(sizes * 2)
        number = 0
        for block in range(first, last + 1):
            for tile in cut(height, width, *size):
                unit = self.builder.unit()
                at = number % 2 * 2
                number += 1
                target = self._target(tile, block, 1, places[at + 1])
                moves = self._moves(block)
                filled = sum(count for _, _, _, count in moves)
                if filled < LANES and not self.target.resident and block == first and lanes:
                    unit.loads.append(emitter.load(self.target, target, step.tag, self.config))
                low, high = moves[0][0], moves[-1][0]
                source = self._operand(unit, self.source, tile, low, high - low + 1, places[at])
                for source_block, lane_from, lane_to, count in moves:
                    unit.body.append(
                        emitter.vec(
                            replace(step, shifted=0),
                            source.part(tile, source_block, 1),
                            None,
                            target,
                            self.config,
                            lanes=(lane_from, lane_to, count),
                        )
                    )
                self._finish(unit, target)

    def _moves(self, block: int) -> list[tuple[int, int, int, int]]:
        """(source block, lane from, lane to, lanes) that fill an output block."""
        begin = (block - self.step.output_block) * LANES - self.step.shifted  # source channel of the block's lane 0
        found = []
        for source_block in (begin // LANES, begin // LANES + 1):
            low = max(begin, source_block * LANES, 0)
            high = min(begin + LANES, (source_block + 1) * LANES, self.source.channels)
            if low < high:
                found.append((source_block, low % LANES, low - begin, high - low))
        return found

    # ---- pooling windows larger than the memory

    def _emit_long_sums(self) -> None:
        """Each output word by itself, its sum in pieces of the window's rows and columns."""
        step, window = self.step, self.step.window
        assert step.operation == VecOperation.SUM, "only sums are cut"
        sizes: list[int] = []
        piece = (1, 1)
        for rows, columns in [(rows, window.kernel[1]) for rows in _halves(window.kernel[0])] + [
            (1, columns) for columns in _halves(window.kernel[1])
        ]:
            sizes = [0 if self.source.resident else rows * columns, 0 if self.target.resident else 1]
            if self.banks.fits(sizes * 2):
                piece = (rows, columns)
                break
        places = self.banks.take(sizes * 2)
        number = 0
        for block in range(self.target.blocks):
            for tile in cut(self.target.height, self.target.width, 1, 1):
                starts = [
                    (y, x) for y in range(0, window.kernel[0], piece[0]) for x in range(0, window.kernel[1], piece[1])
                ]
                target = self._target(tile, block, 1, places[number % 2 * 2 + 1])
                for index, (y, x) in enumerate(starts):
                    unit = self.builder.unit()
                    part = Window(
                        (min(piece[0], window.kernel[0] - y), min(piece[1], window.kernel[1] - x)),
                        window.strides,
                        pads=(window.pads[0] - y, window.pads[1] - x),
                    )
                    needed = part.needs(tile, self.source.height, self.source.width)
                    source = self._operand(unit, self.source, needed, block, 1, places[index % 2 * 2])
                    start, finish = index == 0, index == len(starts) - 1
                    unit.body.append(
                        emitter.vec(step, source, None, target, self.config, window=part, start=start, finish=finish)
                    )
                    if finish:
                        self._finish(unit, target)
                number += 1


def _halves(limit: int, unit: int = 1) -> list[int]:
    """limit, then about half of it, and so on down to `unit`; all but the first are multiples of `unit`."""
    found = [limit]
    while found[-1] > unit:
        found.append(max(-(-found[-1] // 2 // unit) * unit, unit))
    return found
