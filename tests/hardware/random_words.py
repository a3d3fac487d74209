"""Random programs of raw words: shapes, pitches, paddings and modes that the compiler would never choose.

Each fills the whole of activation memory, does a few random things one after the other, and stores all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise

import numpy as np

from intarsia.errors import RunError
from intarsia_backends.overlay.machine import isa
from intarsia_backends.overlay.machine.config import OverlayConfig
from intarsia_backends.overlay.machine.isa import Segment
from intarsia_backends.simulator.decoded import decode
from intarsia_backends.simulator.machine import load_program

Words = list[isa.Instruction]
_TRIES = 200
_IMAGE_WORDS = 256
_WEIGHT_ROWS, _GROUPS, _TABLES = 200, 6, 2


class WordMaker:
    """Makes random words for a configuration."""

    def __init__(self, config: OverlayConfig, random: np.random.Generator) -> None:
        self.config, self.random = config, random
        self.words = config.activation_words
        self.segments = {
            Segment.ARENA: 64 * isa.WORD_BYTES,
            Segment.INPUTS: (self.words + _IMAGE_WORDS) * isa.WORD_BYTES,
            Segment.OUTPUTS: self.words * isa.WORD_BYTES,
        }

    def number(self, low: int, high: int) -> int:
        return int(self.random.integers(low, high + 1))

    def few(self, high: int) -> int:
        """1 to `high`, small numbers more often."""
        return min(self.number(1, high), self.number(1, high))

    def chance(self, one_in: int) -> bool:
        return self.number(1, one_in) == 1

    def place(self) -> int:
        """An address, near the edge of a bank now and then."""
        if self.chance(3):
            return self.number(0, self.config.activation_banks - 1) * self.config.bank_words + self.number(0, 4)
        return self.number(0, self.words - 1)

    def byte(self) -> int:
        return self.number(-128, 127)

    def clamp(self) -> tuple[int, int]:
        if self.chance(2):
            return -128, 127
        low, high = sorted((self.byte(), self.byte()))
        return low, high

    def multiplier(self) -> int:
        return self.number(1 << isa.MULTIPLIER_BITS - 1, (1 << isa.MULTIPLIER_BITS) - 1)

    def constants(self) -> bytes:
        """Weights, parameters and tables that fill the first entries of their memories."""
        weights = self.random.integers(-127, 128, _WEIGHT_ROWS * 64).astype(np.int8)
        bias = self.random.integers(-(1 << 15), 1 << 15, _GROUPS * 16).astype(np.int32)
        bias[self.random.random(bias.shape) < 0.02] = np.iinfo(np.int32).max
        bits = isa.MULTIPLIER_BITS
        multiplier = self.random.integers(1 << bits - 1, 1 << bits, bias.shape)
        shift = self.random.integers(bits + 5, bits + 12, bias.shape)
        odd = self.random.random(bias.shape) < 0.05
        shift[odd] = self.random.integers(1, 48, bias.shape)[odd]
        packed = (multiplier | shift << bits).astype(np.uint32).view(np.int32)
        parameters = np.stack([bias, packed], axis=-1).astype("<i4")
        tables = self.random.integers(-128, 128, _TABLES * 256).astype(np.int8)
        return weights.tobytes() + parameters.tobytes() + tables.tobytes()

    def beginning(self) -> Words:
        constants, at = Segment.CONSTANTS, _WEIGHT_ROWS * 4
        return [
            isa.LoadShape(**self._everything()),
            isa.Load(segment=Segment.INPUTS, offset=0, base=0),
            isa.LoadConstants(memory=isa.Memory.WEIGHTS, segment=constants, offset=0, at=0, count=_WEIGHT_ROWS),
            isa.LoadConstants(memory=isa.Memory.PARAMETERS, segment=constants, offset=at, at=0, count=_GROUPS),
            isa.LoadConstants(
                memory=isa.Memory.TABLES, segment=constants, offset=at + _GROUPS * 8, at=0, count=_TABLES
            ),
        ]

    def end(self) -> Words:
        return [
            isa.StoreShape(**self._everything()),
            isa.Store(segment=Segment.OUTPUTS, offset=0, base=0),
        ]

    def _everything(self) -> dict[str, int]:
        bank = self.config.bank_words
        banks = self.config.activation_banks
        return {"blocks": banks, "rows": 1, "columns": bank, "block_pitch": bank, "dram_block_pitch": bank}

    # ---- one thing

    def load(self) -> Words:
        blocks, rows, columns = self.few(4), self.few(8), self.few(24)
        upsample = int(self.chance(4))
        shape = isa.LoadShape(
            blocks,
            rows,
            columns,
            row_pitch=self.pitch(columns),
            block_pitch=self.number(1, 120),
            dram_row_pitch=self.pitch(columns),
            dram_block_pitch=self.number(1, 120),
        )
        return [
            shape,
            isa.Load(segment=Segment.INPUTS, offset=self.number(0, 400), base=self.place(), upsample=upsample),
        ]

    def store(self) -> Words:
        columns = self.few(8)
        shape = isa.StoreShape(
            self.few(3), self.few(4), columns, self.pitch(columns), self.number(1, 99), self.pitch(columns), 24
        )
        return [shape, isa.Store(segment=Segment.ARENA, offset=self.number(0, 20), base=self.place())]

    def pitch(self, columns: int) -> int:
        """Mostly without gaps, else anything, overlapping rows included."""
        return columns if self.chance(2) else self.number(1, columns + 9)

    def patch(self) -> Words:
        channels, height, width = self.number(1, 4), self.few(16), self.few(20)
        kernel = self.few(7), self.few(7)
        shape = isa.LoadPatchShape(
            height,
            width,
            channels,
            pitch=-(-width * channels // 16) + self.number(0, 1),
            kernel_height=kernel[0],
            kernel_width=kernel[1],
            stride_y=self.few(4),
            stride_x=self.few(4),
            fill=self.byte(),
        )
        columns = self.few(12)
        target = isa.LoadPatchTarget(
            self.few(8), columns, self.pitch(columns), self.number(1, 120), self.number(-3, 4), self.number(-3, 4)
        )
        return [shape, target, isa.LoadPatch(segment=Segment.INPUTS, offset=self.words, base=self.place())]

    def _conv_setup(self, kernel: int, outputs: int, depthwise: bool) -> tuple[isa.ConvSource, isa.ConvWindow]:
        height, width = self.few(14), self.few(20)
        row_pitch = self.pitch(width)
        source = isa.ConvSource(
            self.place(),
            row_pitch,
            self.number(1, 130),
            height,
            width,
            self.number(-2, 4),
            self.number(-2, 4),
            self.byte(),
        )
        window = isa.ConvWindow(
            self.few(kernel),
            self.few(kernel),
            self.few(4),
            self.few(4),
            self.few(3),
            self.few(3),
            1 if depthwise else self.few(4),
            outputs,
            self.few(12),
            self.few(20),
        )
        return source, window

    def _conv_target(self, columns: int) -> Words:
        return [
            isa.ConvTarget(self.place(), self.pitch(columns), self.number(1, 120), self.byte(), *self.clamp()),
            isa.ConvResidual(self.place(), self.pitch(columns), self.number(1, 120)),
            isa.ConvAdd(
                self.byte(),
                self.multiplier(),
                self.byte(),
                self.multiplier(),
                isa.MULTIPLIER_BITS + self.number(-2, 2),
                self.byte(),
                *self.clamp(),
            ),
        ]

    def conv(self, depthwise: bool) -> Words:
        source, window = self._conv_setup(7 if depthwise else 5, self.few(3), depthwise)
        word = isa.Conv(
            weight_row=self.number(0, 40),
            parameter_group=self.number(0, _GROUPS - 1),
            depthwise=int(depthwise),
            residual=int(self.chance(2)),
        )
        return [source, window, *self._conv_target(window.columns), word]

    def long_conv(self) -> Words:
        """A sum over two or three Convs of the same rectangle."""
        found: Words = []
        count = self.number(2, 3)
        columns = self.few(min(20, self.config.tile_pixels))
        rows = self.few(max(1, min(12, self.config.tile_pixels // columns)))
        for index in range(count):
            other, shape = self._conv_setup(3, 1, False)
            found += [other, replace(shape, rows=rows, columns=columns)]
            if index == count - 1:
                found += self._conv_target(columns)
            found.append(
                isa.Conv(
                    weight_row=self.number(0, 40),
                    parameter_group=self.number(0, _GROUPS - 1),
                    start=int(index == 0),
                    finish=int(index == count - 1),
                    residual=int(index == count - 1 and self.chance(2)),
                )
            )
        return found

    def vec(self, operation: isa.VecOperation) -> Words:
        height, width, columns = self.few(14), self.few(20), self.few(20)
        in_place = self.chance(3)
        base, row_pitch, block_pitch = self.place(), self.pitch(width), self.number(1, 120)
        source = isa.VecSource(
            base, row_pitch, block_pitch, height, width, self.number(-2, 3), self.number(-2, 3), self.byte()
        )
        blocks, rows = self.few(3), self.few(12)
        target = isa.VecTarget(self.place(), self.pitch(columns), self.number(1, 120), blocks, rows, columns)
        if in_place:
            source = replace(source, pad_top=0, pad_left=0)
            target = isa.VecTarget(base, row_pitch, block_pitch, blocks, min(rows, height), min(columns, width))
        second = isa.VecSecond(self.place(), self.number(0, 30), self.number(0, 99), int(not self.chance(3)))
        window = isa.VecWindow(self.few(6), self.few(6), self.few(4), self.few(4))
        bits = isa.MULTIPLIER_BITS
        shift = {
            isa.VecOperation.ADD: bits + self.number(-2, 2),
            isa.VecOperation.MULTIPLY: bits + self.number(4, 8),
        }.get(operation, bits + self.number(-1, 5))
        scale = isa.VecScale(
            self.byte(), self.multiplier(), self.byte(), self.multiplier(), shift, self.byte(), *self.clamp()
        )
        word = isa.Vec(operation=operation, table=self.number(0, _TABLES - 1))
        if operation == isa.VecOperation.COPY and self.chance(2):
            count = self.number(1, 16)
            word = replace(
                word, lane_from=self.number(0, 16 - count), lane_to=self.number(0, 16 - count), lane_count=count
            )
        if operation == isa.VecOperation.COPY and self.chance(3):
            word = replace(word, upsample=1)
        return [source, second, target, window, scale, word]

    def long_vec(self) -> Words:
        """A sum over two or three windows into one word."""
        found: Words = []
        count = self.number(2, 3)
        for index in range(count):
            width = self.few(9)
            found += [
                isa.VecSource(self.place(), self.pitch(width), 1, self.few(9), width, 0, 0, self.byte()),
                isa.VecTarget(self.place(), 1, 1, 1, 1, 1),
                isa.VecWindow(self.few(9), self.few(9), 1, 1),
                isa.VecScale(self.byte(), self.multiplier(), 0, 0, isa.MULTIPLIER_BITS + 4, self.byte(), *self.clamp()),
                isa.Vec(operation=isa.VecOperation.SUM, start=int(index == 0), finish=int(index == count - 1)),
            ]
        return found

    def kind(self) -> Callable[[], Words]:
        """A maker of one thing."""
        operation, depthwise = isa.VecOperation(self.number(0, 6)), self.chance(3)
        conv, vec = partial(self.conv, depthwise), partial(self.vec, operation)
        makers: Sequence[Callable[[], Words]] = (
            *(self.load, self.patch, self.patch, conv, conv, conv, self.long_conv),
            *(vec, vec, vec, self.long_vec, self.store),
        )
        return makers[self.number(0, len(makers) - 1)]


def writes_twice(words: Words) -> bool:
    """Whether the target of one of the words holds an address twice: which of the two values stays is not defined."""
    setup: dict[type[isa.Instruction], isa.Instruction] = {}
    for word in words:
        if not isinstance(word, isa.Run):
            setup[type(word)] = word
            continue
        for kind, holder in ((isa.LoadShape, isa.Load), (isa.StoreShape, isa.Store), (isa.VecTarget, isa.Vec)):
            found = setup.get(kind)
            if not isinstance(word, holder) or found is None:
                continue
            assert isinstance(found, (isa.LoadShape, isa.StoreShape, isa.VecTarget))
            pitches = (found.block_pitch, found.row_pitch)
            if isinstance(found, isa.StoreShape):
                pitches = (found.dram_block_pitch, found.dram_row_pitch)
            if _meets_itself((found.blocks, found.rows, found.columns), pitches):
                return True
        patches = setup.get(isa.LoadPatchTarget)
        if isinstance(word, isa.LoadPatch) and isinstance(patches, isa.LoadPatchTarget):
            shape = setup[isa.LoadPatchShape]
            assert isinstance(shape, isa.LoadPatchShape)
            blocks = -(-shape.kernel_height * shape.kernel_width * shape.channels // isa.WORD_BYTES)
            if _meets_itself((blocks, patches.rows, patches.columns), (patches.block_pitch, patches.row_pitch)):
                return True
        target, window = setup.get(isa.ConvTarget), setup.get(isa.ConvWindow)
        if isinstance(word, isa.Conv) and isinstance(target, isa.ConvTarget) and isinstance(window, isa.ConvWindow):
            sizes = (window.output_blocks, window.rows, window.columns)
            if word.finish and _meets_itself(sizes, (target.block_pitch, target.row_pitch)):
                return True
    return False


def _meets_itself(sizes: tuple[int, int, int], pitches: tuple[int, int]) -> bool:
    blocks, rows, columns = np.ogrid[: sizes[0], : sizes[1], : sizes[2]]
    places = blocks * pitches[0] + rows * pitches[1] + columns
    return bool(np.unique(places).size < places.size)


def chained(words: Sequence[isa.Instruction]) -> bytes:
    """A program in which every run word waits for the one before, over a semaphore for each pair of queues."""
    found = list(words)
    runs = [index for index, word in enumerate(found) if isinstance(word, isa.Run)]
    for first, second in pairwise(runs):
        before, after = found[first], found[second]
        assert isinstance(before, isa.Run) and isinstance(after, isa.Run)
        bit = 1 << (int(before.queue) * 4 + int(after.queue))
        found[first] = replace(before, signal=before.signal | bit)
        found[second] = replace(after, wait=after.wait | bit)
    return isa.encode_program([*found, isa.End()])


def random_program(
    config: OverlayConfig, random: np.random.Generator, things: int
) -> tuple[bytes, bytes, dict[Segment, int]]:
    """A valid program of `things` random things: program, constants, bytes of the segments."""
    maker = WordMaker(config, random)
    constants = maker.constants()
    middle: Words = []
    for _ in range(things):
        kind = maker.kind()
        for _ in range(_TRIES):
            thing = kind()
            if writes_twice(thing):
                continue
            try:
                # Alone first: most draws fail by themselves.
                for words in (thing, [*middle, *thing]):
                    program = chained([*maker.beginning(), *words, *maker.end()])
                    load_program(program, config, constants, maker.segments)
            except (RunError, isa.EncodingError):
                continue
            middle += thing
            break
    program = chained([*maker.beginning(), *middle, *maker.end()])
    return program, _without_unused_taps(program, constants), maker.segments


def _without_unused_taps(program: bytes, constants: bytes) -> bytes:
    """Zeros where weights of depthwise Convs have none: the fourth of each row, and taps outside of the kernel."""
    image = np.frombuffer(constants, np.int8).copy()
    weights = image[: _WEIGHT_ROWS * 64].reshape(_WEIGHT_ROWS, 64)
    for operation in decode(program).operations:
        word, shape = operation.word, operation.setup(isa.ConvWindow)
        if not isinstance(word, isa.Conv) or not word.depthwise:
            continue
        down, across = -(-shape.kernel_height // 3), -(-shape.kernel_width // 3)
        rows = weights[word.weight_row : word.weight_row + shape.output_blocks * down * across * 3]
        taps = rows.reshape(shape.output_blocks, down, across, 3, 4, 16)
        taps[:, :, :, :, 3] = 0
        taps[:, down - 1, :, shape.kernel_height - 3 * down + 3 :] = 0
        taps[:, :, across - 1, :, shape.kernel_width - 3 * across + 3 :] = 0
    return image.tobytes()
