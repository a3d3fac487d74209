"""Options by which targets and devices are chosen, with their completion, which reads names and imports no backend."""

from __future__ import annotations

import math
from importlib.metadata import entry_points
from typing import Any

import click
from click.shell_completion import CompletionItem


class NamedPath(click.Path):
    """A path with a name: an empty one is no path, and none that may be left out."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("the path is empty", param, ctx)
        return super().convert(value, param, ctx)


class Number(click.FloatRange):
    """A number within bounds: `nan` and `inf`, which Python reads as numbers, are none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is no number", param, ctx)
        return number


_TARGETS, _DEVICES = "intarsia.targets", "intarsia.devices"


def _names(group: str) -> list[str]:
    return sorted({entry.name for entry in entry_points(group=group)})


def complete_target(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Targets that begin so; behind a plus the hosts, whatever options stand before it."""
    before, plus, begun = incomplete.rpartition("+")
    return [CompletionItem(f"{before}{plus}{name}") for name in _names(_TARGETS) if name.startswith(begun)]


def complete_device(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Devices that begin so."""
    return [CompletionItem(name) for name in _names(_DEVICES) if name.startswith(incomplete)]


device_option = click.option(
    "--device",
    metavar="NAME",
    shell_complete=complete_device,
    help="The device that runs what it can; see `intarsia devices`.",
)
"""Of every command that runs artifacts."""
