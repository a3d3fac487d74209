"""`intarsia compile`: from a model to an artifact."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from intarsia.arguments import near
from intarsia.cli.accuracy import Scoring
from intarsia.cli.choices import NamedPath, Number, complete_target
from intarsia.cli.logs import quiet_option, verbose_option
from intarsia.cli.output import force_option, json_option, percent, progress, write, write_json, write_table
from intarsia.cli.pictures import chosen, image_options
from intarsia.cli.summary import write_summary
from intarsia.cli.tables import Column
from intarsia.cli.warned import unsaid
from intarsia.errors import CompileError
from intarsia.ir.stages import STAGES
from intarsia.outputs import check_output, write_output

if TYPE_CHECKING:
    from intarsia.images import ImageOptions
    from intarsia.importer.limits import Limits
    from intarsia.passes.instruments import Timed

_PRINT = "(print)"
"""What `--pipeline` holds where no text follows: no pass is spelled so."""


def _dimensions(ctx: click.Context, param: click.Parameter, texts: Sequence[str]) -> dict[str, int]:
    found = {}
    for text in texts:
        name, _, size = text.rpartition("=")
        if not name or not size.isdecimal() or int(size) < 1:
            raise click.BadParameter(f"{text!r} is not NAME=N with a whole number N from 1", ctx, param)
        found[name] = int(size)
    return found


def _shapes(ctx: click.Context, param: click.Parameter, texts: Sequence[str]) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    for text in texts:
        name, _, sizes = text.rpartition("=")
        parts = [part.strip() for part in sizes.split(",")]
        if not name or not all(part.isdecimal() for part in parts):
            what = f"{text!r} is not NAME=N,N,... with whole numbers, such as image=1,3,32,32"
            raise click.BadParameter(what, ctx, param)
        if name in found:
            raise click.BadParameter(f"{name!r} is given twice", ctx, param)
        found[name] = tuple(map(int, parts))
    return found


def _limits(ctx: click.Context, param: click.Parameter, texts: Sequence[str]) -> Limits | None:
    if not texts:  # the usual ones, and nothing to import where a shell completes a line
        return None
    from dataclasses import fields

    from intarsia.importer.limits import Limits

    names = [field.name for field in fields(Limits)]
    found = {}
    for text in texts:
        name, _, size = text.rpartition("=")
        if name not in names:
            said = f"there is no limit {name!r}" if name else f"{text!r} is not NAME=N"
            raise click.BadParameter(f"{said}; there are {', '.join(names)}{near(name, names)}", ctx, param)
        if not size.isdecimal():
            raise click.BadParameter(f"{size!r} is no whole number from 0 on, which {name} is", ctx, param)
        found[name] = int(size)
    return Limits(**found)


_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "": 1.0}


def seconds_of(text: str) -> float:
    """Seconds of a text such as 20s, 500ms, 2m or 20; ValueError where it is no time above 0."""
    number = text.rstrip("ms")
    found = float(number) * _UNITS.get(text[len(number) :], math.nan)
    if not 0 < found < math.inf:
        raise ValueError(text)
    return found


def _seconds(ctx: click.Context, param: click.Parameter, text: str | None) -> float | None:
    try:
        return None if text is None else seconds_of(text)
    except ValueError:
        what = f"{text!r} is no time above 0 such as 20s, 500ms, 2m or 20 (seconds)"
        raise click.BadParameter(what, ctx, param) from None


def model_options(command: Any) -> Any:
    """Options of every command that reads a model."""
    for option in reversed(
        (
            click.option(
                "--target",
                required=True,
                metavar="NAME",
                shell_complete=complete_target,
                help="See `intarsia targets`; options in braces: 'cpu{strict=true}'.",
            ),
            click.option(
                "--host-only",
                is_flag=True,
                help="Of a board, make CPU code for this machine alone, not for the board's processor too.",
            ),
            click.option(
                "--precision",
                type=click.Choice(["float32", "float16", "bfloat16", "int8"]),
                help="By default what the target needs.",
            ),
            click.option(
                "--batch",
                type=click.IntRange(1),
                default=1,
                show_default=True,
                help="Size of symbolic first axes, or of those written as 1 where every op allows it.",
            ),
            click.option(
                "--dimension",
                "dimensions",
                metavar="NAME=N",
                callback=_dimensions,
                multiple=True,
                help="Size of another symbolic axis; may be given again.",
            ),
            click.option(
                "--shape",
                "shapes",
                metavar="NAME=N,N,...",
                callback=_shapes,
                multiple=True,
                help="Whole shape of an input, outermost first: image=1,3,32,32; may be given again.",
            ),
            click.option(
                "--limit",
                "limits",
                metavar="NAME=N",
                callback=_limits,
                multiple=True,
                help="What the model may ask for, such as fold_work or vector_work; may be given again.",
            ),
            click.option(
                "--keep-float",
                metavar="NAME",
                multiple=True,
                help="An op that stays float where others become int8; may be given again.",
            ),
        )
    ):
        command = option(command)
    return command


@click.command("compile")
@click.argument("model", type=NamedPath())
@model_options
@click.option("-o", "--output", type=NamedPath(), help="Where the artifact goes; a folder with '/' at the end.")
@click.option(
    "--calibration",
    type=NamedPath(),
    metavar="DATA",
    help="Real inputs, for int8: a .npz or .npy file, or a folder of images; or ranges measured before: a .json file.",
)
@click.option(
    "--save-calibration",
    type=NamedPath(),
    metavar="FILE",
    help="Write the measured ranges, a .json file for --calibration another time.",
)
@click.option(
    "--labels",
    type=NamedPath(path_type=Path),
    metavar="FILE",
    help="Say how often a classifier is right: class numbers of the calibration data, or a .npz of other inputs with "
    "their classes as 'y'.",
)
@click.option(
    "--calibrator",
    type=click.Choice(["minmax", "percentile"]),
    default="minmax",
    show_default=True,
    help="How ranges are chosen from what is seen.",
)
@click.option("--percentile", type=Number(50, 100), help="For that calibrator; by default 99.99.")
@image_options
@click.option(
    "--preprocess",
    metavar="NAME|FILE",
    help="Take pictures' bytes, and make the model's numbers of them in the artifact: imagenet, inception, "
    "efficientnet-lite, unit, bytes, yolo, yolox, or a .json file.",
)
@click.option("--dump", type=NamedPath(path_type=Path), metavar="DIR", help="Write the graph after every pass.")
@click.option("--compare", is_flag=True, help="Evaluate after every pass; fail at the first value that drifts.")
@click.option(
    "--tune",
    metavar="TIME",
    callback=_seconds,
    help="Search for faster CPU code for so long (20s, 2m; not below 3s), by timing it here; what is found is kept.",
)
@click.option("--stop-after", type=click.Choice(STAGES[:-1]), help="Write the graph at that stage as text instead.")
@click.option(
    "--pipeline",
    is_flag=False,
    flag_value=_PRINT,
    metavar="[TEXT]",
    help="Run these passes in place of the usual ones; without TEXT, print the usual ones and stop.",
)
@force_option
@quiet_option
@click.option("--time-passes", is_flag=True, help="Say what every pass and every other step changed and took.")
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
    output: str | None,
    calibration: str | None,
    save_calibration: str | None,
    labels: Path | None,
    calibrator: str,
    percentile: float | None,
    mean: float | tuple[float, ...] | None,
    scale: float | tuple[float, ...] | None,
    colour: str | None,
    fit: str | None,
    preprocess: str | None,
    dump: Path | None,
    compare: bool,
    tune: float | None,
    stop_after: str | None,
    pipeline: str | None,
    force: bool,
    time_passes: bool,
    as_json: bool,
) -> None:
    """Compile MODEL, an ONNX file, for a target."""
    from intarsia.driver import compile_model, lower
    from intarsia.passes.instruments import Timing

    options: dict[str, Any] = {
        "target": target,
        "precision": precision,
        "host_only": host_only,
        "batch": batch,
        "dimensions": dimensions,
        "shapes": shapes,
        "limits": limits,
        "keep_float": keep_float,
        "calibrator": calibrator,
        "percentile": percentile,
        "preprocess": preprocess,
    }
    if pipeline == _PRINT:
        steps = [str(step) for step in lower(model, **options, until="imported").passes]
        if as_json:
            write_json({"pipeline": steps})
        else:
            write(",\n".join(steps))
        return
    place = output or f"{Path(model).stem}.intarsia"
    read = [model, calibration, None if labels is None else str(labels)]
    _check_places(place, read, save_calibration, stop_after, force)
    scored, timing = None, Timing()
    with progress() as step, unsaid():  # the summary has warnings among its notes
        options |= {
            "calibration": calibration,
            "images": _images(
                calibration,
                {"mean": mean, "scale": scale, "colour": colour, "fit": fit},
                has_own=preprocess is not None,
            ),
            "save_calibration": save_calibration,
            "pipeline": pipeline,
            "dump": dump,
            "compare": compare,
            "progress": step,
            "hook": timing,
        }
        scoring = None if labels is None or stop_after is not None else Scoring(labels, model, options)
        if stop_after is not None:
            text = _text_at(stop_after, model, options)
        else:
            artifact = compile_model(model, tune=tune, **options)
            scored = None if scoring is None else scoring.of(artifact, step)
            artifact.save(place, overwrite=force)
    rows = timing.rows if time_passes else []
    told = {"steps": [vars(row) for row in rows]} if time_passes else {}
    if stop_after is None:
        write_summary(artifact, place, model, told, as_json, scored)
    elif as_json:
        write_json({"stage": stop_after, "text": text, **told})
    elif output is None:
        write(text, end=False)
    else:
        write_output(output, "output", text.encode())
    if rows and not as_json:
        write()
        _write_times(rows)


def _images(calibration: str | None, given: dict[str, Any], *, has_own: bool) -> ImageOptions | None:
    """How pictures become inputs: those for calibration, and those that `intarsia run` is given later.

    has_own  whether the artifact is to say it itself, by --preprocess
    """
    from intarsia.images import ImageOptions, how_pixels

    folder = calibration is not None and Path(calibration).is_dir()
    told = any(item is not None for item in given.values())
    if has_own:
        return chosen(ImageOptions(), given) if told else None
    if told and calibration is not None and not folder and Path(calibration).suffix != ".json":
        return chosen(ImageOptions(), given)  # for arrays, and refused as all that would be left aside
    options = chosen(None, given)
    if options is None and (folder or told):
        raise CompileError(
            where="--calibration" if folder else "--scale",
            what="nothing says how "
            + (f"the pixels in '{calibration}'" if folder else "pixels")
            + " become the numbers that the model takes",
            help=how_pixels(),
        )
    return options


def _text_at(stage: str, model: str, options: Mapping[str, Any]) -> str:
    from intarsia.driver import lower
    from intarsia.ir.text import text
    from intarsia.partition import partition

    until = "decomposed" if stage == "partitioned" else stage
    lowered = lower(model, until=until, **options)
    if stage != "partitioned":
        return text(lowered.graph)
    return "\n".join(text(region.graph) for region in partition(lowered.graph, lowered.targets).regions)


def _check_places(
    place: str, read: Sequence[str | None], saved: str | None, stop_after: str | None, force: bool
) -> None:
    """Refuse, before there is any work, a place that cannot be written or where something would be lost.

    read  files that are read, the model first
    """
    from intarsia.artifact.storage import check_place

    if saved is not None and os.path.realpath(saved) == os.path.realpath(place):
        raise CompileError(
            where=f"-o {place}", what="--save-calibration goes there too", help="give the two files two names"
        )
    if stop_after is None:
        try:
            model_bytes = os.stat(read[0] or "").st_size
        except (OSError, ValueError):
            model_bytes = 0  # the importer tells what is wrong with it
        check_place(place, inputs=read, overwrite=force, needed_bytes=model_bytes // 4)
    else:
        check_output(place, "output", inputs=read, ours=_is_listing, kind="a listing of a graph", overwrite=force)


def _is_listing(place: Path) -> bool:
    """Whether a file holds what `--stop-after` writes."""
    try:
        with open(place, "rb") as stream:
            return re.match(rb"graph [^\n]+ \(\n", stream.read(4096)) is not None
    except OSError:
        return False


def _write_times(rows: Sequence[Timed]) -> None:
    """A table of the steps in the order of running, and their sum."""
    total = sum(row.seconds for row in rows)
    cells = [[row.step, row.changes, row.seconds * 1e3, percent(row.seconds / total if total else 0.0)] for row in rows]
    cells.append(["all", sum(row.changes or 0 for row in rows), total * 1e3, None])
    write_table([Column("step"), Column("changes", True), Column("ms", True), Column("share", True)], cells)
