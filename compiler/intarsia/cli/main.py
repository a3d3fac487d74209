"""The program `intarsia`. Nothing heavy is imported here: `--help` and completion must be quick."""

from __future__ import annotations

import signal
import sys
from types import FrameType


def main() -> None:
    """Entry point of the program. Ctrl-C ends it with exit code 130, SIGTERM with 143; temporary files go with it."""
    signal.signal(signal.SIGTERM, _end)
    try:
        _run()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(128 + signal.SIGINT)


def _end(number: int, frame: FrameType | None) -> None:
    """Leave as after an error, so that whoever made temporary files takes them away."""
    raise SystemExit(128 + number)


def _run() -> None:
    try:
        from intarsia.cli.commands import intarsia
    except ModuleNotFoundError as error:
        if error.name != "click":
            raise
        sys.stderr.write(
            "intarsia: the command line needs the package click, which is not installed here\n"
            "  help: pip install click, or use Python, which needs NumPy alone: intarsia.load(path).run(array)\n"
        )
        sys.exit(2)
    intarsia()
