"""Which compiler of CUDA C++ this machine has."""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from intarsia.errors import CompileError
from intarsia_backends.cuda.toolchain import nvrtc
from intarsia_backends.cuda.toolchain.compiler import Compiler, capability_of
from intarsia_backends.cuda.toolchain.nvcc import Nvcc, facts_of, lacks_host_compiler

VARIABLE = "INTARSIA_NVCC"
"""Names the nvcc to be used, or is "nvrtc"."""

_FOLDERS = ("CUDA_HOME", "CUDA_PATH")
INSTALL = "pip install 'intarsia[cuda]'"


def find_compiler(names: Sequence[str]) -> Compiler:
    """The compiler that makes code for "sm_86", "compute_90" and so on: INTARSIA_NVCC, else an nvcc that is installed,
    else that of the Python packages, else NVRTC.

    Raises CompileError with what is wrong with each where none can be used.
    """
    wish = os.environ.get(VARIABLE, "")
    if wish:
        return _wished(wish, names)
    reasons = []
    for path in _installed():
        found = _nvcc(path, names)
        if not isinstance(found, str):
            return found
        reasons.append(found)
    reason = nvrtc.absent()
    if not reason:
        return nvrtc.Nvrtc()
    none = "there is no nvcc on PATH, in CUDA_HOME, CUDA_PATH or the Python packages"
    raise CompileError(
        where="compiler of CUDA C++",
        what="; ".join([*(reasons or [none]), reason]),
        help=f"{INSTALL}, or set {VARIABLE} to an nvcc of 12.8 or newer",
    )


def _wished(wish: str, names: Sequence[str]) -> Compiler:
    found: Compiler | str
    if wish == "nvrtc":
        found = nvrtc.absent() or nvrtc.Nvrtc()
    else:
        path = shutil.which(os.path.expanduser(wish))
        found = _nvcc(os.path.abspath(path), names) if path else f"there is no program {shlex.quote(wish)}"
    if isinstance(found, str):
        raise CompileError(
            where=VARIABLE,
            what=f"it is {wish!r}: {found}",
            help=f"set it to an nvcc of 12.8 or newer, to nvrtc, or unset it; {INSTALL} brings both",
        )
    return found


def tool(name: str) -> str | None:
    """The path of another program of CUDA's, such as nvdisasm; None where there is none."""
    return next(_programs(name), None)


def _installed() -> Iterator[str]:
    yield from _programs("nvcc")


def _programs(name: str) -> Iterator[str]:
    """On PATH, in the folders that variables name, in the Python packages."""
    path = shutil.which(name)
    if path is not None:
        yield os.path.abspath(path)  # it is called from another folder
    folders = [Path(os.environ[variable]) / "bin" for variable in _FOLDERS if os.environ.get(variable)]
    for folder in [*folders, *package_folders()]:
        path = shutil.which(name, path=str(folder))
        if path is not None:
            yield os.path.abspath(path)


def package_folders() -> list[Path]:
    """Where NVIDIA's Python packages put programs, the newest CUDA first."""
    spec = importlib.util.find_spec("nvidia")  # a namespace: nothing is imported
    found = [Path(place) for place in (spec.submodule_search_locations or ())] if spec is not None else []
    return sorted((folder for place in found for folder in place.glob("cu[0-9]*/bin")), reverse=True)


def _nvcc(path: str, names: Sequence[str]) -> Nvcc | str:
    """The nvcc at a path, or why it cannot be used."""
    facts = facts_of(path)
    if isinstance(facts, str):
        return f"{path}: {facts}"
    lacking = [name for name in names if capability_of(name)[0] not in facts.capabilities]
    if lacking:
        return f"{path}: nvcc {facts.version} makes no code for {', '.join(lacking)}"
    lack = lacks_host_compiler()
    if lack is not None:
        return f"{path}: {lack}"
    return Nvcc(path, facts.version)
