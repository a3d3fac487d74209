"""Programs for the convolution engine alone: random Convs that keep the rules, on the RTL and on the NumPy machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from harness import module

from intarsia.dtypes import Array
from intarsia_backends.overlay.machine import isa
from intarsia_backends.overlay.machine.config import OverlayConfig
from intarsia_backends.rtl.model import Model
from intarsia_backends.simulator.convolution import bind_conv
from intarsia_backends.simulator.costs import Cost, cost_of
from intarsia_backends.simulator.decoded import Operation
from intarsia_backends.simulator.fields import check_fields
from intarsia_backends.simulator.state import State

NAMES = ("Pixels", "TileGroups", "ActBanks", "BankWords", "WeightRows", "ParameterGroups")


def bench(config: OverlayConfig, dsp_lanes: int = 12, optimise: str = "-O1") -> Model:
    """The engine with its memories."""
    return module(
        "ia_conv_bench",
        signals=[f"ia_conv_bench.{name}_q" for name in ("act", "wgt", "par")],
        optimise=optimise,
        Pixels=config.pixels,
        TileGroups=config.tile_groups,
        ActBanks=config.activation_banks,
        BankWords=config.bank_words,
        WeightRows=config.weight_rows,
        ParameterGroups=config.parameter_groups,
        DspLanes=dsp_lanes,
    )


@dataclass
class Program:
    """MAC words, and the operations that they are."""

    words: list[isa.Instruction] = field(default_factory=list)
    operations: list[Operation] = field(default_factory=list)
    _registers: dict[type[isa.Instruction], isa.Instruction] = field(default_factory=dict)

    def add(self, *words: isa.Instruction) -> Program:
        """Append words; a setup word that changes nothing is left out."""
        for word in words:
            if isinstance(word, isa.Run):
                self.operations.append(Operation(len(self.words), word, dict(self._registers)))
            elif self._registers.get(type(word)) == word:
                continue
            else:
                self._registers[type(word)] = word
            self.words.append(word)
        return self


@dataclass(frozen=True)
class Images:
    """What the memories hold: int8 [words, 16], [rows, 64], [groups, 128]."""

    act: Array
    wgt: Array
    par: Array


def random_images(config: OverlayConfig, rng: np.random.Generator, scale_bits: float | None = None) -> Images:
    """Random memories; scale_bits fits shifts to sums of about that many bits, None takes any shift."""
    act = rng.integers(-128, 128, (config.activation_words, 16)).astype(np.int8)
    wgt = rng.integers(-127, 128, (config.weight_rows, 64)).astype(np.int8)
    extreme = rng.random(wgt.shape) < 0.1
    wgt[extreme] = rng.choice(np.array([-127, 127, 0], np.int8), int(extreme.sum()))
    channels = config.parameter_groups * 16
    bias = rng.integers(-(1 << 31), 1 << 31, channels)
    small = rng.random(channels) < 0.8
    bias[small] = rng.integers(-20000, 20000, int(small.sum()))
    multiplier = rng.integers(0, 1 << 21, channels)
    usual = rng.random(channels) < 0.7
    multiplier[usual] = rng.integers(1 << 20, 1 << 21, int(usual.sum()))
    shift = rng.integers(1, 48, channels)
    if scale_bits is not None:
        # multiplier / 2**shift brings sums of scale_bits to about 8 bits
        fitting = np.clip(np.round(rng.normal(scale_bits + 21 - 7, 1.5, channels)), 1, 47).astype(np.int64)
        shift = np.where(rng.random(channels) < 0.9, fitting, shift)
    packed = (multiplier | shift << isa.MULTIPLIER_BITS).astype(np.uint32).view(np.int32)
    par = np.stack([bias.astype(np.int32), packed], axis=-1).astype("<i4")
    return Images(act, wgt, par.view(np.int8).reshape(-1, 128).copy())


def clear_unused_taps(program: Program, images: Images) -> None:
    """Zeros where the weights of depthwise Convs have none: the fourth of each row, and taps outside of the kernel."""
    for operation in program.operations:
        word, shape = operation.word, operation.setup(isa.ConvWindow)
        assert isinstance(word, isa.Conv)
        if not word.depthwise:
            continue
        down, across = -(-shape.kernel_height // 3), -(-shape.kernel_width // 3)
        rows = images.wgt[word.weight_row : word.weight_row + word.weight_rows(operation.registers)]
        taps = rows.reshape(shape.output_blocks, down, across, 3, 4, 16)
        taps[:, :, :, :, 3] = 0
        taps[:, down - 1, :, shape.kernel_height - 3 * down + 3 :] = 0
        taps[:, :, across - 1, :, shape.kernel_width - 3 * across + 3 :] = 0


def expected(program: Program, images: Images, config: OverlayConfig) -> Array:
    """What activation memory holds afterwards, by the NumPy machine."""
    state = State(config, np.zeros((0, 16), np.int8), {})
    state.act[:], state.wgt[:], state.par[:] = images.act, images.wgt, images.par
    for operation in program.operations:
        check_fields(operation, config)
        for access in operation.accesses:
            assert access.place.base >= 0, access
        bind_conv(operation, state, None, None)()
    return state.act


@dataclass(frozen=True)
class Ran:
    """What the RTL did: activation memory, the cycle of each done pulse, cycles with a Conv at work."""

    act: Array
    done: list[int]
    busy: int


def run(model: Any, program: Program, images: Images, stall: float = 0.0, seed: int = 0, limit: int = 200_000) -> Ran:
    """Run the words on the bench until every Conv is done, and a while longer."""
    model.reset()
    for name, image in (("act", images.act), ("wgt", images.wgt), ("par", images.par)):
        memory = model.memory(f"{name}_q")
        memory[:] = image.view(np.uint8).reshape(memory.shape)
    source = getattr(model, "conv_source", None)
    if source is None:
        source = model.source("word_i", stall=stall, seed=seed)
        model.conv_source, model.conv_done = source, model.sink("busy_o", valid="done_o", ready=None)
        model.conv_busy = model.histogram("busy_o")
    start, seen, busy = model.cycle, len(model.conv_done.cycles), int(model.conv_busy.counts[0])
    source.add([int.from_bytes(word.encode(), "little") for word in program.words])
    wanted = seen + len(program.operations)
    while len(model.conv_done.cycles) < wanted:
        model.step(200)
        assert model.cycle - start < limit, f"{len(model.conv_done.cycles) - seen} Convs done after {limit} cycles"
    model.step(100)
    done = [int(cycle) - start for cycle in model.conv_done.cycles[seen:]]
    assert len(done) == len(program.operations)
    memory = model.memory("act_q")
    return Ran(memory.view(np.int8).copy(), done, int(model.conv_busy.counts[0]) - busy)


def random_program(
    config: OverlayConfig,
    rng: np.random.Generator,
    convs: int,
    depthwise: float = 0.0,
    residual: float = 0.0,
    chained: float = 0.0,
    kernel_max: int = 4,
    size_max: int = 9,
) -> Program:
    """Convs one after the other, each from one half of the banks to the other, often from what the one before wrote.

    depthwise, residual, chained  share of those; chained Convs are sums over several words
    """
    program = Program()
    half = config.activation_words // 2
    side = 0
    while len(program.operations) < convs:
        if rng.random() < 0.7:
            side = 1 - side
        attempt = _random_conv(
            config, rng, side * half, (1 - side) * half, half, depthwise, residual, chained, kernel_max, size_max
        )
        if attempt is not None:
            program.add(*attempt)
    return program


def _fit(
    rng: np.random.Generator, base: int, room: int, blocks: int, rows: int, columns: int
) -> tuple[int, int, int] | None:
    """Base, row pitch and block pitch of a tensor somewhere in `room` words from base on."""
    row_pitch = columns + int(rng.integers(0, 3)) * int(rng.random() < 0.4)
    block_pitch = rows * row_pitch + int(rng.integers(0, 5)) * int(rng.random() < 0.4)
    words = (blocks - 1) * block_pitch + (rows - 1) * row_pitch + columns
    if words > room:
        return None
    return base + int(rng.integers(0, room - words + 1)), row_pitch, block_pitch


def _random_conv(
    config: OverlayConfig,
    rng: np.random.Generator,
    source_base: int,
    target_base: int,
    room: int,
    depthwise: float,
    residual: float,
    chained: float,
    kernel_max: int,
    size_max: int,
) -> list[isa.Instruction] | None:
    deep = rng.random() < depthwise
    joins = rng.random() < residual
    sums = not deep and rng.random() < chained
    height, width = (int(item) for item in rng.integers(1, size_max + 1, 2))
    rows, columns = (int(item) for item in rng.integers(1, size_max + 1, 2))
    kernel = [int(item) for item in rng.integers(1, kernel_max + 1, 2)]
    stride = [int(rng.choice([1, 1, 1, 2, 2, 3, 4, 15])) for _ in range(2)]
    dilation = [int(rng.choice([1, 1, 1, 1, 2, 3])) for _ in range(2)]
    if rng.random() < 0.4:
        kernel, stride, dilation = [3, 3], [1, 1], [1, 1]
        rows, columns = height, width
    pads = [int(rng.integers(0, size)) if rng.random() < 0.8 else -int(rng.integers(0, 3)) for size in kernel]
    blocks_in, blocks_out = (int(item) for item in rng.choice([1, 1, 2, 3], 2))
    if sums:
        blocks_out = 1
        if rows * columns > config.tile_pixels:
            return None
    if deep:
        blocks_in = 1
    weight = kernel[0] * kernel[1] * blocks_in * blocks_out * 4
    if deep:
        weight = -(-kernel[0] // 3) * -(-kernel[1] // 3) * 3 * blocks_out
    if weight > config.weight_rows or blocks_out > config.parameter_groups:
        return None
    source: Any = _fit(rng, source_base, room, blocks_out if deep else blocks_in, height, width)
    target = _fit(rng, target_base, room, blocks_out, rows, columns)
    if source is None or target is None:
        return None
    of_source: Any = (*source, height, width, *pads, int(rng.integers(-128, 128)))
    of_window: Any = (*kernel, *stride, *dilation, blocks_in, blocks_out, rows, columns)
    words: list[Any] = [
        isa.ConvSource(*of_source),
        isa.ConvWindow(*of_window),
    ]
    low, high = sorted(int(item) for item in rng.integers(-128, 128, 2))
    if rng.random() < 0.6:
        low, high = -128, 127
    elif rng.random() < 0.1:
        low, high = high, low
    words.append(isa.ConvTarget(*target, int(rng.integers(-128, 128)), low, high))
    if joins:
        other = target
        if rng.random() < 0.5:
            found = _fit(rng, target_base, room, blocks_out, rows, columns)
            last = (blocks_out - 1, rows - 1, columns - 1)
            if found is None or not (_last(found, last) < target[0] or _last(target, last) < found[0]):
                return None
            other = found
        words.append(isa.ConvResidual(*other))
        scale = 19 + int(rng.integers(0, 5))
        words.append(
            isa.ConvAdd(
                int(rng.integers(-128, 128)),
                int(rng.integers(0, 1 << 21)),
                int(rng.integers(-128, 128)),
                int(rng.integers(0, 1 << 21)),
                scale if rng.random() < 0.8 else int(rng.integers(1, 48)),
                int(rng.integers(-128, 128)),
                -128 if rng.random() < 0.7 else int(rng.integers(-128, 0)),
                127 if rng.random() < 0.7 else int(rng.integers(0, 128)),
            )
        )
    conv = isa.Conv(
        weight_row=int(rng.integers(0, config.weight_rows - weight + 1)),
        parameter_group=int(rng.integers(0, config.parameter_groups - blocks_out + 1)),
        depthwise=int(deep),
        residual=int(joins),
    )
    if not sums:
        return [*words, conv]
    parts = int(rng.integers(2, 4))
    for part in range(parts):
        if part and rng.random() < 0.5:
            words.append(replace(words[0], pad_left=int(rng.integers(-1, 3))))
        row = int(rng.integers(0, config.weight_rows - weight + 1))
        words.append(replace(conv, weight_row=row, start=int(part == 0), finish=int(part == parts - 1)))
    return words


def _last(place: tuple[int, int, int], last: Sequence[int]) -> int:
    return place[0] + last[0] * place[2] + last[1] * place[1] + last[2]


def measure(program: Program, config: OverlayConfig) -> list[Cost]:
    """What the cycle model says of each Conv."""
    return [cost_of(operation, config) for operation in program.operations]


__all__ = [
    "Program",
    "bench",
    "clear_unused_taps",
    "expected",
    "measure",
    "random_images",
    "random_program",
    "run",
]
