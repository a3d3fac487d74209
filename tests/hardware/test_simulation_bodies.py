"""Modules that are written once more for simulation: in every cycle the bits of what is synthesised, whatever comes in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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


def the_same(top: str, inputs: Mapping[str, Array], outputs: Sequence[str], **parameters: int) -> None:
    seen = []
    for fast in (False, True):
        with module(top, fast=fast, seed=1 + fast, optimise="-O2" if fast else "-O1", **parameters) as model:
            seen.append(model.play(inputs, outputs))
    for name in outputs:
        written, simulated = (found[name][SETTLED:] for found in seen)
        differ = np.flatnonzero((written != simulated).any(axis=1))
        assert not len(differ), f"{name}: {len(differ)} cycles differ, the first is {SETTLED + differ[0]}"
        assert len(np.unique(written, axis=0)) > CYCLES // 20


@pytest.mark.parametrize(("pixels", "dsp_lanes"), [(2, 12), (2, 16), (4, 12)])
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
