"""Single kernels in a shared library, called with NumPy arrays."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np
from emulated import processor, runs_here

from intarsia.dtypes import Array
from intarsia_backends.cpu.emit.kernels import generate
from intarsia_backends.cpu.link import c_compiler
from intarsia_backends.cpu.machine import Machine, machine_name, this_machine
from intarsia_backends.lowering.kernel import Kernel


def machines() -> list[Machine]:
    """Kinds of machine whose code runs here: the best level, and the one that every machine of the family has."""
    best, portable = this_machine(), this_machine(portable=True)
    return [best] if best == portable else [best, portable]


def other_machines() -> list[Machine]:
    """Kinds of machine that code is only compiled for."""
    wide = ("avx2", "avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl", "f16c", "fma", "sse4_1")
    known = [
        Machine("x86_64", "avx512", wide),
        Machine("aarch64", "baseline", ()),
        Machine("armv7l", "neon", ("neon",)),
    ]
    return [machine for machine in known if machine.name != machine_name() or machine not in machines()]


def products_of(machine: Machine) -> str:
    """How a machine multiplies int16."""
    return "dot2" if machine.name == "x86_64" else "int16"


class Library:
    """Kernels by name, compiled and loaded."""

    def __init__(self, kernels: Mapping[str, Kernel], machine: Machine, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        generate(kernels, machine, folder / "kernels.o")
        runtime = folder / "runtime.c"
        runtime.write_text((files("intarsia_backends.cpu") / "runtime.c").read_text())
        (folder / "region.c").write_text("int intarsia_region_run(void) { return 0; }\n")  # the runtime wants one
        sources = ["runtime.c", "region.c", "kernels.o"]
        command = [*c_compiler(), "-O2", "-shared", "-fPIC", "-w", "-o", "kernels.so", *sources]
        subprocess.run([*command, "-lpthread", "-lm"], cwd=folder, check=True, capture_output=True)
        self._path = folder / "kernels.so"
        self._library = ctypes.CDLL(str(self._path))
        self._processor = None if runs_here(machine) else processor(machine)

    def threads(self, count: int) -> None:
        if self._processor is None:
            self._library.intarsia_region_use(None, None, count)

    def stop(self) -> None:
        self._library.intarsia_region_stop()

    def call(self, name: str, operands: Sequence[Array]) -> None:
        if self._processor is not None:
            assert self._processor.call(self._path, "intarsia_region_use", [0, 0, 1]) is not None
            assert self._processor.call(self._path, name, operands) == 0
            return
        pointers = [ctypes.c_void_p(operand.ctypes.data) for operand in operands]
        assert getattr(self._library, name)(*pointers) == 0


def fenced(shape: Sequence[int], dtype: str, before: int = 0, after: int = 0) -> tuple[Array, Array]:
    """An array of zeros on its own cache lines, and the memory around it, which a kernel must leave as it is."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.full(size + 256, 0x5A, np.uint8)
    start = 64 + -(memory.ctypes.data + 64) % 64
    inside = memory[start : start + size].view(dtype).reshape(shape)
    inside[...] = 0
    return inside, np.concatenate([memory[:start], memory[start + size :]])
