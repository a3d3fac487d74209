"""`intarsia report`: every layer of an artifact, where it runs, what it costs."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

import click

from intarsia.cli.choices import NamedPath, device_option
from intarsia.cli.logs import quiet_option
from intarsia.cli.output import json_option, left_out_told, note, percent, write, write_json, write_table
from intarsia.cli.tables import Column
from intarsia.cli.trust import native_option, trusted_keys_option
from intarsia.errors import RunError

if TYPE_CHECKING:
    from intarsia.artifact import Artifact
    from intarsia.artifact.report import Report, Table

_COLUMNS = (
    Column("layer", names=True),
    Column("op"),
    Column("place"),
    Column("macs", True),
    Column("cycles", True),
    Column("use", True, spare=True),
    Column("read B", True, spare=True),
    Column("written B", True, spare=True),
    Column("peak B", True, spare=True),
)
_COMPARED = (*_COLUMNS[:5], Column("modelled", True), Column("ratio", True), *_COLUMNS[5:])
_FIELDS = ("name", "op", "place", "region", "macs", "cycles", "modelled_cycles", "utilisation", "bytes_read")

_BLOCKINGS = {
    "rule": "as the rule says",
    "search": "as timed by --tune",
    "cache": "as timed by --tune of an earlier compilation",
}

_SOURCES = {
    "compiler": "figures recorded at compile time",
    "model": "figures by the device's model, for every run",
    "run": "figures counted in a run",
    "both": "cycles counted in a run, beside those by the device's model",
}


@click.command("report")
@click.argument("artifact", type=NamedPath())
@click.option("--run", "with_run", is_flag=True, help="Run the first test vector and show what the devices count.")
@device_option
@click.option("--details", is_flag=True, help="Also show what targets found out of parts, such as kernels.")
@click.option("--csv", "as_csv", is_flag=True, help="Write comma-separated values instead of text.")
@quiet_option
@native_option
@trusted_keys_option
@json_option
def command(
    artifact: str,
    with_run: bool,
    device: str | None,
    details: bool,
    as_csv: bool,
    native: bool,
    trusted_keys: tuple[str, ...],
    as_json: bool,
) -> None:
    """Every layer of ARTIFACT: place, cycles, utilisation, bytes, on-chip peak.

    Figures are those that hold for every run: recorded by the compiler, or given by the simulator's cycle model. With
    --run they are counted in a run, and always on a device that counts cycles of hardware, such as rtl: modelled ones
    stand beside them. "-" is what nobody counts.
    """
    from intarsia.artifact import Artifact

    if as_csv and as_json:
        raise click.UsageError("--csv and --json cannot be had together")
    opened = Artifact.read(artifact, trusted_keys=trusted_keys or None)
    made = _measured(opened, device, native) if with_run else _modelled(opened, device, native)
    if as_json:
        write_json(made.to_dict())
    elif as_csv:
        write(_csv(made), end=False)
    else:
        write_report(made)
        for table in made.tables if details else ():
            write_details(table)


def _modelled(artifact: Artifact, device: str | None, native: bool) -> Report:
    """What the devices here say of every run; what the compiler recorded where one cannot load its region."""
    from intarsia.runtime.reports import measured_report, modelled_report
    from intarsia.runtime.session import load

    try:
        with load(artifact, device=device, native=native) as session:
            counts = session.measures and artifact.contents.vectors
            return measured_report(session) if counts else modelled_report(session)
    except RunError as error:
        if device is not None:
            raise
        note(f"figures of the compilation alone, as this machine cannot run it: {error.where}: {error.what}")
        return artifact.report()


def _measured(artifact: Artifact, device: str | None, native: bool) -> Report:
    from intarsia.runtime.reports import measured_report
    from intarsia.runtime.session import load

    if not artifact.contents.vectors:
        raise RunError(
            where="--run", what="the artifact has no test vectors to run", help="use intarsia run, which shows counters"
        )
    with load(artifact, device=device, native=native) as session:
        return measured_report(session)


def write_report(made: Report) -> None:
    """The report as text: a line that says what it is, the layers, the sums."""
    write(f"{made.model} for {made.target}, {made.precision}, batch {made.batch}; {_SOURCES[made.source]}")
    compared = made.source == "both"
    total = made.summary
    rows = []
    for row in [*map(vars, made.rows), {**total, "name": "total", "op": "", "place": ""}]:
        cells = [row["name"], row["op"], row["place"], row["macs"], row["cycles"]]
        if compared:
            cells += [row["modelled_cycles"], _ratio(row["cycles"], row["modelled_cycles"])]
        cells += [percent(row["utilisation"]), row["bytes_read"], row["bytes_written"], row["onchip_peak_bytes"]]
        rows.append(cells)
    write_table(_COMPARED if compared else _COLUMNS, rows)
    places = ", ".join(f"{count} on {place}" for place, count in total["layers_by_place"].items())
    write(f"{total['layers']} layers: {places or 'none'}; files {total['artifact_bytes']:,} B")
    if made.codes:
        write(f"code for CPUs: {', '.join(made.codes)}" + left_out_told(made.left_out))
    if made.memory is not None and made.memory.board:
        write(str(made.memory))
    if any(made.blockings.get(source) for source in ("search", "cache")):
        told = ((made.blockings.get(source, 0), words) for source, words in _BLOCKINGS.items())
        write("kernels cut up " + ", ".join(f"{words}: {count}" for count, words in told))
    for line in made.figure_lines():
        write(line)


def write_details(table: Table) -> None:
    """A table of a target's. Where there is no room for all columns, the last are left out."""
    write(f"\n{table.region}: {table.title}")
    columns = [
        Column(title, any(isinstance(row[index], (int, float)) for row in table.rows), spare=index > 0)
        for index, title in enumerate(table.columns)
    ]
    write_table(columns, [list(row) for row in table.rows])


def _ratio(cycles: int | None, modelled: int | None) -> str | None:
    return f"{cycles / modelled:.3f}" if cycles is not None and modelled else None


def _csv(made: Report) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    fields = (*_FIELDS, "bytes_written", "onchip_peak_bytes")
    writer.writerow(fields)
    for row in made.rows:
        values = [getattr(row, field) for field in fields]
        writer.writerow("" if value is None else value for value in values)
    return stream.getvalue()
