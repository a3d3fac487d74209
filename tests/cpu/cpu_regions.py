"""Regions compiled for a CPU and opened, and layers side by side in one."""

from __future__ import annotations

import pytest

from intarsia.ir.graph import Graph
from intarsia.ir.verify import verify
from intarsia.partition.advice import advised
from intarsia.passes.decompose import Decompose
from intarsia.runtime.device import LoadedRegion, RegionResult
from intarsia_backends.cpu.device import CpuDevice
from intarsia_backends.cpu.machine import Machine, machine_features, this_machine
from intarsia_backends.cpu.target import CpuTarget
from side_by_side import SideBySide, region_files


def decomposed(graph: Graph, target: CpuTarget) -> Graph:
    """A copy of a graph, with ops taken apart that the target does not take whole."""
    graph = graph.copy()
    if advised(Decompose((target.name,)), [target]).run(graph):
        verify(graph, "decomposed")
    return graph


def load(graph: Graph, target: CpuTarget | None = None) -> LoadedRegion:
    """Compile a region and open it; ops that are not taken whole are taken apart before."""
    target = target or CpuTarget()
    graph = decomposed(graph, target)
    for node in graph.nodes:
        answer = target.supports(node)
        assert answer.ok, f"{node.where}: {answer}"
    return CpuDevice().load(region_files(graph, target.compile(graph)))


class Layers(SideBySide):
    """Layers that run by code for a CPU."""

    def run(self, target: CpuTarget | None = None) -> RegionResult:
        return load(self.graph, target).run(self.inputs)


AVX2 = ("avx2", "f16c", "fma", "sse4_1")
AVX512 = ("avx2", "avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl", "f16c", "fma", "sse4_1")
LEVELS: dict[str, tuple[str, ...]] = {"baseline": (), "avx2": AVX2, "avx512": AVX512}
"""Sets of instructions, which have 4, 8 and 16 numbers in a vector."""


def level_target(level: str) -> CpuTarget:
    """Code for a set of instructions; skips where this machine has it not."""
    here = this_machine()
    if level == "baseline":
        return CpuTarget(Machine(here.name, "baseline", ()))
    if here.name != "x86_64" or not machine_features().issuperset(LEVELS[level]):
        pytest.skip(f"needs a processor with {level}")
    return CpuTarget(Machine("x86_64", level, LEVELS[level]))
