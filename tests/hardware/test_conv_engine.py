"""The convolution engine against the NumPy machine, bit for bit, and against the cycle model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from conv_bench import Images, Program, bench, clear_unused_taps, expected, random_images, random_program, run
from harness import needs_verilator

from intarsia.dtypes import Array
from intarsia_backends.overlay.machine import isa
from intarsia_backends.overlay.machine.config import KV260, TINY, OverlayConfig
from intarsia_backends.rtl.model import Model
from intarsia_backends.simulator.costs import cost_of

pytestmark = [pytest.mark.rtl, needs_verilator]

FOUR_PIXELS = OverlayConfig.from_dict(
    {**TINY.to_dict(), "name": "four", "pixels": KV260.pixels, "activation_bank_bytes": 8192}
)


@pytest.fixture(scope="module")
def engine() -> Iterator[Model]:
    with bench(TINY) as model:
        yield model


def same(model: Model, program: Program, images: Images, config: OverlayConfig = TINY, **options: Any) -> int:
    """Runs a program on both machines; the cycles in which the engine is busy."""
    clear_unused_taps(program, images)
    wanted = expected(program, images, config)
    ran = run(model, program, images, **options)
    wrong = np.argwhere((ran.act != wanted).any(axis=1))[:, 0]
    assert wrong.size == 0, f"words {wrong[:10]} of {wrong.size} differ: {ran.act[wrong[0]]}, not {wanted[wrong[0]]}"
    return ran.busy


KINDS: dict[str, dict[str, Any]] = {
    "dense": {},
    "depthwise": {"depthwise": 1.0, "kernel_max": 7},
    "residual": {"residual": 0.7},
    "chained": {"chained": 0.7},
    "mixed": {"depthwise": 0.4, "residual": 0.4, "chained": 0.2, "kernel_max": 5},
}


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("kind", KINDS)
def test_random_convs(engine: Model, kind: str, seed: int) -> None:
    rng = np.random.default_rng((sorted(KINDS).index(kind), seed))
    program = random_program(TINY, rng, 8, **KINDS[kind])
    same(engine, program, random_images(TINY, rng, 16.0 if seed % 3 else None))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12, 400))
@pytest.mark.parametrize("kind", KINDS)
def test_many_random_convs(engine: Model, kind: str, seed: int) -> None:
    test_random_convs(engine, kind, seed)


@pytest.mark.parametrize("seed", range(4))
def test_words_may_come_late(seed: int) -> None:
    rng = np.random.default_rng(seed)
    with bench(TINY) as model:
        program = random_program(TINY, rng, 12, **KINDS["mixed"])
        same(model, program, random_images(TINY, rng, 16.0), stall=0.7, seed=seed)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_four_pixels_and_all_lanes_in_dsp_blocks(kind: str) -> None:
    with bench(FOUR_PIXELS, dsp_lanes=16) as model:
        for seed in range(8):
            rng = np.random.default_rng(seed)
            program = random_program(FOUR_PIXELS, rng, 8, **KINDS[kind], size_max=14)
            same(model, program, random_images(FOUR_PIXELS, rng, 16.0), FOUR_PIXELS)


def parameters(bias: Array, multiplier: Array, shift: Array) -> Array:
    packed = (multiplier.astype(np.int64) | shift.astype(np.int64) << isa.MULTIPLIER_BITS).astype(np.uint32)
    return np.stack([bias.astype(np.int32), packed.view(np.int32)], -1).astype("<i4").view(np.int8).reshape(-1, 128)


def conv(rows: int, columns: int, blocks_out: int, **fields: int) -> list[isa.Instruction]:
    """A convolution with kernel 1 from bank 0 on to bank 4 on."""
    return [
        isa.ConvSource(0, columns, rows * columns, rows, columns),
        isa.ConvWindow(1, 1, 1, 1, 1, 1, 1, blocks_out, rows, columns),
        isa.ConvTarget(512, columns, rows * columns, fields.pop("zero_point", 0), -128, 127),
        isa.Conv(**fields),
    ]


@pytest.mark.parametrize("shift", [1, 2, 8, 9, 16, 17, 24, 25, 31, 32, 33, 40, 41, 46, 47])
def test_scales(engine: Model, shift: int) -> None:
    """Sums of every size and sign, ties among them, with every shift."""
    rng = np.random.default_rng(shift)
    images = random_images(TINY, rng)
    # A bias of any size makes a sum of any size; small multipliers make ties.
    bias = rng.integers(-(1 << 31), 1 << 31, 128) >> rng.integers(0, 32, 128)
    multiplier = rng.integers(0, 1 << 21, 128) >> rng.integers(0, 21, 128)
    multiplier[::5] = 1 << rng.integers(0, 21, len(multiplier[::5]))
    images.par[:] = parameters(bias, multiplier, np.full(128, shift))
    images.wgt[::2] = 0
    images.act[:512] >>= rng.integers(0, 8, (512, 1)).astype(np.int8)
    same(engine, Program().add(*conv(3, 5, 8, zero_point=int(rng.integers(-128, 128)))), images)


@pytest.mark.parametrize("x", [-128, 127])
@pytest.mark.parametrize("weight", [-127, 127])
@pytest.mark.parametrize("depthwise", [0, 1])
def test_extremes(engine: Model, x: int, weight: int, depthwise: int) -> None:
    images = random_images(TINY, np.random.default_rng(0))
    images.act[:512], images.wgt[:] = x, weight
    images.par[:] = parameters(np.full(128, -x * weight * 16), np.full(128, 1 << 20), np.full(128, 21))
    program = Program().add(
        isa.ConvSource(0, 8, 64, 8, 8, 1, 1, x),
        isa.ConvWindow(3, 3, 1, 1, 1, 1, 1, 2, 8, 8),
        isa.ConvTarget(512, 8, 64, 3, -128, 127),
        isa.Conv(depthwise=depthwise),
    )
    same(engine, program, images)


def test_accumulators_wrap(engine: Model) -> None:
    images = random_images(TINY, np.random.default_rng(0))
    images.act[:512], images.wgt[:] = 127, 127
    images.par[:] = parameters(np.full(128, 2**31 - 1), np.full(128, 1 << 16), np.full(128, 40))
    same(engine, Program().add(*conv(2, 2, 2)), images)


def test_an_early_start_waits_for_the_banks_it_needs(engine: Model) -> None:
    """Where banks differ the second Conv's sums begin while the first is drained."""
    images = random_images(TINY, np.random.default_rng(0), 16.0)

    def cycles(second_source: int) -> int:
        words = conv(4, 4, 2)
        second = (isa.ConvSource(second_source, 4, 16, 4, 4), isa.ConvTarget(768, 4, 16))
        return same(engine, Program().add(*words, *second, words[-1]), images)

    assert cycles(0) + 30 < cycles(512)


@pytest.mark.parametrize("kind", KINDS)
def test_cycles_of_the_model(engine: Model, kind: str) -> None:
    """The cycle model is within 5 % and a few cycles of the engine, Conv by Conv."""
    rng = np.random.default_rng(5)
    images = random_images(TINY, rng, 16.0)
    for _ in range(40):
        program = random_program(TINY, rng, 1, **KINDS[kind])
        if len(program.operations) != 1:
            continue
        # The first weights load before the engine is busy.
        cycles, model = same(engine, program, images) + 3, cost_of(program.operations[0], TINY).cycles
        assert abs(cycles - model) <= 8 + cycles // 20, (cycles, model, program.words)
