"""The program `intarsia`. Nothing heavy is imported here: `--help` and completion must be quick."""

from __future__ import annotations

import signal
import sys
from types import FrameType


def main() -> None:
    """Entry point of the program. Ctrl-C ends it with exit code 130, SIGTERM with 143; temporary files go with it."""
    from intarsia.cli.streams import BROKEN_PIPE, OutputLost, drop_stdout, flush_stdout, watch_streams

    signal.signal(signal.SIGTERM, _end)
    watch_streams()
    try:
        try:
            _run()
        finally:
            flush_stdout()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(128 + signal.SIGINT)
    except OutputLost as lost:
        drop_stdout()
        if isinstance(lost.error, BrokenPipeError):
            sys.exit(BROKEN_PIPE)
        sys.stderr.write(
            f"error: standard output: it cannot be written: {lost.error.strerror or lost.error}\n"
            "  help: free space where it goes, or send it elsewhere; files that -o names are written before\n"
        )
        sys.exit(2)


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
