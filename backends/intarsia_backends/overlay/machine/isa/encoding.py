"""What all words of the instruction set have: fields of bits behind an opcode, limits, and what run words say of
themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from enum import IntEnum
from typing import Any, ClassVar, TypeVar

from intarsia_backends.overlay.machine.config import (
    PARAMETER_GROUP_BYTES,
    TABLE_BYTES,
    WEIGHT_ROW_BYTES,
    OverlayConfig,
)
from intarsia_backends.overlay.machine.isa.rectangles import Access

WORD_BITS = 128
WORD_BYTES = WORD_BITS // 8
OPCODE_BITS = 6
SEMAPHORES = 16
TAG_BITS = 10
MULTIPLIER_BITS = 21

ISSUE_CYCLES = 20
"""In estimates: what a word costs beside its data."""


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

    @property
    def place(self) -> str:
        """How `Rectangle` names it."""
        return ("WGT", "PAR", "TAB")[self]

    @property
    def entry_bytes(self) -> int:
        """Bytes of what it counts in."""
        return (WEIGHT_ROW_BYTES, PARAMETER_GROUP_BYTES, TABLE_BYTES)[self]


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
        """Queue and kind in the low six bits of the word."""
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

    @classmethod
    def most(cls, name: str) -> int:
        """The largest value that a field can have; KeyError for a name that is no field."""
        for item in fields(cls):
            if item.name == name:
                width, most = item.metadata["width"] - item.metadata["signed"], item.metadata["most"]
                return int((1 << width) - 1 if most is None else most)
        raise KeyError(f"{cls.__name__} has no field '{name}'")

    @classmethod
    def holds_counts(cls) -> bool:
        """Whether a field must not be 0. Registers are 0 at the start: such a word stands before those that read it."""
        return any(least is not None and least > 0 for _, least, _ in cls.limits())

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
        """Whether it does something; otherwise it writes registers."""
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


Registers = Mapping[type[Instruction], Instruction]
"""The registers of a queue as a run word finds them: the latest setup word of each kind."""

Setup = TypeVar("Setup", bound=Instruction)


def read(registers: Registers, kind: type[Setup]) -> Setup:
    """The registers that words of a kind write; zeros where none was written."""
    found = registers.get(kind)
    if found is None:
        return kind(**{name: 0 for name, _, _ in kind.layout()})
    assert isinstance(found, kind)
    return found


@dataclass(frozen=True)
class Reads:
    """A setup word whose registers a run word reads.

    field, values  only where this field of the run word has one of these values; no field: always
    """

    setup: type[Instruction]
    field: str = ""
    values: tuple[int, ...] = ()


@dataclass(frozen=True)
class Run(Instruction):
    """A word that does something. All run words begin with these fields.

    wait, signal  masks of semaphores
    tag           number of the layer that the counters book this word on
    """

    setups: ClassVar[tuple[Reads, ...]] = ()
    """Whose registers it reads. Those that hold counts must stand before it: the fetcher refuses it otherwise."""

    wait: int = bits(SEMAPHORES)
    signal: int = bits(SEMAPHORES)
    tag: int = bits(TAG_BITS)

    def reads(self) -> Iterator[type[Instruction]]:
        """The setup words whose registers it reads, with the fields that it has."""
        for item in self.setups:
            if not item.field or getattr(self, item.field) in item.values:
                yield item.setup

    def missing(self, registers: Registers) -> list[type[Instruction]]:
        """The setup words that must stand before it and do not."""
        return [kind for kind in self.reads() if kind.holds_counts() and kind not in registers]

    def accesses(self, registers: Registers) -> list[Access]:
        """Everything that it touches in memory; the registers are within their limits."""
        return []

    def estimate_cycles(self, registers: Registers, config: OverlayConfig) -> int:
        """Roughly how long its engine is at work, for a compiler that weighs one program against another.

        The simulator's `costs` models the hardware cycle by cycle; it and this are kept near each other by a test.
        """
        return ISSUE_CYCLES
