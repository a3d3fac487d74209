"""What the driver has given: a context, and in it memory, streams, events, modules, graphs."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from intarsia.errors import RunError
from intarsia_backends.cuda.driver import Driver, forked


class Current:
    """The context of a GPU, made that of the calling thread for a while, and nobody's after it.

    Programs of a process share one: the primary context, which other libraries use as well.
    """

    def __init__(self, driver: Driver, context: Any) -> None:
        self._driver, self._context = driver, context

    def __enter__(self) -> None:
        self._driver("cuCtxPushCurrent", self._context)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._driver("cuCtxPopCurrent")
        except RunError:
            if error is None:
                raise


class Held:
    """Things to be given back, the last first.

    current  the context that they live in; None for the context itself
    """

    def __init__(self, driver: Driver, current: Current | None = None) -> None:
        self._driver, self._current = driver, current
        self._kept: list[tuple[str, Any]] = []

    def keep(self, value: Any, function: str) -> Any:
        """The value, for which that function of the driver will be called."""
        self._kept.append((function, value))
        return value

    def drop(self, value: Any) -> None:
        """Give one back now."""
        for index in range(len(self._kept) - 1, -1, -1):
            if self._kept[index][1] is value:
                function, _ = self._kept.pop(index)
                self._driver(function, value)
                return

    def release(self) -> None:
        """Give back all, whatever goes wrong with one; RunError for the first that did.

        Nothing is left to give back in a process that was forked. What a context holds that a kernel has broken goes
        with it, which the run of that kernel was told.
        """
        kept, self._kept = self._kept[::-1], []
        if forked() or not kept:
            return
        failed: list[RunError] = []
        entered = self._entered(failed)
        for function, value in kept:
            try:
                self._driver(function, value)
            except RunError as error:
                failed.append(error)
        if entered is not None:
            try:
                entered.__exit__(None, None, None)
            except RunError as error:
                failed.append(error)
        if failed and self._driver.broken is None:
            raise failed[0]

    def _entered(self, failed: list[RunError]) -> Current | None:
        if self._current is not None:
            for _ in range(2):  # all that is held depends on it
                try:
                    self._current.__enter__()
                    return self._current
                except RunError as error:
                    failed.append(error)
        return None
