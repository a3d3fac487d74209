"""Each instruction against its docstring, from programs assembled by hand and arithmetic written out."""

from __future__ import annotations

import numpy as np
import pytest
from assembled import BANK, SEGMENTS, W, chain, load_words, store_words

from intarsia.dtypes import Array
from intarsia.ir.integer import requantize
from intarsia_backends.overlay.machine import isa
from intarsia_backends.overlay.machine.config import TINY
from intarsia_backends.simulator.machine import Machine, load_program


def run(program: bytes, inputs: Array, constants: bytes = b"") -> Array:
    """Outputs as int8 words."""
    machine = Machine(load_program(program, TINY, constants, SEGMENTS))
    image = np.zeros((256, W), np.int8)
    image[: len(inputs)] = inputs
    return machine.run(image).view(np.int8).reshape(-1, W).copy()


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def words(rng: np.random.Generator, count: int) -> Array:
    return rng.integers(-128, 128, (count, W)).astype(np.int8)


def test_load_and_store_follow_their_pitches(rng: np.random.Generator) -> None:
    data = words(rng, 200)
    out = run(
        chain(
            isa.LoadShape(2, 3, 4, row_pitch=5, block_pitch=20, dram_row_pitch=7, dram_block_pitch=50),
            isa.Load(segment=isa.Segment.INPUTS, offset=3, base=2),
            isa.StoreShape(2, 3, 4, row_pitch=5, block_pitch=20, dram_row_pitch=4, dram_block_pitch=12),
            isa.Store(segment=isa.Segment.OUTPUTS, offset=1, base=2),
        ),
        data,
    )
    for b in range(2):
        for y in range(3):
            for x in range(4):
                assert (out[1 + b * 12 + y * 4 + x] == data[3 + b * 50 + y * 7 + x]).all()
    assert not out[25:].any()


def test_load_enlarges(rng: np.random.Generator) -> None:
    data = words(rng, 6)
    out = run(
        chain(
            isa.LoadShape(1, 4, 6, row_pitch=6, dram_row_pitch=3),
            isa.Load(segment=isa.Segment.INPUTS, base=0, upsample=1),
            *store_words(24, 0),
        ),
        data,
    )
    assert (out[:24] == data.reshape(2, 3, W).repeat(2, 0).repeat(2, 1).reshape(24, W)).all()


def test_patches_are_cut_from_an_image(rng: np.random.Generator) -> None:
    height, width, channels, pitch, fill = 5, 7, 3, 2, -9
    image = rng.integers(-128, 128, (height, pitch * W)).astype(np.int8)
    pixels = image[:, : width * channels].reshape(height, width, channels)
    out = run(
        chain(
            isa.LoadPatchShape(height, width, channels, pitch, 3, 3, 2, 1, fill),
            isa.LoadPatchTarget(rows=3, columns=6, row_pitch=6, block_pitch=18, pad_top=1, pad_left=-1),
            isa.LoadPatch(segment=isa.Segment.INPUTS, offset=4, base=10),
            *store_words(36, 10),
        ),
        np.concatenate([np.zeros((4, W), np.int8), image.reshape(-1, W)]),
    )
    for y in range(3):
        for x in range(6):
            patch = np.zeros(32, np.int8)
            for k in range(27):
                ky, kx, c = k // 9, k // 3 % 3, k % 3
                row, column = y * 2 + ky - 1, x + kx + 1
                inside = 0 <= row < height and 0 <= column < width
                patch[k] = pixels[row, column, c] if inside else fill
            assert (out[y * 6 + x] == patch[:16]).all()
            assert (out[18 + y * 6 + x] == patch[16:]).all()


def parameters(bias: Array, multiplier: Array, shift: Array) -> bytes:
    both = multiplier.astype(np.int64) | shift.astype(np.int64) << isa.MULTIPLIER_BITS
    packed = both.astype(np.uint32).view(np.int32)
    return np.stack([bias.astype(np.int32), packed], axis=-1).astype("<i4").tobytes()


CONSTANTS = isa.Segment.CONSTANTS


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("depthwise", [False, True])
def test_conv_is_the_sum_that_its_docstring_says(rng: np.random.Generator, depthwise: bool, residual: bool) -> None:
    blocks_in, blocks_out, kernel, size = 2, 2, (3, 2), (5, 4)
    source = words(rng, blocks_in * 20)
    other = words(rng, blocks_out * 20)
    if depthwise:
        weight = rng.integers(-127, 128, (blocks_out, 6, W)).astype(np.int8)
        rows = np.zeros((blocks_out, 3, 4, W), np.int8)
        rows[:, :, :2] = weight.reshape(blocks_out, 3, 2, W)
    else:
        weight = rng.integers(-127, 128, (blocks_out, 3, 2, blocks_in, W, W)).astype(np.int8)
        rows = weight
    weight_rows = rows.size // 64
    bias = rng.integers(-9000, 9000, 32)
    multiplier, shift = rng.integers(1 << 20, 1 << 21, 32), rng.integers(27, 32, 32)
    constants = rows.tobytes() + parameters(bias, multiplier, shift)
    fill, zero, low, high = 5, -3, -100, 90
    out_rows, out_columns, stride, dilation, pads = 3, 5, (2, 1), (1, 2), (1, 1)
    program = chain(
        *load_words(40, 0),
        *load_words(40, 4 * BANK, 40),
        isa.LoadConstants(memory=isa.Memory.WEIGHTS, segment=CONSTANTS, offset=0, at=3, count=weight_rows),
        isa.LoadConstants(memory=isa.Memory.PARAMETERS, segment=CONSTANTS, offset=weight_rows * 4, at=1, count=2),
        isa.ConvSource(0, 4, 20, *size, *pads, fill),
        isa.ConvWindow(*kernel, *stride, *dilation, 1 if depthwise else blocks_in, blocks_out, out_rows, out_columns),
        isa.ConvTarget(2 * BANK, 5, 15, zero, low, high),
        isa.ConvResidual(4 * BANK, 4, 20),
        isa.ConvAdd(zero, 1120003, 11, 1600001, 21, 4, -90, 100),
        isa.Conv(weight_row=3, parameter_group=1, depthwise=int(depthwise), residual=int(residual)),
        *store_words(30, 2 * BANK),
    )
    out = run(program, np.concatenate([source, other]), constants)
    plane, added = source.reshape(2, 5, 4, W).astype(np.int64), other.reshape(2, 20, W).astype(np.int64)
    for ob in range(blocks_out):
        for y in range(out_rows):
            for x in range(out_columns):
                total = bias[ob * 16 : ob * 16 + 16].astype(np.int64)
                for ky in range(3):
                    for kx in range(2):
                        row, column = y * 2 + ky - 1, x + kx * 2 - 1
                        inside = 0 <= row < 5 and 0 <= column < 4
                        for ib in [ob] if depthwise else range(blocks_in):
                            pixel = plane[ib, row, column] if inside else np.full(W, fill)
                            if depthwise:
                                total = total + weight[ob, ky * 2 + kx].astype(np.int64) * pixel
                            else:
                                total = total + pixel @ weight[ob, ky, kx, ib].astype(np.int64)
                lanes = slice(ob * 16, ob * 16 + 16)
                value = requantize(total, multiplier[lanes], shift[lanes], zero, low, high).astype(np.int64)
                if residual:
                    joined = (value - zero) * 1120003 + (added[ob, y * 4 + x] - 11) * 1600001
                    value = requantize(joined, 1, 21, 4, -90, 100).astype(np.int64)
                assert (out[ob * 15 + y * 5 + x] == value).all()


def test_a_sum_goes_on_over_several_convs(rng: np.random.Generator) -> None:
    source, weight = words(rng, 9), rng.integers(-127, 128, (3, W, W)).astype(np.int8)
    bias, multiplier, shift = np.zeros(W), np.full(W, 1 << 16), np.full(W, 25)
    constants = weight.tobytes() + parameters(bias, multiplier, shift)
    program: list[isa.Instruction] = [
        *load_words(9, 0),
        isa.LoadConstants(memory=isa.Memory.WEIGHTS, segment=CONSTANTS, count=12),
        isa.LoadConstants(memory=isa.Memory.PARAMETERS, segment=CONSTANTS, offset=48, count=1),
        isa.ConvWindow(1, 1, 1, 1, 1, 1, 1, 1, 1, 3),
        isa.ConvTarget(BANK, 3, 3, 0, -128, 127),
    ]
    for part in range(3):
        program += [
            isa.ConvSource(3 * part, 3, 3, 1, 3),
            isa.Conv(weight_row=4 * part, start=int(part == 0), finish=int(part == 2)),
        ]
    out = run(chain(*program, *store_words(3, BANK)), source, constants)
    total = sum(source[3 * part : 3 * part + 3].astype(np.int64) @ weight[part].astype(np.int64) for part in range(3))
    assert (out[:3] == requantize(np.asarray(total), 1 << 16, 25, 0)).all()


def test_accumulators_wrap_at_32_bits() -> None:
    source, weight = np.full((1, W), 127, np.int8), np.full((W, W), 127, np.int8)
    constants = weight.tobytes() + parameters(np.full(W, 2**31 - 1), np.full(W, 1 << 16), np.full(W, 40))
    program = chain(
        *load_words(1, 0),
        isa.LoadConstants(memory=isa.Memory.WEIGHTS, segment=CONSTANTS, count=4),
        isa.LoadConstants(memory=isa.Memory.PARAMETERS, segment=CONSTANTS, offset=16, count=1),
        isa.ConvSource(0, 1, 1, 1, 1),
        isa.ConvWindow(1, 1, 1, 1, 1, 1, 1, 1, 1, 1),
        isa.ConvTarget(BANK, 1, 1, 0, -128, 127),
        isa.Conv(),
        *store_words(1, BANK),
    )
    total = (16 * 127 * 127 + 2**31 - 1) - 2**32
    assert (run(program, source, constants)[0] == requantize(np.array(total), 1 << 16, 40, 0)).all()


def vec(word: isa.Vec, *setup: isa.Instruction, count: int = 40, stored: int = 20) -> bytes:
    return chain(*load_words(count, 0), *setup, word, *store_words(stored, 2 * BANK))


def test_vec_add_and_multiply(rng: np.random.Generator) -> None:
    data = words(rng, 22)
    setup = (
        isa.VecSource(0, 5, 10, 2, 5),
        isa.VecSecond(20, 0, 1, 0),
        isa.VecTarget(2 * BANK, 5, 10, 2, 2, 5),
        isa.VecScale(3, 1120003, -5, 1440001, 21, 2, -100, 120),
    )
    a, b = data[:20].reshape(2, 10, W).astype(np.int64) - 3, data[20:].reshape(2, 1, W).astype(np.int64) + 5
    added = run(vec(isa.Vec(operation=isa.VecOperation.ADD), *setup), data)[:20]
    assert (added.reshape(2, 10, W) == requantize(a * 1120003 + b * 1440001, 1, 21, 2, -100, 120)).all()
    product = run(vec(isa.Vec(operation=isa.VecOperation.MULTIPLY), *setup), data)[:20]
    assert (product.reshape(2, 10, W) == requantize(a * b, 1120003, 21, 2, -100, 120)).all()


@pytest.mark.parametrize("operation", [isa.VecOperation.MAXIMUM, isa.VecOperation.SUM])
def test_vec_pools(rng: np.random.Generator, operation: isa.VecOperation) -> None:
    data = words(rng, 40)
    out = run(
        vec(
            isa.Vec(operation=operation),
            isa.VecSource(0, 5, 20, 4, 5, 1, 1, fill=-7),
            isa.VecTarget(2 * BANK, 3, 6, 2, 2, 3),
            isa.VecWindow(3, 2, 2, 2),
            isa.VecScale(zero_point=4, multiplier=80000, shift=19, output_zero_point=1, clamp_min=-128, clamp_max=127),
            stored=12,
        ),
        data,
    )
    plane = np.pad(data.reshape(2, 4, 5, W), ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-7).astype(np.int64)
    for y in range(2):
        for x in range(3):
            window = plane[:, 2 * y : 2 * y + 3, 2 * x : 2 * x + 2]
            if operation == isa.VecOperation.MAXIMUM:
                wanted = window.max(axis=(1, 2)).astype(np.int8)
            else:
                wanted = requantize((window - 4).sum(axis=(1, 2)), 80000, 19, 1)
            assert (out[[y * 3 + x, 6 + y * 3 + x]] == wanted).all()


def test_vec_sum_goes_on(rng: np.random.Generator) -> None:
    data = words(rng, 30)
    scale = isa.VecScale(zero_point=2, multiplier=1 << 16, shift=20, clamp_min=-128, clamp_max=127)
    out = run(
        chain(
            *load_words(30, 0),
            isa.VecTarget(2 * BANK, 1, 1, 1, 1, 1),
            scale,
            isa.VecSource(0, 6, 1, 3, 6),
            isa.VecWindow(3, 6, 1, 1),
            isa.Vec(operation=isa.VecOperation.SUM, finish=0),
            isa.VecSource(18, 6, 1, 2, 6),
            isa.VecWindow(2, 6, 1, 1),
            isa.Vec(operation=isa.VecOperation.SUM, start=0),
            *store_words(1, 2 * BANK),
        ),
        data,
    )
    assert (out[0] == requantize((data.astype(np.int64) - 2).sum(axis=0), 1 << 16, 20, 0)).all()


def test_vec_copies_pads_enlarges_and_moves_lanes(rng: np.random.Generator) -> None:
    data = words(rng, 6)
    copy = isa.VecOperation.COPY
    padded = run(vec(isa.Vec(), isa.VecSource(0, 3, 6, 2, 3, 1, 1, 9), isa.VecTarget(2 * BANK, 5, 20, 1, 4, 5)), data)
    wanted = np.pad(data.reshape(2, 3, W), ((1, 1), (1, 1), (0, 0)), constant_values=9)
    assert (padded[:20] == wanted.reshape(20, W)).all()
    large = run(
        vec(isa.Vec(upsample=1), isa.VecSource(0, 3, 6, 2, 3), isa.VecTarget(2 * BANK, 6, 24, 1, 4, 6), stored=24), data
    )
    assert (large[:24] == data.reshape(2, 3, W).repeat(2, 0).repeat(2, 1).reshape(24, W)).all()
    lanes = run(
        chain(
            *load_words(6, 0),
            isa.VecSource(0, 3, 6, 1, 3, fill=1),
            isa.VecTarget(2 * BANK, 3, 6, 1, 1, 3),
            isa.Vec(operation=isa.VecOperation.FILL),
            isa.Vec(operation=copy, lane_from=4, lane_to=9, lane_count=5),
            *store_words(3, 2 * BANK),
        ),
        data,
    )
    assert (lanes[:3, 9:14] == data[:3, 4:9]).all()
    assert (lanes[:3, :9] == 1).all() and (lanes[:3, 14:] == 1).all()


def test_vec_looks_up_bytes(rng: np.random.Generator) -> None:
    data, table = words(rng, 4), rng.integers(-128, 128, 256).astype(np.int8)
    out = run(
        chain(
            *load_words(4, 0),
            isa.LoadConstants(memory=isa.Memory.TABLES, segment=CONSTANTS, at=1, count=1),
            isa.VecSource(0, 4, 4, 1, 4),
            isa.VecTarget(2 * BANK, 4, 4, 1, 1, 4),
            isa.Vec(operation=isa.VecOperation.LOOKUP, table=1),
            *store_words(4, 2 * BANK),
        ),
        data,
        table.tobytes(),
    )
    assert (out[:4] == table[data.view(np.uint8)]).all()


def test_weights_from_the_arena_are_read_at_each_run(rng: np.random.Generator) -> None:
    """Nothing says that weights are constants: a program may make them."""
    constants = parameters(np.zeros(W), np.full(W, 1 << 16), np.full(W, 22))
    program = chain(
        *load_words(1, 0),
        isa.LoadConstants(memory=isa.Memory.WEIGHTS, segment=isa.Segment.INPUTS, offset=16, count=4),
        isa.LoadConstants(memory=isa.Memory.PARAMETERS, segment=CONSTANTS, count=1),
        isa.ConvSource(0, 1, 1, 1, 1),
        isa.ConvWindow(1, 1, 1, 1, 1, 1, 1, 1, 1, 1),
        isa.ConvTarget(BANK, 1, 1, 0, -128, 127),
        isa.Conv(),
        *store_words(1, BANK),
    )
    machine = Machine(load_program(program, TINY, constants, SEGMENTS))
    for _ in range(2):
        image = words(rng, 256)
        out = machine.run(image).view(np.int8)[:W]
        total = image[0].astype(np.int64) @ image[16:32].astype(np.int64)
        assert (out == requantize(total, 1 << 16, 22, 0)).all()
