"""Words of the queue VEC: pooling, element-wise operations, lookups and copies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from intarsia_backends.overlay.machine.config import OverlayConfig
from intarsia_backends.overlay.machine.isa.encoding import (
    ISSUE_CYCLES,
    MULTIPLIER_BITS,
    Instruction,
    Queue,
    Reads,
    Registers,
    Run,
    VecOperation,
    bits,
    positive,
    read,
)
from intarsia_backends.overlay.machine.isa.rectangles import Access, Rectangle
from intarsia_backends.overlay.machine.isa.windows import Axis, Window

WINDOWED = (VecOperation.MAXIMUM, VecOperation.SUM)
"""Operations on the words of a window."""

TWO_OPERANDS = (VecOperation.ADD, VecOperation.MULTIPLY)
"""Operations that read VecSecond."""

SCALED = (VecOperation.ADD, VecOperation.MULTIPLY, VecOperation.SUM)
"""Operations whose results are scaled."""

PARTS = 4
"""A word is scaled, and its lanes are moved, in four parts of four lanes, one a cycle."""

ONE_PASS_KERNEL = 16
"""Sums over windows with more rows or columns, and over several words, pass the multipliers twice."""


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
    setups: ClassVar = (
        Reads(VecSource),
        Reads(VecSecond, "operation", TWO_OPERANDS),
        Reads(VecTarget),
        Reads(VecWindow, "operation", WINDOWED),
        Reads(VecScale, "operation", SCALED),
    )

    operation: int = bits(4, most=max(VecOperation))
    upsample: int = bits(1)
    table: int = bits(4)
    start: int = bits(1, default=1)
    finish: int = bits(1, default=1)
    lane_from: int = bits(4)
    lane_to: int = bits(4)
    lane_count: int = bits(5, default=16)

    def source_window(self, registers: Registers) -> Window:
        """What it reads of its first operand; COPY with upsample = 1 reads the pixels that it repeats once."""
        source, target = read(registers, VecSource), read(registers, VecTarget)
        rows, columns = target.rows, target.columns
        if self.operation in WINDOWED:
            shape = read(registers, VecWindow)
            vertical = Axis(rows, shape.kernel_height, shape.stride_y, 1, source.pad_top, source.height)
            horizontal = Axis(columns, shape.kernel_width, shape.stride_x, 1, source.pad_left, source.width)
        elif self.operation == VecOperation.COPY:
            vertical = Axis(1 + (rows - 1 >> self.upsample), 1, 1, 1, source.pad_top, source.height)
            horizontal = Axis(1 + (columns - 1 >> self.upsample), 1, 1, 1, source.pad_left, source.width)
        else:
            vertical = Axis(rows, 1, 1, 1, 0, source.height)
            horizontal = Axis(columns, 1, 1, 1, 0, source.width)
        return Window(source, target.blocks, vertical, horizontal)

    def second_rectangle(self, registers: Registers) -> Rectangle:
        """Its second operand, for ADD and MULTIPLY."""
        second, target = read(registers, VecSecond), read(registers, VecTarget)
        return Rectangle(
            "ACT",
            second.base,
            target.blocks,
            target.rows,
            target.columns,
            second.block_pitch,
            second.row_pitch,
            second.column_pitch,
        )

    def target_rectangle(self, registers: Registers) -> Rectangle:
        """What it writes, where finish = 1."""
        target = read(registers, VecTarget)
        return Rectangle(
            "ACT", target.base, target.blocks, target.rows, target.columns, target.block_pitch, target.row_pitch
        )

    def accesses(self, registers: Registers) -> list[Access]:
        """Operands, the table of LOOKUP, and the target where it ends its sum."""
        found = []
        if self.operation != VecOperation.FILL:
            source = self.source_window(registers).rectangle
            if source is not None:
                found.append(Access("read", source))
        if self.operation in TWO_OPERANDS:
            found.append(Access("read", self.second_rectangle(registers)))
        if self.operation == VecOperation.LOOKUP:
            found.append(Access("read", Rectangle("TAB", self.table)))
        if self.finish:
            found.append(Access("write", self.target_rectangle(registers)))
        return found

    def estimate_cycles(self, registers: Registers, config: OverlayConfig) -> int:
        """A cycle for each word of a window; four for each word where its parts come one by one."""
        target, taps = read(registers, VecTarget), 1
        if self.operation in WINDOWED:
            window = read(registers, VecWindow)
            taps = window.kernel_height * window.kernel_width
        in_parts = self.operation in SCALED or self.lane_from != self.lane_to
        return target.blocks * target.rows * target.columns * max(taps, PARTS if in_parts else 1) + ISSUE_CYCLES
