"""PoCL, which runs OpenCL on this machine's processor, made to know processors that are newer than its compiler.

The wheel `pocl-binary-distribution` has LLVM 14. Of a processor that came out later it says "generic", and then
refuses to compile for that. Where it would, one function of the library is overwritten in this process, to name a
processor that LLVM knows and whose instructions are all here.
"""

from __future__ import annotations

import ctypes
import importlib.util
import mmap
from pathlib import Path

from intarsia_backends.cpu.machine import machine_features, machine_name

_KNOWN = b"haswell"
_NEEDS = ("avx2", "bmi1", "bmi2", "f16c", "fma", "movbe")
_READ, _WRITE, _EXECUTE = 1, 2, 4

_kept: list[object] = []
"""What the library goes on to use."""


def name_processor() -> None:
    """Call it before pyopencl is asked for anything. Nothing is done where PoCL is no wheel, or knows the processor."""
    found = importlib.util.find_spec("pyopencl")
    libraries = sorted(Path(found.origin).parent.glob(".libs/libpocl*.so")) if found and found.origin else []
    if _kept or not libraries or machine_name() != "x86_64" or not machine_features().issuperset(_NEEDS):
        return
    library = ctypes.CDLL(str(libraries[0]))
    function = library.pocl_get_llvm_cpu_name
    function.restype = ctypes.c_char_p
    if function() != b"generic":
        return
    name = ctypes.create_string_buffer(_KNOWN)
    _kept.extend((library, name))
    system = ctypes.CDLL(None, use_errno=True)
    copy = ctypes.cast(system.strdup, ctypes.c_void_p).value
    assert copy is not None
    # mov rdi, the name; mov rax, strdup; jmp rax: the caller frees what it gets
    code = b"\x48\xbf" + ctypes.addressof(name).to_bytes(8, "little")
    code += b"\x48\xb8" + copy.to_bytes(8, "little") + b"\xff\xe0"
    address = ctypes.cast(function, ctypes.c_void_p).value
    assert address is not None
    start = address - address % mmap.PAGESIZE
    pages = ctypes.c_void_p(start), ctypes.c_size_t(address + len(code) - start)
    if system.mprotect(*pages, _READ | _WRITE | _EXECUTE) != 0:
        raise OSError(ctypes.get_errno(), "PoCL cannot be told which processor this is")
    ctypes.memmove(address, code, len(code))
    system.mprotect(*pages, _READ | _EXECUTE)
