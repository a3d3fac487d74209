"""A plugin of pytest: layers that tests build for the CPU run as CUDA C++ instead, by way of `cuda_on_cpu`.

PYTHONPATH=tests:tests/gpu pytest -p on_cuda tests/cpu/test_cpu_float.py ...

For the same tests as `on_opencl`. INTARSIA_THREADS chooses the order of threads: 0, 1, or the seed of a random one.
"""

from __future__ import annotations

import os
import sys
from functools import partial
from importlib import import_module
from pathlib import Path

from cuda_on_cpu.lane import CpuLane
from cuda_regions import FOLDER, compiled

from intarsia.ir.graph import Graph
from intarsia.runtime.device import LoadedRegion
from intarsia.targets import Blob
from intarsia_backends.gpu.region import GpuRegion
from intarsia_backends.opencl.target import OpenClTarget
from side_by_side import region_files

sys.path.append(str(Path(__file__).resolve().parents[1] / "cpu"))
cpu_regions = import_module("cpu_regions")
ORDER = int(os.environ.get("INTARSIA_THREADS", "7"))
TARGET = OpenClTarget().with_options({"float64": True})


def load(graph: Graph, target: object = None) -> LoadedRegion:
    """Compile a region for CUDA, whatever target is asked for, and open it."""
    graph = cpu_regions.decomposed(graph, TARGET)
    code = compiled(graph)
    files = region_files(graph, Blob("cuda", {}))
    return GpuRegion(files, code.launches, code.text, partial(CpuLane, code, FOLDER, ORDER))


setattr(cpu_regions, "load", load)  # noqa: B010 - a module that mypy knows has no such attribute to set
