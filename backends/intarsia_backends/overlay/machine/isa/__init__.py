"""The instruction set of the overlay, said once: fields, widths, meaning, what a word reads, writes and takes.

The encoder, the disassembler, the compiler's emitter, the NumPy machine, the SystemVerilog package and the manual page
come from here. A file a queue has its words; `encoding` says what all of them have.

The machine
-----------
A program is a sequence of 128-bit words, little-endian, in DRAM. The fetcher reads them in order and puts each into the
queue its opcode names: LOAD, MAC, VEC or STORE. Each queue executes its words in order, one at a time; the queues run
side by side. Words of a queue are either *setup* words, which write the queue's registers, or *run* words, which do
something with the registers as they stand. Registers keep their values until they are written again; they are zero at
the start of a program.

One at a time is how the result looks. Three overlaps inside of a queue change nothing but time: setup words write
registers of which the word at work has its own copy; Load and Store ask for the data of the next word while the last
bursts of this one are on their way, and deliver in order; a Conv begins its sums while the Conv before drains its last
tile, where its source and residual lie in other banks than the residual and target of that Conv.

Semaphores. There are 16 counters, 0 at the start of a program. A run word begins when every semaphore in its `wait`
mask is above 0, and takes 1 from each; when all that it does has landed in memory it adds 1 to each semaphore in its
`signal` mask. A signal to a semaphore that is at the configuration's semaphore_max waits.

Memories. All addresses are in words of their memory.
 ACT    activation memory: words of 16 int8 lanes, one pixel of 16 channels. Word w lies in bank w // bank_words.
 WGT    weight memory: rows of 64 bytes.
 PAR    parameter memory: groups of 16 output channels, 8 bytes a channel: bias int32, then a 32-bit word with the
        multiplier in bits 0 to 20 and the shift in bits 21 to 26.
 TAB    lookup tables of 256 bytes; entry i is for the byte i.
 DRAM   four segments, each with a base register that the host sets before the start: 0 constants, 1 arena, 2 inputs,
        3 outputs. Offsets are in words of 16 bytes.

A tensor in ACT is seen through a base and two pitches: the word of pixel (y, x) of channel block b is
    base + b * block_pitch + y * row_pitch + x.
The words that a run word writes are distinct: the rectangle of its target does not overlap itself.

Banks. A bank of ACT has two ports. Conv reads its source through both, so while it runs nothing else, its own residual
and target included, may read or write a bank that its source lies in. Otherwise a bank serves one reader and one writer
at a time: the readers are the residual of Conv, Vec and Store, the writers the target of Conv, Vec, Load and LoadPatch.
A word holds the banks from the lowest to the highest address that it touches in each operand, from its start to its
end. Vec reads both operands through one port, so they may share a bank with each other, and with its target. A program
that breaks this, or in which a running word reads or writes what another running word writes, is wrong: the simulator
raises an error, and the hardware's result is undefined.

What is refused. The fetcher looks at every word before it hands it to its queue, and stops the program at one that is
malformed: an opcode that no word has; bits set above the fields; a field outside of its limits, such as a count of 0
or a vector operation that does not exist; a run word before the setup words that hold its counts, which the tables of
run words below name. It reads to End and no further. The rest is the program's business, and checked by the simulator
alone: addresses and banks, modes and sums that do not go together.

Integer meaning. scale(a, m, s) is a * m / 2**s rounded half to even, exact for |a| < 2**31, m < 2**21, 1 <= s <= 47.
clamp(v) is min(max(v, clamp_min), clamp_max). Accumulators are 32 bits and wrap.
"""

from __future__ import annotations

from collections.abc import Sequence

from intarsia_backends.overlay.machine.isa.encoding import (
    ISSUE_CYCLES,
    MULTIPLIER_BITS,
    OPCODE_BITS,
    SEMAPHORES,
    TAG_BITS,
    WORD_BITS,
    WORD_BYTES,
    EncodingError,
    Instruction,
    Memory,
    Queue,
    Reads,
    Registers,
    Run,
    Segment,
    VecOperation,
    bits,
    positive,
    read,
)
from intarsia_backends.overlay.machine.isa.load import (
    Load,
    LoadConstants,
    LoadPatch,
    LoadPatchShape,
    LoadPatchTarget,
    LoadShape,
)
from intarsia_backends.overlay.machine.isa.mac import (
    SUB_WINDOW,
    WEIGHT_BLOCK_ROWS,
    Conv,
    ConvAdd,
    ConvResidual,
    ConvSource,
    ConvTarget,
    ConvWindow,
    estimate_conv_cycles,
    weight_rows,
)
from intarsia_backends.overlay.machine.isa.rectangles import (
    Access,
    Rectangle,
)
from intarsia_backends.overlay.machine.isa.store import (
    End,
    Store,
    StoreShape,
)
from intarsia_backends.overlay.machine.isa.transfers import (
    estimate_transfer_cycles,
)
from intarsia_backends.overlay.machine.isa.vec import (
    ONE_PASS_KERNEL,
    PARTS,
    SCALED,
    TWO_OPERANDS,
    WINDOWED,
    Vec,
    VecScale,
    VecSecond,
    VecSource,
    VecTarget,
    VecWindow,
)
from intarsia_backends.overlay.machine.isa.windows import (
    Axis,
    Window,
)

__all__ = [
    "BY_OPCODE",
    "INSTRUCTIONS",
    "ISSUE_CYCLES",
    "MULTIPLIER_BITS",
    "ONE_PASS_KERNEL",
    "OPCODE_BITS",
    "PARTS",
    "SCALED",
    "SEMAPHORES",
    "SUB_WINDOW",
    "TAG_BITS",
    "TWO_OPERANDS",
    "WEIGHT_BLOCK_ROWS",
    "WINDOWED",
    "WORD_BITS",
    "WORD_BYTES",
    "Access",
    "Axis",
    "Conv",
    "ConvAdd",
    "ConvResidual",
    "ConvSource",
    "ConvTarget",
    "ConvWindow",
    "EncodingError",
    "End",
    "Instruction",
    "Load",
    "LoadConstants",
    "LoadPatch",
    "LoadPatchShape",
    "LoadPatchTarget",
    "LoadShape",
    "Memory",
    "Queue",
    "Reads",
    "Rectangle",
    "Registers",
    "Run",
    "Segment",
    "Store",
    "StoreShape",
    "Vec",
    "VecOperation",
    "VecScale",
    "VecSecond",
    "VecSource",
    "VecTarget",
    "VecWindow",
    "Window",
    "bits",
    "decode",
    "decode_program",
    "encode_program",
    "estimate_conv_cycles",
    "estimate_transfer_cycles",
    "positive",
    "read",
    "weight_rows",
]

INSTRUCTIONS: tuple[type[Instruction], ...] = (
    LoadShape,
    Load,
    LoadPatchShape,
    LoadPatchTarget,
    LoadPatch,
    LoadConstants,
    ConvSource,
    ConvWindow,
    ConvTarget,
    ConvResidual,
    ConvAdd,
    Conv,
    VecSource,
    VecSecond,
    VecTarget,
    VecWindow,
    VecScale,
    Vec,
    StoreShape,
    Store,
    End,
)
BY_OPCODE = {kind.opcode(): kind for kind in INSTRUCTIONS}


def decode(word: bytes) -> Instruction:
    """The instruction of 16 bytes; EncodingError for an unknown opcode or bits set where there is no field."""
    value = int.from_bytes(word, "little")
    kind = BY_OPCODE.get(value & ((1 << OPCODE_BITS) - 1))
    if kind is None:
        raise EncodingError(f"opcode {value & ((1 << OPCODE_BITS) - 1)} is no instruction")
    value >>= OPCODE_BITS
    found: dict[str, int] = {}
    for name, width, signed in kind.layout():
        part = value & ((1 << width) - 1)
        found[name] = part - (1 << width) if signed and part >> width - 1 else part
        value >>= width
    if value:
        raise EncodingError(f"{kind.__name__} has bits set above its fields")
    return kind(**found)


def encode_program(program: Sequence[Instruction]) -> bytes:
    """The bytes of a program; EncodingError names a field that does not fit."""
    return b"".join(instruction.encode() for instruction in program)


def decode_program(program: bytes) -> list[Instruction]:
    """The instructions of a program; EncodingError names the word that is wrong."""
    if len(program) % WORD_BYTES:
        raise EncodingError(f"{len(program)} bytes are not whole words of {WORD_BYTES}")
    found = []
    for at in range(0, len(program), WORD_BYTES):
        try:
            found.append(decode(program[at : at + WORD_BYTES]))
        except EncodingError as error:
            raise EncodingError(f"word {at // WORD_BYTES}: {error}") from None
    return found
