"""The instruction set of the overlay, said once: fields, widths and meaning. Standard library only.

The encoder, the disassembler, the NumPy machine, the SystemVerilog package and the manual page come from this file.

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
or a vector operation that does not exist; a run word before the words that hold its counts (Load: LoadShape; LoadPatch:
LoadPatchShape and LoadPatchTarget; Conv: ConvWindow; Vec: VecTarget, and VecWindow for MAXIMUM and SUM; Store:
StoreShape). It reads to End and no further. The rest is the program's business, and checked by the simulator alone:
addresses and banks, modes and sums that do not go together.

Integer meaning. scale(a, m, s) is a * m / 2**s rounded half to even, exact for |a| < 2**31, m < 2**21, 1 <= s <= 47.
clamp(v) is min(max(v, clamp_min), clamp_max). Accumulators are 32 bits and wrap.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from enum import IntEnum
from typing import Any, ClassVar

WORD_BITS = 128
WORD_BYTES = WORD_BITS // 8
OPCODE_BITS = 6
SEMAPHORES = 16
TAG_BITS = 10
MULTIPLIER_BITS = 21


class Queue(IntEnum):
    """The four queues; a word's queue is in the top two bits of its opcode."""

    LOAD = 0
    MAC = 1
    VEC = 2
    STORE = 3


class Segment(IntEnum):
    """DRAM segments: which base register an offset belongs to."""

    CONSTANTS = 0
    ARENA = 1
    INPUTS = 2
    OUTPUTS = 3


class Memory(IntEnum):
    """Where LoadConstants writes, and what it counts in."""

    WEIGHTS = 0  # rows of 64 bytes
    PARAMETERS = 1  # groups of 128 bytes
    TABLES = 2  # tables of 256 bytes


class VecOperation(IntEnum):
    """What Vec makes of a word."""

    COPY = 0
    ADD = 1
    MULTIPLY = 2
    MAXIMUM = 3
    SUM = 4
    LOOKUP = 5
    FILL = 6


class EncodingError(ValueError):
    """A field value that does not fit, or a word that is no instruction."""


def bits(
    width: int, *, signed: bool = False, default: int = 0, least: int | None = None, most: int | None = None
) -> Any:
    """A field of `width` bits, two's complement where it is signed.

    least, most  limits that the width does not imply; a word outside of them is malformed. Unsigned fields only.
    """
    return field(default=default, metadata={"width": width, "signed": signed, "least": least, "most": most})


def positive(width: int) -> Any:
    """An unsigned field that must not be 0."""
    return bits(width, least=1)


@dataclass(frozen=True)
class Instruction:
    """One 128-bit word: the opcode in bits 0 to 5, then the fields in order, low bits first; the rest is zero."""

    queue: ClassVar[Queue]
    kind: ClassVar[int]  # 1 to 15 in its queue

    @classmethod
    def opcode(cls) -> int:
        return int(cls.queue) << 4 | cls.kind

    @classmethod
    def layout(cls) -> Iterator[tuple[str, int, bool]]:
        """(field, bits, signed) from the low bits up, the opcode left out."""
        for item in fields(cls):
            yield item.name, item.metadata["width"], item.metadata["signed"]

    @classmethod
    def limits(cls) -> Iterator[tuple[str, int | None, int | None]]:
        """(field, least, most) of the fields with limits that their width does not imply."""
        for item in fields(cls):
            least, most = item.metadata["least"], item.metadata["most"]
            if least is not None or most is not None:
                yield item.name, least, most

    def malformed(self) -> str | None:
        """Which field is outside of its limits, and how; None where the fetcher takes the word."""
        for name, least, most in self.limits():
            value = getattr(self, name)
            if least is not None and value < least:
                return f"{type(self).__name__}.{name} = {value}, at least {least}"
            if most is not None and value > most:
                return f"{type(self).__name__}.{name} = {value}, at most {most}"
        return None

    @classmethod
    def is_run(cls) -> bool:
        return issubclass(cls, Run)

    def encode(self) -> bytes:
        """The 16 bytes of the word; EncodingError names a field that does not fit."""
        word, shift = self.opcode(), OPCODE_BITS
        for name, width, signed in self.layout():
            value = int(getattr(self, name))
            low, high = (-(1 << width - 1), (1 << width - 1) - 1) if signed else (0, (1 << width) - 1)
            if not low <= value <= high:
                raise EncodingError(
                    f"{type(self).__name__}.{name} = {value} does not fit {width} bits ({low} to {high})"
                )
            word |= (value & ((1 << width) - 1)) << shift
            shift += width
        return word.to_bytes(WORD_BYTES, "little")


@dataclass(frozen=True)
class Run(Instruction):
    """A word that does something. All run words begin with these fields.

    wait, signal  masks of semaphores
    tag           number of the layer that the counters book this word on
    """

    wait: int = bits(SEMAPHORES)
    signal: int = bits(SEMAPHORES)
    tag: int = bits(TAG_BITS)


# ---- LOAD


@dataclass(frozen=True)
class LoadShape(Instruction):
    """Setup for Load: what is copied, and the pitches on both sides, in words of 16 bytes."""

    queue = Queue.LOAD
    kind = 1

    blocks: int = positive(10)
    rows: int = positive(14)
    columns: int = positive(14)
    row_pitch: int = bits(14)
    block_pitch: int = bits(16)
    dram_row_pitch: int = bits(16)
    dram_block_pitch: int = bits(26)


@dataclass(frozen=True)
class Load(Run):
    """Copy words from DRAM to ACT.

    For b in blocks, y in rows, x in columns (LoadShape):
        ACT[base + b * block_pitch + y * row_pitch + x] =
            DRAM[segment][offset + b * dram_block_pitch + (y >> upsample) * dram_row_pitch + (x >> upsample)]
    With upsample = 1 the copy enlarges to twice the size by repeating pixels; rows and columns count the target's.
    """

    queue = Queue.LOAD
    kind = 2

    segment: int = bits(2)
    offset: int = bits(28)
    base: int = bits(16)
    upsample: int = bits(1)


@dataclass(frozen=True)
class LoadPatchShape(Instruction):
    """Setup for LoadPatch: an image in DRAM in the form "pixels", and the window that patches are cut with.

    height, width  of the image in pixels
    channels       1 to 4 bytes a pixel, packed tight
    pitch          words of 16 bytes from a row of the image to the next
    fill           what stands outside of the image (the input's zero point)

    The configuration's patch_bytes bounds kernel_height image rows, each in whole words of 16 bytes.
    """

    queue = Queue.LOAD
    kind = 3

    height: int = positive(14)
    width: int = positive(14)
    channels: int = bits(3, least=1, most=4)
    pitch: int = bits(12)
    kernel_height: int = positive(6)
    kernel_width: int = positive(6)
    stride_y: int = positive(4)
    stride_x: int = positive(4)
    fill: int = bits(8, signed=True)


@dataclass(frozen=True)
class LoadPatchTarget(Instruction):
    """Setup for LoadPatch: the rectangle of patches, and where they go.

    pad_top, pad_left  the window of patch (0, 0) begins at image row -pad_top, column -pad_left; negative values
                       begin inside of the image
    """

    queue = Queue.LOAD
    kind = 4

    rows: int = positive(14)
    columns: int = positive(14)
    row_pitch: int = bits(14)
    block_pitch: int = bits(16)
    pad_top: int = bits(16, signed=True)
    pad_left: int = bits(16, signed=True)


@dataclass(frozen=True)
class LoadPatch(Run):
    """Cut an image into patches, one vector of kernel_height * kernel_width * channels bytes for each output pixel.

    Byte k of the patch at (y, x), k = (ky * kernel_width + kx) * channels + c, is the image's byte
        (y * stride_y + ky - pad_top, x * stride_x + kx - pad_left, c), or `fill` where that is outside of the image.
    It goes to lane k % 16 of ACT[base + (k // 16) * block_pitch + y * row_pitch + x]; lanes past the last k get 0.
    A convolution with this kernel is then one with kernel 1 on ceil(K / 16) channel blocks.
    The image begins at DRAM[segment][offset]. Only the image rows from the first to the last that windows touch are
    read, each once. Patches are made row by row; a row of a window takes a cycle for each 16 bytes.
    """

    queue = Queue.LOAD
    kind = 5

    segment: int = bits(2)
    offset: int = bits(28)
    base: int = bits(16)


@dataclass(frozen=True)
class LoadConstants(Run):
    """Copy `count` entries from DRAM[segment][offset] on to a constant memory, from entry `at` on.

    memory  0 WGT, rows of 64 bytes; 1 PAR, groups of 128 bytes; 2 TAB, tables of 256 bytes
    """

    queue = Queue.LOAD
    kind = 6

    memory: int = bits(2, most=max(Memory))
    segment: int = bits(2)
    offset: int = bits(28)
    at: int = bits(16)
    count: int = positive(16)


# ---- MAC


@dataclass(frozen=True)
class ConvSource(Instruction):
    """Setup for Conv: the input in ACT.

    height, width      the rows and columns that exist; all others read as `fill` in every lane
    pad_top, pad_left  the window of output (0, 0) begins at row -pad_top, column -pad_left; negative: inside
    """

    queue = Queue.MAC
    kind = 1

    base: int = bits(16)
    row_pitch: int = bits(14)
    block_pitch: int = bits(16)
    height: int = bits(14)
    width: int = bits(14)
    pad_top: int = bits(12, signed=True)
    pad_left: int = bits(12, signed=True)
    fill: int = bits(8, signed=True)


@dataclass(frozen=True)
class ConvWindow(Instruction):
    """Setup for Conv: kernel, strides, dilations, and how much is computed.

    input_blocks   channel blocks of 16 that are summed over (1 in depthwise mode)
    output_blocks  channel blocks of 16 that are made
    rows, columns  output pixels
    """

    queue = Queue.MAC
    kind = 2

    kernel_height: int = positive(6)
    kernel_width: int = positive(6)
    stride_y: int = positive(4)
    stride_x: int = positive(4)
    dilation_y: int = positive(6)
    dilation_x: int = positive(6)
    input_blocks: int = positive(12)
    output_blocks: int = positive(12)
    rows: int = positive(14)
    columns: int = positive(14)


@dataclass(frozen=True)
class ConvTarget(Instruction):
    """Setup for Conv: the output in ACT, and the end of the epilogue's first step."""

    queue = Queue.MAC
    kind = 3

    base: int = bits(16)
    row_pitch: int = bits(14)
    block_pitch: int = bits(16)
    zero_point: int = bits(8, signed=True)
    clamp_min: int = bits(8, signed=True)
    clamp_max: int = bits(8, signed=True)


@dataclass(frozen=True)
class ConvResidual(Instruction):
    """Setup for Conv with residual = 1: the second operand in ACT, of the output's shape."""

    queue = Queue.MAC
    kind = 4

    base: int = bits(16)
    row_pitch: int = bits(14)
    block_pitch: int = bits(16)


@dataclass(frozen=True)
class ConvAdd(Instruction):
    """Setup for Conv with residual = 1: the epilogue's second step, with v from the first and r from ConvResidual:

    clamp(scale((v - zero_point) * multiplier + (r - residual_zero_point) * residual_multiplier, 1, shift)
          + output_zero_point)
    """

    queue = Queue.MAC
    kind = 5

    zero_point: int = bits(8, signed=True)
    multiplier: int = bits(MULTIPLIER_BITS)
    residual_zero_point: int = bits(8, signed=True)
    residual_multiplier: int = bits(MULTIPLIER_BITS)
    shift: int = bits(6)
    output_zero_point: int = bits(8, signed=True)
    clamp_min: int = bits(8, signed=True)
    clamp_max: int = bits(8, signed=True)


@dataclass(frozen=True)
class Conv(Run):
    """Convolve a rectangle of pixels for `output_blocks` blocks of 16 output channels.

    For ob in output_blocks, pixels (y, x) in rows x columns, output lane o:
        a = sum over ky, kx, ib, lane i of weight(ob, ky, kx, ib)[o][i] * X(ib, y', x')[i]
        with y' = y * stride_y + ky * dilation_y - pad_top, x' = x * stride_x + kx * dilation_x - pad_left,
        X(ib, y', x') the word of ConvSource, or `fill` in every lane where (y', x') is outside of height x width
    The 16x16 weight block of a step is 4 rows of WGT, byte i * 16 + o. Steps stand in the order of the loops
        for ob: for ky: for kx: for ib
    from weight_row on, without gaps.

    depthwise = 1: output block ob reads input block ob of the source alone, lane o times lane o:
        a = sum over ky, kx of weight(ob, ky, kx)[o] * X(ob, y', x')[o]
    The kernel is cut into sub-windows of 3x3 taps, at kernel rows 0, 3, 6, ... and in each at columns 0, 3, 6, ... A
    sub-window is 3 rows of WGT: row r holds its taps (r, 0), (r, 1), (r, 2) of 16 bytes and 16 bytes of zeros. Taps
    outside of the kernel are zeros. Sub-windows stand in the order
        for ob: for rows of sub-windows: for columns of them
    from weight_row on, without gaps. input_blocks is 1. A sub-window of the 16 channels of one pixel is taken in a
    cycle.

    Epilogue, with PAR group parameter_group + ob, 16 channels of one pixel a cycle:
        v = clamp(scale(a + bias, multiplier, shift) + ConvTarget.zero_point)
        residual = 1: v = the second step of ConvAdd
        the word of ConvTarget at (ob, y, x) = v in all 16 lanes
    The residual word of a pixel is read before its output word is written, so both may be the same word.

    Long sums: start = 0 adds on to the accumulators that the Conv before left, finish = 0 leaves them there and writes
    nothing. Either needs output_blocks = 1 and rows * columns <= pixels * tile_groups, the same rectangle in all Convs
    of the sum, which follow one another in the queue; not in depthwise mode.

    How it is done: pixels of the rectangle in raster order are cut into tiles of pixels * tile_groups; for ob, for
    tile, for step the array works ceil(tile pixels / pixels) cycles, at least 4 (the time a weight block takes to load
    into the shadow registers). Accumulators are double-buffered, so a tile's epilogue runs beside the next tile.

    skip, skip_row  reserved for a list of weight blocks that are zero: must be 0
    """

    queue = Queue.MAC
    kind = 6

    weight_row: int = bits(16)
    parameter_group: int = bits(12)
    depthwise: int = bits(1)
    start: int = bits(1, default=1)
    finish: int = bits(1, default=1)
    residual: int = bits(1)
    skip: int = bits(1, most=0)
    skip_row: int = bits(16, most=0)


# ---- VEC


@dataclass(frozen=True)
class VecSource(Instruction):
    """Setup for Vec: the (first) operand in ACT; fields as in ConvSource."""

    queue = Queue.VEC
    kind = 1

    base: int = bits(16)
    row_pitch: int = bits(14)
    block_pitch: int = bits(16)
    height: int = bits(14)
    width: int = bits(14)
    pad_top: int = bits(12, signed=True)
    pad_left: int = bits(12, signed=True)
    fill: int = bits(8, signed=True)


@dataclass(frozen=True)
class VecSecond(Instruction):
    """Setup for Vec ADD and MULTIPLY: the second operand in ACT, read at (b, y, x) itself.

    A pitch of 0 repeats: row_pitch = 0 and column_pitch = 0 make a per-channel operand of one pixel.
    """

    queue = Queue.VEC
    kind = 2

    base: int = bits(16)
    row_pitch: int = bits(14)
    block_pitch: int = bits(16)
    column_pitch: int = bits(1, default=1)


@dataclass(frozen=True)
class VecTarget(Instruction):
    """Setup for Vec: the output in ACT, and how much is computed."""

    queue = Queue.VEC
    kind = 3

    base: int = bits(16)
    row_pitch: int = bits(14)
    block_pitch: int = bits(16)
    blocks: int = positive(12)
    rows: int = positive(14)
    columns: int = positive(14)


@dataclass(frozen=True)
class VecWindow(Instruction):
    """Setup for Vec MAXIMUM and SUM: the pooling window. All other operations read (y, x) itself."""

    queue = Queue.VEC
    kind = 4

    kernel_height: int = positive(12)
    kernel_width: int = positive(12)
    stride_y: int = positive(8)
    stride_x: int = positive(8)


@dataclass(frozen=True)
class VecScale(Instruction):
    """Setup for Vec ADD, MULTIPLY and SUM: zero points, multipliers, shift, clamp."""

    queue = Queue.VEC
    kind = 5

    zero_point: int = bits(8, signed=True)
    multiplier: int = bits(MULTIPLIER_BITS)
    second_zero_point: int = bits(8, signed=True)
    second_multiplier: int = bits(MULTIPLIER_BITS)
    shift: int = bits(6)
    output_zero_point: int = bits(8, signed=True)
    clamp_min: int = bits(8, signed=True)
    clamp_max: int = bits(8, signed=True)


@dataclass(frozen=True)
class Vec(Run):
    """An operation on words, 16 lanes a cycle.

    For b in blocks, y in rows, x in columns (VecTarget) the word of VecTarget at (b, y, x) becomes, in all lanes,
    with A(b, y', x') the word of VecSource, or `fill` where (y', x') is outside of height x width, and
    B the word of VecSecond at base + b * block_pitch + y * row_pitch + x * column_pitch:

    0 COPY      A(b, (y >> upsample) - pad_top, (x >> upsample) - pad_left)
    1 ADD       clamp(scale((A - zero_point) * multiplier + (B - second_zero_point) * second_multiplier, 1, shift)
                + output_zero_point), with A at (b, y, x)
    2 MULTIPLY  clamp(scale((A - zero_point) * (B - second_zero_point), multiplier, shift) + output_zero_point)
    3 MAXIMUM   the largest of A(b, y * stride_y + ky - pad_top, x * stride_x + kx - pad_left) over the window
    4 SUM       clamp(scale(sum over the window of (A - zero_point), multiplier, shift) + output_zero_point);
                an average pool has 1 / count in the multiplier; a window of 1 x 1 changes the scale only
    5 LOOKUP    TAB[table][A(b, y, x) as an unsigned byte]
    6 FILL      fill; nothing is read

    Lanes: source lane lane_from + i goes to target lane lane_to + i for i < lane_count, other lanes of the target keep
    their values. The default (0, 0, 16) is the whole word. Anything else is for COPY only.

    Long sums: SUM with start = 0 adds on to the accumulator that the Vec before left, finish = 0 leaves the sum there
    and writes nothing; both need blocks = rows = columns = 1.

    A cycle makes one output word. MAXIMUM and SUM take kernel_height * kernel_width cycles for it. ADD, MULTIPLY, SUM
    and COPY to other lanes make four lanes a cycle, so they take at least 4. Sums that may have more than 17 bits
    (windows of more than 16 rows or columns, and those over several Vecs) are scaled in two passes: 4 more.
    """

    queue = Queue.VEC
    kind = 6

    operation: int = bits(4, most=max(VecOperation))
    upsample: int = bits(1)
    table: int = bits(4)
    start: int = bits(1, default=1)
    finish: int = bits(1, default=1)
    lane_from: int = bits(4)
    lane_to: int = bits(4)
    lane_count: int = bits(5, default=16)


# ---- STORE


@dataclass(frozen=True)
class StoreShape(Instruction):
    """Setup for Store: what is copied, and the pitches on both sides, in words of 16 bytes."""

    queue = Queue.STORE
    kind = 1

    blocks: int = positive(10)
    rows: int = positive(14)
    columns: int = positive(14)
    row_pitch: int = bits(14)
    block_pitch: int = bits(16)
    dram_row_pitch: int = bits(16)
    dram_block_pitch: int = bits(26)


@dataclass(frozen=True)
class Store(Run):
    """Copy words from ACT to DRAM.

    For b in blocks, y in rows, x in columns (StoreShape):
        DRAM[segment][offset + b * dram_block_pitch + y * dram_row_pitch + x] =
            ACT[base + b * block_pitch + y * row_pitch + x]
    """

    queue = Queue.STORE
    kind = 2

    segment: int = bits(2)
    offset: int = bits(28)
    base: int = bits(16)


@dataclass(frozen=True)
class End(Run):
    """The last word of a program. The fetcher stops; the program is done when every queue is idle and empty."""

    queue = Queue.STORE
    kind = 15


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
