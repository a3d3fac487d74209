"""The target `opencl`: a region as OpenCL C, which the device's own driver compiles when it is loaded."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from intarsia.ir.graph import Graph, Node
from intarsia.targets import Blob, OptionValue, Support, Target, TargetOption
from intarsia_backends.gpu.compiler import compile_region, layer_rows
from intarsia_backends.gpu.launches import INTERFACE
from intarsia_backends.gpu.lower import supports
from intarsia_backends.gpu.machine import GpuMachine
from intarsia_backends.gpu.region import LAUNCHES, WEIGHTS_FILE, with_mark
from intarsia_backends.opencl.device import KIND, SOURCE
from intarsia_backends.opencl.dialect import OPENCL_C

_FLOAT64 = TargetOption("float64", False, "float64 ops too, for devices that have cl_khr_fp64; else they go to the CPU")


class OpenClTarget(Target):
    """Whatever device has OpenCL: GPUs of all makes, and CPUs. Nothing of one is needed to compile for it."""

    name = "opencl"
    description = "GPUs and other devices with OpenCL 1.2, and the CPU beside them"
    host = "cpu"
    precisions = ("float32", "float16", "int8")
    options = (_FLOAT64,)

    def __init__(self) -> None:
        self.machine = GpuMachine()

    def with_options(self, chosen: Mapping[str, OptionValue]) -> Target:
        made = super().with_options(chosen)
        assert isinstance(made, OpenClTarget)
        made.machine = replace(made.machine, floats_64=bool(made.settings["float64"]))
        return made

    def for_precision(self, precision: str) -> OpenClTarget:
        made = copy.copy(self)
        made.products = "float16" if precision == "float16" else "float32"
        made.machine = replace(made.machine, halves=precision == "float16")
        return made

    def supports(self, node: Node) -> Support:
        return supports(node, self.machine)

    def compile(self, region: Graph) -> Blob:
        """The text of its kernels, how they are launched, and a file of weights. CompileError where there is no TVM."""
        code = compile_region(region, self.machine, OPENCL_C)
        metadata = {
            "interface": INTERFACE,
            "language": "OpenCL C 1.2",
            "kernels": len(code.launches.kernels),
            "steps": len(code.launches.steps),
            "arena_bytes": code.launches.arena_bytes,
            "weights_bytes": code.launches.weights_bytes,
        }
        launches = code.launches.to_json()
        files = {SOURCE: with_mark(code.text, launches).encode(), LAUNCHES: launches, WEIGHTS_FILE: code.weights}
        return Blob(KIND, files, metadata, layer_rows(region))

    def facts(self) -> Mapping[str, Any]:
        return {"language": "OpenCL C 1.2", "block_threads": self.machine.block, "float64": self.machine.floats_64}
