"""When a run may go on: its time-out, and a token that another thread may cancel it by.

Both are looked at between regions and between parts of a longer input, never within a region: a region that has
begun runs to its end, except on a device that itself can give up waiting (`LoadedRegion.run_within`). A run whose last
region ends late has its outputs, and gives them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from intarsia.errors import RunError


class RunStopped(RunError):
    """A run that ended before its last region. The session is as before: its next run works.

    region  name of the region that was not reached; where a device gave up waiting, of the one that it gave up
    """

    def __init__(self, *, where: str, what: str, help: str, region: str) -> None:
        super().__init__(where=where, what=what, help=help)
        self.region = region

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.where, self.what, self.help, self.region))


class RunTimeout(RunStopped):
    """The time that the caller gave was over before the run was."""


class RunCancelled(RunStopped):
    """The caller's token was cancelled before the run had ended."""


def _rebuild(kind: type[RunStopped], where: str, what: str, help: str, region: str) -> RunStopped:
    """Pickling hook: exceptions with keyword-only arguments need one."""
    return kind(where=where, what=what, help=help, region=region)


class CancellationToken:
    """Ends runs from another thread: those that were given it stop before their next region, and later ones at once.

    One token may be given to many runs, as to all those that a client waits for. It stays cancelled.
    """

    __slots__ = ("_cancelled",)

    def __init__(self) -> None:
        self._cancelled = False

    def cancel(self) -> None:
        """Stop what has this token. May be called from any thread, any number of times; returns at once."""
        self._cancelled = True

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._cancelled

    def __repr__(self) -> str:
        return f"<CancellationToken{' cancelled' if self._cancelled else ''}>"


class Limit:
    """The time-out and the token of one run.

    timeout       seconds from now on, inf for any number; None for no limit. What is over already stops the run before
                  its first region, so that the rest of a request's time may be given as it is
    cancellation  see CancellationToken
    clock         monotonic seconds
    """

    __slots__ = ("_cancellation", "_clock", "_end", "_timeout", "position")

    def __init__(
        self,
        timeout: float | None,
        cancellation: CancellationToken | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._timeout = _seconds(timeout)
        if cancellation is not None and not isinstance(cancellation, CancellationToken):
            raise RunError(
                where="cancellation",
                what=f"a {type(cancellation).__name__} was given, which is no CancellationToken",
                help="make one with intarsia.CancellationToken(); an input of that name goes into execute({...})",
            )
        self._cancellation = cancellation
        self._clock = clock
        self._end = None if self._timeout is None else clock() + self._timeout
        self.position = ""  # " (samples 3 to 4 of 8)" where the inputs are longer than compiled

    def remaining(self) -> float | None:
        """Seconds that are left, below 0 where they are over; None where the time has no limit."""
        return None if self._end is None else self._end - self._clock()

    def check(self, region: str) -> None:
        """Before a region. Raises RunCancelled or RunTimeout, which name it."""
        if self._cancellation is not None and self._cancellation.cancelled:
            raise RunCancelled(
                where=self._where(region),
                what="the run was cancelled before it began",
                help="nothing is left to mend: the session takes further runs",
                region=region,
            )
        if self._end is not None and self._clock() >= self._end:
            raise RunTimeout(
                where=self._where(region),
                what=f"the {self._timeout:g} s that the run was given were over before it began",
                help="give the run more time, or fewer samples at once",
                region=region,
            )

    def _where(self, region: str) -> str:
        return f"region '{region}'{self.position}"


def limit_of(timeout: float | None, cancellation: CancellationToken | None) -> Limit | None:
    """None where a run has no limit, so that it need not look. RunError for what is no time or no token."""
    return None if timeout is None and cancellation is None else Limit(timeout, cancellation)


def _seconds(timeout: Any) -> float | None:
    if timeout is None:
        return None
    is_number = isinstance(timeout, (int, float)) and not isinstance(timeout, bool)
    if not is_number or (isinstance(timeout, float) and math.isnan(timeout)):
        shown = repr(timeout) if isinstance(timeout, (int, float, str)) else f"a {type(timeout).__name__}"
        raise RunError(
            where="timeout",
            what=f"{shown} is no number of seconds",
            help="give seconds such as 0.5; an input of that name goes into execute({...})",
        )
    try:
        return float(timeout)
    except OverflowError:  # a whole number of more than 308 digits: longer than anybody waits
        return math.inf if timeout > 0 else -math.inf
