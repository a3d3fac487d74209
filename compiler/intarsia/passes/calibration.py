"""What calibration gives, and its file form: ranges of activations, measured once and used again.

    {"format_version": 1, "model": name, "graph_sha256": hex, "method": "minmax" or "percentile",
     "percentile": number or null, "samples": number, "ranges": {value name: [lowest, highest], ...}}

A value that was NaN or infinite has the number of the sample in which it first was, in the place of its range. Numbers
are written as Python writes them: as many digits as give the same number again.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeAlias

import numpy as np

from intarsia.arguments import check_mapping
from intarsia.errors import CompileError, either
from intarsia.ir.graph import Graph
from intarsia.ir.serialize import to_data
from intarsia.outputs import check_output, write_output

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

FORMAT_VERSION = 1
RANGES_FILE = "ranges.json"
"""What the file is called where the program chooses its name."""

METHODS = ("minmax", "percentile")
PERCENTILE = 99.99
"""Per cent of the numbers that stay inside where nobody says how many."""

SUSPICION = "calibration data"
"""The topic of notes that say that data are no real inputs; others about calibration have the topic "calibration"."""

_FIELDS = ("model", "graph_sha256", "method", "percentile", "samples", "ranges")
_LARGEST = 2.0**128
_SHA256 = re.compile("[0-9a-f]{64}")


def give_data() -> str:
    """How ranges are measured and kept, as help."""
    return either(
        "give the data, --calibration images.npz, and --save-calibration ranges.json",
        "give the data, calibration=array, and save_calibration='ranges.json'",
    )


def _again() -> str:
    return f"measure again: {give_data()}"


@dataclass(frozen=True)
class Ranges:
    """What activations were seen to be.

    bounds        lowest and highest number by value name, for every float32 value of the graph that is no constant
    infinite      value names that have no range, with the first sample in which they were NaN or infinite
    samples       how many samples they come from
    assumed       True where nothing was measured: such ranges tell placement, and nothing is compiled with them
    method        "minmax" or "percentile"
    percentile    per cent of the numbers that stay inside; None where the method has none
    model         name of the model that they were measured on; empty where it is not known
    graph_sha256  `digest_of` the graph that they were measured on; empty where it is not known
    """

    bounds: Mapping[str, tuple[float, float]]
    samples: int = 0
    assumed: bool = False
    method: str = "minmax"
    percentile: float | None = None
    model: str = ""
    graph_sha256: str = ""
    infinite: Mapping[str, int] = field(default_factory=dict)

    def check(self, graph: Graph) -> None:
        """Raise CompileError where they are known to be measured on another graph, or hold what is no range."""
        help = "give lowest and highest number by value name"
        if self.bounds is None:
            raise CompileError(where="calibration", what="the ranges hold no bounds", help=help)
        for name, pair in check_mapping(CompileError, "calibration", self.bounds, help).items():
            _pair("calibration", name, list(pair) if isinstance(pair, (tuple, list)) else pair)
        if self.graph_sha256 not in ("", digest_of(graph)):
            raise CompileError(
                where="calibration",
                what=f"the ranges were measured on another graph than this one (on model '{self.model}')",
                help="model, batch, shapes and passes before calibrate must be those of the measurement; "
                f"or {_again()}",
            )

    def of(self, name: str) -> tuple[float, float]:
        """Lowest and highest number of a value. Raises CompileError where none are there."""
        if name not in self.bounds:
            raise CompileError(where="calibration", what=f"there is no range for the value '{name}'", help=_again())
        return self.bounds[name]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file form. Raises CompileError where the place cannot be written."""
        write_output(path, "calibration file", ranges_text(self).encode("ascii"))


class SupportsArray(Protocol):
    """What NumPy makes an array of: arrays of NumPy and of other libraries."""

    def __array__(self) -> Any:
        """The numbers as an array of NumPy."""


Calibration: TypeAlias = (
    SupportsArray
    | Mapping[str, "ArrayLike"]
    | Iterable[Mapping[str, "ArrayLike"]]
    | Iterable[SupportsArray]
    | Ranges
    | str
    | os.PathLike[str]
)
"""What may be given for calibration: real inputs, as `passes.quantize.samples` reads them (an array [N, ...], a mapping
from input name to array, an iterable of such mappings, the path of a .npy or .npz file or of a folder of images), or
what was measured before: `Ranges`, or the path of their .json file."""


def check_place(path: str | os.PathLike[str], inputs: Sequence[str | os.PathLike[str] | None] = ()) -> None:
    """Raise CompileError where ranges cannot be saved, under another ending, or over a file that holds no ranges.

    inputs  files that are read before: none of them is written over
    """
    place = Path(path)
    if not place.parent.is_dir():
        raise CompileError(
            where=f"calibration file {os.fspath(path)}",
            what="it cannot be written: there is no such folder",
            help="check the folder and its permissions",
        )
    if place.suffix != ".json":
        raise CompileError(
            where=f"calibration file {os.fspath(path)}",
            what="its name does not end in .json, by which ranges are told from inputs when they are given again",
            help="choose a name such as ranges.json",
        )
    check_output(path, "calibration file", inputs=inputs, ours=_holds_ranges, kind="one of ranges", overwrite=None)


def _holds_ranges(place: Path) -> bool:
    try:
        read_ranges(place)
    except CompileError:
        return False
    return True


def digest_of(graph: Graph) -> str:
    """sha256 of a graph, with its weights, as hexadecimal text."""
    data, weights = to_data(graph)
    digest = hashlib.sha256(json.dumps(data, sort_keys=True).encode())
    digest.update(weights)
    return digest.hexdigest()


def ranges_text(ranges: Ranges) -> str:
    """The file form; equal ranges give equal text."""
    data = {
        "format_version": FORMAT_VERSION,
        "model": ranges.model,
        "graph_sha256": ranges.graph_sha256,
        "method": ranges.method,
        "percentile": ranges.percentile,
        "samples": ranges.samples,
    }
    head = "".join(f" {json.dumps(key)}: {json.dumps(value)},\n" for key, value in data.items())
    seen = {**{name: list(pair) for name, pair in ranges.bounds.items()}, **ranges.infinite}
    rows = ",\n".join(f"  {json.dumps(name)}: {json.dumps(pair)}" for name, pair in seen.items())
    return f'{{\n{head} "ranges": {{\n{rows}\n }}\n}}\n'


def measured_before(source: Calibration | None) -> Ranges | None:
    """The ranges that were given for calibration, as they are or as a file; None where it was real inputs or nothing.

    Raises CompileError where it is the path of a .json file that holds no ranges.
    """
    if isinstance(source, (str, os.PathLike)) and Path(source).suffix == ".json":
        return read_ranges(source)
    return source if isinstance(source, Ranges) else None


def read_ranges(path: str | os.PathLike[str]) -> Ranges:
    """The ranges that `Ranges.save` wrote. Raises CompileError where the file holds anything else."""
    where = f"calibration file {os.fspath(path)}"
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        what = "there is no such file" if isinstance(error, FileNotFoundError) else f"it cannot be read: {error}"
        raise CompileError(where=where, what=what, help="check the path given for calibration") from None
    try:
        data = json.loads(text)
    except ValueError as error:
        _refuse(where, f"it is not JSON: {error}")
    except RecursionError:
        _refuse(where, "it is nested too deeply")
    if not isinstance(data, dict) or "format_version" not in data:
        _refuse(where, "it is no file of ranges: it has no 'format_version'")
    if data["format_version"] != FORMAT_VERSION:
        _refuse(where, f"it has format {data['format_version']!r}, and this intarsia reads {FORMAT_VERSION}")
    return _checked(where, data)


def _refuse(where: str, what: str) -> NoReturn:
    raise CompileError(where=where, what=what, help=_again())


def _checked(where: str, data: dict[str, Any]) -> Ranges:
    """Ranges out of JSON, every fact looked at before it is believed."""
    for name in _FIELDS:
        if name not in data:
            _refuse(where, f"the entry '{name}' is missing")
    for name in sorted(set(data) - {"format_version", *_FIELDS}):
        _refuse(where, f"the entry '{name}' is unknown in this format")
    if not isinstance(data["model"], str):
        _refuse(where, f"'model' is {data['model']!r}, not text")
    digest = data["graph_sha256"]
    if not isinstance(digest, str) or not (digest == "" or _SHA256.fullmatch(digest)):
        _refuse(where, f"'graph_sha256' is {digest!r}, not 64 hexadecimal digits")
    if data["method"] not in METHODS:
        _refuse(where, f"'method' is {data['method']!r}, not one of {', '.join(METHODS)}")
    percentile = data["percentile"]
    if percentile is not None and not (_is_number(percentile) and 50.0 < percentile <= 100.0):
        _refuse(where, f"'percentile' is {percentile!r}, not a number above 50 and at most 100, or null")
    samples = data["samples"]
    if isinstance(samples, bool) or not isinstance(samples, int) or samples < 1:
        _refuse(where, f"'samples' is {samples!r}, not a whole number above 0")
    if not isinstance(data["ranges"], dict):
        _refuse(where, "'ranges' is not an object of value names")
    infinite = {name: item for name, item in data["ranges"].items() if type(item) is int and 0 <= item < samples}
    bounds = {name: _pair(where, name, pair) for name, pair in data["ranges"].items() if name not in infinite}
    return Ranges(
        bounds,
        samples,
        method=data["method"],
        percentile=None if percentile is None else float(percentile),
        model=data["model"],
        graph_sha256=digest,
        infinite=infinite,
    )


def _pair(where: str, name: str, pair: Any) -> tuple[float, float]:
    if not isinstance(pair, list) or len(pair) != 2 or not all(map(_is_number, pair)) or pair[0] > pair[1]:
        text = repr(pair) if not isinstance(pair, list) or all(map(_is_short, pair)) else "no pair of numbers"
        text = text if len(text) <= 40 else f"{text[:37]}..."
        _refuse(where, f"the range of '{name}' is {text}, not two numbers, the lower first")
    return float(pair[0]), float(pair[1])


def _is_short(item: Any) -> bool:
    """Whether Python may write it: whole numbers of more than 4,300 digits it may not."""
    return not isinstance(item, int) or abs(item) < 1 << 4096


def _python(item: Any) -> Any:
    return float(item) if isinstance(item, np.floating) else item


def _is_number(item: Any) -> bool:
    """Whether it is a number that a float32 may be; neither NaN nor infinite."""
    return isinstance(item, (int, float, np.floating)) and not isinstance(item, bool) and abs(_python(item)) <= _LARGEST
