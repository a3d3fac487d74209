"""Several layers at once, band by band: what lies between them never leaves the chip.

The output is cut into bands of rows. For a band each layer computes the rows that the next one needs and that are not
there yet; rows that two bands need are copied on chip from one buffer to the next, not computed again. Every
intermediate has two buffers, and layer i works on band t at time t + i, so that no layer waits for the one before it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from intarsia_backends.overlay.compiler import emitter
from intarsia_backends.overlay.compiler.constants import input_blocks
from intarsia_backends.overlay.compiler.convolve import KERNEL_MAX, Chunk, ConvEmitter, Loaded
from intarsia_backends.overlay.compiler.program_builder import ProgramBuilder, TileBanks, assign_banks
from intarsia_backends.overlay.compiler.schedule import Unit
from intarsia_backends.overlay.compiler.steps import ConvStep, Step, VecStep
from intarsia_backends.overlay.compiler.tensors import Rect, View, Window, ceil_div, resident_view, tile_view
from intarsia_backends.overlay.machine.config import LANES, OverlayConfig
from intarsia_backends.overlay.machine.isa import Memory, VecOperation

BANDS = 3
"""Bands for each layer of a cascade."""


def window_of(step: Step) -> Window:
    """The window by which a step's output rows reach its input rows."""
    if isinstance(step, ConvStep):
        return step.patch or step.window
    assert isinstance(step, VecStep)
    return step.window


def links(step: Step) -> bool:
    """Whether a step may stand in a cascade."""
    if isinstance(step, ConvStep):
        return max(step.window.kernel) <= KERNEL_MAX
    assert isinstance(step, VecStep)
    plain = step.second is None and not step.upsample and step.op not in ("Concat", "Identity")
    return plain and step.operation in (VecOperation.MAXIMUM, VecOperation.SUM, VecOperation.LOOKUP)


@dataclass(frozen=True)
class Band:
    """Rows of one layer's output at one time, first and one past the last.

    needed  those that the next layer reads; they stand in one buffer
    new     those among them that were not computed for the band before
    """

    needed: tuple[int, int]
    new: tuple[int, int]


def bands(steps: Sequence[Step], rows: int) -> list[list[Band]]:
    """For each layer, for each band of `rows` rows of the last one's output."""
    found: list[list[Band]] = [[] for _ in steps]
    done = [0] * len(steps)
    height = steps[-1].output.height
    for start in range(0, height, rows):
        needed = (start, min(start + rows, height))
        for index in range(len(steps) - 1, -1, -1):
            first = min(max(needed[0], done[index]), needed[1])
            new = (first, needed[1])
            found[index].append(Band(needed, new))
            done[index] = max(done[index], needed[1])
            if index:
                source = steps[index - 1].output
                rect = window_of(steps[index]).needs(Rect(*new, 0, 1), source.height, source.width)
                needed = (rect.y0, rect.y1) if first < new[1] else (done[index - 1], done[index - 1])
    return found


def buffer_words(steps: Sequence[Step], rows: int, streams_in: bool, streams_out: bool) -> list[int]:
    """Words of one copy of each buffer: the input's tile, every intermediate, the output's tile."""
    found = bands(steps, rows)
    first, last = steps[0], steps[-1].output
    most = max(band.new[1] - band.new[0] for band in found[0])
    source = 0
    if streams_in and isinstance(first, ConvStep) and first.patch:
        source = most * first.output.width * ceil_div(first.weight.shape[1], LANES)
    elif streams_in:
        tensor = first.inputs[0]
        source = window_of(first).reach(most, first.output.width, tensor.height, tensor.width) * tensor.blocks
    between = [
        max(band.needed[1] - band.needed[0] for band in of_step) * step.output.width * step.output.blocks
        for step, of_step in zip(steps[:-1], found)
    ]
    return [source, *between, min(rows, last.height) * last.width * last.blocks if streams_out else 0]


def least_rows(steps: Sequence[Step], config: OverlayConfig) -> int:
    """Rows of a band that make at least one tile, or fewer where the buffers for them would fill the whole chip."""
    output = steps[-1].output
    rows = min(ceil_div(config.tile_pixels, output.width), output.height)
    empty = [False] * config.activation_banks
    while rows > 1 and assign_banks(buffer_words(steps, rows, True, True) * 2, empty, config) is None:
        rows -= 1
    return rows


def band_rows(
    steps: Sequence[Step],
    streams_in: bool,
    streams_out: bool,
    fits: Callable[[list[int]], bool],
    config: OverlayConfig,
) -> int:
    """The most rows whose buffers fit, but many bands: the first and the last leave most layers idle. 0 for none.

    fits  whether buffers of so many words each can be had
    """
    target = steps[-1].output
    enough = max(ceil_div(target.height, BANDS * len(steps)), ceil_div(config.tile_pixels, target.width))
    rows = 0
    while rows < min(enough, target.height) and fits(buffer_words(steps, rows + 1, streams_in, streams_out) * 2):
        rows += 1
    return rows


@dataclass
class _Stage:
    """One layer of a cascade while it is emitted; `places` are the two buffers of its output."""

    step: Step
    bands: list[Band]
    places: list[int]
    convolution: ConvEmitter | None = None
    constants: list[tuple[Chunk, Loaded]] = field(default_factory=list)
    table: int = 0

    def view(self, number: int) -> View:
        """The rows of the output that the next layer reads for a band."""
        output = self.step.output
        rect = Rect(*self.bands[number].needed, 0, output.width)
        return tile_view(self.places[number % 2], rect, 0, output.blocks)


class CascadeEmitter:
    """Emits a group of layers, each of which alone reads what the one before it makes."""

    def __init__(self, builder: ProgramBuilder, steps: Sequence[Step], banks: TileBanks) -> None:
        self.builder, self.steps, self.banks, self.config = builder, list(steps), banks, builder.config
        self.source, self.target = steps[0].inputs[0], steps[-1].output

    def emit(self) -> None:
        """Append the group's units: in each, every layer makes one band of rows, one band behind the layer before."""
        rows = self._rows()
        sizes = buffer_words(self.steps, rows, not self.source.resident, not self.target.resident)
        places = self.banks.take(sizes * 2)
        pairs = [[places[at], places[at + len(sizes)]] for at in range(len(sizes))]
        stages = [
            _Stage(step, of_step, pair) for step, of_step, pair in zip(self.steps, bands(self.steps, rows), pairs[1:])
        ]
        self._reserve_constants(stages)
        count = len(stages[0].bands)
        for time in range(count + len(stages) - 1):
            for index, stage in enumerate(stages):
                number = time - index
                if not -1 <= number < count:
                    continue
                unit = self.builder.unit()
                if number == 0:
                    self._load_constants(unit, stage)
                if number >= 0:
                    self._work(unit, stages, index, number, pairs[0])
                if index and number + 2 < count:
                    self._carry(unit, stages[index - 1], number + 2)

    @property
    def fits(self) -> bool:
        """Whether the smallest bands have room."""
        return self._rows() > 0

    def _rows(self) -> int:
        ends = not self.source.resident, not self.target.resident
        return band_rows(self.steps, *ends, self.banks.fits, self.config)

    # ---- constants

    def _reserve_constants(self, stages: list[_Stage]) -> None:
        rows = groups = 0
        for stage in stages:
            if isinstance(stage.step, ConvStep):
                stage.convolution = ConvEmitter(self.builder, stage.step, self.banks)
                rows += weight_rows_of(stage.convolution)
                groups += stage.step.output.blocks
        self.builder.weights.reserve(rows)
        self.builder.parameters.reserve(groups)

    def _load_constants(self, unit: Unit, stage: _Stage) -> None:
        step = stage.step
        if stage.convolution is not None:
            chunks = stage.convolution.chunks(self.config.weight_rows)
            assert chunks is not None
            stage.constants = [(chunk, stage.convolution.load_constants(unit, chunk)) for chunk in chunks]
        elif isinstance(step, VecStep) and step.table is not None:
            stage.table = self.builder.tables.take(1)
            offset = self.builder.pool.add(step.table.tobytes())
            unit.loads.append(emitter.load_constants(Memory.TABLES, offset, stage.table, 1, step.tag, self.config))

    # ---- bands

    def _work(self, unit: Unit, stages: list[_Stage], index: int, number: int, source_places: list[int]) -> None:
        """Compute the new rows of a layer's band."""
        stage, step = stages[index], stages[index].step
        new = stage.bands[number].new
        if new[0] >= new[1]:
            return
        rect = Rect(*new, 0, step.output.width)
        source = stages[index - 1].view(number) if index else self._source(unit, rect, source_places[number % 2])
        last = index == len(stages) - 1
        if not last:
            target = stage.view(number).part(rect, 0, step.output.blocks)
        elif self.target.resident:
            target = resident_view(self.target).part(rect, 0, step.output.blocks)
        else:
            target = tile_view(stage.places[number % 2], rect, 0, step.output.blocks)
        if stage.convolution is not None:
            self._convolve(unit, stage, source, target)
        else:
            assert isinstance(step, VecStep)
            unit.body.append(
                emitter.vec(step, source, None, target, self.config, window=step.window, table=stage.table)
            )
        if last and not self.target.resident:
            unit.body.append(emitter.store(self.target, target, step.tag, self.config))

    def _source(self, unit: Unit, rect: Rect, place: int) -> View:
        """Rows of the group's input for some rows of the first layer's output."""
        first, source = self.steps[0], self.source
        if source.resident:
            return resident_view(source)
        if isinstance(first, ConvStep) and first.patch:
            view = tile_view(place, rect, 0, ceil_div(first.weight.shape[1], LANES))
            unit.loads.append(emitter.load_patch(source, first.patch, first.fill, view, first.tag, self.config))
            return view
        view = tile_view(place, window_of(first).needs(rect, source.height, source.width), 0, source.blocks)
        if view.rect.pixels:
            unit.loads.append(emitter.load(source, view, first.tag, self.config))
        return view

    def _convolve(self, unit: Unit, stage: _Stage, source: View, target: View) -> None:
        step, convolution = stage.step, stage.convolution
        assert isinstance(step, ConvStep) and convolution is not None
        residual = convolution.residual(unit, target)
        for chunk, loaded in stage.constants:
            second = residual.part(residual.rect, chunk.block0, chunk.blocks) if residual else None
            unit.body.append(
                emitter.conv(
                    step,
                    convolution.window,
                    source.part(source.rect, chunk.block_in0, chunk.blocks_in),
                    target.part(target.rect, chunk.block0, chunk.blocks),
                    second,
                    loaded.weight_row,
                    loaded.parameter_group,
                    self.config,
                )
            )

    def _carry(self, unit: Unit, stage: _Stage, number: int) -> None:
        """Copy the rows that a band shares with the one before it to the band's buffer."""
        band, output = stage.bands[number], stage.step.output
        if band.needed[0] >= band.new[0]:
            return
        rect = Rect(band.needed[0], band.new[0], 0, output.width)
        copy = VecStep(
            stage.step.name, stage.step.op, [output], output, tag=stage.step.tag, operation=VecOperation.COPY
        )
        old = stage.view(number - 1).part(rect, 0, output.blocks)
        new = stage.view(number).part(rect, 0, output.blocks)
        unit.body.append(emitter.vec(copy, old, None, new, self.config))


def weight_rows_of(convolution: ConvEmitter) -> int:
    """Rows of WGT for all weights of a convolution."""
    return sum(
        convolution.rows_per_block(last - first)
        for first, last in (input_blocks(convolution.step, block) for block in range(convolution.step.output.blocks))
    )
