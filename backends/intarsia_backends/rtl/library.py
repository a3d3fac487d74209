"""The C interface of a Verilated module: what `hw/intarsia_hw/verilator` exports, as ctypes sees it."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class PortStruct(ctypes.Structure):
    """A port, as the library tells of it; see `module.Port`."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("data", ctypes.c_void_p),
        ("bits", ctypes.c_uint32),
        ("elements", ctypes.c_uint32),
        ("stride", ctypes.c_uint32),
        ("direction", ctypes.c_uint8),
    )


class MemoryOptions(ctypes.Structure):
    """How DRAM behaves; see `attachments.DramOptions`."""

    _fields_ = (
        ("bytes_per_cycle", ctypes.c_double),
        ("latency_cycles", ctypes.c_uint32),
        ("jitter_cycles", ctypes.c_uint32),
        ("stall", ctypes.c_uint32),
        ("outstanding", ctypes.c_uint32),
        ("boundary_bytes", ctypes.c_uint32),
        ("seed", ctypes.c_uint64),
    )


POINTER, U32, U64, I32 = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint64, ctypes.c_int32
FUNCTIONS: Mapping[str, tuple[Any, tuple[Any, ...]]] = {
    "new": (POINTER, (U64,)),
    "free": (None, (POINTER,)),
    "ports": (U32, (POINTER,)),
    "port": (ctypes.POINTER(PortStruct), (POINTER, U32)),
    "eval": (None, (POINTER,)),
    "run": (U64, (POINTER, I32, U64, U64)),
    "cycle": (U64, (POINTER,)),
    "stopped": (ctypes.c_int, (POINTER,)),
    "log": (ctypes.c_char_p, (POINTER,)),
    "clear_log": (None, (POINTER,)),
    "play": (U64, (POINTER, U64, U32, POINTER, POINTER, U32, POINTER, POINTER)),
    "memory": (POINTER, (POINTER, ctypes.POINTER(MemoryOptions))),
    "memory_configure": (None, (POINTER, ctypes.POINTER(MemoryOptions))),
    "memory_region": (None, (POINTER, U64, U64, POINTER)),
    "memory_clear": (None, (POINTER,)),
    "memory_idle": (ctypes.c_int, (POINTER,)),
    "memory_read_port": (U32, (POINTER, POINTER, ctypes.c_char_p, POINTER)),
    "memory_write_port": (U32, (POINTER, POINTER, ctypes.c_char_p, POINTER)),
    "memory_fault": (None, (POINTER, ctypes.c_int, U64, U64, U32, U32)),
    "memory_counters": (ctypes.POINTER(U64), (POINTER, U32)),
    "memory_begin": (None, (POINTER,)),
    "memory_violations": (ctypes.c_char_p, (POINTER,)),
    "memory_outside": (U64, (POINTER, ctypes.POINTER(U64))),
    "source": (POINTER, (POINTER, I32, I32, I32, U32, U64)),
    "source_add": (None, (POINTER, POINTER, U64)),
    "source_left": (U64, (POINTER,)),
    "sink": (POINTER, (POINTER, I32, I32, I32, U32, U64)),
    "sink_count": (U64, (POINTER,)),
    "sink_items": (POINTER, (POINTER,)),
    "sink_cycles": (POINTER, (POINTER,)),
    "histogram": (POINTER, (POINTER, I32, I32)),
    "histogram_size": (U64, (POINTER,)),
    "histogram_counts": (ctypes.POINTER(U64), (POINTER,)),
    "trace": (POINTER, (POINTER, I32, I32, I32, I32, U64)),
    "trace_size": (U64, (POINTER, ctypes.c_int)),
    "trace_cycles": (POINTER, (POINTER, ctypes.c_int)),
    "trace_clear": (None, (POINTER,)),
    "lite_write": (ctypes.c_int, (POINTER, POINTER, U32, U32, U32, U64)),
    "lite_read": (ctypes.c_int, (POINTER, POINTER, U32, ctypes.POINTER(U32), U64)),
}
_LIBRARIES: dict[Path, Any] = {}


def load_library(path: Path) -> Any:
    """The library in a file, once in a process, with the types of its functions."""
    found = _LIBRARIES.get(path)
    if found is None:
        found = ctypes.CDLL(str(path))
        for name, (result, arguments) in FUNCTIONS.items():
            function = getattr(found, f"ia_{name}")
            function.restype, function.argtypes = result, arguments
        _LIBRARIES[path] = found
    return found
