"""Modules that are written once more for simulation give the bits of what is synthesised, in every cycle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from harness import module, needs_verilator

from intarsia.dtypes import Array

pytestmark = [pytest.mark.rtl, needs_verilator]

CYCLES = 40_000
SETTLED = 4_000
"""Cycles after which no register holds what it held at power-up."""


def bits(random: np.random.Generator, one_in: float) -> Array:
    return (random.random((CYCLES, 1)) < 1 / one_in).astype(np.uint8)


def numbers(random: np.random.Generator, count: int) -> Array:
    """Bytes of each cycle: of any value, or of the extremes, or mostly those of the cycle before."""
    found = random.integers(0, 256, (CYCLES, count)).astype(np.uint8)
    extreme = np.array([0x80, 0x81, 0x7F, 0, 0xFF], np.uint8)[random.integers(0, 5, found.shape)]
    return np.where(random.random((CYCLES, 1)) < 0.5, extreme, found)


def held(random: np.random.Generator, values: Array, least: int) -> Array:
    """Values that change after `least` cycles or more."""
    changes, at = np.zeros(CYCLES, np.int64), 0
    while at < CYCLES:
        changes[at], at = 1, at + least + int(random.geometric(0.1))
    return values[np.cumsum(changes)]


def changed(values: Array, cycles: int) -> Array:
    """Whether a value has changed in the last cycles, so many, or is about to: bool [CYCLES]."""
    found = np.zeros(CYCLES + cycles, bool)
    for later in range(cycles):
        found[np.flatnonzero(np.diff(values)) + later] = True
    return found[:CYCLES]


def fitting(random: np.random.Generator, largest: int) -> Array:
    """Shifts, less 1, of sums of random width: uint8 [CYCLES, 1]."""
    return np.clip(random.normal(largest * 0.6, 8, (CYCLES + 1, 1)), 0, largest).astype(np.uint8)


def packed(values: Array, bits: int) -> Array:
    """Numbers [cycles, lanes] side by side: uint8 [cycles, bytes]."""
    planes = (values[:, :, None].astype(np.int64) >> np.arange(bits)) & 1
    return np.packbits(planes.reshape(len(values), -1).astype(np.uint8), axis=1, bitorder="little")


def narrow(random: np.random.Generator, lanes: int, bits: int) -> Array:
    """Signed numbers of any width up to so many bits."""
    values = random.integers(-(1 << bits - 1), 1 << bits - 1, (CYCLES, lanes))
    return values >> random.integers(0, bits, (CYCLES, 1))


def the_same(
    top: str, inputs: Mapping[str, Array], outputs: Sequence[str], left_out: Array | None = None, **parameters: Any
) -> None:
    """left_out  cycles in which outputs may differ"""
    compared = np.arange(CYCLES) >= SETTLED
    if left_out is not None:
        compared &= ~left_out
    seen = []
    for fast in (False, True):
        with module(top, fast=fast, seed=1 + fast, optimise="-O2" if fast else "-O1", **parameters) as model:
            seen.append(model.play(inputs, outputs))
    for name in outputs:
        written, simulated = (found[name] for found in seen)
        differ = np.flatnonzero((written != simulated).any(axis=1) & compared)
        assert not len(differ), f"{name}: {len(differ)} cycles differ, the first is {differ[0]}"
        assert len(np.unique(written[compared], axis=0)) > compared.sum() // 10


@pytest.mark.parametrize(("pixels", "dsp_lanes"), [(2, 12), (2, 16), pytest.param(4, 12, marks=pytest.mark.slow)])
def test_mac_array(pixels: int, dsp_lanes: int) -> None:
    random = np.random.default_rng([pixels, dsp_lanes])
    select = random.integers(0, 4, (CYCLES, 1)).astype(np.uint8) * bits(random, 2)
    inputs = {
        "rst_ni": 1 - bits(random, 500),
        "row_i": bits(random, 2),
        "row_index_i": random.integers(0, 4, (CYCLES, 1)).astype(np.uint8),
        "row_zero_i": bits(random, 20),
        "row_data_i": numbers(random, 64),
        "switch_i": bits(random, 3),
        "x_i": numbers(random, 16 * pixels),
        "select_i": select,
        "window_i": numbers(random, 240),
    }
    the_same("ia_mac_array", inputs, ["sum_o"], Pixels=pixels, DspLanes=dsp_lanes)


def clamps(random: np.random.Generator) -> dict[str, Array]:
    wide = bits(random, 2)
    return {
        "zero_point_i": numbers(random, 1),
        "clamp_min_i": np.where(wide, 0x80, numbers(random, 1)).astype(np.uint8),
        "clamp_max_i": np.where(wide, 0x7F, numbers(random, 1)).astype(np.uint8),
        "clamp_turned_i": bits(random, 20),
    }


def test_conv_first() -> None:
    random = np.random.default_rng(1)
    load = held(random, np.arange(CYCLES + 1), 10)
    multipliers = np.where(random.random((CYCLES, 16)) < 0.2, (1 << 21) - 1, random.integers(0, 1 << 21, (CYCLES, 16)))
    shifts = np.where(bits(random, 10), random.integers(0, 64, (CYCLES, 16)), fitting(random, 47)[:CYCLES])
    inputs = {
        "rst_ni": (np.arange(CYCLES)[:, None] > 20).astype(np.uint8),
        "load_i": np.diff(load, prepend=0)[:, None].astype(np.uint8),
        "biases_i": packed(narrow(random, 16, 32), 32),
        "multipliers_i": packed(multipliers, 21),
        "shifts_i": packed(shifts, 6),
        "sums_i": packed(narrow(random, 16, 32), 32),
        **clamps(random),
    }
    the_same("ia_conv_first", inputs, ["values_o"])


def test_conv_second() -> None:
    random = np.random.default_rng(2)
    group = held(random, np.arange(CYCLES + 1), 30)
    inputs = {
        "values_i": packed(narrow(random, 8, 9), 9),
        "residuals_i": packed(narrow(random, 8, 9), 9),
        "multiplier_i": packed(random.integers(0, 1 << 21, (CYCLES + 1, 1)), 21)[group],
        "residual_multiplier_i": packed(random.integers(0, 1 << 21, (CYCLES + 1, 1)), 21)[group],
        "shift_i": np.where(bits(random, 10), numbers(random, 1) & 63, 8 + fitting(random, 16)[group]).astype(np.uint8),
        **clamps(random),
    }
    the_same("ia_conv_second", inputs, ["values_o"], left_out=changed(group, 16))


def test_memory_bank() -> None:
    random = np.random.default_rng(3)
    words = 64
    a, b = (random.integers(0, words, (CYCLES, 1)).astype(np.uint8) for _ in range(2))
    lanes = np.where(bits(random, 2), 255 * bits(random, 2), numbers(random, 2)).astype(np.uint8)
    inputs = {
        "a_enable_i": bits(random, 2) & (a != b),
        "a_address_i": a,
        "b_enable_i": bits(random, 2),
        "b_address_i": b,
        "b_write_i": lanes,
        "b_write_data_i": numbers(random, 16),
    }
    the_same("ia_memory_bank", inputs, ["a_data_o", "b_data_o"], Words=words)


def test_vector_product() -> None:
    random = np.random.default_rng(4)
    inputs = {name: packed(random.integers(-255, 256, (CYCLES, 1)), 9) for name in ("x_i", "y_i")}
    the_same("ia_vector_product", inputs, ["product_o"])


def test_vector_factor() -> None:
    random = np.random.default_rng(5)
    group = held(random, np.arange(CYCLES + 1), 20)
    inputs = {
        "x_i": packed(random.integers(-256, 256, (CYCLES, 1)), 9),
        "y_i": packed(random.integers(0, 1 << 21, (CYCLES + 1, 1)), 21)[group],
        "add_i": packed(random.integers(0, 1 << 21, (CYCLES, 1)), 21),
    }
    the_same("ia_vector_factor", inputs, ["product_o"], left_out=changed(group, 3))
