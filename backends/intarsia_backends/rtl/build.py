"""Verilates a module and compiles it to a shared library, once: results are kept in a cache.

Verilator itself takes a fraction of a second; what takes time is the C++ compiler. So two keys are used: a hash of all
sources and options finds what was built from them before; else Verilator runs, and a hash of the C++ it wrote finds a
library that the same C++ gave before, whatever the sources looked like.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import intarsia_hw
from intarsia.cache import cache_folder
from intarsia.errors import RunError
from intarsia_backends.rtl.ports import find_ports, table_source
from intarsia_backends.rtl.tools import cxx_compiler, cxx_version, verilator

_FOLDERS = (intarsia_hw.RTL, intarsia_hw.SIMULATION, intarsia_hw.GENERATED, intarsia_hw.BENCHES)
_KEPT_LIBRARIES = 200
_DEFINES = (
    "VM_COVERAGE=0",
    "VM_SC=0",
    "VM_TIMING=0",
    "VM_TRACE=0",
    "VERILATOR=1",
    "VL_IGNORE_UNKNOWN_ARCH",
    "VL_USER_FATAL",
    "VL_USER_FINISH",
    "VL_USER_STOP",
    "VL_USER_WARN",
    "VL_PRINTF=ia_printf",
    "VL_VPRINTF=ia_vprintf",
)
_EXPORTS = "{ global: ia_*; local: *; };\n"
_RUNTIME = ("verilated.cpp", "verilated_threads.cpp")
_REPORT = "this is a fault of intarsia's RTL, or of this Verilator: please report it"


@dataclass(frozen=True)
class Design:
    """What is to be built.

    top         module
    parameters  of the top: integers, or (bits, value) for those of more than 32 bits
    sources     files besides those of the package intarsia_hw; modules in them go first
    signals     inner signals that get a port, as "module.signal"
    checks      whether `CHECK and assertions run
    optimise    flag for the C++ compiler
    fast        whether modules that are written once more for simulation (intarsia_hw.SIMULATION) take their places
    """

    top: str
    parameters: Mapping[str, int | tuple[int, int]] = field(default_factory=dict)
    sources: Sequence[Path] = ()
    signals: Sequence[str] = ()
    checks: bool = True
    optimise: str = "-O1"
    fast: bool = False


def build(design: Design) -> Path:
    """The shared library of a design, from the cache or built now.

    Raises RunError where Verilator or the compiler is missing, refuses the design, or the cache cannot be written.
    """
    cache = cache_folder("rtl")
    try:
        cache.mkdir(parents=True, exist_ok=True)
        return _build(design, cache)
    except OSError as error:
        raise RunError(
            where=f"cache '{cache}'",
            what=f"the Verilated RTL cannot be kept there: {error}",
            help="set INTARSIA_CACHE to a folder that can be written",
        ) from None


def _build(design: Design, cache: Path) -> Path:
    link = cache / f"{design.top}-{_source_key(design)}.link"
    with contextlib.suppress(OSError):
        library = cache / link.read_text()
        os.utime(library)
        return library
    with _locked(link.with_suffix(".lock")), tempfile.TemporaryDirectory(prefix="building-", dir=cache) as folder:
        with contextlib.suppress(OSError):  # another process may have built it meanwhile
            return cache / link.read_text()
        work = Path(folder)
        _verilate(design, work)
        library = cache / f"{design.top}-{_compile_key(design, work)}.so"
        if not library.exists():
            _compile(design, work, cache)
            os.replace(work / "top.so", library)
            _forget(cache)
        (work / "link").write_text(library.name)
        os.replace(work / "link", link)
    return library


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process builds a design at a time; the next finds what it left."""
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _forget(cache: Path) -> None:
    """Removes the libraries that have not been used for longest."""
    found = sorted(cache.glob("*.so"), key=lambda path: path.stat().st_mtime)
    for path in found[:-_KEPT_LIBRARIES]:
        path.unlink(missing_ok=True)


# ---- keys


def _source_key(design: Design) -> str:
    state = _common_key(design)
    options = (design.top, sorted(design.parameters.items()), tuple(design.signals), design.fast)
    state.update(repr(options).encode())
    for path in [*_files(_FOLDERS, (".sv", ".svh")), *map(Path, design.sources)]:
        state.update(path.name.encode() + b"\0" + path.read_bytes())
    return state.hexdigest()


def _compile_key(design: Design, work: Path) -> str:
    state = _common_key(design)
    for path in _files((work,), (".cpp", ".h")):
        state.update(path.name.encode() + b"\0" + path.read_bytes())
    return state.hexdigest()


def _common_key(design: Design) -> hashlib.blake2b:
    """Tools, flags, and the C++ of ours."""
    compiler = cxx_compiler()
    state = hashlib.blake2b(digest_size=12)
    facts = (verilator().key, compiler, cxx_version(compiler), _flags(design), _DEFINES, design.checks)
    state.update(repr(facts).encode())
    for path in [*_files((intarsia_hw.VERILATOR,), (".cpp", ".h")), Path(__file__), Path(__file__).parent / "ports.py"]:
        state.update(path.read_bytes())
    return state


def _files(folders: Iterable[Path], endings: tuple[str, ...]) -> list[Path]:
    return [path for folder in folders for path in sorted(folder.glob("*")) if path.suffix in endings]


# ---- Verilator


def _verilate(design: Design, work: Path) -> None:
    """C++ of the design, and the table of its ports, in the folder."""
    # Verilator sees paths below the folder alone, so that the C++ is the same wherever the sources lie.
    for folder in _FOLDERS:
        (work / folder.name).symlink_to(folder, target_is_directory=True)
    (work / "given").mkdir()
    for path in design.sources:
        shutil.copy(path, work / "given")
    simulation = _files((intarsia_hw.SIMULATION,), (".sv",)) if design.fast else []
    folders = ("given", *(["simulation"] if simulation else []), "rtl", "benches")
    places = [f"{folder}/{design.top}.sv" for folder in folders]
    top = next((place for place in places if (work / place).exists()), None)
    if top is None:
        raise RunError(where=f"module '{design.top}'", what=f"no file {design.top}.sv", help=_REPORT)
    packages = [f"generated/{path.name}" for path in _files((intarsia_hw.GENERATED,), (".sv",))]
    others = [f"given/{Path(path).name}" for path in design.sources if Path(path).stem != design.top]
    others += [f"simulation/{path.name}" for path in simulation if path.stem != design.top]
    public = [f'public_flat_rd -module "{module}" -var "{name}"' for module, name in map(_split, design.signals)]
    (work / "public.vlt").write_text("\n".join(["`verilator_config", *public, ""]))
    arguments = ["--cc", "--prefix", "Vtop", "--top-module", design.top, "--Mdir", ".", "-O3", "-fno-inline"]
    arguments += ["--output-split", "0", "--x-assign", "fast", "--x-initial", "unique", "--quiet"]
    arguments += ["--assert" if design.checks else "--no-assert", "-y", "rtl", "-y", "benches"]
    arguments += ["+incdir+rtl", "+incdir+simulation"]
    arguments += [f"-G{name}={_verilog_number(value)}" for name, value in design.parameters.items()]
    arguments += [*packages, *others, top, "public.vlt"]
    tool = verilator()
    environment = {**os.environ, "VERILATOR_ROOT": str(tool.root)}
    result = subprocess.run(
        [*tool.command, *arguments], cwd=work, env=environment, capture_output=True, text=True, check=False
    )
    if result.returncode != 0:
        said = (result.stderr + result.stdout).strip()[-4000:]
        what = said or f"status {result.returncode}"
        raise RunError(where=f"Verilator, module '{design.top}'", what=what, help=_REPORT)
    names = [_split(signal)[1] for signal in design.signals]
    ports = list(find_ports(work, names))
    (work / "ia_ports.cpp").write_text(table_source(ports))


def _split(signal: str) -> tuple[str, str]:
    module, _, name = signal.partition(".")
    return module, name


def _verilog_number(value: int | tuple[int, int]) -> str:
    if isinstance(value, tuple):
        bits, number = value
        return f"{bits}'h{number:x}"
    return str(value)


# ---- C++


def _flags(design: Design) -> tuple[str, ...]:
    return ("-std=c++20", design.optimise, "-fPIC", "-w", "-fvisibility=hidden")


def _compile(design: Design, work: Path, cache: Path) -> None:
    include = verilator().root / "include"
    defines = [f"-D{item}" for item in _DEFINES]
    log = ["-include", str(intarsia_hw.VERILATOR / "ia_log.h")]
    folders = [f"-I{folder}" for folder in (work, intarsia_hw.VERILATOR, include, include / "vltstd")]
    common = [*_flags(design), *defines, *log, *folders]
    runtime = _runtime(cache, common, include)
    parts = sorted(path.name for path in work.glob("Vtop*.cpp"))
    unity = [*parts, str(intarsia_hw.VERILATOR / "ia_top.cpp"), "ia_ports.cpp"]
    (work / "unity.cc").write_text("".join(f'#include "{name}"\n' for name in unity))
    (work / "exports.map").write_text(_EXPORTS)
    link = ["-shared", "-pthread", f"-Wl,--version-script={work / 'exports.map'}", "-Wl,-s"]
    _run([*common, *link, str(work / "unity.cc"), *map(str, runtime), "-o", str(work / "top.so")])


def _runtime(cache: Path, common: Sequence[str], include: Path) -> list[Path]:
    """Object files of Verilator's own C++ and of ours; they are the same for every design."""
    flags = [re.sub(r"^-O\d$", "-O2", flag) for flag in common if not flag.startswith(f"-I{cache}")]
    compiler = cxx_compiler()
    facts = repr((verilator().key, compiler, cxx_version(compiler), _DEFINES)).encode()
    ours = b"".join(path.read_bytes() for path in _files((intarsia_hw.VERILATOR,), (".cpp", ".h")))
    sources = [(include / name, b"") for name in _RUNTIME] + [(intarsia_hw.VERILATOR / "ia_library.cpp", ours)]
    found = []
    for source, depends in sources:
        path = cache / f"{source.stem}-{hashlib.blake2b(facts + depends, digest_size=12).hexdigest()}.o"
        if not path.exists():
            with (
                _locked(path.with_suffix(".lock")),
                tempfile.TemporaryDirectory(prefix="building-", dir=cache) as folder,
            ):
                if not path.exists():  # another process may have built it meanwhile
                    made = Path(folder) / "made.o"
                    _run([*flags, "-c", str(source), "-o", str(made)])
                    os.replace(made, path)
        found.append(path)
    return found


def _run(arguments: Sequence[str]) -> None:
    command = cxx_compiler()
    result = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise RunError(
            where="C++ compiler",
            what=f"{shlex.join(command)} ended with status {result.returncode}: {result.stderr.strip()[-3000:]}",
            help="set CXX to a compiler of C++20, such as g++ 10 or newer, clang++ 11 or newer, or zig c++",
        )
