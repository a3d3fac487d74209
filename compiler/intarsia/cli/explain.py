"""`intarsia explain`: the place of every op, and the reason for each that is not on the accelerator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from intarsia.cli.choices import NamedPath
from intarsia.cli.compile import model_options
from intarsia.cli.logs import is_quiet, quiet_option, verbose_option
from intarsia.cli.output import force_option, json_option, left_out_told, show, write, write_json, write_table
from intarsia.cli.summary import shares_text
from intarsia.cli.tables import Column
from intarsia.errors import CompileError, printable

if TYPE_CHECKING:
    from intarsia.driver import Lowered
    from intarsia.importer.limits import Limits
    from intarsia.partition.explanation import Explanation


@click.command("explain")
@click.argument("model", type=NamedPath())
@model_options
@click.option("--all", "everything", is_flag=True, help="List also the ops that are where they should be.")
@click.option("--pass", "rule", metavar="NAME", help="Say instead where this pass nearly fired, and why it did not.")
@click.option(
    "-o",
    "--output",
    "--graph",
    "picture",
    type=NamedPath(),
    help="Draw the model too: a .svg, a .html with a table of all ops, or a .dot for Graphviz.",
)
@force_option
@quiet_option
@verbose_option
@json_option
def command(
    model: str,
    target: str,
    precision: str | None,
    host_only: bool,
    batch: int,
    dimensions: Mapping[str, int],
    shapes: Mapping[str, tuple[int, ...]],
    limits: Limits | None,
    keep_float: tuple[str, ...],
    everything: bool,
    rule: str | None,
    picture: str | None,
    force: bool,
    as_json: bool,
) -> None:
    """Say where every op of MODEL would run, and for those off the accelerator why, what to change, and the cost.

    Nothing is compiled, and no calibration data is needed.
    """
    from intarsia import driver

    if rule is not None and picture is not None:
        raise click.UsageError("--graph shows places, and --pass tells of a pass: give one of them")
    if picture is not None:
        from intarsia.partition.pictures import check_place, save_picture

        check_place(picture, inputs=[model], overwrite=force)
    options: dict[str, Any] = {
        "target": target,
        "precision": precision,
        "host_only": host_only,
        "batch": batch,
        "dimensions": dimensions,
        "shapes": shapes,
        "limits": limits,
        "keep_float": keep_float,
    }
    if rule is not None:
        _explain_pass(rule, driver.lower(model, **options, assume=True, until="fused"), as_json)
        return
    explanation = driver.explain(model, **options)
    if picture is not None:
        save_picture(explanation, picture, overwrite=force)
    if as_json:
        write_json(explanation.to_dict())
    else:
        write_explanation(explanation, everything)


def write_explanation(explanation: Explanation, everything: bool) -> None:
    """The explanation as text: sums, a table of ops, and a paragraph for each reason."""
    total = explanation.summary
    rows = [row for row in explanation.rows if everything or row.place != explanation.target]
    write(f"{explanation.model} for {explanation.target}, {explanation.precision}")
    write(shares_text(total, explanation.target, total["regions"]))
    if explanation.crossed.count:
        write(f"{explanation.crossed}, estimated")
    if total["cycles_estimated"]:
        write(f"about {show(total['cycles_estimated'])} cycles, estimated op by op")
    if explanation.codes:
        write(f"code for CPUs by: {', '.join(explanation.codes)}" + left_out_told(explanation.left_out))
    if rows:
        write()
        columns = [Column("op"), Column("name", names=True), Column("place"), Column("makes", spare=True)]
        columns += [Column("macs", True), Column("cycles", True, spare=True), Column("fallback ms", True)]
        write_table(
            columns,
            [
                [
                    row.op,
                    row.name,
                    row.place,
                    row.shape,
                    row.macs or None,
                    row.cycles or None,
                    row.fallback_seconds * 1e3 or None,
                ]
                for row in rows
            ],
        )
    reasons: dict[tuple[str, str, str, str], list[str]] = {}
    for row in rows:
        for reason in row.reasons:
            key = (reason.target, reason.rule, reason.reason, reason.fix)
            reasons.setdefault(key, []).append(f"{printable(row.op)} '{printable(row.name)}'")
    for (where, rule, found, fix), ops in reasons.items():
        shown = ", ".join(ops[:4]) + (f" and {len(ops) - 4} more" if len(ops) > 4 else "")
        write(f"\n{shown}\n  {where} refuses ({rule}): {found}\n  help: {fix}")
    for name, text in () if is_quiet() else explanation.notes:
        write(f"\nnote: {printable(name)}: {printable(text)}")
    refusal = explanation.refusal
    if refusal is not None:
        write(f"\ncompile refuses it\n  {refusal.where}: {refusal.what}\n  help: {refusal.help}")
    if explanation.assumed:
        write("\nRanges were assumed: where measured ones decide a place, as with masks, it may be another.")
    if any(row.fallback_seconds for row in rows):
        write("\nTimes off the accelerator are estimates for a board's CPU, not measured.")


def _explain_pass(name: str, lowered: Lowered, as_json: bool) -> None:
    """Refusals of one pass, asked on the fused graph: what it nearly matches there, it has left alone."""
    passes = {step.name: step for step in lowered.passes}
    if name not in passes:
        raise CompileError(
            where=f"pass '{name}'",
            what="there is none of that name",
            help=f"the passes are {', '.join(sorted(passes))}",
        )
    refusals = [
        {"op": refusal.node.where, "reason": refusal.reason} for refusal in passes[name].refusals(lowered.graph)
    ]
    if as_json:
        write_json({"pass": name, "refusals": refusals})
        return
    for refusal in refusals:
        write(f"{refusal['op']}: {refusal['reason']}")
    if not refusals:
        write(f"nothing that {name} nearly matches was left alone")
