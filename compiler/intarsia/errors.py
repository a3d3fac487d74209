"""Errors that a user can act on: where it went wrong, what was found, what to do about it."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class IntarsiaError(Exception):
    """A short letter to the user.

    where  the place in the model, file or command, e.g. "Conv 'stem'"
    what   the fact that was found, with the value and the limit it breaks
    help   what to do about it
    """

    def __init__(self, *, where: str, what: str, help: str) -> None:
        super().__init__(where, what, help)
        self.where = where
        self.what = what
        self.help = help

    def __str__(self) -> str:
        # Names out of models stand in it: further lines are indented, so that none of them looks like another letter.
        what, help = (re.sub("\n(?! )", "\n  ", printable(text, lines=True)) for text in (self.what, self.help))
        return f"{printable(self.where)}: {what}\n  help: {help}"

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.where, self.what, self.help))


_on_command_line = False


@contextmanager
def on_command_line() -> Iterator[None]:
    """Open while a command runs: letters speak of its options, not of arguments in Python."""
    global _on_command_line
    before, _on_command_line = _on_command_line, True
    try:
        yield
    finally:
        _on_command_line = before


def either(option: str, argument: str) -> str:
    """What a letter tells to give: the option where a command asked, else the argument in Python.

    Asked when the letter is written, so not for texts that outlive it: an artifact's notes say the same to everybody.
    """
    return option if _on_command_line else argument


_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
"""What moves a cursor, colours, or turns the direction of the text around it; what is no character."""


def printable(text: str, *, lines: bool = False) -> str:
    """A text that a terminal shows as it is: control characters are spelled as Python does, such as \\x1b.

    lines  keep ends of lines and tabs
    """
    return _UNPRINTABLE.sub(lambda found: found[0] if lines and found[0] in "\n\t" else _spelled(found[0]), text)


def _spelled(character: str) -> str:
    return character.encode("unicode_escape", "backslashreplace").decode("ascii")


FOREIGN = (ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, TypeError, ValueError)
"""What Python and NumPy raise for numbers and sizes that nobody foresaw. Where such numbers come in, from a model, a
file or an input, these become one of the errors here; an AssertionError is a fault of ours and stays what it is."""


def said(error: BaseException) -> str:
    """The first line of a foreign error; its kind where it says nothing or needs explaining."""
    lines = str(error).strip().splitlines()
    if isinstance(error, MemoryError):
        return f"there is not enough memory ({lines[0]})" if lines else "there is not enough memory"
    if not lines:
        return type(error).__name__
    return f"no {lines[0]}" if isinstance(error, KeyError) else lines[0]


def _rebuild(kind: type[IntarsiaError], where: str, what: str, help: str) -> IntarsiaError:
    """Pickling hook: exceptions with keyword-only arguments need one."""
    return kind(where=where, what=what, help=help)


class IntarsiaWarning(UserWarning):
    """Something was done that is seldom meant, such as a calibration on data that look like no real inputs."""


def warn(text: str) -> None:
    """Raise an IntarsiaWarning of the line of the caller's that called into this package."""
    frame: FrameType | None = sys._getframe()
    level = 1
    while frame is not None and str(frame.f_globals.get("__name__")).partition(".")[0] == __package__:
        frame, level = frame.f_back, level + 1
    warnings.warn(text, IntarsiaWarning, stacklevel=level)


class CompileError(IntarsiaError):
    """The model, the calibration data or the building machine brought something that cannot be compiled."""


class InternalError(CompileError):
    """A fault of intarsia that a model or an argument brought out. The error that it was is its `__cause__`."""


class RunError(IntarsiaError):
    """The artifact, the inputs or the running machine brought something that cannot be run."""
