"""CUDA C++ by nvcc: PTX once for each feature level, machine code for each GPU from that."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from intarsia_backends.cuda.toolchain.compiler import FLAGS, Compiler, Made, level_of, refused, unsound, workplace

_TEXT, _PTX, _CUBIN = "kernels.cu", "kernels.ptx", "kernels.cubin"

_MODULE_ID = re.compile(rb"(_INTERNAL_|_GLOBAL__N__)[0-9a-f]{8}_")
"""Names of what is static have a digest of the folder in them: see `_settled`."""


@dataclass(frozen=True)
class Facts:
    """What an nvcc says of itself.

    version       "13.0.88"
    capabilities  that it makes machine code for
    """

    version: str
    capabilities: frozenset[int]


@cache
def facts_of(path: str) -> Facts | str:
    """What the nvcc at a path says of itself, or why it cannot be asked."""
    answers = []
    for option in ("--version", "--list-gpu-code"):
        try:
            asked = _called([path, option], timeout=60)
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"it does not run: {error}"
        if asked.returncode != 0:
            return f"{option} ends with status {asked.returncode}: {asked.stderr.strip()[:200]}"
        answers.append(asked.stdout)
    version = re.search(r"\bV(\d+\.\d+\.\d+)", answers[0])
    if version is None:
        return "it does not tell its version"
    return Facts(version[1], frozenset(map(int, re.findall(r"\bsm_(\d+)\b", answers[1]))))


def _called(
    command: Sequence[str], place: Path | None = None, timeout: float | None = None
) -> subprocess.CompletedProcess[str]:
    """A program's answer, whatever letters it is in."""
    # NVCC_*_FLAGS of whoever calls would change the code.
    environment = {key: value for key, value in os.environ.items() if not re.fullmatch("NVCC_.*_FLAGS", key)}
    return subprocess.run(
        command,
        cwd=place,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=timeout,
        env=environment,
    )


def lacks_host_compiler() -> str | None:
    """Why nvcc has no C++ compiler to read headers with; None where it has."""
    named = os.environ.get("NVCC_CCBIN")
    if named:
        # A program, or a folder that has one.
        beside = shutil.which(named) or shutil.which("g++", path=named)
        return None if beside else f"NVCC_CCBIN is {named!r}, which is no program"
    if shutil.which("g++") and shutil.which("gcc"):
        return None
    return "nvcc needs g++ to read headers, and there is none"


class Nvcc(Compiler):
    """The nvcc at a path, which `facts_of` was asked about.

    PTX of a feature level is made once, by the first that needs it, for all that are compiled from it.
    """

    def __init__(self, path: str, version: str) -> None:
        self.path, self.version = path, f"nvcc {version}"
        self._levels: dict[tuple[str, int], bytes] = {}
        self._locks: dict[int, threading.Lock] = {}
        self._lock = threading.Lock()

    def ptx(self, text: str, capability: int) -> Made:
        with self._lock:
            lock = self._locks.setdefault(capability, threading.Lock())
        with lock:
            key = text, capability
            if key not in self._levels:
                self._levels[key] = self._compiled(text, capability)
            return Made(self._levels[key], "")

    def cubin(self, text: str, capability: int) -> Made:
        ptx = self.ptx(text, level_of(capability)).data
        name = f"sm_{capability}"
        with workplace() as place:
            (place / _PTX).write_bytes(ptx)
            log = self._run(place, name, "-cubin", f"-arch={name}", "-Xptxas", "-v", _PTX, "-o", _CUBIN)
            return Made(self._written(place / _CUBIN, name), log)

    def _compiled(self, text: str, capability: int) -> bytes:
        name = f"compute_{capability}"
        with workplace() as place:
            (place / _TEXT).write_text(text)
            # Headers alone are read with the C++ compiler: one that this nvcc does not know will do.
            self._run(
                place, name, "-ptx", f"-arch={name}", "-allow-unsupported-compiler", "-w", *FLAGS, _TEXT, "-o", _PTX
            )
            return _settled(self._written(place / _PTX, name))

    def _run(self, place: Path, name: str, *arguments: str) -> str:
        try:
            result = _called([self.path, *arguments], place)
        except OSError as error:
            raise refused(self.version, name, f"{self.path} does not run: {error}") from error
        said = result.stdout + result.stderr
        if result.returncode != 0:
            raise refused(self.version, name, said)
        return said

    def _written(self, path: Path, name: str) -> bytes:
        if not path.exists():
            raise unsound(self.version, name, f"{self.path} ended well and wrote no file")
        return path.read_bytes()


def _settled(ptx: bytes) -> bytes:
    """PTX that is the same whatever folder it was made in: NVRTC writes zeros there, too."""
    return _MODULE_ID.sub(rb"\g<1>00000000_", ptx)
