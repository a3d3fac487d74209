"""The ledger of a folder of outputs, manifest.jsonl: whose outputs lie there, and a line for each file that is done."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from intarsia.errors import RunError
from intarsia.outputs import unwritable, write_output

NAME = "manifest.jsonl"
FORMAT = 1


def sha256(data: bytes) -> str:
    """The hash that lines of a ledger hold."""
    return hashlib.sha256(data).hexdigest()


class Ledger:
    """The open ledger of a folder, which no other process opens meanwhile.

    lines  by input: the latest line about it
    """

    def __init__(self, folder: Path, artifact: str) -> None:
        """Open or begin one.

        artifact  digest of the artifact that makes the outputs

        Raises RunError where another artifact made those that lie there, or another process is at it.
        """
        self.folder = folder
        self.lines: dict[str, dict[str, Any]] = {}
        self._where = f"folder {folder}"
        path = folder / NAME
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._guard: IO[bytes] = open(folder / ".lock", "ab")  # noqa: SIM115 - open as long as the ledger
        except OSError as error:
            raise unwritable(self._where, error, RunError) from error
        try:
            self._lock()
            if path.exists():
                self._read(path, artifact)
            head = {"format": FORMAT, "artifact": artifact}
            text = "".join(_spelled(line) for line in (head, *self.lines.values()))
            write_output(path, "manifest", text.encode(), error=RunError)  # a torn last line goes with it
            self._stream: IO[str] = open(path, "a", encoding="utf-8")  # noqa: SIM115
        except BaseException:
            self._guard.close()
            raise

    def _lock(self) -> None:
        try:
            import fcntl
        except ModuleNotFoundError:  # Windows: nothing guards it there
            return
        try:
            fcntl.flock(self._guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            what = "another intarsia batch writes into it"
            raise RunError(where=self._where, what=what, help="wait for it, or choose another folder") from error

    def _read(self, path: Path, artifact: str) -> None:
        found = []
        for text in path.read_bytes().splitlines():
            try:
                line = json.loads(text)
            except ValueError:
                continue  # whoever wrote it was killed: its file is done again
            if isinstance(line, dict):
                found.append(line)
        if not found or found[0].get("format") != FORMAT:
            what = f"its {NAME} is none that this version writes"
            raise RunError(where=self._where, what=what, help="choose another folder")
        if found[0].get("artifact") != artifact:
            what = "another artifact made the outputs in it"
            raise RunError(where=self._where, what=what, help="choose another folder for this one")
        self.lines = {line["input"]: line for line in found[1:] if isinstance(line.get("input"), str)}

    def has(self, name: str, content: bytes) -> bool:
        """Whether a file of that content is done, and its output lies there unchanged."""
        line = self.lines.get(name)
        if line is None or "error" in line or line.get("input_sha256") != sha256(content):
            return False
        try:
            return sha256((self.folder / output_name(name)).read_bytes()) == line.get("output_sha256")
        except OSError:
            return False

    def done(self, name: str, content: str, output: bytes, seconds: float, attempts: int) -> None:
        """Write an output, then its line: a file without one is done again.

        content  hash of the input
        """
        place = output_name(name)
        write_output(self.folder / place, "output", output, error=RunError)
        hashes = {"input_sha256": content, "output": place, "output_sha256": sha256(output)}
        self._add({"input": name, **hashes, "seconds": round(seconds, 6), "attempts": attempts})

    def failed(self, name: str, reason: str, attempts: int) -> None:
        """Note why there is no output. The next call tries again."""
        self._add({"input": name, "error": reason, "attempts": attempts})

    def _add(self, line: dict[str, Any]) -> None:
        self.lines[line["input"]] = line
        try:
            self._stream.write(_spelled(line))
            self._stream.flush()
        except OSError as error:
            raise unwritable(f"manifest {self.folder / NAME}", error, RunError) from error

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()
        self._guard.close()


def output_name(name: str) -> str:
    """Where an input's outputs go. The whole name is in it: a.npy and a.png may lie side by side."""
    return f"{name}.npz"


def _spelled(line: Mapping[str, Any]) -> str:
    return json.dumps(line, sort_keys=True) + "\n"
