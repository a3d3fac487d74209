"""Folders that are looked at again and again: what is new there is loaded, what has gone is unloaded."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass

from intarsia.errors import IntarsiaError
from intarsia.serving.refusal import Refusal
from intarsia.serving.repository import Repository
from intarsia.serving.sources import Source, Stamp

_MOST_ROUNDS = 64
"""Between two tries of a file that cannot be loaded and does not change."""

_log = logging.getLogger(__name__)

_Marks = tuple[tuple[str, Stamp], ...]


@dataclass
class _Seen:
    """What a model's files were like when they were looked at last.

    done    whether they were loaded as they are
    gone    rounds that they have been missing
    tries   that have failed
    rounds  until the next try
    """

    marks: _Marks | None = None
    done: bool = False
    gone: int = 0
    tries: int = 0
    rounds: int = 0


class Watcher:
    """Looks into a repository's folders, every so many seconds, on a thread of its own.

    A file is loaded when it was the same in two rounds: who writes it in place may take his time. One that cannot be
    loaded is tried again, less and less often, and at once when it changes; what was loaded before stays until then.
    """

    def __init__(self, repository: Repository, seconds: float) -> None:
        self._repository, self._seconds = repository, seconds
        self._seen: dict[str, _Seen] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="intarsia-watch", daemon=True)
        self._trouble = ""

    def start(self) -> None:
        """Look from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more. A model that is being loaded is loaded to its end."""
        self._stopping.set()

    def _watch(self) -> None:
        while not self._stopping.wait(self._seconds):
            try:
                self.look()
            except Exception:
                _log.exception("the folders could not be looked at")

    def look(self) -> None:
        """One round."""
        try:
            sources = self._repository.look()
        except (IntarsiaError, OSError) as error:
            trouble = f"{error.where}: {error.what}" if isinstance(error, IntarsiaError) else str(error)
            if trouble != self._trouble:
                _log.warning("the folders stay as they were read: %s", trouble)
            self._trouble = trouble
            return
        self._trouble = ""
        for name, source in sources.items():
            self._look_at(name, source)
        for name in [name for name in self._seen if name not in sources]:
            seen = self._seen[name]
            seen.gone += 1
            if seen.gone > 1:  # a file that is replaced is missing for a moment
                self._repository.remove(name)
                del self._seen[name]

    def _look_at(self, name: str, source: Source) -> None:
        seen = self._seen.setdefault(name, _Seen())
        seen.gone = 0
        try:
            marks: _Marks = tuple((version, source.stamp(version)) for version in sorted(source.versions))
        except OSError:  # a file went away meanwhile
            seen.marks = None
            return
        if marks != seen.marks:
            seen.marks, seen.done, seen.tries, seen.rounds = marks, False, 0, 0
            return
        if seen.done:
            return
        if seen.rounds:
            seen.rounds -= 1
            return
        try:
            self._repository.bring(name)
            seen.done = True
        except (IntarsiaError, Refusal) as error:
            what = f"{error.where}: {error.what}" if isinstance(error, IntarsiaError) else error.what
            if not seen.tries:
                _log.warning("model '%s' could not be loaded: %s", name, what)
            seen.tries += 1
            seen.rounds = min(2**seen.tries, _MOST_ROUNDS)
