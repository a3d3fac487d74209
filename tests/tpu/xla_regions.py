"""Regions compiled for TPUs and opened on XLA's CPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from intarsia.dtypes import Array
from intarsia.ir.evaluate import evaluate
from intarsia.ir.graph import Graph
from intarsia.runtime.device import LoadedRegion, RegionResult
from intarsia_backends.tpu.device import XlaCpuDevice
from intarsia_backends.tpu.target import TpuTarget
from side_by_side import SideBySide, region_files

pytest.importorskip("jaxlib", reason="needs jaxlib, which comes for Python 3.11 and newer")


def tpu_target(**options: Any) -> TpuTarget:
    """The target without a compilation ahead of time."""
    made = TpuTarget().with_options({"ahead": False, **options})
    assert isinstance(made, TpuTarget)
    return made


def load(graph: Graph, target: TpuTarget | None = None) -> LoadedRegion:
    """Compile a region and open it; the target must take each of its nodes."""
    target = target or tpu_target()
    for node in graph.nodes:
        answer = target.supports(node)
        assert answer.ok, f"{node.where}: {answer}"
    return XlaCpuDevice().load(region_files(graph, target.compile(graph)))


def check_bytes(graph: Graph, inputs: Mapping[str, Array]) -> None:
    """XLA gives the bytes of `evaluate`."""
    expected = evaluate(graph, inputs)
    found = load(graph).run([inputs[value.name] for value in graph.inputs]).outputs
    for value, wanted, output in zip(graph.outputs, expected, found):
        assert output.dtype == wanted.dtype
        np.testing.assert_array_equal(output, wanted, err_msg=str(value))


class Layers(SideBySide):
    """Layers that run by XLA."""

    def run(self, target: TpuTarget | None = None) -> RegionResult:
        return load(self.graph, target).run(self.inputs)
