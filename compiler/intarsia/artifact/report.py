"""What `intarsia report` says: every layer, where it runs, and what it costs by the figures of the compilation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from intarsia.artifact.manifest import Manifest
from intarsia.artifact.memory import Need, need


@dataclass(frozen=True)
class ReportRow:
    """One layer. None stands for a figure that nobody recorded.

    place               name of the target whose code runs it, or "evaluator"
    region              name of the region that it is in
    macs                multiply-accumulates of one run
    cycles              clock cycles of the accelerator
    modelled_cycles     what a model says of them, where they were measured
    utilisation         macs / (cycles * the array's macs in a cycle), 0 to 1
    bytes_read          from memory outside the chip
    bytes_written       to memory outside the chip
    onchip_peak_bytes  most bytes held on the chip while it runs
    details             whatever else the backend recorded
    """

    name: str
    op: str
    place: str
    region: str
    macs: int | None
    cycles: int | None
    modelled_cycles: int | None
    utilisation: float | None
    bytes_read: int | None
    bytes_written: int | None
    onchip_peak_bytes: int | None
    details: Mapping[str, Any]


@dataclass(frozen=True)
class Table:
    """What a target found out about parts of a region, such as one row a kernel.

    rows  cells in the order of the columns: numbers, texts, or None for what is not known
    """

    region: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


@dataclass(frozen=True)
class Report:
    """An artifact's layers in order of running, and sums.

    source  where the figures come from: "compiler" (recorded at compile time), "model" (what a device says of every
            run) or "run" (counters of one)
    blockings
            how many kernels of a CPU are cut up as its "rule" says, how many as a "search" found in this compilation,
            and how many as one before it did ("cache")
    codes   what made the code for CPUs, and for which: "cpu (x86_64, avx2)"; () where no region has any
    left_out
            name of the target that makes code for the board's own processor, where that is left out
    notes   what runs otherwise here than one might think; of a report that a session made
    memory  what a run takes, and what there is where the target is a board
    figures by region, what its target found out about it as a whole: numbers and texts by name, with their units
    tables  what targets found out about parts of regions
    """

    model: str
    target: str
    precision: str
    batch: int
    producer: str
    artifact_bytes: int
    source: str
    rows: tuple[ReportRow, ...]
    blockings: Mapping[str, int] = field(default_factory=dict)
    codes: tuple[str, ...] = ()
    left_out: str | None = None
    notes: tuple[str, ...] = ()
    memory: Need | None = None
    figures: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    tables: tuple[Table, ...] = ()

    @property
    def summary(self) -> dict[str, Any]:
        """Sums over all layers; utilisation is weighted by cycles. None where no layer has the figure."""
        cycles = _sum(row.cycles for row in self.rows)
        busy = [row for row in self.rows if row.utilisation is not None and row.cycles]
        spent = sum(row.cycles or 0 for row in busy)
        peaks = [row.onchip_peak_bytes for row in self.rows if row.onchip_peak_bytes is not None]
        places: dict[str, int] = {}
        for row in self.rows:
            places[row.place] = places.get(row.place, 0) + 1
        return {
            "layers": len(self.rows),
            "layers_by_place": places,
            "macs": _sum(row.macs for row in self.rows),
            "cycles": cycles,
            "modelled_cycles": _sum(row.modelled_cycles for row in self.rows),
            "utilisation": sum((row.utilisation or 0) * (row.cycles or 0) for row in busy) / spent if spent else None,
            "bytes_read": _sum(row.bytes_read for row in self.rows),
            "bytes_written": _sum(row.bytes_written for row in self.rows),
            "onchip_peak_bytes": max(peaks) if peaks else None,
            "artifact_bytes": self.artifact_bytes,
        }

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return {**asdict(self), "summary": self.summary}

    def __str__(self) -> str:
        head = ("layer", "op", "place", "macs", "cycles", "use", "read B", "written B", "peak B")
        table = [head] + [
            (
                row.name,
                row.op,
                row.place,
                _figure(row.macs),
                _figure(row.cycles),
                "-" if row.utilisation is None else f"{row.utilisation:.0%}",
                _figure(row.bytes_read),
                _figure(row.bytes_written),
                _figure(row.onchip_peak_bytes),
            )
            for row in self.rows
        ]
        widths = [max(len(line[column]) for line in table) for column in range(len(head))]
        lines = [f"{self.model} for {self.target}, {self.precision}, batch {self.batch}, by {self.producer}"]
        for line in table:
            left = [cell.ljust(width) for cell, width in zip(line[:3], widths)]
            right = [cell.rjust(width) for cell, width in zip(line[3:], widths[3:])]
            lines.append("  ".join(left + right).rstrip())
        if self.memory is not None and self.memory.board:
            lines.append(str(self.memory))
        return "\n".join((*lines, *self.figure_lines())) + "\n"

    def figure_lines(self) -> list[str]:
        """One line for each region that has figures of its own."""
        return [
            f"{region}: " + ", ".join(f"{name.replace('_', ' ')} {_shown(value)}" for name, value in figures.items())
            for region, figures in self.figures.items()
        ]


def _figure(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return " and ".join(f"{_shown(count)} {name}" for name, count in value.items()) or "none"
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}" if isinstance(value, float) else str(value)


def _sum(values: Any) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def make_report(
    manifest: Manifest, artifact_bytes: int, counters: Mapping[str, Sequence[Mapping[str, Any]]], source: str
) -> Report:
    """Rows from the regions' layers; ops of a region that records no layers come from the placements.

    counters  by region name, layers with figures of one run; they go before what was recorded
    source    see `Report`
    """
    rows: list[ReportRow] = []
    placed = {placement["name"]: placement for placement in manifest.placements}
    facts = manifest.metadata.get("facts")
    array_macs = facts.get("macs_per_cycle") if isinstance(facts, Mapping) else None
    for region in manifest.regions:
        here = [placement for placement in manifest.placements if placement.get("region") == region.name]
        place = str(here[0]["place"]) if here else region.kind
        counted = {str(layer.get("name")): layer for layer in counters.get(region.name, ())}
        for layer in region.layers or here:
            name = str(layer.get("name", ""))
            merged = {**layer, **counted.pop(name, {})}
            rows.append(_row(merged, placed.get(name, {}), place, region.name, array_macs))
        rows.extend(_row(layer, {}, place, region.name, array_macs) for layer in counted.values())
    return Report(
        manifest.model_name,
        manifest.target,
        manifest.precision,
        manifest.batch,
        manifest.producer,
        artifact_bytes,
        source,
        tuple(rows),
        _blockings(manifest),
        _codes(manifest),
        manifest.metadata.get("left_out"),
        memory=need(artifact_bytes, [region.metadata for region in manifest.regions], facts),
        figures=_figures(manifest),
        tables=_tables(manifest),
    )


def _codes(manifest: Manifest) -> tuple[str, ...]:
    places = {placement["place"] for placement in manifest.placements}
    made = [manifest.metadata[key] for key in ("host_code", "board_code") if key in manifest.metadata]
    if not made or made[0].get("target") not in places:
        return ()
    return tuple(
        f"{code.get('target')} ({code['machine']}, {code.get('level')})"
        if "machine" in code
        else str(code.get("target"))
        for code in made
    )


def _figures(manifest: Manifest) -> dict[str, Mapping[str, Any]]:
    found = {region.name: region.metadata.get("figures") for region in manifest.regions}
    return {name: dict(figures) for name, figures in found.items() if isinstance(figures, Mapping) and figures}


def _tables(manifest: Manifest) -> tuple[Table, ...]:
    """Of which the manifest was checked."""
    return tuple(
        Table(region.name, table["title"], tuple(table["columns"]), tuple(map(tuple, table["rows"])))
        for region in manifest.regions
        for table in region.metadata.get("tables", ())
    )


def _blockings(manifest: Manifest) -> dict[str, int]:
    total: dict[str, int] = {}
    for region in manifest.regions:
        for source, count in (region.metadata.get("blockings") or {}).items():
            total[source] = total.get(source, 0) + int(count)
    return total


_NAMED = (
    "name", "op", "place", "region", "macs", "cycles", "modelled_cycles", "utilisation", "bytes_read", "bytes_written",
)  # fmt: skip


def _row(layer: Mapping[str, Any], placement: Mapping[str, Any], place: str, region: str, array_macs: Any) -> ReportRow:
    macs, cycles = _whole(layer.get("macs", placement.get("macs"))), _whole(layer.get("cycles"))
    utilisation = layer.get("utilisation")
    if utilisation is None and macs and cycles and isinstance(array_macs, (int, float)) and array_macs > 0:
        utilisation = macs / (cycles * array_macs)
    return ReportRow(
        name=str(layer.get("name", "")),
        op=str(layer.get("op", placement.get("op", ""))),
        place=str(placement.get("place", place)),
        region=region,
        macs=macs,
        cycles=cycles,
        modelled_cycles=_whole(layer.get("modelled_cycles")),
        utilisation=float(utilisation) if isinstance(utilisation, (int, float)) else None,
        bytes_read=_whole(layer.get("bytes_read")),
        bytes_written=_whole(layer.get("bytes_written")),
        onchip_peak_bytes=_whole(layer.get("onchip_peak_bytes")),
        details={key: layer[key] for key in layer if key not in (*_NAMED, "onchip_peak_bytes")},
    )


def _whole(value: Any) -> int | None:
    return int(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
