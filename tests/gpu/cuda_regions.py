"""Regions as CUDA C++, run by the processor, against `evaluate`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from cuda_on_cpu import ORDERS
from cuda_on_cpu.lane import CpuLane
from gpu_regions import compare, region_files

from intarsia.dtypes import Array
from intarsia.ir.graph import Graph
from intarsia.targets import Blob
from intarsia_backends.cuda.dialect import CUDA_CPP
from intarsia_backends.cuda.machine import CUDA
from intarsia_backends.gpu.compiler import GpuCode, compile_region
from intarsia_backends.gpu.lower import supports
from intarsia_backends.gpu.machine import GpuMachine
from intarsia_backends.gpu.region import GpuRegion

_folder = TemporaryDirectory(prefix="cuda-on-cpu-")
FOLDER = Path(_folder.name)
"""Where kernels of this process are built."""


def compiled(graph: Graph, machine: GpuMachine = CUDA) -> GpuCode:
    """A region that is supported as it is."""
    for node in graph.nodes:
        answer = supports(node, machine)
        assert answer.ok, f"{node.where}: {answer}"
    return compile_region(graph, machine, CUDA_CPP)


def run(graph: Graph, code: GpuCode, inputs: Mapping[str, Array], order: int, fill: int = 0xA5) -> list[Array]:
    """The outputs of a region."""
    region = GpuRegion(
        region_files(graph, Blob("cuda", {})),
        code.launches,
        code.text,
        partial(CpuLane, code, FOLDER, order, fill),
    )
    return list(region.run([inputs[value.name] for value in graph.inputs]).outputs)


def check(graph: Graph, inputs: Mapping[str, Array], machine: GpuMachine = CUDA) -> None:
    """In every order of threads, whatever lies around: integers byte for byte, floats within rounding."""
    code = compiled(graph, machine)
    for number, order in enumerate(ORDERS):
        compare(graph, inputs, run(graph, code, inputs, order, (0xA5, 0x5A)[number % 2]))
