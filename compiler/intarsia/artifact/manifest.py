"""The manifest: what an artifact holds, in typed form. Its JSON has these names and no others.

    {"format_version": 1, "producer": "intarsia 0.1.0", "model_name", "target", "precision", "batch",
     "inputs": [tensor], "outputs": [tensor], "regions": [region], "placements": [{"name", "op", "place", ...}],
     "vectors": [vector], "files": {path: {"sha256", "bytes"}}, "metadata"?: {"images"?: images, ...}}
    tensor = {"name", "dtype", "shape": [size or null] or null, "quantization"?: {"scale", "zero_point"},
              "value"?: name of the value it is, where that is another, "file"?: .npy of an output that is a constant}
    region = {"name", "kind", "inputs": [tensor], "outputs": [tensor], "files": [name], "metadata"?, "layers"?: [{...}]}
    images = {"mean", "scale": number or [one a channel], "colour", "layout", "fit"}: see `intarsia.images.ImageOptions`
    vector = {"inputs": [path], "outputs": [path], "absolute_tolerance"?, "relative_tolerance"?}

A region's files lie at regions/<region>/<file>. Its inputs are inputs of the model or outputs of earlier regions, by
the name of the value.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from intarsia.artifact.names import clash, complaint
from intarsia.artifact.schema import Entry
from intarsia.artifact.strict_json import parse_json
from intarsia.dtypes import is_type_name
from intarsia.errors import RunError
from intarsia.images import COLOURS, FITS, LAYOUTS
from intarsia.resampling import FILTERS
from intarsia.version import __version__

FORMAT_VERSION = 1
MANIFEST_NAME = "manifest.json"
DIGEST_NAME = "manifest.sha256"
SIGNATURES_NAME = "manifest.signatures"
GUARDS = (MANIFEST_NAME, DIGEST_NAME, SIGNATURES_NAME)
"""Files beside those that the manifest lists."""

MANIFEST_LIMIT_BYTES = 64 << 20
BATCH_LIMIT = 1 << 20
SIZE_LIMIT = 1 << 40
FIGURE_LIMIT = 1 << 63
RANK_LIMIT = 64
CHANNEL_LIMIT = 4

_SHA256 = re.compile("[0-9a-f]{64}")


def producer() -> str:
    """This program, as manifests name it: "intarsia 0.1.0"."""
    return f"intarsia {__version__}"


@dataclass(frozen=True)
class Tensor:
    """An input or output of the model, or a value that crosses the border of a region.

    shape         sizes; None for one that depends on data; None altogether where not even the rank is known
    quantization  (scale, zero point) of integers that stand for real numbers
    value         the name of the value inside the graph
    file          for a model output that is a constant: the .npy file that holds it
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...] | None
    quantization: tuple[float, int] | None
    value: str
    file: str | None


@dataclass(frozen=True)
class Region:
    """A piece of the model for one kind of device; see `intarsia.targets.Blob` for the fields."""

    name: str
    kind: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    files: tuple[str, ...]
    metadata: Mapping[str, Any]
    layers: tuple[Mapping[str, Any], ...]

    def path(self, file: str) -> str:
        """Where the artifact holds one of its files."""
        return f"regions/{self.name}/{file}"


@dataclass(frozen=True)
class VectorEntry:
    """A test vector: .npy files of inputs and expected outputs. Tolerances of 0 mean equal bytes."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    absolute_tolerance: float
    relative_tolerance: float


@dataclass(frozen=True)
class FileEntry:
    """What a file must be."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class Manifest:
    """A whole manifest; see the module for the meaning of its parts."""

    producer: str
    model_name: str
    target: str
    precision: str
    batch: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    regions: tuple[Region, ...]
    placements: tuple[Mapping[str, Any], ...]
    vectors: tuple[VectorEntry, ...]
    files: Mapping[str, FileEntry]
    metadata: Mapping[str, Any]


# ---- text


def to_json(manifest: Mapping[str, Any]) -> bytes:
    """The one spelling of a manifest: sorted names, one entry a line, ASCII, no NaN.

    Raises RunError where it holds what JSON has no spelling for.
    """
    try:
        text = json.dumps(manifest, default=_plain, sort_keys=True, indent=1, ensure_ascii=True, allow_nan=False)
    except (RecursionError, TypeError, ValueError) as error:
        raise _broken("manifest", f"it has no spelling as JSON: {error}") from error
    return text.encode("ascii") + b"\n"


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a manifest cannot hold {type(value).__name__}")


def digest_file(manifest: bytes) -> bytes:
    """Contents of the file that guards the manifest."""
    return hashlib.sha256(manifest).hexdigest().encode("ascii") + b"\n"


def from_json(text: bytes, where: str) -> dict[str, Any]:
    """The object that a manifest's text spells, in a format that this version reads."""
    data = parse_json(text, where, MANIFEST_LIMIT_BYTES)
    if not isinstance(data, dict):
        raise _broken(where, "it is not a JSON object")
    check_version(data, where)
    return data


def check_version(data: Mapping[str, Any], where: str) -> None:
    """Refuse formats that this version does not read, before looking at anything else in them."""
    version = data.get("format_version")
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise _broken(where, f"format_version is {str(version)[:40]}, not a whole number from 1")
    if version > FORMAT_VERSION:
        raise RunError(
            where=where,
            what=f"it has format {version}, written by {str(data.get('producer'))[:80]!r}; "
            f"this is {producer()!r}, which reads formats up to {FORMAT_VERSION}",
            help="install a newer intarsia here, or compile the model again with this version",
        )


def _broken(where: str, what: str) -> RunError:
    return RunError(where=where, what=what, help="the artifact was not written by intarsia; compile the model again")


# ---- from JSON to types


def parse(data: Mapping[str, Any], where: str) -> Manifest:
    """Check a manifest and give it types. Raises RunError that says which entry is wrong."""
    check_version(data, where)
    entry = Entry(data, where)
    entry.take("format_version")
    manifest = Manifest(
        producer=entry.text("producer"),
        model_name=entry.text("model_name"),
        target=entry.text("target"),
        precision=entry.text("precision"),
        batch=entry.whole("batch", 1, BATCH_LIMIT),
        inputs=entry.each("inputs", _tensor),
        outputs=entry.each("outputs", _tensor),
        regions=entry.each("regions", _region),
        placements=entry.each("placements", _placement),
        vectors=entry.each("vectors", _vector),
        files=_files(entry.take("files"), f"{where}, files"),
        metadata=entry.object("metadata"),
    )
    entry.done()
    _check_metadata(manifest, f"{where}, metadata")
    _check_flow(manifest, entry)
    _check_placements(manifest, entry)
    _check_files(manifest, entry)
    return manifest


def _tensor(data: Any, where: str) -> Tensor:
    entry = Entry(data, where)
    name, dtype = entry.text("name"), entry.text("dtype")
    if not is_type_name(dtype):
        entry.refuse(f"'dtype': no element type is called {dtype[:80]!r}")
    shape = entry.take("shape")
    if shape is not None:
        if not isinstance(shape, (list, tuple)) or len(shape) > RANK_LIMIT or not all(map(_is_size, shape)):
            entry.refuse(f"'shape': {repr(shape)[:80]} is not a shape")
        shape = tuple(shape)
    quantization = None
    if entry.rest.get("quantization") is not None:
        scale = Entry(entry.take("quantization"), f"{where}, quantization")
        quantization = (scale.number("scale", -1.0), scale.whole("zero_point", -(1 << 31), 1 << 32))
        scale.done()
    entry.rest.pop("quantization", None)
    value = entry.text("value") if "value" in entry.rest else name
    file = entry.text("file") if "file" in entry.rest else None
    entry.done()
    return Tensor(name, dtype, shape, quantization, value, file)


def _is_size(size: Any) -> bool:
    return size is None or (isinstance(size, int) and not isinstance(size, bool) and 0 <= size < SIZE_LIMIT)


def _region(data: Any, where: str) -> Region:
    entry = Entry(data, where)
    name = entry.text("name")
    trouble = complaint(name) or ("it holds a slash" if "/" in name else None)
    if trouble:
        entry.refuse(f"'name': a region is called {name[:80]!r}: {trouble}")
    layers = entry.each("layers", _layer) if "layers" in entry.rest else ()
    region = Region(
        name,
        entry.text("kind"),
        entry.each("inputs", _tensor),
        entry.each("outputs", _tensor),
        entry.texts("files"),
        entry.object("metadata"),
        layers,
    )
    entry.done()
    if len(set(region.files)) < len(region.files):
        entry.refuse("'files' names one twice")
    if "blockings" in region.metadata:  # what reports show of any region
        blockings = Entry(region.metadata["blockings"], f"{where}, metadata, blockings")
        for key in list(blockings.rest):
            blockings.whole(key, 0, FIGURE_LIMIT)
    if "tables" in region.metadata:
        Entry(region.metadata, f"{where}, metadata").each("tables", _check_table)
    return region


def _check_table(data: Any, where: str) -> None:
    """A table that reports show."""
    entry = Entry(data, where)
    entry.text("title")
    columns, rows = entry.texts("columns"), entry.sequence("rows")
    for row in rows:
        if not isinstance(row, (list, tuple)) or len(row) != len(columns):
            entry.refuse(f"a row of {len(columns)} cells is {str(row)[:80]}")
        for cell in row:
            if not isinstance(cell, (str, int, float, type(None))):
                entry.refuse(f"a cell is {str(cell)[:80]}, neither a text nor a number")
    entry.done()


def _placement(data: Any, where: str) -> Mapping[str, Any]:
    entry = Entry(data, where)
    for key in ("name", "op", "place"):
        entry.text(key)
    if "region" in entry.rest:
        entry.text("region")
    _figures(entry)
    return dict(data)


def _layer(data: Any, where: str) -> Mapping[str, Any]:
    entry = Entry(data, where)
    for key in ("name", "op"):
        if key in entry.rest:
            entry.text(key)
    _figures(entry)
    return dict(data)


_FIGURES = ("macs", "cycles", "modelled_cycles", "bytes_read", "bytes_written", "onchip_peak_bytes", "utilisation")


def _figures(entry: Entry) -> None:
    """Figures that reports add up, where they are given; whatever else a backend records stays unread."""
    for key in _FIGURES:
        if entry.rest.get(key) is not None:
            entry.number(key, 0.0, 0.0, float(FIGURE_LIMIT))


def _vector(data: Any, where: str) -> VectorEntry:
    entry = Entry(data, where)
    vector = VectorEntry(
        entry.texts("inputs"),
        entry.texts("outputs"),
        entry.number("absolute_tolerance", 0.0),
        entry.number("relative_tolerance", 0.0),
    )
    entry.done()
    return vector


def _files(data: Any, where: str) -> dict[str, FileEntry]:
    entry, files = Entry(data, where), {}
    for path in sorted(entry.rest, key=str):
        trouble = complaint(path)
        if trouble is None and path in GUARDS:
            trouble = "the name is taken"
        if trouble is not None:
            entry.refuse(f"{path[:80]!r} may not be a file of an artifact: {trouble}")
        facts = Entry(entry.rest[path], f"{where}, '{path}'")
        file = FileEntry(facts.text("sha256"), facts.whole("bytes", 0, SIZE_LIMIT))
        if not _SHA256.fullmatch(file.sha256):
            facts.refuse(f"{file.sha256[:80]!r} is not a SHA-256")
        facts.done()
        files[path] = file
    pair = clash(files)
    if pair is not None:
        entry.refuse(f"the names '{pair[0]}' and '{pair[1]}' cannot stand in one folder")
    return files


def _check_metadata(manifest: Manifest, where: str) -> None:
    """What commands and reports read of the metadata; anything may stand beside it."""
    entry = Entry(manifest.metadata, where)
    if "left_out" in entry.rest:
        entry.text("left_out")
    for key in ("facts", "host_code", "board_code"):
        if key in entry.rest:
            facts = entry.entry(key)
            for name in ("target", "machine", "level"):
                if name in facts.rest and key != "facts":
                    facts.text(name)
            for name, low in (("clock_mhz_assumption", 1e-6), ("macs_per_cycle", 0.0)):
                if facts.rest.get(name) is not None:
                    facts.number(name, 1.0, low, 1e12)
    if "images" in entry.rest:
        _check_images(entry.entry("images"))
    if "notes" in entry.rest:
        for index, item in enumerate(entry.sequence("notes")):
            if not isinstance(item, (list, tuple)) or len(item) != 2 or not all(isinstance(text, str) for text in item):
                entry.refuse(f"'notes'[{index}] is not a topic and a text")


def _check_images(entry: Entry) -> None:
    """How pictures become inputs: numbers for all channels or for each, and words of `intarsia.images`."""
    for key in ("mean", "scale"):
        found = entry.take(key)
        numbers = found if isinstance(found, list) else [found]
        known = all(isinstance(number, (int, float)) and not isinstance(number, bool) for number in numbers)
        if not known or len(numbers) > CHANNEL_LIMIT or not all(abs(number) < 1e30 for number in numbers):
            entry.refuse(f"'{key}' is {repr(found)[:40]}, not a number, or one a channel")
    for key, choices in (("colour", ("", *COLOURS)), ("layout", ("", *LAYOUTS)), ("fit", FITS)):
        entry.choice(key, choices)
    # Left out where they are as before there was a choice: see `ImageOptions.to_data`.
    entry.number("share", 1.0, 0.01, 1.0)
    if "filter" in entry.rest:
        entry.choice("filter", tuple(FILTERS))
    if "fill" in entry.rest:
        entry.whole("fill", 0, 255)
    if "corner" in entry.rest:
        entry.flag("corner")
    entry.done()


def _check_flow(manifest: Manifest, entry: Entry) -> None:
    """Every value is made once, before it is read, and of one type wherever it stands."""
    known: dict[str, Tensor] = {}

    def check(tensor: Tensor, value: str, where: str) -> None:
        made = known[value]
        for field in ("dtype", "shape", "quantization"):
            found, wanted = getattr(tensor, field), getattr(made, field)
            if found != wanted:
                entry.refuse(f"{where} has the {field} {_shown(found)}, and the value has {_shown(wanted)}")

    for tensor in manifest.inputs:
        if tensor.name in known or tensor.value != tensor.name or tensor.file is not None:
            entry.refuse(f"the input '{tensor.name}' stands twice, or is not a value that the caller gives")
        known[tensor.name] = tensor
    names: set[str] = set()
    for region in manifest.regions:
        if region.name in names:
            entry.refuse(f"two regions are called '{region.name}'")
        names.add(region.name)
        for tensor in (*region.inputs, *region.outputs):
            if tensor.value != tensor.name or tensor.file is not None:
                entry.refuse(f"region '{region.name}': '{tensor.name}' has a 'value' or a 'file' of its own")
        for tensor in region.inputs:
            if tensor.name not in known:
                entry.refuse(f"region '{region.name}' reads '{tensor.name}', which nothing before it makes")
            check(tensor, tensor.name, f"'{tensor.name}' among the inputs of region '{region.name}'")
        for tensor in region.outputs:
            if tensor.name in known:
                entry.refuse(f"region '{region.name}' makes '{tensor.name}', which exists already")
            known[tensor.name] = tensor
    for tensor in manifest.outputs:
        if tensor.file is not None:
            continue
        if tensor.value not in known:
            entry.refuse(f"the output '{tensor.name}' is '{tensor.value}', which nothing makes")
        check(tensor, tensor.value, f"the output '{tensor.name}'")
    sources: dict[str, tuple[str, FileEntry | None]] = {}
    for tensor in manifest.outputs:  # a model may give one value twice; its name then stands for both
        source = (tensor.value, None if tensor.file is None else manifest.files.get(tensor.file))
        if sources.setdefault(tensor.name, source) != source:
            entry.refuse(f"two outputs have the name '{tensor.name}'")


def _shown(fact: Any) -> str:
    return str(list(fact) if isinstance(fact, tuple) else fact)[:80]


def _check_placements(manifest: Manifest, entry: Entry) -> None:
    """Every op stands once."""
    names = set[str]()
    for index, placement in enumerate(manifest.placements):
        if placement["name"] in names:
            entry.refuse(f"placements[{index}]: the 'name' {placement['name'][:80]!r} stands twice")
        names.add(placement["name"])


def _check_files(manifest: Manifest, entry: Entry) -> None:
    """Whatever the manifest names is there."""
    wanted = [region.path(file) for region in manifest.regions for file in region.files]
    wanted += [path for vector in manifest.vectors for path in vector.inputs + vector.outputs]
    wanted += [tensor.file for tensor in manifest.outputs if tensor.file is not None]
    for path in wanted:
        if path not in manifest.files:
            entry.refuse(f"the file {path[:120]!r} is used, and is not among the files")
    counts = (len(manifest.inputs), len(manifest.outputs))
    for vector in manifest.vectors:
        if (len(vector.inputs), len(vector.outputs)) != counts:
            entry.refuse("a test vector does not have a file for each input and output")
