"""What kernels take of a multiprocessor, as the assembler says (`ptxas -v`)."""

from __future__ import annotations

import re
from dataclasses import dataclass

_ENTRY = re.compile(r"Compiling entry function '([^']+)'")
_STACK = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
_USED = re.compile(r"Used (\d+) registers")
_SHARED = re.compile(r"(\d+)(?:\+(\d+))? bytes smem")


@dataclass(frozen=True)
class Resources:
    """What a kernel takes.

    registers    of each thread
    stack_bytes  memory of each thread for arrays that are no registers, and for spills
    spill_store_bytes, spill_load_bytes
                 code that moves registers to memory and back, for want of more
    shared_bytes memory of each block whose size is known to the compiler
    """

    registers: int
    stack_bytes: int
    spill_store_bytes: int
    spill_load_bytes: int
    shared_bytes: int

    @property
    def spill_bytes(self) -> int:
        return self.spill_store_bytes + self.spill_load_bytes


def read_resources(log: str) -> dict[str, Resources]:
    """By name of a kernel, what the assembler's log says of it. Functions that kernels call are told of behind one, and
    count to that."""
    found: dict[str, Resources] = {}
    kernel, stack, spill_stores, spill_loads = "", 0, 0, 0
    for line in log.splitlines():
        if entry := _ENTRY.search(line):
            kernel, stack, spill_stores, spill_loads = entry[1], 0, 0, 0
        elif memory := _STACK.search(line):
            stack += int(memory[1])
            spill_stores += int(memory[2])
            spill_loads += int(memory[3])
            if kernel in found:
                taken = found[kernel]
                found[kernel] = Resources(taken.registers, stack, spill_stores, spill_loads, taken.shared_bytes)
        elif kernel and (used := _USED.search(line)):
            shared = _SHARED.search(line)
            shared_bytes = sum(int(part or 0) for part in shared.groups()) if shared else 0
            found[kernel] = Resources(int(used[1]), stack, spill_stores, spill_loads, shared_bytes)
    return found
