"""CPUs as targets: machine code, ahead of time, for this machine's processor and for those of boards."""

from __future__ import annotations

import copy
import platform
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from intarsia.artifact import memory
from intarsia.ir.graph import Graph, Node
from intarsia.targets import Blob, OptionValue, Progress, Support, Target, TargetOption, Tuned
from intarsia_backends.cpu.codes import joined
from intarsia_backends.cpu.device import INTERFACE, KIND, WEIGHTS
from intarsia_backends.cpu.images_source import images_source
from intarsia_backends.cpu.library import Facts
from intarsia_backends.cpu.link import (
    ENTRY,
    c_compiler,
    check_linker,
    cross_compiler,
    entry_source,
    link_region,
    write_kernels,
)
from intarsia_backends.cpu.lower.region import layer_rows, lower_region, supported
from intarsia_backends.cpu.machine import Machine, machine_of, this_machine
from intarsia_backends.cpu.several_images import several_images
from intarsia_backends.cpu.tuning_tasks import CACHE, HEURISTIC, SEARCH, Configs
from intarsia_backends.lowering.kernel import Kernel
from intarsia_backends.lowering.memory_plan import plan
from intarsia_backends.lowering.origins import origins
from intarsia_backends.lowering.program import Bounds

_LEVEL = TargetOption(
    "level",
    "native",
    "code with all that this processor has, or with what all of its family have",
    ("native", "portable"),
)
_STRICT = TargetOption(
    "strict",
    False,
    "float32 convolutions without Winograd's algorithm, whose errors are up to 1e-5 of the largest output",
)


_NEAR_WEIGHTS_BYTES = 2 << 20
"""Weights up to which each thread reads all of them, for images of its own; others are better read once, by all."""


class CpuTarget(Target):
    """Code by TVM for the processor of the building machine.

    machine  what to make code for; this machine with all that it has where none is named
    profile  whether regions note how long each of their calls takes; see `link.PROFILE`

    configs  answers how the work of kernels is cut up: the heuristic alone, before `tuned` found others
    linker   the target whose compiler links the code, where that is not this machine's
    """

    name = "cpu"
    description = "this machine's processor"
    system = platform.system()
    host = None
    precisions = ("float32", "int8")
    options: tuple[TargetOption, ...] = (_LEVEL, _STRICT)

    def __init__(self, machine: Machine | None = None, *, profile: bool = False) -> None:
        self.machine = machine or this_machine()
        self.profile = profile
        self.configs = Configs()
        self.linker: CpuTarget | None = None

    def with_options(self, chosen: Mapping[str, OptionValue]) -> CpuTarget:
        made = copy.copy(self)
        made.chosen = {**self.chosen, **chosen}
        machine = this_machine(portable=chosen["level"] == "portable") if "level" in chosen else self.machine
        made.machine = replace(machine, strict=bool(made.settings["strict"]))
        return made

    def together(self, other: Target) -> Target | None:
        """With the other's code in each region too, made with the options that both have.

        Where both are for one kind of machine, there is one code, linked to run on the older systems of boards.
        """
        if not isinstance(other, CpuTarget):
            return None
        known = {option.name for option in other.options}
        other = other.with_options({name: value for name, value in self.chosen.items() if name in known})
        made = copy.copy(self)
        if other.machine == self.machine and self.system == other.system:
            made.linker = other
        else:
            made.beside = other
        return made

    def ready(self) -> None:
        """CompileError without a C compiler, and where one for another machine does not work.

        TVM is not looked for: what an overlay takes whole needs no code, and can be compiled where there is no TVM.
        """
        self.compiler()
        for other in (self.linker, self.beside):
            if other is not None:
                other.ready()

    def compiler(self) -> list[str]:
        """The command that compiles C for the machine. CompileError where there is none."""
        return c_compiler() if self.linker is None else self.linker.compiler()

    def supports(self, node: Node) -> Support:
        return supported(node)

    def compile(self, region: Graph) -> Blob:
        """One shared library and one file of weights; two, as far as they differ, where there is a target beside.

        Raises CompileError where there is no C compiler, or no TVM for this machine.
        """
        blob = self._code(region)
        if self.beside is None:
            return blob
        other = self.beside.compile(region)
        files, metadata = joined(
            (blob.files, blob.metadata), (other.files, other.metadata), str(other.metadata["machine"])
        )
        return replace(blob, files=files, metadata=metadata)

    def _code(self, region: Graph) -> Blob:
        program = lower_region(region, self.machine, self.configs)
        plan(program)
        symbols: dict[Kernel, str] = {}
        for call in program.calls:
            if call.kernel is not None and not isinstance(call.kernel, Bounds):
                symbols.setdefault(call.kernel, f"kernel_{len(symbols)}")
        entry_symbols = dict(symbols)
        several = several_images(program, self.machine)
        for kernel in several.kernels.values():
            symbols.setdefault(kernel, f"kernel_{len(symbols)}")
        kernels = {symbol: kernel for kernel, symbol in symbols.items()}
        write_object = partial(write_kernels, kernels, self.machine, f"region '{region.name}'")
        facts = Facts(
            INTERFACE,
            program.arena,
            len(program.weights),
            len(program.bounds),
            tuple((value.dtype, value.shape) for value in region.inputs),
            tuple((value.dtype, value.shape) for value in region.outputs),
            several.images,
            several.arena,
        )
        source = entry_source(program, entry_symbols, facts, profile=self.profile)
        shares = not several.kernels or len(program.weights) <= _NEAR_WEIGHTS_BYTES
        source += images_source(region, program, several, symbols, shares)
        library = link_region(source, write_object, self.compiler())
        metadata = {
            "interface": INTERFACE,
            "entry": ENTRY,
            "arena_bytes": program.arena,
            "images": several.images,
            "images_arena_bytes": several.arena,
            "weights_bytes": len(program.weights),
            memory.KEY: {"bytes": len(program.weights) + program.arena},
            "kernels": len(symbols),
            "calls": len(program.calls),
            "bounds": [bounds.text for bounds in program.bounds],
            "system": self.system,
            "machine": self.machine.name,
            "level": self.machine.level,
            "features": list(self.machine.features),
            "blockings": {source: program.sources[source] for source in (HEURISTIC, SEARCH, CACHE)},
            "threads": "as many as load() is asked for, else INTARSIA_THREADS, else one a processor",
        }
        files = {"region.so": library, "weights.bin": bytes(program.weights)}
        return Blob(KIND, files, metadata, layer_rows(region), origins(region, program, WEIGHTS))

    def tuned(self, regions: Sequence[Graph], seconds: float, progress: Progress | None = None) -> Tuned | None:
        """A target that cuts up the work of the regions' kernels as timings on this machine say is fastest."""
        from intarsia_backends.cpu.tuning.regions import tune_regions

        found = tune_regions(regions, self.machine, self.compiler(), seconds, progress=progress)
        target = copy.copy(self)
        target.configs = found.configs
        return Tuned(target, found.notes)

    def facts(self) -> Mapping[str, Any]:
        return {"machine": self.machine.name, "level": self.machine.level, "features": list(self.machine.features)}


class CrossTarget(CpuTarget):
    """Code for a processor of another kind, whatever the building machine is."""

    system = "Linux"
    foreign = True
    options = (_STRICT,)

    def __init__(self, name: str, description: str, machine: Machine) -> None:
        super().__init__(machine)
        self.name = name
        self.description = description

    def ready(self) -> None:
        super().ready()
        check_linker(tuple(self.compiler()))

    def compiler(self) -> list[str]:
        return cross_compiler(self.machine)

    def tuned(self, regions: Sequence[Graph], seconds: float, progress: Progress | None = None) -> Tuned | None:
        """Nothing can be timed: the code is for another machine."""
        text = f"code for '{self.name}' cannot be timed on this machine: its kernels are cut up as the rule says"
        return Tuned(self, (text,))


def armv7() -> CrossTarget:
    """The processor of the PYNQ-Z2 and its like."""
    description = "32-bit ARM under Linux with hard float: Cortex-A9 with NEON, as beside the xc7z020"
    return CrossTarget("cpu-armv7", description, machine_of("armv7l", "neon"))


def aarch64() -> CrossTarget:
    """The processor of the KV260 and its like."""
    return CrossTarget("cpu-aarch64", "64-bit ARM under Linux, as in the Kria K26", machine_of("aarch64", "baseline"))
