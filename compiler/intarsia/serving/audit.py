"""Who asked for what, and what came of it: a line of JSON each, in a file that only grows."""

from __future__ import annotations

import json
import os
from datetime import datetime, timezone

from intarsia.errors import RunError, warn

_MOST_CHARACTERS = 300


class Audit:
    """The file; its lines are whole whoever else writes to it.

    Raises RunError where it cannot be opened. Where it cannot be written later the server goes on, and says so once.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._broken = False
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        except OSError as error:
            raise RunError(
                where=f"audit log {path}", what=f"it cannot be written: {error.strerror}", help="name another file"
            ) from error

    def event(self, what: str, **more: object) -> None:
        """Something of the server itself."""
        self._write({"what": what, **more})

    def asked(
        self, protocol: str, client: str, token: str | None, what: str, result: int | str, seconds: float
    ) -> None:
        """A request is over.

        token   the name of its owner; None where none was needed or none was good
        what    method and path, or the call
        result  HTTP's status or gRPC's code; 0 for HTTP's where the client had gone
        """
        shown = what if len(what) <= _MOST_CHARACTERS else f"{what[:_MOST_CHARACTERS]}..."
        told: dict[str, object] = {"what": shown, "protocol": protocol, "client": client, "token": token}
        self._write({**told, "result": result, "seconds": round(seconds, 6)})

    def close(self) -> None:
        """The server has ended."""
        os.close(self._file)

    def _write(self, told: dict[str, object]) -> None:
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        line = json.dumps({"time": now, **told}, separators=(",", ":")) + "\n"
        try:
            os.write(self._file, line.encode("ascii"))
        except OSError as error:
            if not self._broken:
                self._broken = True
                warn(f"audit log {self._path}: it cannot be written any more: {error.strerror}")
