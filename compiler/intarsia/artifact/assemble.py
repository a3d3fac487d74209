"""From what a compilation made to an artifact: the manifest's entries and the files beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from intarsia.artifact import Artifact
from intarsia.artifact.elsewhere import Elsewhere, shared
from intarsia.artifact.memory import need
from intarsia.artifact.parts import WHOLE_GRAPH, constant_output, graph_files, tensor, vector
from intarsia.dtypes import Array
from intarsia.errors import CompileError
from intarsia.images import ImageOptions
from intarsia.ir.graph import Graph


@dataclass(frozen=True)
class CompiledRegion:
    """A region of the model and what its target made of it.

    kind      of device that runs it
    graph     its nodes alone; inputs and outputs have the names of the values that cross the border
    files     by name without folders
    metadata  JSON-able facts for the device and for reports
    layers    JSON-able rows for reports
    constants by the name of a constant of the graph, where its files may hold it, with the file's name without folders
    """

    name: str
    kind: str
    graph: Graph
    files: Mapping[str, bytes]
    metadata: Mapping[str, Any]
    layers: Sequence[Mapping[str, Any]]
    constants: Mapping[str, Elsewhere] = field(default_factory=dict)


@dataclass(frozen=True)
class Compilation:
    """Everything that an artifact tells, in plain data.

    graph       the whole model, as it was partitioned
    outputs     public names of its outputs: passes may make several the same value, or an input, or a constant
    placements  a row an op, without its region
    vectors     test vectors: inputs, outputs, and the absolute tolerance of the outputs
    notes       (topic, text) pairs for the user
    facts       of the target
    host_code   what compiled the code for the CPU: the target's name, and its facts
    images      how pictures become inputs, where the compilation was told
    board_code  the same for the code that a board's own processor has beside that; None where there is none
    left_out    name of the target that would have made that, where it was left out
    """

    model: str
    target: str
    precision: str
    batch: int
    graph: Graph
    outputs: Sequence[str]
    regions: Sequence[CompiledRegion]
    placements: Sequence[Mapping[str, Any]]
    vectors: Sequence[tuple[Sequence[Array], Sequence[Array], float]]
    notes: Sequence[tuple[str, str]]
    facts: Mapping[str, Any]
    host_code: Mapping[str, Any]
    images: ImageOptions | None = None
    board_code: Mapping[str, Any] | None = None
    left_out: str | None = None


def assemble(made: Compilation) -> Artifact:
    """Put an artifact together; equal compilations give equal bytes.

    Raises CompileError where the target is a board without the memory for it.
    """
    files: dict[str, bytes] = {}
    for region in made.regions:
        files.update({f"regions/{region.name}/{name}": data for name, data in region.files.items()})
    stored = _stored(made, files)
    files.update({f"{WHOLE_GRAPH}/{name}": data for name, data in graph_files(made.graph, stored).items()})
    owner = {node.name: region.name for region in made.regions for node in region.graph.nodes}
    size_bytes = sum(map(len, files.values())) + sum(
        array.nbytes for inputs, outputs, _ in made.vectors for array in (*inputs, *outputs)
    )
    needed = need(size_bytes, [region.metadata for region in made.regions], made.facts)
    refusal = needed.refusal()
    if refusal is not None:
        where = f"'{made.model}' for '{made.target}'"
        raise CompileError(where=where, what=refusal, help="choose a smaller model, or a board with more memory")
    notes = [*made.notes, *(("memory", text) for text in needed.warnings())]
    manifest = {
        "model_name": made.model,
        "target": made.target,
        "precision": made.precision,
        "batch": made.batch,
        "inputs": [tensor(value) for value in made.graph.inputs],
        "outputs": _outputs(made, files),
        "regions": [_region(region) for region in made.regions],
        "placements": [{**row, "region": owner[row["name"]]} for row in made.placements],
        "vectors": _vectors(made, files),
        "metadata": {
            "facts": dict(made.facts),
            "notes": [list(note) for note in notes],
            "host_code": dict(made.host_code),
            **({} if made.images is None else {"images": made.images.to_data()}),
            **({} if made.board_code is None else {"board_code": dict(made.board_code)}),
            **({} if made.left_out is None else {"left_out": made.left_out}),
        },
    }
    return Artifact(manifest, files)


def _stored(made: Compilation, files: Mapping[str, bytes]) -> dict[str, Elsewhere]:
    """The constants that regions hold, so that the whole graph need not; each is read back and compared."""
    constants = {value.name: value.data for value in made.graph.values() if value.data is not None}
    found: dict[str, Elsewhere] = {}
    for region in made.regions:
        places = {
            name: replace(place, file=f"regions/{region.name}/{place.file}")
            for name, place in region.constants.items()
            if name not in found
        }
        found.update(shared(constants, places, files))
    return found


def _region(region: CompiledRegion) -> dict[str, Any]:
    return {
        "name": region.name,
        "kind": region.kind,
        "inputs": [tensor(value) for value in region.graph.inputs],
        "outputs": [tensor(value) for value in region.graph.outputs],
        "files": sorted(region.files),
        "metadata": dict(region.metadata),
        "layers": [dict(layer) for layer in region.layers],
    }


def _outputs(made: Compilation, files: dict[str, bytes]) -> list[dict[str, Any]]:
    entries = []
    for index, (name, value) in enumerate(zip(made.outputs, made.graph.outputs)):
        if value.data is None:
            entries.append(tensor(value, name))
            continue
        entry, more = constant_output(name, index, value.data)
        entries.append(entry)
        files.update(more)
    return entries


def _vectors(made: Compilation, files: dict[str, bytes]) -> list[dict[str, Any]]:
    entries = []
    for index, (inputs, outputs, tolerance) in enumerate(made.vectors):
        entry, more = vector(index, inputs, outputs, absolute_tolerance=tolerance)
        entries.append(entry)
        files.update(more)
    return entries
