"""Stacks of arrays of equal shape, from memory or from files, read row by row."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from intarsia.dtypes import Array, is_real
from intarsia.errors import CompileError

_BLOCK_BYTES = 1 << 20
"""How much of a compressed file is read at once."""


@dataclass(frozen=True)
class Rows:
    """Rows of one shape.

    shape  of one row
    count  of rows
    start  makes an iterator over the rows
    """

    shape: tuple[int, ...]
    count: int
    start: Callable[[], Iterator[Array]]


def rows_of_array(array: Array) -> Rows:
    """An array [N, ...]."""
    if not array.ndim:
        raise CompileError(
            where="calibration data", what="a single number is no stack of samples", help="give an array [N, ...]"
        )
    if not is_real(array.dtype):
        raise _not_numbers("an array", array.dtype)
    return Rows(array.shape[1:], array.shape[0], lambda: iter(array))


def _not_numbers(what: str, dtype: np.dtype[Any]) -> CompileError:
    return CompileError(
        where="calibration data",
        what=f"{what} of {dtype} holds no numbers",
        help="files hold no bfloat16: save it as float32" if dtype == np.dtype("V2") else "give an array of numbers",
    )


def rows_of_npy(path: Path) -> Rows:
    """A .npy file, mapped into memory rather than read."""
    try:
        array: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError) as error:
        raise _unreadable(path, error) from None
    rows = rows_of_array(array)
    return Rows(rows.shape, rows.count, lambda: (np.array(row) for row in array))


def rows_of_npz(path: Path) -> dict[str, Rows]:
    """The arrays of a .npz file by key, each unpacked as it is read."""
    found: dict[str, Rows] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                if not member.endswith(".npy"):
                    continue
                with archive.open(member) as stream:
                    shape, fortran, dtype = _header(stream)
                if shape and dtype.kind in "fiub":
                    key = member.removesuffix(".npy")
                    found[key] = Rows(shape[1:], shape[0], _Member(path, member, shape, fortran, dtype))
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise _unreadable(path, error) from None
    return found


def _unreadable(path: Path, error: Exception) -> CompileError:
    return CompileError(where=f"calibration data '{path}'", what=f"it cannot be read: {error}", help="write it again")


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, column order and type that stand at the head of a .npy file."""
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(stream)
    return np.lib.format.read_array_header_2_0(stream)


@dataclass(frozen=True)
class _Member:
    """One array of a .npz file; calling it starts to unpack the rows."""

    path: Path
    member: str
    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]

    def __call__(self) -> Iterator[Array]:
        if self.fortran:  # columns lie together: there is no reading it by rows
            with np.load(self.path, allow_pickle=False) as archive:
                yield from archive[self.member.removesuffix(".npy")]
            return
        count, row = self.shape[0], self.shape[1:]
        row_bytes = int(np.prod(row, dtype=np.int64)) * self.dtype.itemsize
        at_once = max(1, _BLOCK_BYTES // max(row_bytes, 1))
        with zipfile.ZipFile(self.path) as archive, archive.open(self.member) as stream:
            _header(stream)
            for first in range(0, count, at_once):
                rows = min(at_once, count - first)
                data = stream.read(rows * row_bytes)
                if len(data) != rows * row_bytes:
                    raise _unreadable(self.path, ValueError(f"'{self.member}' ends early"))
                yield from np.frombuffer(data, self.dtype).reshape(rows, *row)
