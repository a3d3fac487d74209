"""The target `opencl`: a region as OpenCL C, which the device's own driver compiles when it is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from intarsia.ir.graph import Graph
from intarsia.targets import Blob, OptionValue, Target, TargetOption
from intarsia_backends.gpu.compiler import compile_region, layer_rows
from intarsia_backends.gpu.machine import GpuMachine
from intarsia_backends.gpu.target import GpuTarget, files_of
from intarsia_backends.opencl.device import KIND, SOURCE
from intarsia_backends.opencl.dialect import OPENCL_C

_FLOAT64 = TargetOption("float64", False, "float64 ops too, for devices that have cl_khr_fp64; else they go to the CPU")


class OpenClTarget(GpuTarget):
    """Whatever device has OpenCL: GPUs of all makes, and CPUs. Nothing of one is needed to compile for it."""

    name = "opencl"
    description = "GPUs and other devices with OpenCL 1.2, and the CPU beside them"
    language = "OpenCL C 1.2"
    options = (_FLOAT64,)
    machine = GpuMachine()

    def with_options(self, chosen: Mapping[str, OptionValue]) -> Target:
        made = super().with_options(chosen)
        assert isinstance(made, OpenClTarget)
        made.machine = replace(made.machine, floats_64=bool(made.settings["float64"]))
        return made

    def compile(self, region: Graph) -> Blob:
        """The text of its kernels, how they are launched, and a file of weights. CompileError where there is no TVM."""
        code = compile_region(region, self.machine, OPENCL_C)
        return Blob(KIND, files_of(code, SOURCE), self.metadata_of(code), layer_rows(region))
