"""The registers of the overlay as the host sees them, said once: place, access and meaning. Standard library only.

The driver, the SystemVerilog package and the manual page come from this file.

The register file is an AXI4-Lite slave: addresses of 12 bits, data of 32 bits, little-endian. A value of 64 bits is two
registers, the low word first. Byte strobes are honoured. Reads of an address without a register give 0, writes to one
do nothing; no access is ever answered with an error.

A run: write EXPECTED_HASH, PROGRAM_BASE, PROGRAM_WORDS and the segment bases, then CONTROL.start. STATUS.running is set
until the program has ended (done) or has failed (error). Registers of access RW are locked while a program runs: writes
to them do nothing, CONTROL excepted. The start clears the result of the run before.

An error of any kind stops the DMAs: no new burst is asked for, bursts under way are completed, write bursts without
bytes enabled. When nothing is in flight the engines are reset and STATUS.error is set. The next start, or a soft reset,
brings the machine back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, IntEnum

from intarsia_backends.overlay.machine.isa import Queue, Segment

ADDRESS_BITS = 12
SPAN_BYTES = 1 << ADDRESS_BITS

IDENTIFICATION_VALUE = 0x41544E49
"""What IDENTIFICATION reads: "INTA" in the order of the bytes."""

VERSION_VALUE = 1
"""Grows when a register or an instruction changes its meaning."""

DEADLOCK_CYCLES = 1024
"""A program that has not moved for this long never will."""

PROGRAM_WORDS_BITS = 24
"""A program has fewer than 2**24 words."""

FETCHER = len(Queue)
"""The number of the fetcher where ERROR_QUEUE names it."""


class Access(Enum):
    """What the host may do. COMMAND: bits that are written to make something happen, and read as described."""

    READ = "R"
    READ_WRITE = "RW"
    COMMAND = "C"


class Cause(IntEnum):
    """ERROR_CAUSE: why a program failed. The first error counts."""

    NONE = 0
    CONFIG_MISMATCH = 1  # EXPECTED_HASH differs from CONFIG_HASH: nothing was run
    MALFORMED_WORD = 2  # ERROR_WORD is no instruction, or has a value that isa.py forbids
    MISSING_END = 3  # PROGRAM_WORDS words were read, and none was End
    READ_SLAVE_ERROR = 4  # SLVERR on a read of ERROR_QUEUE in the burst at ERROR_ADDRESS
    READ_DECODE_ERROR = 5  # DECERR likewise: nothing answers at this address
    WRITE_SLAVE_ERROR = 6  # SLVERR on a write
    WRITE_DECODE_ERROR = 7  # DECERR on a write
    DEADLOCK = 8  # queues wait for each other; ERROR_STATE tells which


class CounterKind(IntEnum):
    """What is counted of each queue while a program runs, in cycles but the last."""

    BUSY = 0  # a run word is at work in the engine
    WAIT_SEMAPHORE = 1  # the engine is free, the next run word waits for its semaphores
    WAIT_MEMORY = 2  # of the busy cycles: nothing could be done for want of DRAM
    WORDS = 3  # run words that have finished


@dataclass(frozen=True)
class Bits:
    """Some bits of a register: `width` bits from `low` up."""

    name: str
    low: int
    meaning: str
    width: int = 1

    @property
    def mask(self) -> int:
        """The bits in a word of the register."""
        return ((1 << self.width) - 1) << self.low


@dataclass(frozen=True)
class Register:
    """One register.

    offset  byte address of the (low) word
    words   2: a value of 64 bits, the high word at offset + 4
    bits    names of its bits, where it has some
    """

    name: str
    offset: int
    access: Access
    meaning: str
    words: int = 1
    bits: Sequence[Bits] = field(default=())

    def mask(self, name: str) -> int:
        """The mask of the bits of this name; KeyError where there are none."""
        return {item.name: item for item in self.bits}[name].mask


IDENTIFICATION = Register("IDENTIFICATION", 0x000, Access.READ, f"{IDENTIFICATION_VALUE:#010x}: this is an overlay")
VERSION = Register("VERSION", 0x004, Access.READ, f"{VERSION_VALUE}: version of registers and instructions")
CONFIG_HASH = Register("CONFIG_HASH", 0x008, Access.READ, "hash of the configuration that was synthesised", words=2)
CONTROL = Register(
    "CONTROL",
    0x010,
    Access.COMMAND,
    "commands; reads give interrupt_enable, the rest as 0",
    bits=(
        Bits("start", 0, "written 1: run the program; does nothing while one runs"),
        Bits("soft_reset", 1, "written 1: stop what runs as an error would, then clear done, error and interrupt"),
        Bits("interrupt_enable", 2, "the interrupt output follows STATUS.interrupt; every write to CONTROL sets it"),
        Bits("interrupt_clear", 3, "written 1: clear STATUS.interrupt"),
    ),
)
STATUS = Register(
    "STATUS",
    0x014,
    Access.READ,
    "state of the machine",
    bits=(
        Bits("idle", 0, "nothing runs"),
        Bits("running", 1, "a program runs or is being stopped"),
        Bits("done", 2, "the last program ended well, everything it stores has landed in DRAM"),
        Bits("error", 3, "the last program failed: see ERROR_CAUSE"),
        Bits("interrupt", 4, "done or error was set since interrupt_clear or the start"),
    ),
)
EXPECTED_HASH = Register(
    "EXPECTED_HASH", 0x018, Access.READ_WRITE, "hash of the configuration that the program is made for", words=2
)
PROGRAM_BASE = Register(
    "PROGRAM_BASE", 0x020, Access.READ_WRITE, "DRAM byte address of the program, a multiple of 16", words=2
)
PROGRAM_WORDS = Register(
    "PROGRAM_WORDS",
    0x028,
    Access.READ_WRITE,
    f"words of 16 bytes of the program, End included, below 2**{PROGRAM_WORDS_BITS}",
)
SEGMENTS = tuple(
    Register(
        f"SEGMENT_{segment.name}",
        0x030 + 8 * segment,
        Access.READ_WRITE,
        f"DRAM byte address of segment {segment.value}, {segment.name.lower()}, a multiple of 16",
        words=2,
    )
    for segment in Segment
)
ERROR_CAUSE = Register(
    "ERROR_CAUSE", 0x050, Access.READ, "; ".join(f"{item.value} {item.name.lower()}" for item in Cause)
)
ERROR_QUEUE = Register(
    "ERROR_QUEUE", 0x054, Access.READ, f"queue that failed: 0 LOAD, 1 MAC, 2 VEC, 3 STORE, {FETCHER} the fetcher"
)
ERROR_WORD = Register(
    "ERROR_WORD",
    0x058,
    Access.READ,
    "index in the program of the malformed word; else of the word that the fetcher would have handed out next",
)
ERROR_STATE = Register(
    "ERROR_STATE",
    0x05C,
    Access.READ,
    "queues at the time of the error, bit 0 of each mask for LOAD",
    bits=(
        Bits("waiting", 0, "the next run word waits for its semaphores", width=4),
        Bits("blocked", 4, "a finished run word cannot signal: a semaphore is at its maximum", width=4),
        Bits("busy", 8, "a run word is at work", width=4),
        Bits("full", 12, "the fetcher waits for room in the queue", width=4),
    ),
)
ERROR_ADDRESS = Register(
    "ERROR_ADDRESS", 0x060, Access.READ, "DRAM byte address of the burst that was answered with an error", words=2
)


def counter_index(kind: CounterKind, queue: Queue) -> int:
    """The number of a counter of a queue; 0 is the counter of cycles."""
    return len(CounterKind) * (1 + queue) + kind


COUNTERS_OFFSET = 0x100
CYCLES = Register("CYCLES", COUNTERS_OFFSET, Access.READ, "cycles from the start to the end of the program", words=2)
_COUNTED = {
    CounterKind.BUSY: "cycles in which a run word was at work",
    CounterKind.WAIT_SEMAPHORE: "cycles in which the engine was free and the next run word waited for semaphores",
    CounterKind.WAIT_MEMORY: "of the busy cycles, those in which DRAM was waited for",
    CounterKind.WORDS: "run words that have finished",
}
COUNTERS = {
    (kind, queue): Register(
        f"{queue.name}_{kind.name}",
        COUNTERS_OFFSET + 8 * counter_index(kind, queue),
        Access.READ,
        f"{queue.name}: {_COUNTED[kind]}",
        words=2,
    )
    for queue in Queue
    for kind in CounterKind
}
"""Counters by what they count. They are cleared by a start and exact once STATUS.running is 0. While a program runs
they lag by up to 32 cycles, and the two words of one are not read at once: read high, low and high again."""

REGISTERS: tuple[Register, ...] = (
    IDENTIFICATION,
    VERSION,
    CONFIG_HASH,
    CONTROL,
    STATUS,
    EXPECTED_HASH,
    PROGRAM_BASE,
    PROGRAM_WORDS,
    *SEGMENTS,
    ERROR_CAUSE,
    ERROR_QUEUE,
    ERROR_WORD,
    ERROR_STATE,
    ERROR_ADDRESS,
    CYCLES,
    *COUNTERS.values(),
)
