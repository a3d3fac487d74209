"""Where regions for the CPU hold the constants of their graphs."""

from __future__ import annotations

import pytest
from cpu_regions import LEVELS, Layers, level_target

from intarsia.artifact.elsewhere import shared

LEAST_BYTES = 1024


@pytest.mark.parametrize("level", LEVELS)
def test_what_the_cpus_compiler_says_is_true(level: str) -> None:
    layers = Layers()
    for rows, depth, columns in ((1, 40, 70), (3, 33, 50), (1, 300, 17)):
        layers.add("dense", [layers.floats(rows, depth), layers.floats(depth, columns)], constants=(1,))
    layers.add("Gemm", [layers.floats(2, 30), layers.floats(45, 30)], {"transB": 1}, constants=(1,))
    window = {"pads": (1, 1, 1, 1), "kernel_shape": (3, 3), "strides": (2, 2), "dilations": (1, 1)}
    layers.add("Conv", [layers.floats(1, 8, 9, 9), layers.floats(20, 8, 3, 3)], {**window, "group": 1}, constants=(1,))
    layers.add("Conv", [layers.floats(1, 8, 9, 9), layers.floats(40, 4, 3, 3)], {**window, "group": 2}, constants=(1,))
    blob = level_target(level).compile(layers.graph)
    constants = {value.name: value.data for value in layers.graph.values() if value.data is not None}
    assert shared(constants, blob.constants, blob.files) == blob.constants
    assert set(blob.constants) == {name for name, data in constants.items() if data.nbytes >= LEAST_BYTES}
