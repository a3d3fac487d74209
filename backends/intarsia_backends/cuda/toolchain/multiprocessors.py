"""What a multiprocessor of each compute capability has room for, and how many blocks of a kernel that comes to.

The limits are those of the CUDA C++ Programming Guide, "Technical Specifications per Compute Capability"; how registers
and shared memory are handed out is that of `cuda_occupancy.h`, which comes with CUDA (a test compares both).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from intarsia_backends.cuda.toolchain.resources import Resources

WARP = 32
REGISTERS = 1 << 16
"""Of a multiprocessor, and of a block."""

THREAD_REGISTERS = 255
BLOCK_THREADS = 1024
STATIC_SHARED_BYTES = 48 << 10
"""Of a block, on every GPU: more must be asked for when a kernel is launched."""

_PARTITIONS = 4
_REGISTER_UNIT = 256


@dataclass(frozen=True)
class Multiprocessor:
    """Limits of a multiprocessor.

    warps, blocks       at a time
    shared_bytes        of all of its blocks
    block_shared_bytes  of one of them
    reserved_bytes      that each block takes beside its own
    shared_unit_bytes   shared memory is handed out in multiples of it
    """

    warps: int
    blocks: int
    shared_bytes: int
    block_shared_bytes: int
    reserved_bytes: int = 1 << 10
    shared_unit_bytes: int = 128


MULTIPROCESSORS: Mapping[int, Multiprocessor] = {
    75: Multiprocessor(32, 16, 64 << 10, 64 << 10, reserved_bytes=0, shared_unit_bytes=256),
    80: Multiprocessor(64, 32, 164 << 10, 163 << 10),
    86: Multiprocessor(48, 16, 100 << 10, 99 << 10),
    87: Multiprocessor(48, 16, 164 << 10, 163 << 10),
    89: Multiprocessor(48, 24, 100 << 10, 99 << 10),
    90: Multiprocessor(64, 32, 228 << 10, 227 << 10),
    100: Multiprocessor(64, 32, 228 << 10, 227 << 10),
    120: Multiprocessor(48, 24, 100 << 10, 99 << 10),
}
"""By compute capability."""


@dataclass(frozen=True)
class Occupancy:
    """How much of a multiprocessor a kernel can fill.

    blocks  at a time; 0 where not even one can be launched
    share   of the warps that there is room for, 0 to 1
    limit   what there is not enough of for more: "warps", "blocks", "registers" or "shared memory"
    """

    blocks: int
    share: float
    limit: str


def occupancy(capability: int, taken: Resources, threads: int, dynamic_bytes: int = 0) -> Occupancy:
    """How many blocks of so many threads a multiprocessor holds at a time.

    dynamic_bytes  shared memory that is asked for when the kernel is launched
    """
    room = MULTIPROCESSORS[capability]
    warps = -(-threads // WARP)
    shared_bytes = _up(taken.shared_bytes + room.reserved_bytes + dynamic_bytes, room.shared_unit_bytes)
    fits = taken.shared_bytes + dynamic_bytes <= room.block_shared_bytes
    limits = {
        "warps": room.warps // warps if threads <= BLOCK_THREADS else 0,
        "blocks": room.blocks,
        "registers": _by_registers(taken.registers, warps),
        "shared memory": room.shared_bytes // shared_bytes if fits and shared_bytes else room.blocks * fits,
    }
    limit = min(limits, key=lambda name: limits[name])
    return Occupancy(limits[limit], limits[limit] * warps / room.warps, limit)


def _by_registers(registers: int, warps: int) -> int:
    """Each quarter of a multiprocessor hands out its registers to whole warps."""
    of_a_warp = _up(registers * WARP, _REGISTER_UNIT)
    if registers > THREAD_REGISTERS or of_a_warp * _up(warps, _PARTITIONS) > REGISTERS:
        return 0
    return REGISTERS // _PARTITIONS // max(1, of_a_warp) * _PARTITIONS // warps


def _up(number: int, unit: int) -> int:
    return -(-number // unit) * unit
