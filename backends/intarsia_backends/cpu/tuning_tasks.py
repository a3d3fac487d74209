"""Who answers when lowering asks how a kernel's work is best cut up.

A task describes a layer; its heuristic is a model of a few lines that answers at once. A search, which times
alternatives on this machine, may have chosen another of them before: then that is the choice. Every alternative of a
task gives the same layer, integers bit for bit; they differ in time alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from intarsia_backends.cpu.machine import Machine
from intarsia_backends.lowering.kernel import Kernel
from intarsia_backends.lowering.program import Operand, Program

Config = Hashable
"""How work is cut up: a frozen dataclass that the kernel of the task knows. Its text is its name in caches."""

HEURISTIC, SEARCH, CACHE = "rule", "search", "cache"
"""Where a choice comes from."""


class TuningTask(ABC):
    """A layer whose work may be cut up in several ways: a frozen dataclass of its facts. Equal tasks have equal
    choices.

    machine  what code is made for
    """

    machine: Machine

    @property
    @abstractmethod
    def key(self) -> str:
        """The facts in words, without the machine: a name that stays."""

    @abstractmethod
    def heuristic(self) -> Any:
        """What a model says is fastest."""

    @abstractmethod
    def alternatives(self) -> Sequence[Any]:
        """What else is valid and may be faster, the most promising first; without the heuristic's choice."""

    def named(self, text: str) -> Any:
        """The config with that text among all that this task has; None where none is so called."""
        every = (self.heuristic(), *self.alternatives())
        return next((config for config in every if str(config) == text), None)


Make = Callable[[Any, Any], tuple[Kernel, Sequence[Operand]]]
"""From a Builder and a config to the kernel, and its operands without the output."""


@dataclass(frozen=True)
class AskedTask:
    """A task as a region asks it, so that its alternatives can be made and timed.

    make     makes the kernel for a config; memory for weights and scratch comes from the builder that it is given
    output   what the kernel writes
    program  what holds the other weights that the kernel reads
    work     elementary operations of the kernel for the heuristic's choice, about
    """

    task: TuningTask
    make: Make
    output: Operand
    program: Program
    work: int


@dataclass(frozen=True)
class Choice:
    """source  HEURISTIC, SEARCH or CACHE"""

    config: Any
    source: str


class Configs:
    """Answers by the heuristic, save for tasks that were answered before.

    chosen   answers found before
    """

    open = False
    """Whether answers may still change: memory must then serve every alternative."""

    def __init__(self, chosen: Mapping[TuningTask, Choice] | None = None) -> None:
        self._choices: dict[TuningTask, Choice] = dict(chosen or {})

    def choice(self, task: TuningTask) -> Choice:
        """The same for equal tasks."""
        if task not in self._choices:
            self._choices[task] = Choice(task.heuristic(), HEURISTIC)
        return self._choices[task]

    def note(self, asked: AskedTask) -> None:
        """A kernel was made with the choice for a task."""


@dataclass
class OpenConfigs(Configs):
    """Answers by the heuristic, and keeps what is asked, for a search."""

    asked: list[AskedTask] = field(default_factory=list)
    open = True

    def __post_init__(self) -> None:
        super().__init__()

    def note(self, asked: AskedTask) -> None:
        self.asked.append(asked)
