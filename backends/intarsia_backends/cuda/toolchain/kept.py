"""What compilers made, kept from one compilation to the next."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from intarsia.cache import cache_folder
from intarsia_backends.cuda.toolchain.compiler import FLAGS, Made

_KEPT_FILES = 300
_FORMAT = "1"


class Kept:
    """Files in the user's cache folder, found by what they were made of.

    notes  for the user: why what was made could not be kept
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or cache_folder("cuda")
        self.notes: list[str] = []

    def get(self, parts: Sequence[str], make: Callable[[], Made]) -> Made:
        """What was made of these parts before, else what is made now."""
        digest = hashlib.sha256()
        for part in (_FORMAT, *FLAGS, *parts):
            digest.update(len(part.encode()).to_bytes(8, "big") + part.encode())
        path = self.folder / f"{digest.hexdigest()}.made"
        found = _read(path)
        if found is None:
            found = make()
            self._write(path, found)
        return found

    def _write(self, path: Path, made: Made) -> None:
        """The file is replaced at once, so that nobody ever reads a half of one."""
        head = json.dumps({"sha256": hashlib.sha256(made.data).hexdigest(), "log": made.log}).encode()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            handle, beside = tempfile.mkstemp(suffix=".tmp", dir=self.folder)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(head + b"\n" + made.data)
                os.replace(beside, path)
            except BaseException:
                os.unlink(beside)
                raise
            self._forget()
        except OSError as error:
            note = (
                f"machine code is not kept for the next compilation: '{self.folder}' cannot be written: "
                f"{error.strerror or error}; set INTARSIA_CACHE to a folder that can be written"
            )
            if note not in self.notes:
                self.notes.append(note)

    def _forget(self) -> None:
        """Removes what has not been used for longest."""
        files = []
        for path in self.folder.glob("*.made"):
            with contextlib.suppress(OSError):  # another process may remove it meanwhile
                files.append((path.stat().st_mtime, path))
        for _, path in sorted(files)[:-_KEPT_FILES]:
            path.unlink(missing_ok=True)


def _read(path: Path) -> Made | None:
    """None where there is no such file, or one that is damaged: it is made anew then."""
    try:
        head, _, data = path.read_bytes().partition(b"\n")
        facts = json.loads(head)
        if facts["sha256"] != hashlib.sha256(data).hexdigest():
            return None
        os.utime(path)
        return Made(data, str(facts["log"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
