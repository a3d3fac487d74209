"""A text of kernels as files of machine code, several at a time, each kept for the next compilation."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from intarsia.processors import usable
from intarsia_backends.cuda.toolchain.compiler import Made, capability_of, file_name, unsound
from intarsia_backends.cuda.toolchain.find import find_compiler
from intarsia_backends.cuda.toolchain.kept import Kept
from intarsia_backends.cuda.toolchain.resources import Resources, read_resources

_KERNEL = re.compile(r"__global__ void (?:__launch_bounds__\([^()]*\) )?(\w+)\(")


@dataclass(frozen=True)
class Binaries:
    """A text, compiled.

    files      by name: "sm_86.cubin", "compute_80.ptx"
    resources  by "sm_86" and kernel, what it takes; there is none for PTX
    compiler   what made them, such as "nvcc 13.0.88"
    notes      what the user is told
    """

    files: Mapping[str, bytes]
    resources: Mapping[str, Mapping[str, Resources]]
    compiler: str
    notes: tuple[str, ...]


def compile_text(text: str, names: Sequence[str]) -> Binaries:
    """Machine code of a text of kernels for each GPU that is named.

    text   CUDA C++; it may ask __CUDA_ARCH__ whether it is one of FEATURE_LEVELS or more
    names  "sm_86" for machine code, "compute_80" for PTX

    Equal texts give equal bytes, by one version of one compiler. Raises CompileError where there is no compiler, or
    where it refuses the text.
    """
    compiler = find_compiler(names)
    kept = Kept()

    def made(name: str) -> Made:
        capability, is_ptx = capability_of(name)
        make = compiler.ptx if is_ptx else compiler.cubin
        return kept.get(
            (compiler.version, name, text),
            lambda: _looked_at(make(text, capability), compiler.version, name, text),
        )

    with ThreadPoolExecutor(min(len(names), usable())) as pool:
        results = dict(zip(names, pool.map(made, names)))
    return Binaries(
        {file_name(name): result.data for name, result in results.items()},
        {name: read_resources(result.log) for name, result in results.items() if not capability_of(name)[1]},
        compiler.version,
        tuple(kept.notes),
    )


def _looked_at(made: Made, who: str, name: str, text: str) -> Made:
    """The same, once it looks like machine code of all kernels of the text: what is kept is used again and again.

    Raises CompileError where it does not.
    """
    wanted = set(_KERNEL.findall(text))
    if capability_of(name)[1]:
        found = set(re.findall(rb"\.entry\s+(\w+)", made.data))
        lacking = {each for each in wanted if each.encode() not in found}
        is_code = b".version" in made.data
    else:
        lacking = wanted - set(read_resources(made.log))
        is_code = made.data.startswith(b"\x7fELF")
    if not is_code or lacking:
        what = f"without {sorted(lacking)[0]!r}" if is_code else "no machine code"
        raise unsound(who, name, f"{len(made.data)} bytes, {what}, are what it made")
    return made
