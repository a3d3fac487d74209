"""CUDA C++ run by this machine's processor, block by block, in an order of threads that the caller chooses.

`build` compiles the text of kernels as C++, with headers that say what CUDA's words mean there; `Kernels` calls them.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from intarsia.dtypes import Array
from intarsia_backends.gpu.launches import KernelFacts

HERE = Path(__file__).resolve().parent
FORWARD, BACKWARD = 0, 1
"""Orders of threads. Any other number is the seed of a random one."""

ORDERS = (FORWARD, BACKWARD, 7)
GUARD_BYTES = 4096

_KERNEL = re.compile(r'extern "C" __global__ void __launch_bounds__\([\d, ]+\) (\w+)\(([^)]*)\) \{')
_WAITS = re.compile(r"\b(__sync\w+|__shfl_\w+|[A-Z][A-Z0-9]*_[A-Z0-9_]*)\b\(")
"""What threads may wait for each other in: barriers, and what the preamble names in capitals."""

_NEVER = {"MULTIPLY_ADD"}
_FLAGS = ("-std=c++17", "-O1", "-w", "-ffp-contract=off", "-fno-strict-aliasing", "-fwrapv", "-shared", "-fPIC")
_LAUNCH = """
extern "C" int cuda_on_cpu_launch(const char* name, const unsigned* grid, const unsigned* block, void** arguments,
                                  unsigned order) {
  for (const auto& each : kernels)
    if (!strcmp(each.name, name))
      return device::launch(each.call, arguments, grid, block, order, each.alone) ? 0 : 2;
  device::message = "there is no such kernel";
  return 1;
}
extern "C" const char* cuda_on_cpu_message() { return device::message.c_str(); }
"""


def as_cpp(text: str) -> str:
    """The text of kernels with what calls them by name: `cuda_on_cpu_launch`, whose arguments are pointers to values,
    as the driver of a GPU takes them."""
    calls, rows = [], []
    starts = [*(match.start() for match in _KERNEL.finditer(text)), len(text)]
    for match, end in zip(_KERNEL.finditer(text), starts[1:]):
        name, parameters = match.groups()
        kinds = [re.sub(r"\s*(__restrict__)?\s*\w+$", "", parameter.strip()) for parameter in parameters.split(",")]
        values = ", ".join(f"*({kind}*)a[{index}]" for index, kind in enumerate(kinds))
        calls.append(f"static void call_{name}(void** a) {{ {name}({values}); }}")
        waits = set(_WAITS.findall(text[match.start() : end])) - _NEVER
        rows.append(f'{{"{name}", call_{name}, {"false" if waits else "true"}}}')
    table = "static const struct { const char* name; void (*call)(void**); bool alone; } kernels[] = {"
    return "\n".join(['#include "cuda_on_cpu.h"', text, *calls, table, ",\n".join(rows), "};", _LAUNCH])


def build(text: str, folder: Path) -> Path:
    """A shared object of the kernels, in a folder; made once for each text."""
    headers = b"".join(path.read_bytes() for path in sorted(HERE.glob("*.h")))
    source = as_cpp(text)
    path = folder / f"{hashlib.sha256(source.encode() + headers).hexdigest()[:24]}.so"
    if not path.exists():
        made, code = path.with_suffix(f".{os.getpid()}"), path.with_suffix(".cpp")
        code.write_text(source)
        done = subprocess.run(
            ["c++", *_FLAGS, f"-I{HERE}", "-o", str(made), str(code)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[:4000]
        made.replace(path)
    return path


class KernelError(Exception):
    """A launch that no GPU would end well: threads that wait for ever, or memory that is written beside."""


class Kernels:
    """The kernels of one text."""

    def __init__(self, text: str, folder: Path) -> None:
        self._library = ctypes.CDLL(str(build(text, folder)))
        self._library.cuda_on_cpu_message.restype = ctypes.c_char_p

    def launch(self, facts: KernelFacts, arrays: Sequence[Array], order: int = FORWARD, fill: int = 0xA5) -> None:
        """Call a kernel with an array for each parameter; those that it writes are filled in.

        fill  what lies around the arrays, each of which is as long as the kernel says, and not one byte longer

        Raises KernelError where threads wait for ever, or a byte beside an array has changed.
        """
        assert [(str(array.dtype), array.size) for array in arrays] == [
            (parameter.dtype, parameter.elements) for parameter in facts.parameters
        ]
        memories = []
        for array in arrays:
            memory = np.full(array.nbytes + 2 * GUARD_BYTES + 16, fill, np.uint8)
            start = -memory.ctypes.data % 16 + GUARD_BYTES
            memory[start : start + array.nbytes] = array.reshape(-1).view(np.uint8)
            memories.append((memory, start))
        values: list[ctypes.c_void_p | ctypes.c_int] = []
        for memory, start in memories:
            values += [ctypes.c_void_p(memory.ctypes.data + start), ctypes.c_int(0)]
        pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
        sizes = [(ctypes.c_uint * 3)(*each) for each in (facts.grid, facts.block)]
        if self._library.cuda_on_cpu_launch(facts.name.encode(), *sizes, pointers, ctypes.c_uint(order)):
            raise KernelError(f"{facts.name}: {self._library.cuda_on_cpu_message().decode()}")
        for index, ((memory, start), array, parameter) in enumerate(zip(memories, arrays, facts.parameters)):
            if (memory[:start] != fill).any() or (memory[start + array.nbytes :] != fill).any():
                raise KernelError(f"{facts.name} writes beside parameter {index}")
            inside = memory[start : start + array.nbytes]
            if parameter.written:
                array.reshape(-1).view(np.uint8)[:] = inside
            elif (inside != array.reshape(-1).view(np.uint8)).any():
                raise KernelError(f"{facts.name} writes to parameter {index}, which it only reads")
