"""`intarsia devices`: what runs artifacts here."""

from __future__ import annotations

from typing import Any

import click

from intarsia.cli.output import json_option, write_json, write_table
from intarsia.cli.tables import Column


@click.command("devices")
@json_option
def command(as_json: bool) -> None:
    """List installed devices: the regions that each runs, and whether it can be used here.

    Of several that run the same kind of region, the one of the highest priority is taken; `--device NAME` takes
    another.
    """
    rows = device_rows()
    if as_json:
        write_json({"devices": rows})
    else:
        write_devices(rows)


def device_rows() -> list[dict[str, Any]]:
    """A JSON-able row for every installed device."""
    from intarsia.runtime.devices import installed_devices

    return [
        {
            "name": item.name,
            "kinds": list(item.kinds),
            "priority": item.priority,
            "absent": item.absent or (item.device.lacking() if item.device is not None else None),
        }
        for item in installed_devices()
    ]


def write_devices(rows: list[dict[str, Any]]) -> None:
    """The table of devices."""
    write_table(
        [Column("device"), Column("runs"), Column("priority", True), Column("here", prose=True)],
        [[row["name"], ", ".join(row["kinds"]), row["priority"], row["absent"] or "yes"] for row in rows],
    )
