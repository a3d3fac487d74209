"""The C entry of a region, and the C compiler that links it with the kernels."""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from functools import cache
from importlib.resources import files
from pathlib import Path

from intarsia.cache import cache_folder
from intarsia.errors import CompileError, either
from intarsia_backends.cpu.device import FIRST_BOUND
from intarsia_backends.cpu.library import Facts
from intarsia_backends.cpu.machine import Machine
from intarsia_backends.lowering.kernel import Kernel
from intarsia_backends.lowering.program import Bounds, Call, Operand, Part, Program, buffer_of

ENTRY = "intarsia_region_run"

PROFILE = "intarsia_region_profile"
"""Of a library that is made to be profiled: uint64 [calls], nanoseconds of each call of the last run."""

POOL = "runtime.c"
RUNTIME = (POOL, "images.c")
"""C files that are linked into every region's library."""

_EXPORTS = "{ global: intarsia_region_*; local: *; };\n"
_FLAGS = ("-O2", "-std=c11", "-fPIC", "-shared", "-w")
_CROSS = {
    "armv7l": ("-target", "arm-linux-gnueabihf.2.28", "-mcpu=cortex_a9"),
    "aarch64": ("-target", "aarch64-linux-gnu.2.28"),
}
"""What zig is told for machines of another kind; with the oldest C library that runs the code."""
_LINK_FLAGS = ("-Wl,--build-id=none", "-Wl,--version-script=exports.map", "-Wl,-z,defs", "-Wl,-s")


_STOPWATCH = """static uint64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}"""


def entry_source(program: Program, symbols: Mapping[Kernel, str], facts: Facts, *, profile: bool = False) -> str:
    """C text of the entry for one image: all kernels in order, the first status that is not 0 ends the run.

    facts    what the library says of itself
    profile  also note how long each call takes, in PROFILE; for one run at a time
    """
    counts = {kernel: 0 for kernel in symbols}
    for call in program.calls:
        if call.kernel is not None and not isinstance(call.kernel, Bounds):
            counts[call.kernel] = len(call.operands)
    lines = ["#include <stdint.h>", "#include <string.h>", facts.source()]
    if profile:
        lines = ["#define _POSIX_C_SOURCE 199309L", *lines, "#include <time.h>", _STOPWATCH]
        lines.append(f"uint64_t {PROFILE}[{max(1, len(program.calls))}];")
    for dtype in sorted({bounds.dtype for bounds in program.bounds}):
        lines.append(
            f"static int outside_{dtype}(const void *data, int64_t count, int64_t low, int64_t high) {{\n"
            f"  const {dtype}_t *x = data;\n"
            "  for (int64_t i = 0; i < count; ++i) if (x[i] < low || x[i] > high) return 1;\n"
            "  return 0;\n}"
        )
    for kernel, symbol in symbols.items():
        lines.append(f"int {symbol}({', '.join(['void *'] * counts[kernel])});")
    lines.append(
        f"int {ENTRY}(void *const *inputs, void *const *outputs, uint8_t *weights, uint8_t *arena) {{\n  int status;"
    )
    if profile:
        lines.append("  uint64_t end, start = now();")
    checks = check_numbers(program)
    for index, call in enumerate(program.calls):
        lines.append("  " + call_source(call, symbols, _address, checks.get(index, 0)))
        if profile:
            lines.append(f"  end = now(), {PROFILE}[{index}] = end - start, start = end;")
    lines += ["  return 0;", "}", ""]
    return "\n".join(lines)


def check_numbers(program: Program) -> dict[int, int]:
    """By the index of a call that checks, which check it is."""
    checks = [index for index, call in enumerate(program.calls) if isinstance(call.kernel, Bounds)]
    return {index: number for number, index in enumerate(checks)}


def call_source(call: Call, symbols: Mapping[Kernel, str], address: Callable[[Operand], str], check: int) -> str:
    """A statement that makes a call, or ends the function that it stands in with another status than 0.

    address  C text of where an operand lies
    check    number of the check, where it is one
    """
    operands = [address(operand) for operand in call.operands]
    if isinstance(call.kernel, Bounds):
        arguments = f"{operands[0]}, {call.kernel.count}, {call.kernel.low}, {call.kernel.high}"
        return f"if (outside_{call.kernel.dtype}({arguments})) return {FIRST_BOUND + check};"
    if call.kernel is None:
        return f"memcpy({operands[-1]}, {operands[0]}, {buffer_of(call.operands[-1]).size});"
    return f"if ((status = {symbols[call.kernel]}({', '.join(operands)})) != 0) return status;"


def _address(operand: Operand) -> str:
    if isinstance(operand, Part):
        return f"(uint8_t *){_address(operand.buffer)} + {operand.start}"
    buffer = operand
    if buffer.kind in ("input", "output"):
        return f"{buffer.kind}s[{buffer.index}]"
    return f"{'weights' if buffer.kind == 'weight' else 'arena'} + {buffer.offset}"


def c_compiler() -> list[str]:
    """The command that compiles C: CC, else cc, gcc, clang, else the one of the Python package ziglang.

    Raises CompileError that says what to install where there is none.
    """
    wish = os.environ.get("CC", "")
    if wish:
        command = shlex.split(wish)
        if shutil.which(command[0]) is None:
            raise CompileError(
                where="C compiler",
                what=f"CC is {wish!r}, and there is no such program",
                help="set CC to a C compiler, or unset it",
            )
        return command
    for name in ("cc", "gcc", "clang"):
        if shutil.which(name) is not None:
            return [name]
    if importlib.util.find_spec("ziglang") is not None:
        return [sys.executable, "-m", "ziglang", "cc"]
    raise CompileError(
        where="C compiler",
        what="none found: CC is not set, and there is no cc, gcc, clang or Python package ziglang",
        help="install one: `apt install gcc`, or `pip install ziglang` where nothing else can be installed",
    )


def cross_compiler(machine: Machine) -> list[str]:
    """The command that compiles C for a machine of another kind: zig, whose package brings every C library.

    Raises CompileError that says what to install where there is none.
    """
    if importlib.util.find_spec("ziglang") is None:
        raise CompileError(
            where=f"C compiler for {machine.name}",
            what="the Python package ziglang, which compiles and links for other machines, is not installed",
            help="`pip install 'intarsia[boards]'`, which brings it; or, of a board's two codes, make the one for this "
            "machine alone: " + either("--host-only", "host_only=True"),
        )
    return [sys.executable, "-m", "ziglang", "cc", *_CROSS[machine.name]]


TRIAL_SECONDS = 300.0
"""A compiler that needs longer to begin with will not end: it took one of two busy processors 20 s."""


@cache
def check_linker(command: tuple[str, ...]) -> None:
    """Link a region that does nothing. CompileError where that fails, such as without room for a compiler's cache.

    What a cross compiler needs of the C library is made then, and kept by it.
    """
    with _workplace() as place:
        (place / "region.c").write_text("void intarsia_region_run(void) {}\n")
        _linked(place, command, "region.c", "runtime.c", seconds=TRIAL_SECONDS)


def write_kernels(kernels: Mapping[str, Kernel], machine: Machine, where: str, path: Path) -> None:
    """Write an object file with a function for each kernel.

    where  names in an error what the kernels are for

    Raises CompileError where there is no TVM, which makes the code.
    """
    try:
        from intarsia_backends.cpu.emit.kernels import generate
    except ImportError as error:
        raise CompileError(
            where=where,
            what=f"TVM, which makes the code, cannot be imported: {error}",
            help="install it: `pip install apache-tvm==0.27.0.post1 apache-tvm-ffi==0.1.14.post1`",
        ) from error
    generate(kernels, machine, path)


def link_region(
    source: str, write_object: Callable[[Path], None], command: Sequence[str], runtime: Sequence[str] = RUNTIME
) -> bytes:
    """The shared library of a region.

    source        C text of the entry
    write_object  writes the kernels' object file to the path it is given
    command       that compiles C for the machine
    runtime       C files beside it; the pool alone for what is no region, and takes no images
    returns       contents of the library; equal for equal inputs, whatever the folder

    Raises CompileError with the compiler's own words where it fails.
    """
    with _workplace() as place:
        (place / "region.c").write_text(source)
        (place / "kernels.o").write_bytes(_in_memory(write_object, place / "kernels.o"))
        return _linked(place, command, "region.c", *runtime, "kernels.o")


@contextmanager
def _workplace() -> Iterator[Path]:
    """A folder with what every region is linked with. CompileError where it cannot be written."""
    try:
        with tempfile.TemporaryDirectory(prefix="intarsia-") as folder:
            place = Path(folder)
            for name in RUNTIME:
                (place / name).write_text((files("intarsia_backends.cpu") / name).read_text())
            (place / "exports.map").write_text(_EXPORTS)
            yield place
    except OSError as error:
        raise CompileError(
            where="temporary folder",
            what=f"code cannot be linked there: {error.strerror or error}",
            help="set TMPDIR to a folder that can be written and has free space",
        ) from error


def _in_memory(write: Callable[[Path], None], place: Path) -> bytes:
    """What is written to a file, without one on a disk where the system allows that: LLVM ends the process where a disk
    is full."""
    if not (hasattr(os, "memfd_create") and Path("/proc/self/fd").is_dir()):
        write(place)
        return place.read_bytes()
    memory = os.memfd_create("intarsia")
    try:
        write(Path(f"/proc/self/fd/{memory}"))
        os.lseek(memory, 0, os.SEEK_SET)
        with os.fdopen(memory, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(memory)


def _linked(place: Path, command: Sequence[str], *parts: str, seconds: float | None = None) -> bytes:
    # Names without folders: a path would reach the bytes of the library.
    arguments = [*_FLAGS, *_LINK_FLAGS, *parts, "-o", "region.so", "-lpthread", "-lm"]
    run_compiler(command, arguments, place, seconds)
    return (place / "region.so").read_bytes()


def run_compiler(command: Sequence[str], arguments: Sequence[str], place: Path, seconds: float | None = None) -> None:
    """Run a C compiler in a folder; a zig when no other of ours runs.

    seconds  how long it may take

    Raises CompileError with the compiler's own words where it fails.
    """
    # A zig has a cache of ours, so that no other program's waits for it; and a place for it where there is no home.
    cache = os.environ.get("ZIG_GLOBAL_CACHE_DIR") or str(cache_folder("zig"))
    alone = _lock(Path(cache)) if "ziglang" in command else nullcontext()
    try:
        with alone:
            result = subprocess.run(
                [*command, *arguments],
                cwd=place,
                capture_output=True,
                text=True,
                check=False,
                timeout=seconds,
                env={**os.environ, "ZIG_GLOBAL_CACHE_DIR": cache},
            )
    except subprocess.TimeoutExpired:
        raise _failed(command, f"did not end within {seconds:g} s") from None
    if result.returncode != 0:
        raise _failed(command, f"ended with status {result.returncode}: {result.stderr.strip()[-2000:]}")


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Wait until no other process has this folder. Several zigs with one cache wait for each other, sometimes for ever:
    each keeps what it has read locked until it has read what another one writes."""
    import fcntl

    with ExitStack() as held:
        with suppress(OSError):  # zig says what is wrong with the folder
            folder.mkdir(parents=True, exist_ok=True)
            fcntl.flock(held.enter_context((folder / "intarsia.lock").open("w")), fcntl.LOCK_EX)
        yield


def _failed(command: Sequence[str], what: str) -> CompileError:
    help = "set CC to a working C compiler, such as gcc 9 or newer, clang 10 or newer, or zig cc"
    if "ziglang" in command:
        help = "set ZIG_GLOBAL_CACHE_DIR to a folder that can be written, where zig keeps what it makes of C libraries"
    help += "; TMPDIR to a folder with free space"
    return CompileError(where="C compiler", what=f"{shlex.join(command)} {what}", help=help)
