"""Convolutions on tiles: how the output is cut, what is loaded when, and the words of each tile."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from intarsia_backends.overlay.compiler import emitter
from intarsia_backends.overlay.compiler.constants import Part, input_blocks, pack_parameters
from intarsia_backends.overlay.compiler.program_builder import ProgramBuilder, TileBanks
from intarsia_backends.overlay.compiler.schedule import Unit
from intarsia_backends.overlay.compiler.steps import ConvStep, VecStep
from intarsia_backends.overlay.compiler.tensors import Rect, View, Window, ceil_div, resident_view, tile_view
from intarsia_backends.overlay.machine.config import WEIGHT_ROW_BYTES, WORD_BYTES
from intarsia_backends.overlay.machine.isa import (
    ConvWindow,
    LoadPatchTarget,
    LoadShape,
    Memory,
    VecOperation,
    weight_rows,
)

_RUNS = 4
"""Runs that the channel blocks of a depthwise convolution are cut into."""

KERNEL_MAX = ConvWindow.most("kernel_height")
"""Rows and columns of a kernel in one Conv; larger ones are summed in pieces."""


@dataclass(frozen=True)
class Chunk:
    """Blocks of output channels whose weights are loaded together, and the input blocks that they read."""

    block0: int
    blocks: int
    block_in0: int
    blocks_in: int


@dataclass
class Loaded:
    """A chunk's constants on chip."""

    weight_row: int
    parameter_group: int


def cut(rows: int, columns: int, tile_rows: int, tile_columns: int, unit: int = 1) -> Iterator[Rect]:
    """Rectangles of nearly equal size, at most so large, that cover an area; they begin at multiples of `unit`."""
    bands, strips = ceil_div(rows, tile_rows), ceil_div(columns, tile_columns)
    height, width = ceil_div(ceil_div(rows, bands), unit) * unit, ceil_div(ceil_div(columns, strips), unit) * unit
    for y in range(0, rows, height):
        for x in range(0, columns, width):
            yield Rect(y, min(y + height, rows), x, min(x + width, columns))


class ConvEmitter:
    """Emits one convolution."""

    def __init__(self, builder: ProgramBuilder, step: ConvStep, banks: TileBanks) -> None:
        self.builder, self.step, self.banks = builder, step, banks
        self.config = builder.config
        self.source = step.inputs[0]
        self.target = step.output
        # The patch builder leaves a convolution of kernel 1 on patches.
        self.window = Window() if step.patch else step.window
        self.load_window = step.patch or step.window
        self.streams_in = not self.source.resident
        self.streams_out = not self.target.resident
        self.row_step = 1
        self.height = self.source.height

    def skip_rows(self) -> None:
        """Load only the rows that a kernel of one row reads: with a stride the others need not come on chip."""
        window = self.window
        encodes = self.source.width * window.strides[0] <= LoadShape.most("dram_row_pitch")
        if self.streams_in and not self.step.patch and window.kernel[0] == 1 and window.pads[0] == 0 and encodes:
            self.row_step = window.strides[0]
            self.height = ceil_div(self.source.height, self.row_step)
            self.window = replace(window, strides=(1, window.strides[1]))

    # ---- sizes

    def rows_per_block(self, blocks_in: int) -> int:
        """Rows of WGT for a block of output channels that sums over so many input blocks."""
        return weight_rows(*self.window.kernel, blocks_in, depthwise=self.step.depthwise)

    def chunks(self, rows_limit: int) -> list[Chunk] | None:
        """Runs of output blocks whose weights take at most rows_limit rows; None where one block is too much."""
        config, step = self.config, self.step
        found: list[Chunk] = []
        for block in range(self.target.blocks):
            first, last = input_blocks(step, block)
            rows = self.rows_per_block(last - first)
            if rows > rows_limit:
                return None
            if found:
                chunk = found[-1]
                dense = step.group == 1 or step.depthwise
                both = Chunk(chunk.block0, chunk.blocks + 1, chunk.block_in0, last - chunk.block_in0)
                if dense and rows * both.blocks <= rows_limit and both.blocks <= max(config.parameter_groups // 4, 1):
                    found[-1] = both
                    continue
            found.append(Chunk(block, 1, first, last - first))
        return found

    def input_words(self, rows: int, columns: int, blocks_in: int) -> int:
        """Words of a tile's input for so many output pixels; 0 where the input is resident."""
        if not self.streams_in:
            return 0
        if self.step.patch:
            return rows * columns * blocks_in
        return self.window.reach(rows, columns, self.height, self.source.width) * blocks_in

    def output_words(self, rows: int, columns: int, blocks: int) -> int:
        """Words of a tile's output; 0 where the output is resident."""
        return rows * columns * blocks if self.streams_out else 0

    def buffers(self, rows: int, columns: int, blocks: int, blocks_in: int, copies: int) -> list[int]:
        """Words of the buffers that tiles of that size take."""
        return [self.input_words(rows, columns, blocks_in)] * copies + [
            self.output_words(rows, columns, blocks)
        ] * copies

    def tile_size(self, blocks: int, blocks_in: int, copies: int) -> tuple[int, int] | None:
        """The largest rows and columns whose buffers fit; None where not even one pixel fits."""
        height, width = self.target.height, self.target.width

        def fits(rows: int, columns: int) -> bool:
            if self.step.patch and not self._patch_fits(rows):
                return False
            return self.banks.fits(self.buffers(rows, columns, blocks, blocks_in, copies))

        if not self.streams_in and not self.streams_out:
            return height, width
        if fits(1, width):
            # A few bands at least, so that loading one overlaps with computing another.
            enough = max(ceil_div(height, 4), ceil_div(2 * self.config.tile_pixels, width))
            return _largest(min(height, enough), lambda rows: fits(rows, width)), width
        if fits(1, 1):
            return 1, _largest(width, lambda columns: fits(1, columns))
        return None

    def _patch_fits(self, rows: int) -> bool:
        return rows * self.target.width <= LoadPatchTarget.most("block_pitch")

    def _single(self, block: int) -> Chunk:
        first, last = input_blocks(self.step, block)
        return Chunk(block, 1, first, last - first)

    def _limits(self) -> tuple[int, ...]:
        """Rows of WGT that a chunk of weights may take, the best first.

        Small chunks let loads run further ahead. But where the input is loaded again for every chunk, they cost more
        than they gain.
        """
        all_rows = self.config.weight_rows
        total = sum(self.rows_per_block(self._single(block).blocks_in) for block in range(self.target.blocks))
        best = all_rows // 3 if self.streams_in and total > all_rows else all_rows // 8
        return best, all_rows // 2, all_rows

    def _whole_planes(self) -> list[Chunk] | None:
        """Depthwise: runs of channel blocks whose whole planes fit, twice. None where one plane is too large.

        Planes need no rows above and below them from elsewhere, so every byte is moved once. Several runs, so that
        loading, computing and storing overlap.
        """
        height, width, blocks = self.target.height, self.target.width, self.target.blocks
        if not (
            self.step.depthwise and max(self.window.kernel) <= KERNEL_MAX and (self.streams_in or self.streams_out)
        ):
            return None
        most = min(
            ceil_div(blocks, _RUNS),
            self.config.weight_rows // 4 // self.rows_per_block(1),
            max(self.config.parameter_groups // 4, 1),
        )

        def fits(count: int) -> bool:
            return self.banks.fits(self.buffers(height, width, count, count, 2))

        if most < 1 or not fits(1):
            return None
        each = _largest(most, fits)
        counts = [(first, min(each, blocks - first)) for first in range(0, blocks, each)]
        return [Chunk(first, count, first, count) for first, count in counts]

    # ---- emission

    def emit(self) -> None:
        """Append the convolution's units, in the first form that the memories hold."""
        self.skip_rows()
        planes = self._whole_planes()
        if planes is not None:
            each = planes[0].blocks
            self._emit_tiles(planes, (self.target.height, self.target.width), 2, each, each)
            return
        for limit in self._limits():
            chunks = self.chunks(limit) if max(self.window.kernel) <= KERNEL_MAX else None
            if chunks is None:
                continue
            blocks = max(chunk.blocks for chunk in chunks)
            blocks_in = max(chunk.blocks_in for chunk in chunks)
            for copies in (2, 1):
                size = self.tile_size(blocks, blocks_in, copies)
                if size is not None:
                    self._emit_tiles(chunks, size, copies, blocks, blocks_in)
                    return
            smaller = [self._single(block) for block in range(self.target.blocks)]
            blocks_in = max(chunk.blocks_in for chunk in smaller)
            for copies in (2, 1):
                size = self.tile_size(1, blocks_in, copies)
                if size is not None:
                    self._emit_tiles(smaller, size, copies, 1, blocks_in)
                    return
        self._emit_long_sums()

    def _emit_tiles(self, chunks: list[Chunk], size: tuple[int, int], copies: int, blocks: int, blocks_in: int) -> None:
        """Tiles times chunks, in the order that moves fewer bytes."""
        rows_at_once = 1
        if self.step.depthwise and 1 < size[0] < self.target.height:
            # The array makes two rows of a depthwise output at once.
            rows_at_once, size = 2, (size[0] - size[0] % 2, size[1])
        tiles = list(cut(self.target.height, self.target.width, *size, unit=rows_at_once))
        places = self.banks.take(self.buffers(*size, blocks, blocks_in, copies))
        ins, outs = places[:copies], places[copies:]
        total_rows = sum(self.rows_per_block(chunk.blocks_in) * chunk.blocks for chunk in chunks)
        groups = sum(chunk.blocks for chunk in chunks)
        keep = total_rows <= self.config.weight_rows and groups <= self.config.parameter_groups
        weights = total_rows * WEIGHT_ROW_BYTES
        activations = self.source.words * WORD_BYTES // self.row_step if self.streams_in else 0
        same_input = all((c.block_in0, c.blocks_in) == (chunks[0].block_in0, chunks[0].blocks_in) for c in chunks)
        tiles_first = (
            len(tiles) > 1 and same_input and (keep or (len(tiles) - 1) * weights < (len(chunks) - 1) * activations)
        )
        if keep:
            self.builder.weights.reserve(total_rows)
            self.builder.parameters.reserve(groups)
        loaded: dict[Chunk, Loaded] = {}
        count_in = count_out = 0
        source: View | None = None
        held: tuple[Rect, int, int] | None = None
        pairs = (
            [(tile, chunk) for tile in tiles for chunk in chunks]
            if tiles_first
            else [(tile, chunk) for chunk in chunks for tile in tiles]
        )
        for tile, chunk in pairs:
            unit = self.builder.unit()
            if chunk not in loaded:
                if not (tiles_first and keep):
                    loaded.clear()
                loaded[chunk] = self.load_constants(unit, chunk)
            key = (tile, chunk.block_in0, chunk.blocks_in)
            if source is None or held != key:
                source = self._load_source(unit, tile, chunk.block_in0, chunk.blocks_in, ins[count_in % copies])
                count_in, held = count_in + 1, key
            if self.streams_out:
                target = tile_view(outs[count_out % copies], tile, chunk.block0, chunk.blocks)
                count_out += 1
            else:
                target = resident_view(self.target).part(tile, chunk.block0, chunk.blocks)
            residual = self.residual(unit, target)
            constants = loaded[chunk]
            unit.body.append(
                emitter.conv(
                    self.step,
                    self.window,
                    source,
                    target,
                    residual,
                    constants.weight_row,
                    constants.parameter_group,
                    self.config,
                )
            )
            if self.streams_out:
                unit.body.append(emitter.store(self.target, target, self.step.tag, self.config))

    def load_constants(self, unit: Unit, chunk: Chunk) -> Loaded:
        """Put loads of a chunk's weights and parameters into a unit; where they will stand."""
        step, builder = self.step, self.builder
        parts = [Part(chunk.block0 + at, chunk.block_in0, chunk.blocks_in) for at in range(chunk.blocks)]
        offset, size_bytes = builder.pool.add_weights(step, parts)
        rows = size_bytes // WEIGHT_ROW_BYTES
        row = builder.weights.take(rows)
        group = builder.parameters.take(chunk.blocks)
        unit.loads.append(emitter.load_constants(Memory.WEIGHTS, offset, row, rows, step.tag, self.config))
        self._load_parameters(unit, chunk.block0, chunk.blocks, group)
        return Loaded(row, group)

    def _load_parameters(self, unit: Unit, block0: int, blocks: int, group: int) -> None:
        offset = self.builder.pool.add(pack_parameters(self.step, block0, blocks))
        unit.loads.append(emitter.load_constants(Memory.PARAMETERS, offset, group, blocks, self.step.tag, self.config))

    def _load_source(self, unit: Unit, tile: Rect, block0: int, blocks: int, place: int) -> View:
        step = self.step
        if not self.streams_in:
            return resident_view(self.source).part(self.source.rect, block0, blocks)
        if step.patch:
            view = tile_view(place, tile, block0, blocks)
            unit.loads.append(emitter.load_patch(self.source, step.patch, step.fill, view, step.tag, self.config))
            return view
        rect = self.window.needs(tile, self.height, self.source.width)
        view = tile_view(place, rect, block0, blocks)
        if rect.pixels:
            unit.loads.append(emitter.load(self.source, view, step.tag, self.config, row_step=self.row_step))
        return view

    def residual(self, unit: Unit, target: View) -> View | None:
        """The second operand of a fused addition.

        From DRAM it is loaded to where the output will stand. Where it lies in banks that the array reads its source
        from, it is copied there first.
        """
        residual, step = self.step.residual, self.step
        if residual is None:
            return None
        if not residual.resident:
            unit.loads.append(emitter.load(residual, target, step.tag, self.config))
            return target
        view = resident_view(residual).part(target.rect, target.block0, target.blocks)
        if residual.root is not self.source.root:
            return view
        copy = VecStep(step.name, step.op, [residual], self.target, tag=step.tag, operation=VecOperation.COPY)
        unit.body.append(emitter.vec(copy, view, None, target, self.config))
        return target

    # ---- sums too long for the memories

    def _emit_long_sums(self) -> None:
        """Each small tile and block of output channels by itself, its sum in pieces of input blocks and kernel rows.

        The way of last resort: weights are loaded again for every tile. A depthwise kernel whose dilated window no tile
        holds is taken as a dense one, most of whose weights are zeros: only such sums can be cut.
        """
        if self.step.depthwise:
            self.step = replace(self.step, depthwise=False)
        config, step, window = self.config, self.step, self.window
        assert step.patch is None, "its patches always fit"
        blocks = max(self._single(block).blocks_in for block in range(self.target.blocks))
        kernel_rows, kernel_columns = window.kernel
        piece_rows, piece_columns, piece_blocks = kernel_rows, kernel_columns, blocks

        def size(count: int) -> tuple[int, int] | None:
            """Rows and columns of the largest tile of at most `count` pixels that fits, whatever the piece."""
            part = Window((piece_rows, piece_columns), window.strides, window.dilations, window.pads)
            best = None
            for columns in range(1, min(self.target.width, count) + 1):
                rows = min(count // columns, self.target.height)
                reach = part.reach(rows, columns, self.height, self.source.width)
                words_in = reach * piece_blocks if self.streams_in else 0
                out = self.output_words(rows, columns, 1)
                if self.banks.fits([words_in, words_in, out, out]) and (best is None or rows * columns > best[0]):
                    best = (rows * columns, rows, columns)
            return None if best is None else best[1:]

        while (
            weight_rows(piece_rows, piece_columns, piece_blocks, depthwise=False) > config.weight_rows // 2
            or max(piece_rows, piece_columns) > KERNEL_MAX
            or size(1) is None
        ):
            if piece_rows > KERNEL_MAX:
                piece_rows = ceil_div(piece_rows, 2)
            elif piece_columns > KERNEL_MAX:
                piece_columns = ceil_div(piece_columns, 2)
            elif piece_blocks > 1:
                piece_blocks = ceil_div(piece_blocks, 2)
            elif piece_rows > 1:
                piece_rows = ceil_div(piece_rows, 2)
            else:
                assert piece_columns > 1, "one word of weights and input does not fit the memories"
                piece_columns = ceil_div(piece_columns, 2)
        found = size(config.tile_pixels)
        assert found is not None
        reach = Window((piece_rows, piece_columns), window.strides, window.dilations, window.pads).reach(
            *found, self.height, self.source.width
        )
        words_in = reach * piece_blocks if self.streams_in else 0
        words_out = self.output_words(*found, 1)
        places = self.banks.take([words_in, words_in, words_out, words_out])
        count_in = count_out = 0
        for tile in cut(self.target.height, self.target.width, *found):
            for block in range(self.target.blocks):
                first, last = input_blocks(step, block)
                if self.streams_out:
                    target = tile_view(places[2 + count_out % 2], tile, block, 1)
                    count_out += 1
                else:
                    target = resident_view(self.target).part(tile, block, 1)
                pieces = [
                    (
                        at,
                        min(piece_blocks, last - at),
                        ky,
                        min(piece_rows, kernel_rows - ky),
                        kx,
                        min(piece_columns, kernel_columns - kx),
                    )
                    for at in range(first, last, piece_blocks)
                    for ky in range(0, kernel_rows, piece_rows)
                    for kx in range(0, kernel_columns, piece_columns)
                ]
                for number, (at, count, ky, rows, kx, columns) in enumerate(pieces):
                    unit = self.builder.unit()
                    part = Window(
                        (rows, columns),
                        window.strides,
                        window.dilations,
                        (window.pads[0] - ky * window.dilations[0], window.pads[1] - kx * window.dilations[1]),
                    )
                    source = self._load_piece(unit, part, tile, at, count, places[count_in % 2])
                    count_in += 1
                    weights = Part(block, at, count, slice(ky, ky + rows), slice(kx, kx + columns))
                    offset, size_bytes = self.builder.pool.add_weights(step, [weights])
                    entries = size_bytes // WEIGHT_ROW_BYTES
                    row = self.builder.weights.take(entries)
                    unit.loads.append(emitter.load_constants(Memory.WEIGHTS, offset, row, entries, step.tag, config))
                    start, finish = number == 0, number == len(pieces) - 1
                    residual = None
                    if start:
                        group = self.builder.parameters.take(1)
                        self._load_parameters(unit, block, 1, group)
                    if finish:
                        residual = self.residual(unit, target)
                    unit.body.append(
                        emitter.conv(
                            step, part, source, target, residual, row, group, config, start=start, finish=finish
                        )
                    )
                    if finish and self.streams_out:
                        unit.body.append(emitter.store(self.target, target, step.tag, config))

    def _load_piece(self, unit: Unit, part: Window, tile: Rect, block0: int, blocks: int, place: int) -> View:
        if not self.streams_in:
            return self._load_source(unit, tile, block0, blocks, place)
        rect = part.needs(tile, self.height, self.source.width)
        view = tile_view(place, rect, block0, blocks)
        if rect.pixels:
            unit.loads.append(emitter.load(self.source, view, self.step.tag, self.config, row_step=self.row_step))
        return view


def _largest(limit: int, fits: object) -> int:
    """The largest number up to limit that fits, where 1 does and all below a fitting one do."""
    assert callable(fits)
    low, high = 1, limit
    while low < high:
        middle = (low + high + 1) // 2
        if fits(middle):
            low = middle
        else:
            high = middle - 1
    return low
