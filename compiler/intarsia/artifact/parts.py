"""Pieces that artifacts are put together from: graphs, tensors, constants, test vectors; and their way back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from intarsia.artifact.arrays import to_npy
from intarsia.artifact.elsewhere import Elsewhere, row_by_row
from intarsia.artifact.elsewhere import from_data as from_data_elsewhere
from intarsia.artifact.loaded_graph import check_graph
from intarsia.artifact.strict_json import parse_json
from intarsia.dtypes import NATIVE, Array, dtype_name
from intarsia.errors import RunError
from intarsia.ir.graph import Graph, Value
from intarsia.ir.serialize import from_data, to_data

GRAPH_FILE, WEIGHTS_FILE = "graph.json", "weights.bin"
WHOLE_GRAPH = "graph"
"""Folder of the whole model's graph, for verification."""

GRAPH_LIMIT_BYTES = 256 << 20

EVALUATOR = "evaluator"
"""Place of nodes that no code generator takes, and kind of the region that they make: the session runs it by itself, by
the NumPy meaning of each op; its files are those of a graph."""


def graph_files(graph: Graph, elsewhere: Mapping[str, Elsewhere] | None = None) -> dict[str, bytes]:
    """A graph as two files, by name without folder: the files of an evaluator region.

    elsewhere  by the name of a constant that lies in another file of the artifact, where
    """
    data, blob = to_data(graph, {name: place.to_data() for name, place in (elsewhere or {}).items()})
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return {GRAPH_FILE: text.encode("ascii"), WEIGHTS_FILE: blob}


def read_graph(files: Mapping[str, bytes], where: str, others: Mapping[str, bytes] | None = None) -> Graph:
    """The graph that `graph_files` wrote, checked. Raises RunError where the files are something else.

    others  files of the artifact in which constants may lie, by path
    """
    for name in (GRAPH_FILE, WEIGHTS_FILE):
        if name not in files:
            raise RunError(where=where, what=f"'{name}' is missing", help="compile the model again")
    data = parse_json(files[GRAPH_FILE], f"{where}, file '{GRAPH_FILE}'", GRAPH_LIMIT_BYTES)
    place = f"{where}, file '{GRAPH_FILE}'"
    try:
        graph = from_data(data, files[WEIGHTS_FILE], partial(_from_elsewhere, others or {}))
    except RunError as error:
        raise RunError(where=f"{place}, {error.where}", what=error.what, help=error.help) from None
    check_graph(graph, place)
    return graph


def _from_elsewhere(others: Mapping[str, bytes], where: str, data: Any, dtype: str, shape: Sequence[int]) -> Array:
    """A constant that lies in another file. RunError where it does not."""
    place = from_data_elsewhere(data, shape, where)
    if place.file not in others:
        what = f"it lies in '{place.file[:80]}', which is no file of a region"
        raise RunError(where=where, what=what, help="compile the model again")
    try:
        return place.array(others[place.file], dtype, shape)
    except ValueError as error:
        raise RunError(where=where, what=str(error), help="compile the model again") from None


def stored_constants(files: Mapping[str, bytes]) -> dict[str, Elsewhere]:
    """Where the files of an evaluator region hold the constants of its graph, as whoever shares them says it."""
    found = {}
    for entry in json.loads(files[GRAPH_FILE])["constants"]:
        shape, dtype = entry["shape"], entry["dtype"]
        if "offset" in entry and dtype in NATIVE and 0 not in shape:
            found[entry["name"]] = row_by_row(WEIGHTS_FILE, entry["offset"], dtype, shape)
    return found


def whole_graph(files: Mapping[str, bytes]) -> Graph:
    """The whole model's graph, out of the files of an artifact. Errors as from `read_graph`."""
    prefix = f"{WHOLE_GRAPH}/"
    inside = {path[len(prefix) :]: data for path, data in files.items() if path.startswith(prefix)}
    regions = {path: data for path, data in files.items() if path.startswith("regions/")}
    return read_graph(inside, WHOLE_GRAPH, regions)


def tensor(value: Value, name: str = "") -> dict[str, Any]:
    """The manifest's entry for a value; `name` where the public name is not the value's own."""
    entry: dict[str, Any] = {"name": name or value.name, "dtype": value.type.dtype}
    entry["shape"] = None if value.type.shape is None else list(value.type.shape)
    if value.quantization is not None:
        entry["quantization"] = {
            "scale": float(value.quantization.scale),
            "zero_point": int(value.quantization.zero_point),
        }
    if entry["name"] != value.name:
        entry["value"] = value.name
    return entry


def constant_output(name: str, index: int, data: Array) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Output `index` of a model, where it is a constant: the manifest's entry, and the file to put in."""
    path = f"constants/{index}.npy"
    entry = {"name": name, "dtype": dtype_name(data.dtype), "shape": list(data.shape), "file": path}
    return entry, {path: to_npy(data)}


def vector(
    index: int,
    inputs: Sequence[Array],
    outputs: Sequence[Array],
    *,
    absolute_tolerance: float = 0.0,
    relative_tolerance: float = 0.0,
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Test vector `index`: the manifest's entry, and the files to put in.

    inputs, outputs  an array for each of the model's, in order
    tolerances       |expected - found| <= absolute + relative * |expected|; both 0 (integer models): equal bytes
    """
    files: dict[str, bytes] = {}
    paths: dict[str, Any] = {}
    for kind, arrays in (("inputs", inputs), ("outputs", outputs)):
        paths[kind] = [f"vectors/{index}/{kind}/{place}.npy" for place in range(len(arrays))]
        files.update((path, to_npy(array)) for path, array in zip(paths[kind], arrays))
    entry = dict(paths)
    if absolute_tolerance or relative_tolerance:
        entry.update(absolute_tolerance=absolute_tolerance, relative_tolerance=relative_tolerance)
    return entry, files
