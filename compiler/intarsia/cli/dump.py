"""`intarsia dump`: what is inside an artifact."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from intarsia.cli.choices import NamedPath
from intarsia.cli.output import json_option, write, write_json, write_table
from intarsia.cli.tables import Column
from intarsia.errors import RunError

if TYPE_CHECKING:
    from intarsia.artifact import Artifact


@click.command("dump")
@click.argument("artifact", type=NamedPath())
@click.option("--graph", is_flag=True, help="The whole quantized graph as text.")
@click.option("--region", metavar="NAME", help="One region: its program as text, where its device can write it.")
@click.option(
    "-o", "--output", "--extract", "extract", type=NamedPath(), metavar="DIR", help="Save the artifact as a folder."
)
@json_option
def command(artifact: str, graph: bool, region: str | None, extract: str | None, as_json: bool) -> None:
    """Show what is inside ARTIFACT: tensors, regions, files; the graph and disassembled programs on demand."""
    from intarsia.artifact import Artifact
    from intarsia.artifact.storage import check_place

    opened = Artifact.read(artifact)
    if extract is not None:
        folder = f"{extract.rstrip('/')}/"
        check_place(folder, inputs=[artifact])
        opened.save(folder)
    shown = []
    if graph:
        shown.append(_graph(opened))
    if region is not None:
        shown.append(_listing(opened, region))
    if as_json:
        write_json({"manifest": opened.manifest, **({"text": "\n".join(shown)} if shown else {})})
    elif shown:
        write("\n".join(shown), end=False)
    else:
        _overview(opened)


def _graph(artifact: Artifact) -> str:
    from intarsia.artifact.parts import whole_graph
    from intarsia.ir.text import text

    return text(whole_graph(artifact.files))


def _listing(artifact: Artifact, name: str) -> str:
    from intarsia.artifact.parts import EVALUATOR
    from intarsia.runtime.session import load

    regions = {region.name: region for region in artifact.contents.regions}
    if name not in regions:
        raise RunError(
            where=f"region '{name}'",
            what="the artifact has none of that name",
            help=f"its regions are {', '.join(regions) or 'none'}",
        )
    with load(artifact, native=False) as session:  # to look into an artifact none of its code is needed
        replaced = session.devices[name] == EVALUATOR != regions[name].kind
        listing = "" if replaced else session.listing(name)
    if not listing:
        raise RunError(
            where=f"region '{name}'",
            what=f"code of the kind '{regions[name].kind}' cannot be written as text",
            help="look at its files with --extract",
        )
    return listing


def _overview(artifact: Artifact) -> None:
    from intarsia.artifact.signatures import key_name

    contents = artifact.contents
    write(f"{contents.model_name} for {contents.target}, {contents.precision}, batch {contents.batch}")
    write(f"made by {contents.producer}, format {artifact.manifest['format_version']}")
    for item in artifact.signatures:
        write(f"says that it is signed by {key_name(item.key)}; verify --trusted-keys checks it")
    for note in _notes(contents.metadata):
        write(f"note: {note}")
    write()
    tensors = [("input", item) for item in contents.inputs] + [("output", item) for item in contents.outputs]
    columns = [
        Column("tensor"),
        Column("name", names=True),
        Column("type"),
        Column("scale", True),
        Column("zero point", True),
    ]
    write_table(
        columns, [[kind, item.name, _type(item), *(item.quantization or (None, None))] for kind, item in tensors]
    )
    write()
    places = {placement.get("region"): placement["place"] for placement in contents.placements}
    rows = list[list[Any]]()
    for region in contents.regions:
        size = sum(len(artifact.files[region.path(file)]) for file in region.files)
        rows.append([region.name, region.kind, places.get(region.name), len(region.layers) or None, size])
    columns = [Column("region"), Column("kind"), Column("place"), Column("layers", True), Column("bytes", True)]
    write_table(columns, rows)
    write()
    files = [[path, len(data)] for path, data in sorted(artifact.files.items())]
    write_table([Column("file"), Column("bytes", True)], files)


def _type(item: Any) -> str:
    if item.shape is None:
        return f"{item.dtype}[...]"
    return f"{item.dtype}[{','.join('?' if size is None else str(size) for size in item.shape)}]"


def _notes(metadata: Mapping[str, Any]) -> list[str]:
    notes = metadata.get("notes", [])
    return [": ".join(map(str, item)) if isinstance(item, list) else str(item) for item in notes]
