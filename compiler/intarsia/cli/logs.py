"""`-v`: what goes on inside, on stderr. Without it nothing is told, unless a program sets up logging itself."""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import click

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
    handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
    ctx.meta[_KEY] = handler
    for name in _LOGGERS:
        logging.getLogger(name).addHandler(handler)
    ctx.call_on_close(partial(_stop, handler))


def _stop(handler: Any) -> None:
    import logging

    for name in _LOGGERS:
        logging.getLogger(name).removeHandler(handler)
        logging.getLogger(name).setLevel(logging.NOTSET)


verbose_option = click.option(
    "-v", "--verbose", count=True, expose_value=False, callback=_start, help="Tell on stderr what is done; -vv more."
)
"""Of the program, and of the commands that take long."""
