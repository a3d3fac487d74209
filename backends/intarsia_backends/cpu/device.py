"""Runs compiled regions on this machine's processor. NumPy and the standard library only."""

from __future__ import annotations

import _ctypes
import ctypes
import os
import platform
import tempfile
import threading
import time
import weakref
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, cast

import numpy as np

from intarsia.artifact.schema import Entry
from intarsia.dtypes import Array
from intarsia.errors import RunError, either
from intarsia.processors import usable
from intarsia.runtime.device import Device, LoadedRegion, Processors, RegionFiles, RegionResult
from intarsia_backends.cpu.codes import FURTHER, codes_of
from intarsia_backends.cpu.library import SEVERAL, Facts, LibraryError, library_machine, read_facts
from intarsia_backends.cpu.machine import machine_features, machine_name

KIND = "cpu"
INTERFACE = SEVERAL
"""Version of the C interface between this file and a region's library."""

_ONE_BY_ONE = 3
"""The version before, whose regions run one image at a time: artifacts of it go on working."""

_AGAIN = "compile the model again with the version of intarsia that is installed here"


def _without_code() -> str:
    return f"load it with {either('--no-native', 'native=False')}, which needs none of its code"


FIRST_BOUND = 1000
"""Status of a run that the first check of indices ended; the next check gives one more, and so on."""

_ALIGNMENT_BYTES = 64
_ARENAS_BYTES = 256 << 20
"""Scratch memory up to which every thread gets its own, for images of its own."""

_IDLE_SLOTS = 8

_addressof, _first_byte = ctypes.addressof, cast(Any, ctypes.c_char.from_buffer)


class CpuDevice(Device):
    """This machine's processor."""

    name = "cpu"
    kinds = (KIND,)
    native = True

    def absent(self) -> str | None:
        return None if os.name == "posix" else "regions for the CPU are made for Linux"

    def unfit(self, region: RegionFiles) -> RunError | None:
        """That its code is for other processors. Raised is RunError where what it says of itself is wrong."""
        return _choose(region)[1]

    def load(self, region: RegionFiles) -> LoadedRegion:
        """Map the weights and open the library. RunError where it was built for another kind of processor."""
        code, misfit = _choose(region)
        if misfit is not None:
            raise RunError(where=misfit.where, what=misfit.what, help=f"{misfit.help}, or {_without_code()}")
        return _CpuRegion(code, self.processors)


def _thread_count() -> int:
    """Threads that a region may use: INTARSIA_THREADS where it is set, else the processors this process may use."""
    wish = os.environ.get("INTARSIA_THREADS", "")
    if wish.isdigit() and int(wish) > 0:
        return int(wish)
    return usable()


def _spin_microseconds() -> int:
    """How long an idle thread looks for work before it sleeps: INTARSIA_SPIN_MICROSECONDS where it is set, else 200."""
    wish = os.environ.get("INTARSIA_SPIN_MICROSECONDS", "")
    return int(wish) if wish.isdigit() else 200


CODE, WEIGHTS = "region.so", "weights.bin"
_SIZE_LIMIT = 1 << 40


def _choose(region: RegionFiles) -> tuple[RegionFiles, RunError | None]:
    """The first of a region's codes that this machine can run, or the first of all and why it can run none.

    Manifest and library must agree in all of them. Nothing is mapped yet.
    """
    where = f"region '{region.name}'"
    codes = codes_of(region, f"{where}, metadata in manifest.json")
    here, present, misfit, families = f"{platform.system()} {machine_name()}", machine_features(), None, []
    for index, code in enumerate(codes):
        _check(code, where if index == 0 else f"{where}, {FURTHER}[{index - 1}]")
    for code in codes:
        family = f"{code.metadata['system'][:40]} {code.metadata['machine']}"
        missing = [feature for feature in code.metadata["features"] if feature not in present]
        if family == here and not missing:
            return code, None
        families.append(family)
        if family == here:
            misfit = RunError(
                where=where,
                what=f"the code uses {', '.join(missing)[:200]} ('features' in manifest.json), "
                "which this processor does not have",
                help="compile for 'cpu{level=portable}', which uses only what every such processor has",
            )
    return codes[0], misfit or RunError(
        where=where,
        what=f"the code is for {' and for '.join(families)} ('system', 'machine' in manifest.json), "
        f"and this machine is {here}",
        help="compile the model on a machine like this one, or with a target made for it",
    )


def _check(region: RegionFiles, where: str) -> None:
    """Whether manifest and library agree about one code."""
    for name in (CODE, WEIGHTS):
        if name not in region.files:
            raise RunError(where=where, what=f"it lacks '{name}'", help=_AGAIN)
    entry = Entry(region.metadata, f"{where}, metadata in manifest.json")
    interface = entry.whole("interface", 1, 1 << 16)
    if interface not in (INTERFACE, _ONE_BY_ONE):
        raise RunError(
            where=where,
            what=f"its code has interface version {interface} ('interface' in manifest.json), and this is {INTERFACE}",
            help=f"{_AGAIN}, or {_without_code()}",
        )
    entry.text("system"), entry.text("machine"), entry.texts("features")
    stated = _stated(region, where)
    said = Facts(
        interface,
        entry.whole("arena_bytes", 0, _SIZE_LIMIT),
        entry.whole("weights_bytes", 0, _SIZE_LIMIT),
        len(entry.texts("bounds")),
        tuple((dtype, shape) for _, dtype, shape in region.inputs),
        tuple((dtype, shape) for _, dtype, shape in region.outputs),
        *(entry.whole(name, 0, _SIZE_LIMIT) for name in ("images", "images_arena_bytes") if interface >= SEVERAL),
    )
    for item in fields(Facts):
        found, wanted = getattr(said, item.name), getattr(stated, item.name)
        if found != wanted:
            entry.refuse(f"{item.name}: {_shown(found)}, and {CODE} was made for {_shown(wanted)}")
    if len(region.files[WEIGHTS]) != stated.weights_bytes:
        size_bytes = len(region.files[WEIGHTS])
        entry.refuse(f"'weights_bytes' is {stated.weights_bytes}, '{WEIGHTS}' has {size_bytes} bytes")


def _shown(fact: Any) -> str:
    if isinstance(fact, tuple):
        fact = ", ".join(f"{dtype}[{','.join(map(str, shape))}]" for dtype, shape in fact) or "none"
    return str(fact)[:120]


def _stated(region: RegionFiles, where: str) -> Facts:
    """What the library says of itself. It need not be of this system to be read."""
    try:
        facts, machine = read_facts(region.files[CODE]), library_machine(region.files[CODE])
    except LibraryError as error:
        raise RunError(where=f"{where}, file '{CODE}'", what=str(error), help=_AGAIN) from None
    if facts is None:
        raise RunError(where=f"{where}, file '{CODE}'", what="it does not say what it was made for", help=_AGAIN)
    if machine != region.metadata["machine"]:
        raise RunError(
            where=f"{where}, file '{CODE}'",
            what=f"it is for {machine}, and manifest.json says {region.metadata['machine']}",
            help=_AGAIN,
        )
    return facts


def open_library(code: bytes) -> ctypes.CDLL:
    """Load a shared library that exists in memory: a private file that is gone as soon as it is open.

    Where the temporary folder is full, or lets nothing be executed, the file is one in memory. RunError where neither
    can be had.
    """
    try:
        handle, path = tempfile.mkstemp(prefix="intarsia-", suffix=".so")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(code)
            return ctypes.CDLL(path)
        finally:
            os.unlink(path)
    except OSError as error:
        trouble = error
    try:
        # It stays open: the loader knows libraries by their names, and another one may not get this one's.
        memory = os.memfd_create("intarsia")
        with os.fdopen(memory, "wb", closefd=False) as file:
            file.write(code)
        return ctypes.CDLL(f"/proc/self/fd/{memory}")
    except (AttributeError, OSError):
        raise RunError(
            where="temporary folder",
            what=f"code cannot be loaded from there: {trouble.strerror or trouble}",
            help="set TMPDIR to a folder with free space, on a file system that is not mounted noexec",
        ) from trouble


class _Pools:
    """The thread pools of this process: one for all regions, and one for each choice of processors to stay on.

    Every region's library brings the code of a pool. That of the first region that is loaded serves all, so that
    sessions share threads instead of competing; its library is never unloaded.
    """

    def __init__(self) -> None:
        self.renew_lock()
        self._home: ctypes.CDLL | None = None
        self._launcher: int | None = None
        self._made: dict[tuple[int, ...], int] = {}

    def renew_lock(self) -> None:
        """Also in a child process: another thread of its parent may have held the lock."""
        self._lock = threading.Lock()

    def serve(self, library: ctypes.CDLL, processors: Processors) -> tuple[bool, int]:
        """Bind a region's library to its pool. Whether the pool lives in that library, and how many threads."""
        pin = processors.pin or ()
        for processor in pin:
            _check_processor(processor)
        threads = processors.threads or (len(pin) + 1 if pin else _thread_count())
        with self._lock:
            if self._home is None:
                self._home = library
                library.intarsia_region_pool.restype = ctypes.c_void_p
                self._launcher = ctypes.cast(library.intarsia_region_launch, ctypes.c_void_p).value
            if pin not in self._made:
                numbers = (ctypes.c_int * len(pin))(*pin)
                made = self._home.intarsia_region_pool(numbers, len(pin), _spin_microseconds())
                if made is None:
                    raise MemoryError("no memory for a thread pool")
                self._made[pin] = made
            pool = ctypes.c_void_p(self._made[pin])
        library.intarsia_region_use(ctypes.c_void_p(self._launcher), pool, threads)
        return self._home is library, threads


_POOLS = _Pools()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_POOLS.renew_lock)


def _check_processor(processor: int) -> None:
    """RunError where no thread of this process may run on that processor."""
    where, help = f"pin: processor {processor}", "`taskset -p $$` shows which processors a process may use"
    if not hasattr(os, "sched_setaffinity"):
        raise RunError(where=where, what="this system cannot keep a thread on a processor", help="leave pin out")
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {processor})
    except (OSError, OverflowError, ValueError):
        raise RunError(where=where, what="this process may not run there, or there is none", help=help) from None
    finally:
        os.sched_setaffinity(0, before)


def _aligned_bytes(size: int) -> Array:
    # One line more than the start may need: kernels read numbers of channels by whole vectors, past the last one.
    memory = np.empty(size + 2 * _ALIGNMENT_BYTES, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT_BYTES
    return memory[start : start + size]


def _address(array: Array) -> int:
    """Where a C-contiguous array lies. The quick way is for what can be written and is not empty."""
    try:
        return _addressof(_first_byte(array))
    except (TypeError, ValueError):
        assert array.flags.c_contiguous
        return int(array.ctypes.data)


class _Slot:
    """What one run uses, and the next one again: scratch memory, and the pointers that the C entry takes.

    arenas  how many there are, for several images; 0 for one image
    """

    def __init__(self, inputs: int, outputs: int, weights: Array, arena_bytes: int, arenas: int = 0) -> None:
        self.inputs: Any = (ctypes.c_void_p * inputs)()
        self.outputs: Any = (ctypes.c_void_p * outputs)()
        self._arena = _aligned_bytes(arena_bytes * max(1, arenas))
        held = ctypes.addressof(self.inputs), ctypes.addressof(self.outputs)
        places = *held, weights.ctypes.data, self._arena.ctypes.data
        self.block: Any = (ctypes.c_void_p * 7)(*places, 0, arenas, arena_bytes)
        self.pointers = ctypes.c_void_p(ctypes.addressof(self.block))


class _CpuRegion(LoadedRegion):
    """Runs take nothing but what the kernels need: all that can be known before is made before."""

    def __init__(self, region: RegionFiles, processors: Processors) -> None:
        self._name = region.name
        self._outputs = [(shape, np.dtype(dtype)) for _, dtype, shape in region.outputs]
        self._bounds = list(region.metadata["bounds"])
        content = np.frombuffer(region.files[WEIGHTS], np.uint8)
        self._weights = _aligned_bytes(content.size)
        self._weights[:] = content
        self._values = len(region.inputs), len(region.outputs), self._weights
        self._arena_bytes = int(region.metadata["arena_bytes"])
        self._slots: list[_Slot] = []
        self._library = open_library(region.files[CODE])
        self._call: Any = self._library.intarsia_region_call
        self._call.restype = ctypes.c_int
        self._call.argtypes = [ctypes.c_void_p]
        is_home, threads = _POOLS.serve(self._library, processors)
        self.images_at_once = int(region.metadata["images"]) if region.metadata["interface"] >= SEVERAL else 0
        if self.images_at_once:
            self._call_images: Any = self._library.intarsia_region_call_images
            self._call_images.restype = ctypes.c_int
            self._call_images.argtypes = [ctypes.c_void_p]
            bytes_each = (-(-int(region.metadata["images_arena_bytes"]) // _ALIGNMENT_BYTES) + 1) * _ALIGNMENT_BYTES
            self._arenas = bytes_each, threads if threads * bytes_each <= _ARENAS_BYTES else 1
            self._images_slots: list[_Slot] = []
        if not is_home:
            finalizer = weakref.finalize(self, _ctypes.dlclose, self._library._handle)
            finalizer.atexit = False  # other threads may still run in it while the interpreter ends

    def run(self, inputs: Sequence[Array]) -> RegionResult:
        try:
            slot = self._slots.pop()  # one step for all threads of Python, as is append
        except IndexError:
            slot = _Slot(*self._values, self._arena_bytes)
        outputs = [np.empty(shape, dtype) for shape, dtype in self._outputs]
        slot.inputs[:] = [_address(array) for array in inputs]
        slot.outputs[:] = [_address(array) for array in outputs]
        start = time.perf_counter()
        status = self._call(slot.pointers)
        seconds = time.perf_counter() - start
        if len(self._slots) < _IDLE_SLOTS:
            self._slots.append(slot)
        if status != 0:
            raise self._failed(status)
        return RegionResult(outputs, {"seconds": seconds})

    def run_images(self, inputs: Sequence[Array], images: int) -> RegionResult:
        try:
            slot = self._images_slots.pop()
        except IndexError:
            slot = _Slot(*self._values, *self._arenas)
        outputs = [np.empty((images, *shape), dtype) for shape, dtype in self._outputs]
        slot.inputs[:] = [_address(array) for array in inputs]
        slot.outputs[:] = [_address(array) for array in outputs]
        slot.block[4] = images
        start = time.perf_counter()
        status = self._call_images(slot.pointers)
        seconds = time.perf_counter() - start
        if len(self._images_slots) < _IDLE_SLOTS:
            self._images_slots.append(slot)
        if status != 0:
            raise self._failed(status)
        return RegionResult(outputs, {"seconds": seconds})

    def _failed(self, status: int) -> RunError:
        where = f"region '{self._name}'"
        if 0 <= status - FIRST_BOUND < len(self._bounds):
            return RunError(
                where=where,
                what=self._bounds[status - FIRST_BOUND],
                help="look at the values that reach it, such as indices and lengths made at run time",
            )
        return RunError(
            where=where,
            what=f"a kernel ended with status {status}",
            help="the machine ran out of memory; close other programs and run again",
        )
