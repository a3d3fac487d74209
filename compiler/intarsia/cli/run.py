"""`intarsia run`: an artifact on what is here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from intarsia.cli.choices import NamedPath, device_option
from intarsia.cli.inputs import check_arrays_place, input_paths, match_arrays, write_arrays
from intarsia.cli.logs import quiet_option
from intarsia.cli.output import force_option, json_option, note, progress, write, write_json, write_table
from intarsia.cli.pictures import chosen, image_options, pictures_of
from intarsia.cli.ranking import ranked, read_labels, scored_output, write_ranking
from intarsia.cli.tables import Column
from intarsia.cli.trust import native_option, trusted_keys_option
from intarsia.errors import RunError

if TYPE_CHECKING:
    from intarsia.runtime.session import RunResult, Session


def _numbers(ctx: click.Context, param: click.Parameter, text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    parts = text.split(",")
    if not all(part.isdecimal() for part in parts):
        raise click.BadParameter(f"{text!r} is no list of whole numbers with commas between", ctx, param)
    return tuple(map(int, parts))


@click.command("run")
@click.argument("artifact", type=NamedPath())
@click.argument("data", nargs=-1, type=NamedPath())
@click.option(
    "--input",
    "inputs",
    multiple=True,
    metavar="FILE",
    help="A .npz with an array for each input, a .npy, pictures, or NAME=FILE; may be given again for further inputs. "
    "The first axis may be longer than compiled.",
)
@image_options
@click.option("-o", "--output", type=NamedPath(path_type=Path), help="Where the outputs go: a .npz, or a .npy for one.")
@click.option(
    "--top", type=click.IntRange(1), metavar="K", help="Of a classifier, show the K best classes of each image."
)
@click.option(
    "--labels",
    type=NamedPath(path_type=Path),
    metavar="FILE",
    help="Names of the classes, one a line; without --top, the best class is shown.",
)
@device_option
@click.option("--threads", type=int, metavar="N", help="Threads of the CPU; by default INTARSIA_THREADS, else all.")
@click.option(
    "--pin",
    metavar="P[,P]",
    callback=_numbers,
    help="Processors that the threads stay on, one for each save the first.",
)
@force_option
@quiet_option
@native_option
@trusted_keys_option
@json_option
def command(
    artifact: str,
    data: tuple[str, ...],
    inputs: tuple[str, ...],
    mean: float | tuple[float, ...] | None,
    scale: float | tuple[float, ...] | None,
    colour: str | None,
    fit: str | None,
    output: Path | None,
    top: int | None,
    labels: Path | None,
    device: str | None,
    threads: int | None,
    pin: tuple[int, ...] | None,
    force: bool,
    native: bool,
    trusted_keys: tuple[str, ...],
    as_json: bool,
) -> None:
    """Run ARTIFACT on DATA: arrays in .npz and .npy files, pictures, or folders of these. It runs on what is here: a
    board, else the simulator.

    Pictures become numbers as the compilation was told by --scale and --mean, or as these say here; reading them needs
    Pillow.
    """
    from intarsia.artifact import Artifact
    from intarsia.artifact.parts import EVALUATOR
    from intarsia.runtime.devices import idle_device
    from intarsia.runtime.session import load

    names = None if labels is None else read_labels(labels)
    opened = Artifact.read(artifact, trusted_keys=trusted_keys or None)
    idle = idle_device({region.kind for region in opened.contents.regions} - {EVALUATOR}, device)
    if idle is not None:
        note(idle)
        device = None
    with load(opened, device=device, threads=threads, pin=pin, native=native) as session:
        scored = scored_output(session.outputs, names) if top or labels else None
        files = (*data, *inputs)
        paths = input_paths(files, [info.name for info in session.inputs])
        pictures = pictures_of(paths)
        given = {"mean": mean, "scale": scale, "colour": colour, "fit": fit}
        if not pictures:
            _refuse_unused(given)
        if output is not None:
            read: list[str | Path] = [artifact, *(() if labels is None else (labels,)), *paths, *pictures]
            check_arrays_place(output, session.outputs, read, force)
        arrays, unused = match_arrays(files, session.inputs, chosen(opened.images, given))
        if unused:
            note(f"not inputs of the model, left aside: {', '.join(unused)}")
        with progress() as step:
            result = session.execute(arrays, progress=step)
        if output is not None:
            write_arrays(output, result.by_name)
        rows = [_facts(name, array) for name, array in result.by_name.items()]
        best = ranked(result.by_name[scored], top or 1, names) if scored is not None else None
        if as_json:
            devices = dict(session.devices)
            told: dict[str, Any] = {} if best is None else {"top": {"output": scored, "images": best}}
            if pictures:
                told["pictures"] = [str(path) for path in pictures]
            facts: dict[str, Any] = {
                "seconds": result.seconds,
                "devices": devices,
                "counters": result.counters,
                "nonfinite": session.nonfinite,
            }
            write_json({"outputs": rows, **facts, **told})
            return
        if best is not None:
            write_ranking(best, [str(path) for path in pictures])
        columns = [Column("output", names=True), Column("type"), Column("least", True), Column("greatest", True)]
        write_table(columns, [[row["name"], row["type"], row["min"], row["max"]] for row in rows])
        write(summary(session, result))


def _refuse_unused(given: Mapping[str, Any]) -> None:
    """RunError for options about pictures where there are none: they would change nothing."""
    for name, item in given.items():
        if item is not None:
            what = "it is for pictures, and none are given"
            raise RunError(where=f"--{name}", what=what, help="arrays are taken as they are; leave it out")


def summary(session: Session, result: RunResult) -> str:
    """One line: images, wall time, cycles, milliseconds at the assumed clock, devices."""
    images = max(result.images, 1)
    devices = ", ".join(sorted(set(session.devices.values())))
    parts = [f"{result.images} images in {result.seconds:.3g} s on {devices}"]
    cycles = result.counters.get("cycles")
    if cycles:
        parts.append(f"{cycles / images:,.0f} cycles an image")
        facts = session.artifact.contents.metadata.get("facts", {})
        clock = facts.get("clock_mhz_assumption") if isinstance(facts, Mapping) else None
        if clock:
            parts.append(f"{cycles / images / clock / 1e3:.3g} ms at {clock:g} MHz, which are assumed")
    return "; ".join(parts)


def _facts(name: str, array: Any) -> dict[str, Any]:
    shape = getattr(array, "shape", None)
    row: dict[str, Any] = {"name": name, "type": type(array).__name__, "min": None, "max": None}
    if shape is not None:
        row["type"] = f"{array.dtype.name}[{','.join(map(str, shape))}]"
        row["dtype"], row["shape"] = array.dtype.name, list(shape)
        if array.size and array.dtype.kind in "iufb":
            row["min"], row["max"] = array.min().item(), array.max().item()
    return row
