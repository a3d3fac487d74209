"""Errors that a user can act on: where it went wrong, what was found, what to do about it."""

from __future__ import annotations


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
        return f"{self.where}: {self.what}\n  help: {self.help}"

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.where, self.what, self.help))


def _rebuild(kind: type[IntarsiaError], where: str, what: str, help: str) -> IntarsiaError:
    """Pickling hook: exceptions with keyword-only arguments need one."""
    return kind(where=where, what=what, help=help)


class CompileError(IntarsiaError):
    """The model, the calibration data or the building machine brought something that cannot be compiled."""


class RunError(IntarsiaError):
    """The artifact, the inputs or the running machine brought something that cannot be run."""
