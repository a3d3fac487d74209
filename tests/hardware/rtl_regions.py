"""A small region for the overlay, compiled for `tiny`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

for _name in ("overlay", "simulator"):
    sys.path.append(str(Path(__file__).parents[1] / _name))

from engines import region_files, target  # noqa: E402
from overlay_graphs import Net  # noqa: E402

from intarsia.dtypes import Array  # noqa: E402
from intarsia.runtime.device import RegionFiles  # noqa: E402


def small_region() -> RegionFiles:
    """A residual block of a small picture, a pool, a depthwise convolution, a dense layer."""
    net = Net("small", seed=3)
    x = net.input(1, 3, 12, 10)
    y = net.conv(x, 20, 3)
    z = net.add(net.conv(y, 20, 3), y)
    pooled = net.max_pool(z)
    depthwise = net.conv(pooled, 20, 3, group=20)
    graph = net.output(net.matmul(net.flatten(net.average_pool(net.lookup(depthwise))), 10))
    return region_files(graph, target("tiny").compile(graph))


def picture(seed: int) -> Array:
    return np.random.default_rng(seed).integers(-128, 128, (1, 3, 12, 10)).astype(np.int8)
