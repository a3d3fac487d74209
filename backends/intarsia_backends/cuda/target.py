"""The target `cuda`: a region as CUDA C++, compiled for the GPUs that are named."""

from __future__ import annotations

from intarsia.ir.graph import Graph
from intarsia.targets import Blob, TargetOption
from intarsia_backends.cuda.device import KIND, SOURCE
from intarsia_backends.cuda.dialect import CUDA_CPP
from intarsia_backends.cuda.images import MARKS, image_marks
from intarsia_backends.cuda.machine import CUDA
from intarsia_backends.cuda.toolchain.build import compile_text
from intarsia_backends.cuda.toolchain.find import find_compiler
from intarsia_backends.gpu.compiler import compile_region, layer_rows
from intarsia_backends.gpu.region import LAUNCHES
from intarsia_backends.gpu.target import GpuTarget, files_of

ARCHITECTURES = ("sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_120")
"""Turing, Ampere (A100, then the others), Ada, Hopper, Blackwell of desks. What lies between runs the code of the
nearest below, where that has the same major number."""

PTX = "compute_80"
"""For all others that are newer than that: their driver compiles it when it is loaded."""

ALL = "all"

_ARCH = TargetOption(
    "arch",
    ALL,
    "the one architecture that code is made for; all: those named here, and PTX for newer",
    (ALL, *ARCHITECTURES),
)


class CudaTarget(GpuTarget):
    """NVIDIA's GPUs. No GPU and no driver is needed to compile for them."""

    name = "cuda"
    description = "NVIDIA's GPUs from compute capability 7.5 on, and the CPU beside them"
    language = "CUDA C++"
    options = (_ARCH,)
    machine = CUDA

    @property
    def architectures(self) -> tuple[str, ...]:
        """What code is made for."""
        arch = str(self.settings["arch"])
        return (*ARCHITECTURES, PTX) if arch == ALL else (arch,)

    def ready(self) -> None:
        """Raises CompileError where there is no compiler of CUDA C++."""
        find_compiler(self.architectures)

    def compile(self, region: Graph) -> Blob:
        """Machine code of its kernels, their text, how they are launched, and a file of weights.

        Raises CompileError where there is no TVM or no compiler, and where a kernel takes more than a GPU has.
        """
        code = compile_region(region, self.machine, CUDA_CPP)
        binaries = compile_text(code.text, self.architectures)
        files = {**files_of(code, SOURCE), **binaries.files}
        metadata = {
            **self.metadata_of(code),
            "compiler": binaries.compiler,
            MARKS: image_marks(files[LAUNCHES], binaries.files),
        }
        return Blob(KIND, files, metadata, layer_rows(region), notes=binaries.notes)
