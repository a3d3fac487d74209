"""What the caller gives to `Session.run`: matched with the model's inputs by place or name, checked, never converted
silently."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np

from intarsia.dtypes import EXTENDED, FLOATING, NATIVE, Array, dtype_name, numpy_dtype
from intarsia.errors import RunError

Shape = tuple[int | None, ...]


@dataclass(frozen=True)
class TensorInfo:
    """An input or output of a model.

    dtype  a name of `intarsia.dtypes`
    shape  sizes, None for one that depends on data; None altogether where the rank does
    """

    name: str
    dtype: str
    shape: Shape | None

    def __str__(self) -> str:
        if self.shape is None:
            return f"{self.name}: {self.dtype}[...]"
        return f"{self.name}: {self.dtype}[{','.join('?' if size is None else str(size) for size in self.shape)}]"

    @property
    def dims(self) -> tuple[int, ...]:
        """The shape where all sizes are known; a programming error for any other."""
        sizes = tuple(size for size in self.shape or () if size is not None)
        assert self.shape is not None and len(sizes) == len(self.shape), f"{self} is not static"
        return sizes

    @property
    def is_tensor(self) -> bool:
        """False for sequences and optionals, which are handed on as they are."""
        return not self.dtype.startswith(("sequence(", "optional("))


def bind(infos: Sequence[TensorInfo], arrays: Sequence[Any], named: Mapping[str, Any]) -> list[Any]:
    """What was given for each input, in order. Raises RunError for too many, too few, unknown or doubled names."""
    expected = ", ".join(map(str, infos)) or "no inputs"
    if len(arrays) == 1 and isinstance(arrays[0], Mapping):
        raise RunError(
            where="run()", what="a mapping was given as an array", help="spread it: session.run(**arrays_by_name)"
        )
    if len(arrays) > len(infos):
        raise RunError(
            where="run()",
            what=f"{len(arrays)} arrays were given, the model takes {len(infos)}",
            help=f"the inputs are {expected}",
        )
    given = {info.name: array for info, array in zip(infos, arrays)}
    names = [info.name for info in infos]
    for name, array in named.items():
        if name not in names:
            near = get_close_matches(name, names, n=1, cutoff=0.5) if isinstance(name, str) else []
            suggestion = f"did you mean '{near[0]}'? " if near else ""
            raise RunError(
                where="run()",
                what=f"the model has no input called '{name}'",
                help=f"{suggestion}the inputs are {expected}",
            )
        if name in given:
            raise RunError(
                where=f"input '{name}'",
                what="it was given twice, by place and by name",
                help="give it once",
            )
        given[name] = array
    missing = [info for info in infos if info.name not in given]
    if missing:
        raise RunError(
            where="run()",
            what=f"{_inputs(len(missing))} missing: {', '.join(map(str, missing))}",
            help="give an array for each input, in order or by name",
        )
    return [given[name] for name in names]


def _inputs(count: int) -> str:
    return "1 input is" if count == 1 else f"{count} inputs are"


def check_array(info: TensorInfo, given: Any) -> Array:
    """The array that was given, in native byte order, row by row in memory; its type is the input's.

    A Python list or number has no type of its own: it is taken where its kind (float, integer, bool, text) is the
    input's and every element fits. An array of another type is refused, with the call that converts it.
    """
    array = np.asarray(given)
    if info.dtype == "string":
        if array.dtype.kind not in "OSU":
            raise _wrong_type(info, array)
        return np.ascontiguousarray(array.astype(object)).reshape(array.shape)
    wanted = numpy_dtype(info.dtype)
    if not hasattr(given, "dtype") and array.dtype != wanted:
        array = _literal(info, array, wanted)
    if dtype_name(array.dtype) != info.dtype:
        raise _wrong_type(info, array)
    return np.ascontiguousarray(array, dtype=wanted).reshape(array.shape)


def _literal(info: TensorInfo, array: Array, wanted: np.dtype[Any]) -> Array:
    if (array.dtype.kind == "f" and info.dtype in FLOATING) or (array.size == 0 and array.dtype.kind == "f"):
        return array.astype(wanted)
    if array.dtype.kind in "iu" and wanted.kind in "iu":
        limits = np.iinfo(wanted)
        if array.size and not (limits.min <= int(array.min()) and int(array.max()) <= limits.max):
            raise RunError(
                where=f"input '{info.name}'",
                what=f"the list holds numbers from {array.min()} to {array.max()}, "
                f"{info.dtype} holds {limits.min} to {limits.max}",
                help="check the values",
            )
        return array.astype(wanted)
    return array


def _wrong_type(info: TensorInfo, array: Array) -> RunError:
    found = dtype_name(array.dtype) if array.dtype.name in NATIVE + EXTENDED else str(array.dtype)
    if info.dtype in FLOATING and found in ("uint8", "int8"):
        advice = (
            f"scale the pixels as in training, e.g. (x / 255).astype(np.{info.dtype}); a cast alone is seldom right"
        )
    elif info.dtype in ("int8", "uint8") and found in FLOATING:
        advice = "this model takes quantized integers: round(x / scale) + zero point, clipped; the manifest has both"
    elif info.dtype in NATIVE and found in NATIVE:
        advice = f"if no value is lost, x.astype(np.{'bool_' if info.dtype == 'bool' else info.dtype})"
    else:
        advice = "see Session.inputs for the types"
    return RunError(
        where=f"input '{info.name}'",
        what=f"it is {found}, the model takes {info.dtype}; intarsia does not convert silently",
        help=advice,
    )
