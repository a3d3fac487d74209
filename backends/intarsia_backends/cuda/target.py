"""The target `cuda`: a region as CUDA C++, compiled for the GPUs that are named."""

from __future__ import annotations

from collections.abc import Mapping

from intarsia.errors import CompileError
from intarsia.ir.graph import Graph
from intarsia.targets import Blob, OptionValue, Target, TargetOption
from intarsia_backends.cuda.device import KIND, SOURCE
from intarsia_backends.cuda.dialect import CUDA_CPP
from intarsia_backends.cuda.estimate.cards import CARDS
from intarsia_backends.cuda.estimate.work import work_of
from intarsia_backends.cuda.figures import Region, card_for, code_for, figures
from intarsia_backends.cuda.images import MARKS, image_marks
from intarsia_backends.cuda.limits import check_blocks, check_resources
from intarsia_backends.cuda.machine import CUDA
from intarsia_backends.cuda.toolchain.build import compile_text
from intarsia_backends.cuda.toolchain.find import INSTALL, find_compiler, tool
from intarsia_backends.cuda.toolchain.sass import Codes
from intarsia_backends.gpu.compiler import compile_region, layer_rows
from intarsia_backends.gpu.region import LAUNCHES
from intarsia_backends.gpu.target import GpuTarget, files_of

ARCHITECTURES = ("sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_120")
"""Turing, Ampere (A100, then the others), Ada, Hopper, Blackwell of desks. What lies between runs the code of the
nearest below, where that has the same major number."""

PTX = "compute_80"
"""For all others that are newer than that: their driver compiles it when it is loaded."""

ALL, AUTO = "all", "auto"

_ARCH = TargetOption(
    "arch",
    ALL,
    "the one architecture that code is made for; all: those named here, and PTX for newer",
    (ALL, *ARCHITECTURES),
)
_CARD = TargetOption(
    "card",
    AUTO,
    "the card that reports estimate the least time for; auto: an A100, or one of the architecture",
    (AUTO, *CARDS),
)


class CudaTarget(GpuTarget):
    """NVIDIA's GPUs. No GPU and no driver is needed to compile for them."""

    name = "cuda"
    description = "NVIDIA's GPUs from compute capability 7.5 on, and the CPU beside them"
    language = "CUDA C++"
    options = (_ARCH, _CARD)
    machine = CUDA

    @property
    def architectures(self) -> tuple[str, ...]:
        """What code is made for."""
        arch = str(self.settings["arch"])
        return (*ARCHITECTURES, PTX) if arch == ALL else (arch,)

    @property
    def card(self) -> str:
        """The name of the card that estimates are for."""
        card = str(self.settings["card"])
        return card_for(self.architectures) if card == AUTO else card

    def with_options(self, chosen: Mapping[str, OptionValue]) -> Target:
        made = super().with_options(chosen)
        assert isinstance(made, CudaTarget)
        card = CARDS[made.card]
        if code_for(card, made.architectures) is None:
            raise CompileError(
                where=f"target '{self.name}'",
                what=f"{card.title} does not run code for {', '.join(made.architectures)}",
                help=f"leave out the card, or choose arch=sm_{card.capability}",
            )
        return made

    def ready(self) -> None:
        """Raises CompileError where there is no compiler of CUDA C++."""
        find_compiler(self.architectures)

    def compile(self, region: Graph) -> Blob:
        """Machine code of its kernels, their text, how they are launched, and a file of weights.

        Raises CompileError where there is no TVM or no compiler, and where a kernel takes more than a GPU has.
        """
        code = compile_region(region, self.machine, CUDA_CPP)
        facts = code.launches.kernels
        check_blocks(facts)
        binaries = compile_text(code.text, self.architectures)
        works = [work_of(kernel, source) for kernel, source in code.sources.items()]
        multiplying = {of_it.name for of_it, work in zip(facts, works) if work.operations}
        codes = Codes(tool("nvdisasm"), binaries.files)
        check_resources(binaries.resources, codes, facts, multiplying)
        card = CARDS[self.card]
        name = code_for(card, self.architectures)
        assert name is not None, "asked when options were chosen"
        told = figures(Region(region, code.launches, works, self.machine.halves), binaries, codes, card, name)
        notes = binaries.notes
        if codes.trouble:
            notes = (*notes, f"instructions of kernels are not counted: {codes.trouble} ({INSTALL})")
        files = {**files_of(code, SOURCE), **binaries.files}
        metadata = {
            **self.metadata_of(code),
            "compiler": binaries.compiler,
            MARKS: image_marks(files[LAUNCHES], binaries.files),
            **told,
        }
        return Blob(KIND, files, metadata, layer_rows(region), notes=notes)
