"""A program as the machine sees it: words decoded once, and each run word with the registers that it finds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from intarsia.errors import RunError
from intarsia_backends.overlay.machine import isa
from intarsia_backends.overlay.machine.disassembler import word_text

Setup = TypeVar("Setup", bound=isa.Instruction)

REPORT = "this is a fault of the compiler: please report it with the artifact"


def semaphores(mask: int) -> tuple[int, ...]:
    """Numbers of the semaphores in a mask."""
    return tuple(number for number in range(isa.SEMAPHORES) if mask >> number & 1)


@dataclass(frozen=True)
class Operation:
    """A run word and the registers of its queue as it finds them.

    index      number of the word in the program
    registers  the latest setup word of each kind in the queue; kinds never written are missing: they hold zeros
    setups     setup words of the queue between the run word before and this one
    """

    index: int
    word: isa.Run
    registers: Mapping[type[isa.Instruction], isa.Instruction]
    setups: int = 0

    @property
    def queue(self) -> isa.Queue:
        """The queue that executes it."""
        return self.word.queue

    def setup(self, kind: type[Setup]) -> Setup:
        """The registers that words of this kind write, as the run word finds them."""
        return isa.read(self.registers, kind)

    @property
    def accesses(self) -> list[isa.Access]:
        """Everything that it touches in memory. It has passed `check_fields`."""
        return self.word.accesses(self.registers)

    @property
    def where(self) -> str:
        """How an error names this word: number and disassembly."""
        return f"program word {self.index}, {word_text(self.word)}"

    def fault(self, what: str, help: str = REPORT) -> RunError:
        """The error for something this word does wrong; the caller raises it."""
        return RunError(where=self.where, what=what, help=help)


@dataclass(frozen=True)
class Program:
    """A decoded program.

    words       all of them, in order, End included
    operations  the run words, in order
    """

    words: Sequence[isa.Instruction]
    operations: Sequence[Operation]


def decode(data: bytes) -> Program:
    """Decode the words of a program and hand each run word its registers.

    Raises RunError for a word that is no instruction, and for a program without End or with words behind it.
    """
    try:
        words = isa.decode_program(data)
    except isa.EncodingError as error:
        raise RunError(where="program", what=str(error), help=REPORT) from None
    if not words or not isinstance(words[-1], isa.End):
        raise RunError(where="program", what=f"the last of {len(words)} words is not End", help=REPORT)
    registers: dict[isa.Queue, dict[type[isa.Instruction], isa.Instruction]] = {queue: {} for queue in isa.Queue}
    setups = dict.fromkeys(isa.Queue, 0)
    operations: list[Operation] = []
    for index, word in enumerate(words):
        refused = word.malformed()
        if refused is not None:
            raise RunError(where=f"program word {index}, {word_text(word)}", what=refused, help=REPORT)
        if isinstance(word, isa.End) and index != len(words) - 1:
            raise RunError(where=f"program word {index}", what="words stand behind End", help=REPORT)
        if isinstance(word, isa.Run):
            operations.append(Operation(index, word, dict(registers[word.queue]), setups[word.queue]))
            setups[word.queue] = 0
        else:
            registers[word.queue][type(word)] = word
            setups[word.queue] += 1
    return Program(words, operations)
