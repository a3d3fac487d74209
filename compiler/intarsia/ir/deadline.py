"""When an evaluation must have ended: looked at before every node and before every round of a loop."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class LateError(Exception):
    """The time that an evaluation had is over."""


_END: ContextVar[float | None] = ContextVar("end", default=None)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Let evaluations inside, in this thread, take so many seconds from now on; then they end in LateError."""
    token = _END.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _END.reset(token)


def check() -> None:
    """LateError where the time is over."""
    end = _END.get()
    if end is not None and time.monotonic() >= end:
        raise LateError
