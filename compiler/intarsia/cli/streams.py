"""Standard streams that cannot be written: closed before the program began, full, or left by who reads them."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Callable
from typing import Any, TypeVar

BROKEN_PIPE = 141
"""The exit code of a program whose reader ended first, as shells know it: 128 and the number of SIGPIPE."""

Result = TypeVar("Result")


class OutputLost(Exception):
    """Standard output cannot be written. No OSError, which others catch and explain in another way."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.error = error


class _Watched:
    """Standard output that raises OutputLost where it cannot be written."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> Any:
        return self._told(lambda: self._stream.write(text))

    def flush(self) -> None:
        self._told(self._stream.flush)

    def _told(self, call: Callable[[], Result]) -> Result:
        try:
            return call()
        except OSError as error:
            raise OutputLost(error) from error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Closed:
    """Stands for a standard output that is closed."""

    encoding = "utf-8"
    errors = "strict"

    def write(self, text: str) -> int:
        raise OSError(errno.EBADF, "it is closed")

    def flush(self) -> None:
        """Nothing is held back."""

    def isatty(self) -> bool:
        return False


def watch_streams() -> None:
    """Have standard output raise OutputLost, and take the numbers of closed streams, lest the next file gets them."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
    watched: Any = _Watched(_Closed() if sys.stdout is None else sys.stdout)
    sys.stdout = watched


def drop_stdout() -> None:
    """Send what is still held back nowhere: the interpreter flushes once more when it ends."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115


def flush_stdout() -> None:
    """What cannot be written is told while it still can be."""
    if sys.stdout is not None:
        sys.stdout.flush()
