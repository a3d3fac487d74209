"""A region's files: how the compiler writes them, and how a device reads them. NumPy and the standard library only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from intarsia.artifact.schema import Entry
from intarsia.dtypes import Array, dtype_name
from intarsia.errors import RunError
from intarsia.runtime.device import RegionFiles
from intarsia_backends.tpu.stablehlo import KINDS, type_text

KIND = "stablehlo"
INTERFACE = 1
"""Version of what `main` takes and gives, and of the metadata."""

CODE, WEIGHTS = "region.stablehlo", "weights.bin"

MAGIC = b"ML\xefR"
"""What MLIR's bytes begin with."""

HELD = tuple(name for name in KINDS if name not in ("bfloat16", "bool"))
"""Types of weights in the file."""

_AGAIN = "compile the model again with the version of intarsia that is installed here"
_SIZE_LIMIT = 1 << 40


def metadata(weights: Sequence[Array], guards: Sequence[str]) -> dict[str, Any]:
    """JSON-able facts for `read`."""
    return {
        "interface": INTERFACE,
        "weights": [{"dtype": dtype_name(array.dtype), "shape": list(array.shape)} for array in weights],
        "guards": list(guards),
    }


def pack(weights: Sequence[Array]) -> bytes:
    """Arrays one behind the other, row by row, little-endian."""
    return b"".join(np.ascontiguousarray(array).tobytes() for array in weights)


@dataclass(frozen=True)
class Region:
    """A region whose files fit each other.

    code            StableHLO's portable artifact, so far unread
    weights         views into the file
    guards          what is wrong where the bools behind the outputs are false
    takes, gives    types of `main`, as MLIR spells them
    """

    where: str
    code: bytes
    weights: tuple[Array, ...]
    guards: tuple[str, ...]
    takes: tuple[str, ...]
    gives: tuple[str, ...]


def read(region: RegionFiles) -> Region:
    """Whether manifest and files agree. RunError where they do not; of the code only the first bytes are read."""
    where = f"region '{region.name}'"
    for name in (CODE, WEIGHTS):
        if name not in region.files:
            raise RunError(where=where, what=f"it lacks '{name}'", help=_AGAIN)
    entry = Entry(region.metadata, f"{where}, metadata in manifest.json")
    interface = entry.whole("interface", 1, 1 << 16)
    if interface != INTERFACE:
        entry.refuse(f"'interface' is {interface}, and this is {INTERFACE}")
    code = region.files[CODE]
    if not code.startswith(MAGIC):
        raise RunError(
            where=f"{where}, file '{CODE}'",
            what=f"it begins with {code[: len(MAGIC)]!r}, not as StableHLO's portable artifacts do",
            help=_AGAIN,
        )
    shapes = entry.each("weights", _shape)
    weights = _unpack(region.files[WEIGHTS], shapes, entry)
    guards = entry.texts("guards")
    tensors = [(dtype, shape) for _, dtype, shape in region.inputs]
    takes = [_type(entry, dtype, shape) for dtype, shape in (*tensors, *shapes)]
    gives = [_type(entry, dtype, shape) for _, dtype, shape in region.outputs]
    return Region(where, code, weights, guards, tuple(takes), (*gives, *["tensor<i1>"] * len(guards)))


def _shape(data: Any, where: str) -> tuple[str, tuple[int, ...]]:
    entry = Entry(data, where)
    dtype, sizes = entry.choice("dtype", HELD), entry.sequence("shape")
    for size in sizes:
        if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size < _SIZE_LIMIT:
            entry.refuse(f"'shape' holds {str(size)[:40]}, not a size")
    entry.done()
    return dtype, tuple(sizes)


def _unpack(data: bytes, shapes: Sequence[tuple[str, tuple[int, ...]]], entry: Entry) -> tuple[Array, ...]:
    place, arrays = 0, []
    wanted = sum(np.dtype(dtype).itemsize * math.prod(shape) for dtype, shape in shapes)
    if wanted != len(data):
        entry.refuse(f"'weights' take {wanted} bytes, '{WEIGHTS}' has {len(data)}")
    for dtype, shape in shapes:
        count = math.prod(shape)
        arrays.append(np.frombuffer(data, dtype, count, place).reshape(shape))
        place += arrays[-1].nbytes
    return tuple(arrays)


def _type(entry: Entry, dtype: str, shape: Sequence[int]) -> str:
    if dtype not in KINDS:
        entry.refuse(f"a value of '{dtype[:40]}' goes in or out, which StableHLO does not carry")
    return type_text(dtype, shape)
