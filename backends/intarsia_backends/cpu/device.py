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
from typing import Any

import numpy as np

from intarsia.dtypes import Array
from intarsia.errors import RunError
from intarsia.runtime.device import Device, LoadedRegion, RegionFiles, RegionResult
from intarsia_backends.cpu.machine import machine_features, machine_name, thread_count

KIND = "cpu"
INTERFACE = 1
"""Version of the C interface between this file and a region's library."""

FIRST_BOUND = 1000
"""Status of a run that the first check of indices ended; the next check gives one more, and so on."""

_ALIGNMENT_BYTES = 64
_IDLE_ARENAS = 8


class CpuDevice(Device):
    """This machine's processor."""

    name = "cpu"
    kinds = (KIND,)

    def absent(self) -> str | None:
        return None if os.name == "posix" else "regions for the CPU are made for Linux"

    def load(self, region: RegionFiles) -> LoadedRegion:
        """Map the weights and open the library. RunError where it was built for another kind of processor."""
        _check(region)
        return _CpuRegion(region)


def _check(region: RegionFiles) -> None:
    facts = region.metadata
    where = f"region '{region.name}'"
    if facts.get("interface") != INTERFACE:
        raise RunError(
            where=where,
            what=f"its code has interface version {facts.get('interface')}, and this is version {INTERFACE}",
            help="compile the model again with the version of intarsia that is installed here",
        )
    built, here = f"{facts.get('system')} {facts.get('machine')}", f"{platform.system()} {machine_name()}"
    if built != here:
        raise RunError(
            where=where,
            what=f"its code is for {built}, and this machine is {here}",
            help="compile the model on a machine like this one, or with a target made for it",
        )
    missing = [feature for feature in facts.get("features", ()) if feature not in machine_features()]
    if missing:
        raise RunError(
            where=where,
            what=f"its code uses {', '.join(missing)}, which this processor does not have",
            help="compile with INTARSIA_CPU=portable, which uses only what every such processor has",
        )


def _open_library(code: bytes) -> ctypes.CDLL:
    """Load a shared library that exists in memory: a private file that is gone as soon as it is open."""
    handle, path = tempfile.mkstemp(prefix="intarsia-", suffix=".so")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(code)
        return ctypes.CDLL(path)
    finally:
        os.unlink(path)


def _close_library(library: ctypes.CDLL) -> None:
    library.intarsia_region_stop()
    _ctypes.dlclose(library._handle)


def _aligned_bytes(size: int) -> Array:
    memory = np.empty(size + _ALIGNMENT_BYTES, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT_BYTES
    return memory[start : start + size]


class _CpuRegion(LoadedRegion):
    def __init__(self, region: RegionFiles) -> None:
        self._name = region.name
        self._outputs = [(np.dtype(dtype), shape) for _, dtype, shape in region.outputs]
        self._inputs = len(region.inputs)
        self._bounds = [str(text) for text in region.metadata.get("bounds", ())]
        content = np.frombuffer(region.files["weights.bin"], np.uint8)
        self._weights = _aligned_bytes(content.size)
        self._weights[:] = content
        self._arena_bytes = int(region.metadata["arena_bytes"])
        self._arenas: list[Array] = []
        self._lock = threading.Lock()
        self._library = _open_library(region.files["region.so"])
        self._library.intarsia_region_threads(thread_count())
        self._entry: Any = getattr(self._library, region.metadata["entry"])
        self._entry.restype = ctypes.c_int
        self._entry.argtypes = [ctypes.c_void_p] * 4
        self._finalizer = weakref.finalize(self, _close_library, self._library)
        self._finalizer.atexit = False  # other threads may still run in it while the interpreter ends

    def run(self, inputs: Sequence[Array]) -> RegionResult:
        assert len(inputs) == self._inputs
        held = [np.ascontiguousarray(array) for array in inputs]
        outputs = [np.empty(shape, dtype) for dtype, shape in self._outputs]
        with self._lock:
            arena = self._arenas.pop() if self._arenas else None
        if arena is None:
            arena = _aligned_bytes(self._arena_bytes)
        start = time.perf_counter()
        status = self._entry(_pointers(held), _pointers(outputs), self._weights.ctypes.data, arena.ctypes.data)
        seconds = time.perf_counter() - start
        with self._lock:
            if len(self._arenas) < _IDLE_ARENAS:
                self._arenas.append(arena)
        if 0 <= status - FIRST_BOUND < len(self._bounds):
            raise RunError(
                where=f"region '{self._name}'",
                what=self._bounds[status - FIRST_BOUND],
                help="look at the values that reach it, such as indices and lengths made at run time",
            )
        if status != 0:
            raise RunError(
                where=f"region '{self._name}'",
                what=f"a kernel ended with status {status}",
                help="the machine ran out of memory; close other programs and run again",
            )
        return RegionResult(outputs, {"seconds": seconds})


def _pointers(arrays: Sequence[Array]) -> Any:
    return (ctypes.c_void_p * len(arrays))(*(array.ctypes.data for array in arrays))
