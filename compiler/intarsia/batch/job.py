"""One job: files go to workers, what comes back is written, and what dies on the way is tried again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from intarsia.batch.ledger import Ledger, sha256
from intarsia.batch.pools import Pool
from intarsia.dtypes import Array
from intarsia.errors import IntarsiaError, RunError

Read = Callable[[Path], list[Array]]
"""The arrays of a file, in the order of the model's inputs."""

Pack = Callable[[Mapping[str, Array]], bytes]
"""The content of the file for outputs by name."""

Tell = Callable[[str, int, int], None]


@dataclass
class _File:
    """One on its way: its name in the ledger, and how many workers it was given to."""

    name: str
    path: Path
    content: str = ""
    attempts: int = 0
    load: bool = False


@dataclass(frozen=True)
class Outcome:
    """What a job came to: files done now, those that were done before, and those given up with the reason."""

    done: int
    kept: int
    failed: Mapping[str, str]


class Job:
    """Files through a pool into a ledger.

    read, pack  how files become arrays, and outputs a file
    tell        called with ("files", those that are settled, all)
    """

    def __init__(
        self, ledger: Ledger, pool: Pool, read: Read, pack: Pack, tell: Callable[[str, int, int], None]
    ) -> None:
        self._ledger, self._pool, self._read, self._pack, self._tell = ledger, pool, read, pack, tell
        self._running: dict[Future[Any], _File] = {}
        self._again: deque[_File] = deque()
        self._suspects: deque[_File] = deque()
        self._done = 0
        self._kept = 0
        self._failed: dict[str, str] = {}

    def run(self, files: Sequence[tuple[str, Path]]) -> Outcome:
        """Do every file that the ledger does not hold; names and paths. RunError where no work can go on at all."""
        self._again.extend(_File(name, path) for name, path in files)
        while self._again or self._suspects or self._running:
            self._fill()
            settled = self._done + self._kept + len(self._failed)
            self._tell("files", settled, len(files))
            if not self._running:
                continue
            finished, _ = wait(self._running, return_when=FIRST_COMPLETED)
            died = [file for future in finished if (file := self._settle(future, self._running.pop(future)))]
            if died:
                self._renew(died)
        self._tell("files", len(files), len(files))
        return Outcome(self._done, self._kept, self._failed)

    def _fill(self) -> None:
        """Give out what there is room for. Who may have killed a worker runs alone, so that guilt is certain."""
        if self._suspects:
            if not self._running:
                self._start(self._suspects.popleft())
            return
        while self._again and len(self._running) < self._pool.room and not self._suspects:
            self._start(self._again.popleft())

    def _start(self, file: _File) -> None:
        try:
            content = self._content(file)
            if not file.attempts and not file.load and self._ledger.has(file.name, content):
                self._kept += 1
                return
            file.content = sha256(content)
            arrays = self._read(file.path)
        except IntarsiaError as error:
            self._fail(file, str(error))
            return
        try:
            self._running[self._pool.submit(arrays, load=file.load)] = file
        except self._pool.lost:
            self._renew([file])

    def _content(self, file: _File) -> bytes:
        try:
            return file.path.read_bytes()
        except OSError as error:
            what = f"it cannot be read: {error.strerror or error}"
            raise RunError(where=f"file {file.path}", what=what, help="check the file") from error

    def _settle(self, future: Future[Any], file: _File) -> _File | None:
        """Write down what came of a file; the file itself where its worker died."""
        try:
            made = future.result()
        except self._pool.lost:
            return file
        except IntarsiaError as error:
            self._fail(file, str(error))
            return None
        except MemoryError:
            self._fail(file, "the worker has not the memory for it")
            return None
        if made is None:
            file.load = True
            self._again.appendleft(file)
            return None
        self._ledger.done(file.name, file.content, self._pack(made.outputs), made.seconds, file.attempts + 1)
        self._done += 1
        return None

    def _renew(self, died: list[_File]) -> None:
        """New workers. What was under way with the dead one is over too, or comes to the same end by itself."""
        self._pool.renew()
        for file in died:
            file.attempts += 1
            if file.attempts < self._pool.attempts:
                self._suspects.append(file)
            else:
                self._fail(file, f"its worker died at each of {file.attempts} tries")

    def _fail(self, file: _File, reason: str) -> None:
        self._ledger.failed(file.name, reason, file.attempts)
        self._failed[file.name] = reason
