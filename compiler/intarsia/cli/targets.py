"""`intarsia targets`: what models can be compiled for, and what runs them here."""

from __future__ import annotations

from typing import Any

import click

from intarsia.cli.devices import device_rows, write_devices
from intarsia.cli.output import json_option, write, write_json, write_table
from intarsia.cli.tables import Column


@click.command("targets")
@json_option
def command(as_json: bool) -> None:
    """List installed targets, and the devices that run artifacts here."""
    from intarsia.targets import spelled

    found, devices = _targets(), device_rows()
    if as_json:
        write_json({"targets": found, "devices": devices})
        return
    write_table(
        [Column("target"), Column("precisions"), Column("host"), Column("description", prose=True)],
        [
            [
                row["name"],
                ", ".join(row["precisions"]),
                ", ".join(name for name in (row["host"], row["processor"]) if name) or None,
                row["description"],
            ]
            for row in found
        ],
    )
    write()
    write_table(
        [
            Column("target"),
            Column("option"),
            Column("takes", prose=True),
            Column("default"),
            Column("meaning", prose=True),
        ],
        [
            [row["name"], option["name"], option["takes"], spelled(option["default"]), option["meaning"]]
            for row in found
            for option in row["options"]
        ],
    )
    write("an option is chosen in braces behind the target or host that it is of:\n  --target 'cpu{strict=true}'\n")
    write_devices(devices)


def _targets() -> list[dict[str, Any]]:
    from intarsia.targets import available_targets, find_target

    rows = []
    for name in available_targets():
        row: dict[str, Any] = {
            "name": name,
            "precisions": [],
            "host": None,
            "processor": None,
            "options": [],
            "facts": {},
        }
        try:
            target = find_target(name)
        except Exception as error:  # another package's code: the other targets are still worth listing
            rows.append({**row, "description": f"cannot be loaded: {type(error).__name__}: {error}"})
            continue
        row.update(description=target.description, precisions=list(target.precisions), host=target.host)
        row["processor"] = target.processor
        row["options"] = [
            {
                "name": option.name,
                "takes": option.takes,
                "default": option.default,
                "choices": list(option.choices),
                "meaning": option.doc,
            }
            for option in target.options
        ]
        rows.append({**row, "facts": dict(target.facts())})
    return rows
