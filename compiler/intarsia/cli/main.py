"""The program `intarsia`. Nothing heavy is imported here: `--help` and completion must be quick."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of the program."""
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
