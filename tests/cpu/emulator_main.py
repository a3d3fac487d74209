"""A program that runs x86 code on a processor that is only emulated: Bochs, as the package bochscpu-python brings it.

    python emulator_main.py MODEL

MODEL counts in Bochs' list of processors. The emulated processor sees this process's memory at its own addresses: what
is loaded here runs there as it stands, with what it calls of the C library, and finds operands where NumPy has them.

A program of its own, since the package keeps what Python has freed at the end. It reads pickled requests (path of a
library, symbol, arguments) from its input until that ends, and answers with ("done", status, arguments) or ("fault",
why). An argument is a whole number, an array, which is handed over by its address, or a list of such arrays, handed
over as a table of addresses.
"""

from __future__ import annotations

import bisect
import ctypes
import os
import pickle
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

_PAGE, _GIGABYTE = 1 << 12, 1 << 30
_FIRST_GIGABYTE = 4  # of physical memory; below it are devices
_TABLE_ENTRIES = 512
_PRESENT_WRITABLE, _LARGE = 0b11, 1 << 7

_STACK_BYTES = 8 << 20
_HALT = 0xF4
_LINE_BYTES, _FENCE_BYTES, _FENCE = 64, 192, 0x5A

_CR0 = 1 << 31 | 1 << 16 | 1 << 5 | 1 << 4 | 1 << 1 | 1  # PG WP NE ET MP PE
_CR4 = 1 << 18 | 1 << 16 | 1 << 10 | 1 << 9 | 1 << 5  # OSXSAVE FSGSBASE OSXMMEXCPT OSFXSR PAE
_EFER = 1 << 10 | 1 << 8  # LMA LME
_X87_TO_AVX, _X87_TO_AVX512 = 0b111, 0b11100111
_CODE_SEGMENT, _DATA_SEGMENT = 0xA09B, 0xC093  # flat; code of 64 bits
_EXCEPTIONS = {0: "division by zero", 6: "invalid opcode", 13: "general protection", 14: "page fault"}
_INTEGER_REGISTERS = ("rdi", "rsi", "rdx", "rcx", "r8", "r9")

_GLIBC_2_38 = """#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
unsigned long long __isoc23_strtoull(const char *text, char **end, int base) { return strtoull(text, end, base); }
int __isoc23_sscanf(const char *text, const char *format, ...) {
  va_list list;
  va_start(list, format);
  int count = vsscanf(text, format, list);
  va_end(list);
  return count;
}
"""
"""What the package takes from glibc 2.38, for an older one."""


class Fault(Exception):
    """Emulated code did not come to its end."""


def package() -> Any:
    """The package, with what it lacks on an older C library."""
    try:
        import_module("bochscpu.memory")
    except ImportError:
        with tempfile.TemporaryDirectory() as folder:
            source, library = Path(folder, "glibc.c"), Path(folder, "glibc.so")
            source.write_text(_GLIBC_2_38)
            subprocess.run([os.environ.get("CC", "cc"), "-shared", "-fPIC", "-o", library, source], check=True)
            ctypes.CDLL(str(library), ctypes.RTLD_GLOBAL)
        import_module("bochscpu.memory")
    return import_module("bochscpu")


def choose_model(bochscpu: Any, model: int) -> None:
    """Set the parameter by which the next processor is made."""
    library = ctypes.CDLL(bochscpu._bochscpu.__file__)
    library.sim_get_param_enum.restype = ctypes.c_void_p
    change = library._ZN14bx_param_num_c3setEl  # bx_param_num_c::set(long)
    change.argtypes = [ctypes.c_void_p, ctypes.c_long]
    change(library.sim_get_param_enum(b"cpu.model"), model)


class Memory:
    """This process's memory as the processor's: virtual addresses are ours; physical ones, by the gigabyte, are made
    up, and their pages put in when they are first touched."""

    def __init__(self, memory: Any) -> None:
        self._insert = memory.page_insert
        self._gigabytes: list[int] = []  # of ours, for each of physical memory
        self._root = _table()
        self._tables: dict[int, Any] = {}  # a table of 512 gigabytes for each entry of the root
        self.root = self._physical(_address(self._root))

    def refresh(self) -> None:
        """Look up what memory there is now, and point to it."""
        self._starts, self._ends = [], []
        for start, end, words in _mappings():
            if "r" in words[1] and end < 1 << 47:
                self._starts.append(start)
                self._ends.append(end)
                for gigabyte in range(start // _GIGABYTE, -(-end // _GIGABYTE)):
                    self._cover(gigabyte)

    def _cover(self, gigabyte: int) -> None:
        """Point to a gigabyte of ours, where nothing points to it yet."""
        upper, lower = divmod(gigabyte, _TABLE_ENTRIES)
        if upper not in self._tables:
            self._tables[upper] = _table()
            self._root[upper] = self._physical(_address(self._tables[upper])) | _PRESENT_WRITABLE
        self._tables[upper][lower] = self._physical(gigabyte * _GIGABYTE) | _PRESENT_WRITABLE | _LARGE

    def _physical(self, address: int) -> int:
        gigabyte, within = divmod(address, _GIGABYTE)
        if gigabyte not in self._gigabytes:
            self._gigabytes.append(gigabyte)
        return (_FIRST_GIGABYTE + self._gigabytes.index(gigabyte)) * _GIGABYTE + within

    def insert(self, place: int) -> bool:
        """Put in the page at a physical address. False where there is nothing."""
        page = place & -_PAGE
        gigabyte, within = divmod(page, _GIGABYTE)
        if not 0 <= gigabyte - _FIRST_GIGABYTE < len(self._gigabytes):
            return False
        address = self._gigabytes[gigabyte - _FIRST_GIGABYTE] * _GIGABYTE + within
        mapping = bisect.bisect_right(self._starts, address) - 1
        if mapping < 0 or address >= self._ends[mapping]:
            return False
        self._insert(page, address)
        return True


class Processor:
    """Calls functions of this process."""

    def __init__(self, model: int) -> None:
        self._bochscpu = package()
        choose_model(self._bochscpu, model)
        self._memory = Memory(self._bochscpu.memory)
        self._stack, self._nothing = np.zeros(_STACK_BYTES, np.uint8), np.zeros(2 * _PAGE, np.uint8)
        self._end = np.full(1, _HALT, np.uint8)  # where functions return to
        self._fault = ""
        self._session = self._bochscpu.Session()
        self._session.missing_page_handler = self._missing_page
        self._hook = self._bochscpu.Hook()
        self._hook.hlt = lambda session, processor: session.stop()
        self._hook.exception = self._exception

    def call(self, function: int, arguments: list[int]) -> int:
        """What a function gives, as a C int. Fault where it does not end."""
        self._memory.refresh()
        self._fault = ""
        self._session.cpu.state = self._state(function, arguments)
        self._session.run([self._hook])
        if self._fault:
            raise Fault(self._fault)
        return ctypes.c_int(self._session.cpu.state.rax & 0xFFFFFFFF).value

    def _state(self, function: int, arguments: list[int]) -> Any:
        state = self._bochscpu.State()
        state.cr0, state.cr3, state.cr4, state.efer = _CR0, self._memory.root, _CR4, _EFER
        state.xcr0 = _X87_TO_AVX512
        state.mxcsr, state.mxcsr_mask, state.rflags, state.fpcw, state.fptw = 0x1F80, 0xFFFF, 2, 0x37F, 0xFFFF
        for name in ("cs", "ds", "es", "ss", "fs", "gs"):
            segment = self._bochscpu.Segment()
            segment.present, segment.selector, segment.limit = True, 8, 0xFFFFFFFF
            segment.base = _thread_pointer() if name == "fs" else 0
            segment.attr = _CODE_SEGMENT if name == "cs" else _DATA_SEGMENT
            setattr(state, name, segment)
        count = len(_INTEGER_REGISTERS)
        for register, argument in zip(_INTEGER_REGISTERS, arguments):
            setattr(state, register, argument)
        words = np.asarray([_address(self._end), *arguments[count:]], np.uint64)
        top = _address(self._stack) + _STACK_BYTES - _PAGE - words.nbytes
        start = (top & -16) - 8  # 16 bytes divide the place behind the return address
        ctypes.memmove(start, words.ctypes.data, words.nbytes)
        state.rsp, state.rip = start, function
        return state

    def _missing_page(self, place: int) -> None:
        if not self._memory.insert(place):
            self._fault = self._fault or f"page fault after {_where(self._session.cpu.state.rip)}"
            self._bochscpu.memory.page_insert(place & -_PAGE, _address(self._nothing) + _PAGE - 1 & -_PAGE)
            self._session.stop()

    def _exception(self, session: Any, processor: int, vector: int, code: int) -> None:
        kind = _EXCEPTIONS.get(vector, f"exception {vector}")
        at = f" at address {session.cpu.state.cr2:#x}" if vector == 14 else ""
        self._fault = self._fault or f"{kind}{at} before {_where(session.cpu.state.rip)}"
        session.stop()


class Operands:
    """Copies of the arrays of a request, each between fences."""

    def __init__(self) -> None:
        self._held: list[tuple[Any, Any]] = []

    def address(self, argument: Any) -> int:
        if isinstance(argument, list):
            table = np.asarray([self.address(part) for part in argument] or [0], np.uint64)
            self._held.append((table, None))
            return _address(table)
        if isinstance(argument, np.ndarray):
            memory = np.full(argument.nbytes + 2 * _FENCE_BYTES + _LINE_BYTES, _FENCE, np.uint8)
            start = _FENCE_BYTES + -(_address(memory) + _FENCE_BYTES) % _LINE_BYTES
            inside = memory[start : start + argument.nbytes]
            inside[:] = np.frombuffer(argument.tobytes(), np.uint8)
            self._held.append((memory, inside))
            return _address(inside) if argument.nbytes else _address(memory)
        return int(argument)

    def check(self) -> None:
        """Fault where something was written beside an array."""
        for memory, inside in self._held:
            if inside is None:
                continue
            start = _address(inside) - _address(memory) if inside.size else 0
            beside = np.concatenate([memory[:start], memory[start + inside.size :]])
            if (beside != _FENCE).any():
                raise Fault(f"something was written beside an array of {inside.size} bytes")

    def contents(self) -> list[bytes]:
        """Of the arrays, in order."""
        return [inside.tobytes() for _, inside in self._held if inside is not None]


def _table() -> Any:
    memory = np.zeros(2 * _TABLE_ENTRIES, np.uint64)
    start = -memory.ctypes.data % _PAGE // 8
    return memory[start : start + _TABLE_ENTRIES]


def _address(array: Any) -> int:
    return int(array.ctypes.data)


def _mappings() -> list[tuple[int, int, list[str]]]:
    """Where this process has memory: start, end, and the words of the line that says so."""
    found = []
    for line in Path("/proc/self/maps").read_text().splitlines():
        words = line.split()
        start, end = (int(number, 16) for number in words[0].split("-"))
        found.append((start, end, words))
    return found


def _where(address: int) -> str:
    """File and offset of an instruction."""
    for start, end, words in _mappings():
        if start <= address < end:
            return f"{words[5] if len(words) > 5 else 'memory'}+{address - start + int(words[2], 16):#x}"
    return f"{address:#x}"


def _thread_pointer() -> int:
    """Where this thread's own variables are, which the C library finds by FS."""
    place = ctypes.c_uint64()
    arch_prctl, get_fs = 158, 0x1003
    assert ctypes.CDLL(None).syscall(arch_prctl, get_fs, ctypes.byref(place)) == 0
    return place.value


def main() -> None:
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the package prints goes with the errors
    processor = Processor(int(sys.argv[1]))
    libraries: dict[str, Any] = {}  # never closed: the processor keeps what it has decoded, by address
    while True:
        try:
            path, symbol, arguments = pickle.load(requests)
        except EOFError:
            break
        operands = Operands()
        addresses = [operands.address(argument) for argument in arguments]
        try:
            library = libraries.setdefault(path, ctypes.CDLL(path))
            function = ctypes.cast(getattr(library, symbol), ctypes.c_void_p).value or 0
            status = processor.call(function, addresses)
            operands.check()
            answer: Any = ("done", status, operands.contents())
        except (Fault, OSError, AttributeError) as error:
            answer = ("fault", str(error))
        pickle.dump(answer, answers)
        answers.flush()
    os._exit(0)  # the package's own end fails


if __name__ == "__main__":
    main()
