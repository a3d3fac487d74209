"""The arithmetic of integer ops against exact fractions and slow Python integers."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from integer_graphs import half_even, node_of, scaled, slow_qconv, wrapped

from intarsia.dtypes import Array
from intarsia.errors import CompileError
from intarsia.ir.evaluate import evaluate_node
from intarsia.ir.infer import infer_node
from intarsia.ir.integer import (
    MULTIPLIER_BITS,
    dequantize_linear,
    exact_type,
    fixed_point,
    fixed_point_pair,
    integer_matmul,
    quantize_linear,
    requantize,
    wrap_int32,
)
from intarsia.ir.types import TensorType

int8s = st.integers(-128, 127)
multipliers = st.integers(0, (1 << MULTIPLIER_BITS) - 1)
shifts = st.integers(1, 47)
seeds = st.integers(0, 2**32 - 1)


def random_int8(seed: int, *shape: int, low: int = -128) -> Array:
    return np.random.default_rng(seed).integers(low, 128, shape).astype(np.int8)


# ---- scales


@given(st.floats(2.0**-27, 2.0**20 - 1))
def test_fixed_point_is_near(scale: float) -> None:
    multiplier, shift = fixed_point(scale)
    assert 1 << 20 <= multiplier < 1 << 21
    assert 1 <= shift <= 47
    assert abs(Fraction(multiplier, 1 << shift) / Fraction(scale) - 1) <= Fraction(1, 1 << 21)


@given(st.floats(0, 2.0**-27, exclude_max=True))
def test_fixed_point_of_tiny_scales_keeps_half_a_step(scale: float) -> None:
    multiplier, shift = fixed_point(scale)
    assert 0 <= multiplier <= 1 << 20
    assert abs(Fraction(multiplier, 1 << shift) - Fraction(scale)) <= Fraction(1, 1 << 48)


@pytest.mark.parametrize("scale", [-1.0, 2.0**20, float("inf"), float("nan")])
def test_fixed_point_refuses(scale: float) -> None:
    with pytest.raises(ValueError, match="is not in"):
        fixed_point(scale)


@given(st.floats(2.0**-20, 1000.0), st.floats(2.0**-20, 1000.0))
def test_fixed_point_pair_shares_a_shift(first: float, second: float) -> None:
    a, b, shift = fixed_point_pair(first, second)
    assert max(a, b) >= 1 << 20
    for multiplier, scale in ((a, first), (b, second)):
        assert 0 <= multiplier < 1 << 21
        assert abs(Fraction(multiplier, 1 << shift) - Fraction(scale)) <= Fraction(max(first, second)) / (1 << 20)


@given(st.integers(-(1 << 31), (1 << 31) - 1), multipliers, shifts, int8s, int8s, int8s)
def test_requantize_is_exact(accumulator: int, multiplier: int, shift: int, zero: int, a: int, b: int) -> None:
    low, high = min(a, b), max(a, b)
    wanted = min(max(half_even(accumulator * multiplier, shift) + zero, low), high)
    assert requantize(np.array([accumulator]), multiplier, shift, zero, low, high).tolist() == [wanted]


@given(st.integers(-500, 500), st.integers(1, 20))
def test_requantize_rounds_ties_to_even(step: int, shift: int) -> None:
    """accumulator * 2**(shift-1) / 2**shift lies halfway between two integers for every odd accumulator."""
    multiplier = 1 << min(shift - 1, 16)
    found = requantize(np.array([step]), multiplier, shift, 0)
    assert found.tolist() == [min(max(half_even(step * multiplier, shift), -128), 127)]


@given(st.integers(-(1 << 40), 1 << 40))
def test_wrap_int32(value: int) -> None:
    assert wrap_int32(np.array([value])).tolist() == [wrapped(value)]
    assert wrap_int32(np.array([float(value)])).tolist() == [wrapped(value)]


@given(seeds, st.integers(1, 5), st.integers(1, 900), st.integers(1, 5))
def test_integer_matmul_is_exact(seed: int, rows: int, depth: int, columns: int) -> None:
    generator = np.random.default_rng(seed)
    left, right = generator.integers(-255, 256, (rows, depth)), random_int8(seed, depth, columns)
    assert np.array_equal(integer_matmul(left, right), left @ right.astype(np.int64))


def test_exact_type_changes_where_float32_ends() -> None:
    below, above = np.full((1, (1 << 24) // 255), 1), np.full((1, (1 << 24) // 255 + 1), 1)
    assert (exact_type(below, 1), exact_type(above, 1)) == (np.float32, np.float64)


@given(st.floats(width=32), st.floats(2.0**-60, 2.0**60, width=32), int8s)
def test_quantize_is_the_float_formula(real: float, scale: float, zero: int) -> None:
    found = int(quantize_linear(np.array([real], np.float32), scale, zero)[0])
    if np.isnan(real):
        assert found == zero
        return
    with np.errstate(over="ignore"):
        ratio = float(np.float32(real) / np.float32(scale))
    wanted = (127 if ratio > 0 else -128) if np.isinf(ratio) else min(max(round(ratio) + zero, -128), 127)
    assert found == wanted


@given(int8s, int8s, st.floats(2.0**-60, 2.0**60, width=32))
def test_dequantize_is_one_float32_product(integer: int, zero: int, scale: float) -> None:
    found = dequantize_linear(np.array([integer], np.int8), scale, zero)
    assert found.dtype == np.float32
    assert found[0] == np.float32(integer - zero) * np.float32(scale)


# ---- ops


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[list[Array], dict[str, object]]:
    """Small convolutions of one to three spatial axes: groups, depthwise with multiplier, strides, dilations, pads."""
    rank, seed = draw(st.integers(1, 2)), draw(seeds)
    group = draw(st.sampled_from([1, 1, 2, 3]))
    depth = draw(st.sampled_from([1, 2, 3]))
    outputs = group * draw(st.integers(1, 3))

    def axes(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw(st.integers(low, high)) for _ in range(rank))

    kernel, strides, dilations = axes(1, 3), axes(1, 3), axes(1, 2)
    pads = (*axes(0, 2), *axes(0, 2))
    sizes = [
        max(draw(st.integers(1, 6)), dilations[a] * (kernel[a] - 1) + 1 - pads[a] - pads[rank + a]) for a in range(rank)
    ]
    generator = np.random.default_rng(seed)
    bias_reach = draw(st.sampled_from([1000, (1 << 31) - 1]))  # the larger makes accumulators wrap
    arrays = [
        random_int8(seed, draw(st.integers(1, 2)), group * depth, *sizes),
        random_int8(seed + 1, outputs, depth, *kernel, low=-127),
        generator.integers(-bias_reach, bias_reach, outputs).astype(np.int32),
        generator.integers(0, 1 << 21, outputs).astype(np.int32),
        generator.integers(8, 30, outputs).astype(np.int32),
    ]
    low = draw(st.integers(-128, 0))
    attributes: dict[str, object] = {
        "strides": strides,
        "pads": pads,
        "dilations": dilations,
        "group": group,
        "input_zero_point": draw(int8s),
        "output_zero_point": draw(int8s),
        "clamp_min": low,
        "clamp_max": draw(st.integers(low, 127)),
    }
    return arrays, attributes


@given(convolutions())
def test_qconv_is_its_definition(case: tuple[list[Array], dict[str, object]]) -> None:
    arrays, attributes = case
    node = node_of("qconv", arrays, attributes, constants=4)
    (found,) = evaluate_node(node, list(arrays))
    x, w, bias, multiplier, shift = arrays
    assert np.array_equal(found, slow_qconv(x, w, bias, multiplier, shift, attributes))
    assert infer_node(node) == [TensorType("int8", found.shape)]


def test_qconv_of_deep_sums_is_exact() -> None:
    """Sums beyond 2**24, where float32 would lose bits; and in bands, for an input wider than the column buffer."""
    generator = np.random.default_rng(5)
    x = np.full((1, 700, 4, 4), 127, np.int8)
    w = np.full((2, 700, 3, 3), 127, np.int8)
    w[1] = generator.integers(-127, 128, w[1].shape)
    attributes = {
        "strides": (1, 1),
        "pads": (0, 0, 0, 0),
        "dilations": (1, 1),
        "group": 1,
        "input_zero_point": -128,
        "output_zero_point": 0,
    }
    arrays: list[Array] = [
        x,
        w,
        np.array([3, -7], np.int32),
        np.array([65537, 65539], np.int32),
        np.array([38, 32], np.int32),
    ]
    (found,) = evaluate_node(node_of("qconv", arrays, attributes, constants=4), list(arrays))
    wanted = []
    for channel in range(2):
        total = int(w[channel].astype(np.int64).sum()) * 255 + int(arrays[2][channel])
        wanted.append(scaled(total, int(arrays[3][channel]), int(arrays[4][channel]), attributes))
    assert found[0, :, 0, 0].tolist() == wanted
    assert (found == found[:, :, :1, :1]).all()


@given(seeds, st.integers(1, 3), st.integers(1, 40), st.integers(1, 5), int8s, int8s)
def test_qmatmul_is_its_definition(seed: int, rows: int, depth: int, columns: int, zero: int, out_zero: int) -> None:
    generator = np.random.default_rng(seed)
    arrays = [
        random_int8(seed, 2, rows, depth),
        random_int8(seed + 1, depth, columns, low=-127),
        generator.integers(-5000, 5000, columns).astype(np.int32),
        generator.integers(0, 1 << 21, columns).astype(np.int32),
        generator.integers(15, 30, columns).astype(np.int32),
    ]
    attributes = {"input_zero_point": zero, "output_zero_point": out_zero}
    node = node_of("qmatmul", arrays, attributes, constants=4)
    (found,) = evaluate_node(node, list(arrays))
    x, w, bias, multiplier, shift = (array.astype(object) for array in arrays)
    total = (x - zero) @ w + bias
    for index in np.ndindex(*found.shape):
        channel = index[-1]
        assert found[index] == scaled(int(total[index]), int(multiplier[channel]), int(shift[channel]), attributes)
    assert infer_node(node) == [TensorType("int8", found.shape)]


@given(seeds, multipliers, multipliers, st.integers(1, 30), int8s, int8s, int8s)
def test_qadd_is_its_definition(
    seed: int, a_factor: int, b_factor: int, shift: int, a_zero: int, b_zero: int, out_zero: int
) -> None:
    a, b = random_int8(seed, 2, 3, 4), random_int8(seed + 1, 3, 1)
    attributes = {
        "a_zero_point": a_zero,
        "b_zero_point": b_zero,
        "a_multiplier": a_factor,
        "b_multiplier": b_factor,
        "shift": shift,
        "output_zero_point": out_zero,
    }
    node = node_of("qadd", [a, b], attributes)
    (found,) = evaluate_node(node, [a, b])
    for index in np.ndindex(*found.shape):
        total = (int(a[index]) - a_zero) * a_factor + (int(b[index[1], 0]) - b_zero) * b_factor
        assert found[index] == scaled(total, 1, shift, attributes)
    assert infer_node(node) == [TensorType("int8", (2, 3, 4))]


@given(seeds, multipliers, shifts, int8s, int8s, int8s)
def test_qmul_is_its_definition(seed: int, factor: int, shift: int, a_zero: int, b_zero: int, out_zero: int) -> None:
    a, b = random_int8(seed, 2, 3), random_int8(seed + 1, 1, 3)
    attributes = {
        "a_zero_point": a_zero,
        "b_zero_point": b_zero,
        "multiplier": factor,
        "shift": shift,
        "output_zero_point": out_zero,
    }
    (found,) = evaluate_node(node_of("qmul", [a, b], attributes), [a, b])
    for index in np.ndindex(*found.shape):
        product = (int(a[index]) - a_zero) * (int(b[0, index[1]]) - b_zero)
        assert found[index] == scaled(product, factor, shift, attributes)


@given(seeds, st.integers(1, 3), st.integers(1, 2), st.integers(0, 1), multipliers, st.integers(10, 30), int8s, int8s)
def test_qaveragepool_counts_pads_as_zeros(
    seed: int, kernel: int, stride: int, pad: int, factor: int, shift: int, zero: int, out_zero: int
) -> None:
    x = random_int8(seed, 1, 2, 5, 4)
    attributes = {
        "kernel_shape": (kernel, kernel),
        "strides": (stride, stride),
        "pads": (pad, 0, 0, pad),
        "input_zero_point": zero,
        "output_zero_point": out_zero,
        "multiplier": factor,
        "shift": shift,
    }
    node = node_of("qaveragepool", [x], attributes)
    (found,) = evaluate_node(node, [x])
    for image, channel, row, column in np.ndindex(*found.shape):
        total = 0
        for i in range(kernel):
            for j in range(kernel):
                y, z = row * stride + i - pad, column * stride + j
                if 0 <= y < 5 and 0 <= z < 4:
                    total += int(x[image, channel, y, z]) - zero
        assert found[image, channel, row, column] == scaled(total, factor, shift, attributes)
    assert infer_node(node) == [TensorType("int8", found.shape)]


@given(multipliers, shifts, int8s, int8s)
def test_requantize_op_is_its_definition(factor: int, shift: int, zero: int, out_zero: int) -> None:
    x = np.arange(-128, 128).astype(np.int8)
    attributes = {"input_zero_point": zero, "output_zero_point": out_zero, "multiplier": factor, "shift": shift}
    (found,) = evaluate_node(node_of("requantize", [x], attributes), [x])
    assert found.tolist() == [scaled(int(value) - zero, factor, shift, attributes) for value in x]


@given(seeds)
def test_lookup_reads_bytes(seed: int) -> None:
    table, x = random_int8(seed, 256), np.arange(-128, 128).astype(np.int8)
    (found,) = evaluate_node(node_of("lookup", [x, table], {}, constants=1), [x, table])
    assert found.tolist() == [table[value % 256] for value in x.tolist()]


@given(seeds, st.integers(1, 12))
def test_qsoftmax_is_its_definition(seed: int, classes: int) -> None:
    x = random_int8(seed, 2, classes)
    table = np.rint(2.0**23 * np.exp(-0.05 * np.arange(256))).astype(np.int32)
    (found,) = evaluate_node(node_of("qsoftmax", [x, table], {"axis": -1}, constants=1), [x, table])
    for row, out in zip(x.tolist(), found.tolist()):
        weights = [int(table[max(row) - value]) for value in row]
        for weight, value in zip(weights, out):
            wanted = int(Fraction(256 * weight, sum(weights)) + Fraction(1, 2)) - 128
            assert value == min(wanted, 127)


# ---- refusals: what the quantizer must not make


def test_qconv_refuses_what_does_not_fit() -> None:
    good: list[Array] = [
        np.zeros((1, 4, 3, 3), np.int8),
        np.ones((2, 4, 3, 3), np.int8),
        np.zeros(2, np.int32),
        np.ones(2, np.int32),
        np.ones(2, np.int32),
    ]
    attributes = {
        "strides": (1, 1),
        "pads": (0, 0, 0, 0),
        "dilations": (1, 1),
        "input_zero_point": 0,
        "output_zero_point": 0,
    }
    assert infer_node(node_of("qconv", good, attributes, constants=4)) == [TensorType("int8", (1, 2, 1, 1))]
    for index, bad, what in (
        (0, np.zeros((1, 3, 3, 3), np.int8), "does not fit weight"),
        (0, np.zeros((1, 4, 2, 3), np.int8), "positions"),
        (1, np.full((2, 4, 3, 3), -128, np.int8), "weights are not constants"),
        (3, np.full(2, 1 << 21, np.int32), "leaves 0 to 2097151"),
        (4, np.zeros(2, np.int32), "leaves 1 to 47"),
        (4, np.ones(3, np.int32), "is not a constant int32"),
    ):
        arrays: list[Array] = [bad if place == index else array for place, array in enumerate(good)]
        with pytest.raises(CompileError, match=what):
            infer_node(node_of("qconv", arrays, attributes, constants=4))
    del attributes["strides"]
    with pytest.raises(CompileError, match="'strides' is missing"):
        infer_node(node_of("qconv", good, attributes, constants=4))
