"""Who answers when lowering asks how a kernel's work is best cut up.

A question describes a layer; its rule is a model of a few lines that answers at once. A search, which times
alternatives on this machine, may have chosen another of them before: then that is the answer. Every alternative of a
question gives the same layer, integers bit for bit; they differ in time alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from intarsia_backends.cpu.machine import Machine
from intarsia_backends.lowering.kernels import Kernel
from intarsia_backends.lowering.program import Operand, Program

Blocking = Hashable
"""How work is cut up: a frozen dataclass that the kernel of the question knows. Its text is its name in caches."""

RULE, SEARCH, CACHE = "rule", "search", "cache"
"""Where an answer comes from."""


class Question(ABC):
    """A layer whose work may be cut up in several ways: a frozen dataclass of its facts. Equal questions have equal
    answers.

    machine  what code is made for
    """

    machine: Machine

    @property
    @abstractmethod
    def key(self) -> str:
        """The facts in words, without the machine: a name that stays."""

    @abstractmethod
    def rule(self) -> Any:
        """What a model says is fastest."""

    @abstractmethod
    def alternatives(self) -> Sequence[Any]:
        """What else is valid and may be faster, the most promising first; without the rule's answer."""

    def named(self, text: str) -> Any:
        """The blocking with that text among all that this question has; None where none is so called."""
        every = (self.rule(), *self.alternatives())
        return next((blocking for blocking in every if str(blocking) == text), None)


Make = Callable[[Any, Any], tuple[Kernel, Sequence[Operand]]]
"""From a Builder and a blocking to the kernel, and its operands without the output."""


@dataclass(frozen=True)
class Asked:
    """A question as a region asks it, so that its alternatives can be made and timed.

    make     makes the kernel for a blocking; memory for weights and scratch comes from the builder that it is given
    output   what the kernel writes
    program  what holds the other weights that the kernel reads
    work     elementary operations of the kernel for the rule's answer, about
    """

    question: Question
    make: Make
    output: Operand
    program: Program
    work: int


@dataclass(frozen=True)
class Answer:
    """source  RULE, SEARCH or CACHE"""

    blocking: Any
    source: str


class Blockings:
    """Answers by the rule, save for questions that were answered before.

    chosen   answers found before
    """

    open = False
    """Whether answers may still change: memory must then serve every alternative."""

    def __init__(self, chosen: Mapping[Question, Answer] | None = None) -> None:
        self._answers: dict[Question, Answer] = dict(chosen or {})

    def answer(self, question: Question) -> Answer:
        """The same for equal questions."""
        if question not in self._answers:
            self._answers[question] = Answer(question.rule(), RULE)
        return self._answers[question]

    def note(self, asked: Asked) -> None:
        """A kernel was made with the answer to a question."""


@dataclass
class OpenBlockings(Blockings):
    """Answers by the rule, and keeps what is asked, for a search."""

    asked: list[Asked] = field(default_factory=list)
    open = True

    def __post_init__(self) -> None:
        super().__init__()

    def note(self, asked: Asked) -> None:
        self.asked.append(asked)
