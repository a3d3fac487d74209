"""Regions for other machines, run here by an emulator, without Python: `region_main.c` calls them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import intarsia_backends.cpu.target as target_module
from intarsia.dtypes import Array
from intarsia.ir.graph import Graph
from intarsia.targets import Blob
from intarsia_backends.cpu.link import RUNTIME, run_compiler
from intarsia_backends.cpu.machine import machine_name
from intarsia_backends.cpu.target import CpuTarget, aarch64, armv7

TARGETS = {"cpu-armv7": armv7, "cpu-aarch64": aarch64}

_EMULATORS = {"armv7l": "qemu-arm", "aarch64": "qemu-aarch64"}
_STATIC = {"armv7l": ("arm-linux-musleabihf", "-mcpu=cortex_a9"), "aarch64": ("aarch64-linux-musl",)}
_LIBRARIES = {"armv7l": "/usr/arm-linux-gnueabihf", "aarch64": "/usr/aarch64-linux-gnu"}
_PACKAGES = {"armv7l": "libc6-armhf-cross", "aarch64": "libc6-arm64-cross"}
_MAIN = Path(__file__).with_name("region_main.c")


def emulator(target: CpuTarget) -> list[str]:
    """The command that runs programs of a machine, nothing on that machine itself. Skips where one is missing."""
    if find_spec("ziglang") is None:
        pytest.skip("needs zig, to link for other machines: pip install '.[boards]'")
    name = target.machine.name
    if name == machine_name():
        return []
    program = shutil.which(_EMULATORS[name]) or shutil.which(f"{_EMULATORS[name]}-static")
    if program is None:
        pytest.skip(f"needs {_EMULATORS[name]}: apt install qemu-user")
    return [program]


def build(target: CpuTarget, arguments: Sequence[str], folder: Path, *, static: bool) -> None:
    """Compile and link C as folder/program; `static` with a C library of its own."""
    name = target.machine.name
    compiler = [sys.executable, "-m", "ziglang", "cc", "-target", *_STATIC[name]] if static else target.compiler()
    flags = ["-O2", "-std=c11", "-w", "-o", "program", *(["-static"] if static else [])]
    run_compiler(compiler, [*flags, *arguments, "-lpthread", "-lm"], folder)


def runner(target: CpuTarget) -> tuple[list[str], bool]:
    """The command that runs a program, and whether it must be static, as no C library of the machine is here."""
    command, library = emulator(target), _LIBRARIES[target.machine.name]
    if command and Path(library).is_dir():
        command += ["-L", library]
    return command, "-L" not in command and bool(command)


class ForeignRegion:
    """A region as a program of its own.

    Where a C library of the machine is here (Debian's libc6-armhf-cross, libc6-arm64-cross), it calls the very library
    that goes into an artifact; else the library's parts are linked into a program that needs nothing.
    """

    def __init__(self, graph: Graph, target: CpuTarget, folder: Path, made: Blob | None = None) -> None:
        """`made` is what compiling gave before: then a C library of the machine must be here."""
        self.graph, self.folder = graph, folder
        self.command, static = runner(target)
        if made is not None and static:
            name = target.machine.name
            pytest.skip(f"needs a C library for {name} in {_LIBRARIES[name]}: apt install {_PACKAGES[name]}")
        self.blob = made or self._compiled(target)
        for file, data in self.blob.files.items():
            (folder / file).write_bytes(data)
        code = ["region.c", *RUNTIME, "kernels.o"] if static else ["region.so", "-Wl,-rpath,$ORIGIN"]
        build(target, [str(_MAIN), *code], folder, static=static)

    def _compiled(self, target: CpuTarget) -> Blob:
        """Compile, and keep what is linked."""
        link: Callable[..., bytes] = getattr(target_module, "link_region")  # noqa: B009

        def keep(source: str, write_object: Callable[[Path], None], command: Sequence[str]) -> bytes:
            (self.folder / "region.c").write_text(source)
            for name in RUNTIME:
                (self.folder / name).write_text((files("intarsia_backends.cpu") / name).read_text())
            write_object(self.folder / "kernels.o")
            kept = (self.folder / "kernels.o").read_bytes()
            return link(source, lambda path: path.write_bytes(kept) and None, command)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(target_module, "link_region", keep)
            return target.compile(self.graph)

    def run(self, inputs: Sequence[Array], threads: int = 1) -> list[Array]:
        words = [str(threads), str(self.blob.metadata["arena_bytes"]), "weights.bin", str(len(inputs))]
        for index, array in enumerate(inputs):
            (self.folder / f"input{index}").write_bytes(np.ascontiguousarray(array).tobytes())
            words.append(f"input{index}")
        for index, value in enumerate(self.graph.outputs):
            words += [f"output{index}", str(value.type.size_bytes)]
        ran = subprocess.run(
            [*self.command, "./program", *words], cwd=self.folder, capture_output=True, text=True, timeout=600
        )
        assert ran.returncode == 0, f"status {ran.returncode}: {ran.stderr}"
        return [
            np.frombuffer((self.folder / f"output{index}").read_bytes(), value.dtype).reshape(value.shape)
            for index, value in enumerate(self.graph.outputs)
        ]
