"""What compilers of CUDA C++ have in common: what they are asked for, and what they give."""

from __future__ import annotations

import re
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from intarsia.errors import CompileError

FLAGS = ("-std=c++17", "-fmad=false", "-prec-div=true", "-prec-sqrt=true", "-ftz=false")
"""Floats are rounded after each operation, as IEEE 754 says; where a text wants both at once, it asks for that."""

FEATURE_LEVELS = (75, 80)
"""Compute capabilities from which texts may use more: what is in between is written as for the one below."""

_CUBIN, _PTX = re.compile(r"sm_(\d+)"), re.compile(r"compute_(\d+)")


@dataclass(frozen=True)
class Made:
    """A file that a compiler made.

    log  what the assembler says of each kernel; "" for PTX, which it has not seen
    """

    data: bytes
    log: str


class Compiler(ABC):
    """Makes machine code of a text. One serves one text, from several threads at a time.

    version  whatever its code depends on, such as "nvcc 13.0.88"
    """

    version: str

    @abstractmethod
    def cubin(self, text: str, capability: int) -> Made:
        """Machine code for a compute capability, such as 86. CompileError where the text is refused."""

    @abstractmethod
    def ptx(self, text: str, capability: int) -> Made:
        """PTX, which drivers compile for a compute capability and later ones. CompileError as above."""


def capability_of(name: str) -> tuple[int, bool]:
    """The compute capability of "sm_86" or "compute_86", and whether it is PTX that is meant."""
    found = _CUBIN.fullmatch(name) or _PTX.fullmatch(name)
    assert found, f"{name!r} is neither sm_NN nor compute_NN"
    return int(found[1]), name.startswith("compute")


def file_name(name: str) -> str:
    """The file for "sm_86" or "compute_86"."""
    return f"{name}.ptx" if capability_of(name)[1] else f"{name}.cubin"


def level_of(capability: int) -> int:
    """The feature level that a capability has."""
    return max(level for level in FEATURE_LEVELS if level <= capability)


def refused(who: str, name: str, said: str) -> CompileError:
    """The letter where a compiler does not take a text of ours."""
    return CompileError(
        where=f"CUDA C++ for {name}",
        what=f"{who} refuses it: {said.strip()[-2000:] or 'it does not say why'}",
        help="this is a fault of intarsia, or of this compiler: please report it with the model",
    )


def unsound(who: str, name: str, what: str) -> CompileError:
    """The letter where a compiler says that all is well, and gives something else than machine code of the text."""
    return CompileError(
        where=f"CUDA C++ for {name}",
        what=f"{who}: {what}",
        help="install that compiler again, or name another by INTARSIA_NVCC",
    )


@contextmanager
def workplace() -> Iterator[Path]:
    """A folder for one compilation. CompileError where it cannot be written."""
    try:
        with tempfile.TemporaryDirectory(prefix="intarsia-") as folder:
            yield Path(folder)
    except OSError as error:
        raise CompileError(
            where="temporary folder",
            what=f"CUDA C++ cannot be compiled there: {error.strerror or error}",
            help="set TMPDIR to a folder that can be written and has free space",
        ) from error
