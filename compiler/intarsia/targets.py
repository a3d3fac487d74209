"""The build side of a backend: what a target must answer, and how targets are found.

A target names a system, such as "cpu" or "pynq-z2" (an overlay and the CPU beside it). It is asked, node by node,
what it takes; the partitioner makes regions of the answers; then it compiles each region to a blob of files for the
artifact. Targets arrive by the entry point group `intarsia.targets`; each entry is a callable that returns a Target.
"""

from __future__ import annotations

import copy
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from intarsia.arguments import near, shown
from intarsia.artifact.elsewhere import Elsewhere
from intarsia.errors import CompileError
from intarsia.ir.graph import Graph, Node

GROUP = "intarsia.targets"


@dataclass(frozen=True)
class Support:
    """A target's answer about one node.

    rule    short name of the rule that decided, e.g. "kernel-size"; empty for yes
    reason  what was found against the limit, e.g. "kernel 17x17, at most 16x16"
    fix     what the user may change, e.g. "split the kernel, or use stride 2 twice"
    """

    ok: bool
    rule: str = ""
    reason: str = ""
    fix: str = ""


YES = Support(True)


def no(rule: str, reason: str, fix: str) -> Support:
    """Refuse a node: which rule, the value found against the limit, what to change."""
    return Support(False, rule, reason, fix)


@dataclass(frozen=True)
class Blob:
    """A compiled region.

    device    the kind of device that runs it ("overlay", "cpu", ...): devices say which kinds they run
    files     what goes into the artifact, by file name without folders
    metadata  JSON-able facts for the device and for reports; of these, "figures" has those of the region as a whole, by
              name with their unit, which reports show
    layers    one row a layer for reports: at least {"name", "op", "macs"}; JSON-able
    constants by the name of a constant of the region, where a file holds it, so that the artifact stores it once. What
              is said here is tried out: a wrong place costs room, and nothing else
    notes     what the user is told about the compilation of this region
    """

    device: str
    files: Mapping[str, bytes]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    layers: tuple[Mapping[str, Any], ...] = ()
    constants: Mapping[str, Elsewhere] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cost:
    """A quick estimate, without compiling.

    cycles      clock cycles of the accelerator; 0 for a CPU
    seconds     time on a CPU; 0 for an accelerator
    """

    cycles: int = 0
    seconds: float = 0.0


Progress = Callable[[str, int, int], None]
"""Called with (what, done, total); total is 0 where it is not known."""


@dataclass(frozen=True)
class Tuned:
    """What a search for faster code came to.

    target  compiles regions with what was found
    notes   for the user: what was tried and found, or why nothing was
    """

    target: Target
    notes: tuple[str, ...]


OptionValue = bool | int | float | str


@dataclass(frozen=True)
class TargetOption:
    """Something that may be chosen about a target, spelled on it: `--target 'cpu{strict=true}'`.

    name     as it is spelled
    default  its value where nothing is said; its type is that of all values
    doc      one line for `intarsia targets`
    choices  the values that there are; () for every value of the type
    """

    name: str
    default: OptionValue
    doc: str
    choices: tuple[OptionValue, ...] = ()

    @property
    def takes(self) -> str:
        """What may be chosen, in words."""
        if isinstance(self.default, bool):
            return "true or false"
        if self.choices:
            return " or ".join(map(spelled, self.choices))
        return {int: "a whole number", float: "a number"}.get(type(self.default), "a word")

    def read(self, text: str) -> OptionValue:
        """The value that a text spells; ValueError where it spells none."""
        value: OptionValue = text
        if isinstance(self.default, bool):
            value = {"true": True, "false": False}.get(text.lower(), text)
        elif isinstance(self.default, (int, float)):
            value = type(self.default)(text)
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(text)
        if type(value) is not type(self.default) or (self.choices and value not in self.choices):
            raise ValueError(text)
        return value


def spelled(value: OptionValue) -> str:
    """The value of an option as text."""
    return str(value).lower() if isinstance(value, bool) else str(value)


class Target(ABC):
    """A system that runs regions.

    name        what --target takes
    description one line for `intarsia targets`
    host        name of the target that takes what this one refuses, on the same board; None for a CPU. Whoever
                compiles may name another (`find_target`)
    processor   of a board, name of the target that makes code for the processor on it; None where there is no board
    foreign     whether its code is for a processor of one kind, whatever the building machine is
    beside      another target, whose code each of its regions holds too (`together`)
    precisions  those that it can compile, the default first: "float32", "int8", or a narrower float, in which products
                are made ("bfloat16") or numbers lie in memory ("float16"), and nothing else
    options     what may be chosen about it
    chosen      the options that are not at their defaults
    products    the type that operands of products of floats are rounded to, or all that lies in memory: "float32" where
                they are not
    """

    name: str
    description: str
    host: str | None = None
    processor: str | None = None
    foreign: bool = False
    beside: Target | None = None
    precisions: tuple[str, ...] = ("float32", "int8")
    options: tuple[TargetOption, ...] = ()
    chosen: Mapping[str, OptionValue] = {}
    products: str = "float32"

    def for_precision(self, precision: str) -> Target:
        """A target like this one, for one of its precisions; for those whose code for floats depends on it."""
        return self

    def with_options(self, chosen: Mapping[str, OptionValue]) -> Target:
        """A target like this one, with other values for some of its options; a target that has any reads them here."""
        made = copy.copy(self)
        made.chosen = {**self.chosen, **chosen}
        return made

    def together(self, other: Target) -> Target | None:
        """A target like this one, whose regions run on machines of the other one as well; None where it cannot."""
        return None

    def ready(self) -> None:  # noqa: B027
        """Asked before there is any work. CompileError where this machine lacks what compiling needs."""

    @property
    def settings(self) -> dict[str, OptionValue]:
        """The value of every option."""
        return {option.name: self.chosen.get(option.name, option.default) for option in self.options}

    @abstractmethod
    def supports(self, node: Node) -> Support:
        """Whether a node can run here as it is. It may look at its neighbours.

        Asked when the graph is cut up, and before about ops that might be made of simpler ones, and about their parts.
        """

    def settled(self) -> AbstractContextManager[None]:
        """Open while a whole graph is asked about that nobody changes: what looks at neighbours may be remembered."""
        return nullcontext()

    @abstractmethod
    def compile(self, region: Graph) -> Blob:
        """Compile a region: each node was answered with yes; region inputs and outputs keep their value names."""

    def tuned(self, regions: Sequence[Graph], seconds: float, progress: Progress | None = None) -> Tuned | None:
        """Search for what makes these regions fastest, by timing code on this machine for about so many seconds.

        None where a target has nothing to search for. One whose code cannot be timed here says so in the notes.
        """
        return None

    def cost(self, node: Node) -> Cost:
        """Estimate for one node that `supports` answered with yes; zero where unknown."""
        return Cost()

    def facts(self) -> Mapping[str, Any]:
        """JSON-able facts for the manifest and `intarsia targets --json` (clock assumption, array shape, memory)."""
        return {}


@contextmanager
def settled(targets: Iterable[Target]) -> Iterator[None]:
    """`Target.settled` of several targets."""
    with ExitStack() as stack:
        for target in targets:
            stack.enter_context(target.settled())
        yield


_ALIKE = 0.6
"""Of how much of two short names are the same, so that one is suggested for the other."""


def _entries() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def available_targets() -> tuple[str, ...]:
    """Names of all targets that are installed, sorted."""
    return tuple(sorted(_entries()))


_SPELLING = re.compile(r"(?P<name>[^{}+]*)(?:\{(?P<options>[^{}]*)\})?(?:\+(?P<host>.*))?")


def find_target(name: str) -> Target:
    """The target of that name; CompileError with the names that exist where there is none.

    name  one of `available_targets()`, with the options that were chosen, such as "cpu{level=portable, strict=true}";
          or two with a plus between, such as "pynq-z2+cpu-armv7": the first, which leaves to the second what it would
          leave to its host
    """
    match = _SPELLING.fullmatch(name)
    if match is None:
        raise CompileError(
            where=_where(name),
            what="its options are not spelled as options are",
            help="write NAME{option=value, ...}, and +NAME{option=value, ...} behind it for its host",
        )
    first, host = match["name"], match["host"]
    target = _configured(_installed(first, name), match["options"], name)
    if host is None:
        return target
    if target.host is None:
        raise CompileError(
            where=_where(name),
            what=f"'{first}' takes everything or leaves it to no other target",
            help=f"leave out '+{host}'",
        )
    match = _SPELLING.fullmatch(host)
    if match is None or match["host"] is not None:
        raise _unknown(host, name)
    beside = _configured(_installed(match["name"], name), match["options"], name)
    if beside.host is not None:
        raise CompileError(
            where=_where(name),
            what=f"'{host}' has a host of its own, '{beside.host}'",
            help="name a CPU after the plus",
        )
    if beside.foreign and target.processor not in (None, beside.name):
        raise CompileError(
            where=_where(name),
            what=f"no code of '{beside.name}' runs on the processor of '{target.name}', which is '{target.processor}'",
            help=f"leave out '+{host}': code for the board's processor is made then, and for this machine too; "
            f"'{target.name}+{target.processor}' has the first alone",
        )
    target = copy.copy(target)
    target.host = host
    return target


def _where(asked: str) -> str:
    return f"target {shown(asked)}"


def _configured(target: Target, text: str | None, asked: str) -> Target:
    """The target with the options that a text spells; as it is for None."""
    if text is None:
        return target
    options = {option.name: option for option in target.options}
    told = "; ".join(f"{option.name} ({option.takes}): {option.doc}" for option in target.options)
    help = f"its options: {told}" if told else "it has no options: leave out the braces"
    chosen: dict[str, OptionValue] = {}
    for part in text.split(",") if text.strip() else ():
        name, equals, value = (piece.strip() for piece in part.partition("="))
        what = None
        if not equals or not name:
            what = f"{shown(part.strip())} is not option=value"
        elif name not in options:
            what = f"'{target.name}' has no option {shown(name)}{near(name, options, cutoff=_ALIKE)}"
        elif name in chosen:
            what = f"option '{name}' is given twice"
        else:
            try:
                chosen[name] = options[name].read(value)
            except ValueError:
                choices = map(spelled, options[name].choices)
                like = near(value, choices, cutoff=_ALIKE)
                what = f"option '{name}' takes {options[name].takes}, not {shown(value)}{like}"
        if what is not None:
            raise CompileError(where=_where(asked), what=what, help=help)
    return target.with_options(chosen)


def _installed(name: str, asked: str) -> Target:
    entries = _entries()
    if name not in entries:
        raise _unknown(name, asked)
    target = entries[name].load()()
    assert isinstance(target, Target)
    return target


def _unknown(name: str, asked: str) -> CompileError:
    known = available_targets()
    return CompileError(
        where=_where(asked),
        what="no installed backend offers " + ("it" if name == asked else f"'{name}'"),
        help=f"targets here: {', '.join(known) or 'none'}{near(name, known, cutoff=_ALIKE)}",
    )
