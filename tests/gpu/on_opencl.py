"""A plugin of pytest: layers that tests build for the CPU run on the OpenCL of this machine instead.

PYTHONPATH=tests:tests/gpu pytest -p on_opencl tests/cpu/test_cpu_float.py ...

For tests that compile by `cpu_regions.load` without a target of their own, which are those of ops:
test_cpu_arithmetic, _float, _half, _indexing, _integer, _integer_products, _movement, _parts, _products, _recurrent,
_rows, _sampling, _windows.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

from gpu_regions import device, region_files

from intarsia.ir.graph import Graph
from intarsia.runtime.device import LoadedRegion
from intarsia_backends.opencl.target import OpenClTarget

sys.path.append(str(Path(__file__).resolve().parents[1] / "cpu"))
cpu_regions = import_module("cpu_regions")
TARGET = OpenClTarget().with_options({"float64": True})


def load(graph: Graph, target: object = None) -> LoadedRegion:
    """Compile a region for OpenCL, whatever target is asked for, and open it."""
    graph = cpu_regions.decomposed(graph, TARGET)
    for node in graph.nodes:
        answer = TARGET.supports(node)
        assert answer.ok, f"{node.where}: {answer}"
    return device().load(region_files(graph, TARGET.compile(graph)))


setattr(cpu_regions, "load", load)  # noqa: B010 - a module that mypy knows has no such attribute to set
