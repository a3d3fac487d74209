"""`intarsia batch`: every file of a folder through an artifact."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from intarsia.cli.choices import NamedPath, device_option
from intarsia.cli.inputs import match_arrays, npz
from intarsia.cli.logs import quiet_option
from intarsia.cli.output import json_option, note, progress, write, write_json, write_table
from intarsia.cli.pictures import chosen, image_options
from intarsia.cli.tables import Column
from intarsia.cli.trust import native_option, trusted_keys_option
from intarsia.errors import RunError
from intarsia.processors import usable

if TYPE_CHECKING:
    from intarsia.dtypes import Array


@click.command("batch")
@click.argument("artifact", type=NamedPath())
@click.argument("inputs", type=NamedPath(path_type=Path))
@click.option("-o", "--output", required=True, type=NamedPath(path_type=Path), help="Folder for outputs and manifest.")
@click.option(
    "--executor",
    default="processes",
    show_default=True,
    metavar="E",
    help="threads, processes, or dask://HOST:PORT for the workers of a Dask scheduler.",
)
@click.option(
    "--workers", type=click.IntRange(1, 1024), metavar="N", help="Threads or processes; by default one a processor."
)
@image_options
@device_option
@quiet_option
@native_option
@trusted_keys_option
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    artifact: str,
    inputs: Path,
    output: Path,
    executor: str,
    workers: int | None,
    mean: float | tuple[float, ...] | None,
    scale: float | tuple[float, ...] | None,
    colour: str | None,
    fit: str | None,
    device: str | None,
    native: bool,
    trusted_keys: tuple[str, ...],
    as_json: bool,
) -> None:
    """Run ARTIFACT on every file of the folder INPUTS and the folders in it: .npz, .npy and pictures, as `intarsia run`
    takes them.

    The outputs of a/b.npy are OUTPUT/a/b.npy.npz; OUTPUT/manifest.jsonl has a line for each file, with hashes. The same
    command again does what is missing, has changed or has failed. Exit code 1 where files failed.
    """
    from intarsia.artifact import Artifact
    from intarsia.artifact.manifest import to_json
    from intarsia.batch.job import Job
    from intarsia.batch.ledger import Ledger, sha256
    from intarsia.batch.pools import make_pool
    from intarsia.batch.worker import Parcel
    from intarsia.runtime.arguments import TensorInfo

    opened = Artifact.read(artifact, trusted_keys=trusted_keys or None)
    infos = [TensorInfo(item.name, item.dtype, item.shape) for item in opened.contents.inputs]
    images = chosen(opened.images, {"mean": mean, "scale": scale, "colour": colour, "fit": fit})
    files = _files(inputs, output)

    def read(path: Path) -> list[Array]:
        arrays: list[Any] = match_arrays([str(path)], infos, images)[0]
        return arrays

    parcel = Parcel(sha256(to_json(opened.manifest)), opened.manifest, opened.files, device, native)
    with Ledger(output, parcel.digest) as ledger:
        pool = make_pool(executor, parcel, workers or usable())
        try:
            with progress() as step:
                outcome = Job(ledger, pool, read, npz, step).run(files)
        except (KeyboardInterrupt, SystemExit):
            note(f"what is done is kept in {output}; the same command continues")
            raise
        finally:
            pool.close()
    if as_json:
        write_json({"files": len(files), "done": outcome.done, "kept": outcome.kept, "failed": outcome.failed})
    else:
        if outcome.failed:
            write_table([Column("file", names=True), Column("reason", prose=True)], list(outcome.failed.items()))
        write(f"{outcome.done:,} files done, {outcome.kept:,} done before, {len(outcome.failed):,} failed; {output}")
    ctx.exit(1 if outcome.failed else 0)


def _files(folder: Path, output: Path) -> list[tuple[str, Path]]:
    """Names in the ledger and paths of what is to be run. RunError where there is nothing."""
    from intarsia.images import is_image

    where = f"folder {folder}"
    if not folder.is_dir():
        raise RunError(where=where, what="there is no such folder", help="give a folder of .npz, .npy or picture files")
    root, out = folder.resolve(), output.resolve()
    if out == root or root in out.parents:
        what = f"the outputs' folder {output} lies in it"
        raise RunError(where=where, what=what, help="choose a place beside it: outputs are no inputs")
    paths = [path for path in sorted(root.rglob("*")) if path.suffix.lower() in (".npz", ".npy") or is_image(path)]
    found = [(path.relative_to(root).as_posix(), path) for path in paths if path.is_file()]
    if not found:
        raise RunError(where=where, what="no file in it is an input", help="put .npz, .npy or picture files there")
    return found
