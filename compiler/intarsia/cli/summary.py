"""What `intarsia compile` says at the end: the artifact, its regions, and what there is to know about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from intarsia.cli.logs import is_quiet
from intarsia.cli.output import percent, write, write_json, write_table
from intarsia.cli.tables import Column

if TYPE_CHECKING:
    from intarsia.artifact import Artifact


def write_summary(artifact: Artifact, place: str, more: Mapping[str, Any], as_json: bool) -> None:
    """Write it as text, or as JSON with `more` in it. With -q no notes are written; in JSON they always stand."""
    from intarsia.passes.calibration import SUSPICION

    contents = artifact.contents
    size = sum(map(len, artifact.files.values()))
    regions = [
        {
            "name": region.name,
            "kind": region.kind,
            "ops": sum(placement.get("region") == region.name for placement in contents.placements),
            "bytes": sum(len(artifact.files[region.path(file)]) for file in region.files),
        }
        for region in contents.regions
    ]
    notes = [*contents.metadata.get("notes", []), *_batch_notes(contents.target, contents.placements)]
    if as_json:
        facts = {"model": contents.model_name, "target": contents.target, "precision": contents.precision}
        write_json({"artifact": place, **facts, "bytes": size, "regions": regions, "notes": notes, **more})
        return
    write(f"{place}: {contents.model_name} for {contents.target}, {contents.precision}, {size:,} B")
    write_table(
        [Column("region"), Column("kind"), Column("ops", True), Column("bytes", True)],
        [[region["name"], region["kind"], region["ops"], region["bytes"]] for region in regions],
    )
    for note in () if is_quiet() else notes:
        kind = "warning" if note[0] == SUSPICION else "note"
        write(f"{kind}: {': '.join(map(str, note))}")


def _batch_notes(target: str, placements: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """A note where the batch, and nothing else, keeps ops off the accelerator."""
    held = [row for row in placements if _first_rule(row, target) == "batch"]
    if not held:
        return []
    macs = sum(row.get("macs") or 0 for row in placements)
    share = f", {percent(sum(row.get('macs') or 0 for row in held) / macs)} of all multiply-accumulates" if macs else ""
    counted: dict[str, int] = {}
    for row in held:
        counted[row["op"]] = counted.get(row["op"], 0) + 1
    ops = ", ".join(f"{count} {op}" for op, count in counted.items())
    reason = next(item for item in held[0]["reasons"] if item["rule"] == "batch")
    text = (
        f"it keeps {ops}{share} off {target}: {reason['reason']}. With --batch 1 they may run there, "
        "and `intarsia run` takes any number of images all the same"
    )
    return [["batch", text]]


def _first_rule(row: Mapping[str, Any], target: str) -> str | None:
    """The rule by which the target refused an op that runs elsewhere."""
    if row.get("place") == target:
        return None
    return next((item["rule"] for item in row.get("reasons", ()) if item["target"] == target), None)
