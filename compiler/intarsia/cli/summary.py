"""What `intarsia compile` says at the end: the artifact, its regions, and what there is to know about it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from intarsia.cli.logs import is_quiet
from intarsia.cli.output import left_out_told, percent, show, write, write_json, write_table
from intarsia.cli.tables import Column

if TYPE_CHECKING:
    from intarsia.artifact import Artifact


def write_summary(
    artifact: Artifact,
    place: str,
    model: str,
    more: Mapping[str, Any],
    as_json: bool,
    accuracy: Mapping[str, Any] | None = None,
) -> None:
    """Write it as text, or as JSON with `more` in it. With -q no notes are written, nor what may be done next; in JSON
    they always stand.

    place, model  as the user spells them
    accuracy      {"samples", "artifact", "model"}: how often both are right, 0 to 1; None where nobody asked
    """
    from intarsia.partition.crossings import crossings_of
    from intarsia.partition.explanation import shares
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
    crossed, total = crossings_of(contents), shares(contents.placements, contents.target)
    following = _next(place, model)
    if as_json:
        facts = {"model": contents.model_name, "target": contents.target, "precision": contents.precision}
        moved = {"count": crossed.count, "bytes": crossed.bytes, "seconds_estimated": crossed.seconds}
        told = {"summary": {**total, "crossings": moved}, "next": following}
        told |= {} if accuracy is None else {"accuracy": accuracy}
        write_json({"artifact": place, **facts, "bytes": size, "regions": regions, **told, "notes": notes, **more})
        return
    write(f"{place}: {contents.model_name} for {contents.target}, {contents.precision}, {size:,} B")
    write_table(
        [Column("region"), Column("kind"), Column("ops", True), Column("bytes", True)],
        [[region["name"], region["kind"], region["ops"], region["bytes"]] for region in regions],
    )
    report = artifact.report()
    if report.codes:
        write(f"code for CPUs: {', '.join(report.codes)}" + left_out_told(report.left_out))
    for note in notes:
        kind = "warning" if note[0] == SUSPICION else "note"
        if kind == "note" and is_quiet():
            continue
        write(f"{kind}: {': '.join(map(str, note))}")
    write(shares_text(total, contents.target, len(regions)))
    if crossed.count:
        write(f"{crossed}, estimated")
    if accuracy is not None:
        right = f"right in {percent(accuracy['artifact'])} of {accuracy['samples']} labelled samples"
        write(f"{right}; the float model in {percent(accuracy['model'])}")
    if not is_quiet():
        write("next: " + "\n      ".join(following))


def shares_text(total: Mapping[str, int], target: str, regions: int) -> str:
    """A line on what is on the target: counts as `partition.explanation.shares` makes them."""
    on_target = f"{total['compute_ops_on_target']} of {total['compute_ops']} computing ops on {target}"
    share = percent(total["macs_on_target"] / total["macs"]) if total["macs"] else "-"
    return f"{on_target}, {share} of {show(total['macs'])} multiply-accumulates; regions: {regions}"


def _next(place: str, model: str) -> list[str]:
    """Commands that go on from here."""
    made = shlex.quote(place)
    return [
        f"intarsia run {made} --input DATA",
        f"intarsia report {made}",
        f"intarsia verify {made} --against {shlex.quote(model)} --input DATA",
    ]


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
