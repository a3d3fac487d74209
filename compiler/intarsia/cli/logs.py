"""How much is told. `-v`: what goes on inside, on stderr, which else only a program that sets up logging hears.
`-q`: no remarks either.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import click

from intarsia.errors import printable

_LOGGERS = ("intarsia", "intarsia_backends")
_KEY = "intarsia.cli.logs"


def _start(ctx: click.Context, param: click.Parameter, count: int) -> None:
    """Show what is logged: one -v for what was done, two also for what had nothing to do."""
    if not count:
        return
    import logging

    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.INFO if count == 1 else logging.DEBUG)
    if _KEY in ctx.meta:  # asked for of the program and of its command
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_formatter())
    ctx.meta[_KEY] = handler
    for name in _LOGGERS:
        logging.getLogger(name).addHandler(handler)
    ctx.call_on_close(partial(_stop, handler))


def _formatter() -> Any:
    import logging

    class Spelled(logging.Formatter):
        """Names out of models stand in messages."""

        def format(self, record: logging.LogRecord) -> str:
            return printable(super().format(record), lines=True)

    return Spelled("%(name)s: %(message)s")


def is_verbose(ctx: click.Context) -> bool:
    """Whether -v was given."""
    return _KEY in ctx.meta


def _stop(handler: Any) -> None:
    import logging

    for name in _LOGGERS:
        logging.getLogger(name).removeHandler(handler)
        logging.getLogger(name).setLevel(logging.NOTSET)


verbose_option = click.option(
    "-v", "--verbose", count=True, expose_value=False, callback=_start, help="Tell on stderr what is done; -vv more."
)
"""Of the program, and of the commands that take long."""


_QUIET = "intarsia.cli.quiet"


def _be_quiet(ctx: click.Context, param: click.Parameter, asked: bool) -> None:
    if asked:
        ctx.meta[_QUIET] = True


quiet_option = click.option(
    "-q", "--quiet", is_flag=True, expose_value=False, callback=_be_quiet, help="No notes and no progress."
)
"""Of the program, and of the commands that have something to remark."""


def is_quiet() -> bool:
    """Whether -q was given, of the program or of its command."""
    ctx = click.get_current_context(silent=True)
    return ctx is not None and _QUIET in ctx.meta
