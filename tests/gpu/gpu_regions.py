"""Regions on the OpenCL of this machine, against `evaluate`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
from pocl import name_processor

from intarsia.dtypes import Array
from intarsia.ir.evaluate import evaluate
from intarsia.ir.graph import Graph
from intarsia.runtime.device import LoadedRegion
from intarsia.targets import Target
from intarsia_backends.opencl.device import OpenClDevice
from intarsia_backends.opencl.target import OpenClTarget
from side_by_side import region_files

__all__ = ["check", "load", "region_files"]


@cache
def device() -> OpenClDevice:
    """The device, whose driver knows the processor."""
    name_processor()
    return OpenClDevice()


def load(graph: Graph, target: Target | None = None) -> LoadedRegion:
    """Compile a region that is supported as it is, and open it."""
    target = target or OpenClTarget()
    for node in graph.nodes:
        answer = target.supports(node)
        assert answer.ok, f"{node.where}: {answer}"
    return device().load(region_files(graph, target.compile(graph)))


def check(graph: Graph, inputs: Mapping[str, Array], target: Target | None = None) -> None:
    """Integers byte for byte, floats within rounding."""
    region = load(graph, target)
    compare(graph, inputs, region.run([inputs[value.name] for value in graph.inputs]).outputs)
    region.close()


def compare(graph: Graph, inputs: Mapping[str, Array], found: Sequence[Array]) -> None:
    """Outputs against `evaluate`: integers byte for byte, floats within rounding."""
    for value, wanted, actual in zip(graph.outputs, evaluate(graph, inputs), found):
        assert actual.dtype == wanted.dtype and actual.shape == wanted.shape, value
        if wanted.dtype.kind == "f":
            size = float(np.abs(wanted[np.isfinite(wanted)]).max(initial=1e-3))
            assert np.allclose(actual, wanted, rtol=0, atol=2e-5 * size, equal_nan=True), value
        else:
            assert np.array_equal(actual, wanted), value
