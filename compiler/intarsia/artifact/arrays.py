"""Arrays as .npy files with one header per array: the same bytes from every NumPy, and nothing is ever unpickled."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Mapping, Sequence
from io import BytesIO
from zipfile import ZipFile, ZipInfo

import numpy as np

from intarsia.dtypes import EXTENDED, Array, dtype_name, numpy_dtype
from intarsia.errors import RunError

_MAGIC = b"\x93NUMPY\1\0"
_ALIGNMENT_BYTES = 64
_EMPTY_LIMIT = 1 << 20
"""Texts without a character: no bytes of the file vouch for their number."""

_HEADER = re.compile(
    rb"\{'descr': '(?P<descr>[<>|=]?[?biufcUV][0-9]{0,9})', 'fortran_order': False, "
    rb"'shape': \((?P<shape>(?:[0-9]{1,15}(?:, ?|(?=\))))*)\), \} *\n"
)


def to_npy(array: Array) -> bytes:
    """An array as a .npy file, version 1.0, little endian, row by row.

    Strings become fixed-width Unicode. Types that NumPy does not know (bfloat16, ...) become raw bytes of their size;
    the reader must know what they are.
    """
    name = dtype_name(array.dtype)
    if name == "string":
        array = np.array([str(item) for item in array.reshape(-1)], dtype=np.str_).reshape(array.shape)
    elif name in EXTENDED:
        array = np.ascontiguousarray(array).reshape(array.shape).view(f"V{array.dtype.itemsize}")
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    description = f"{{'descr': '{little.dtype.str}', 'fortran_order': False, 'shape': {array.shape!r}, }}"
    padding = -(len(_MAGIC) + 2 + len(description) + 1) % _ALIGNMENT_BYTES
    header = description.encode("ascii") + b" " * padding + b"\n"
    return _MAGIC + struct.pack("<H", len(header)) + header + little.tobytes()


def to_npz(arrays: Mapping[str, Array]) -> bytes:
    """Arrays by name as a .npz file, of the same bytes whenever it is written."""
    content = BytesIO()
    with ZipFile(content, "w") as archive:
        for name, array in arrays.items():
            archive.writestr(ZipInfo(f"{name}.npy"), to_npy(array))
    return content.getvalue()


def from_npy(data: bytes, dtype: str, where: str, shape: Sequence[int | None] | None = None) -> Array:
    """The array that `to_npy` wrote; dtype is its name in `intarsia.dtypes`.

    shape  sizes that it must have, None for any; None altogether where any shape will do

    Raises RunError, naming `where`, for anything else, sizes that do not fit included.
    """
    try:
        array = _parse(data, dtype)
        if shape is not None and not _fits(array.shape, shape):
            wanted = ", ".join("?" if size is None else str(size) for size in shape)
            raise ValueError(f"its shape is {list(array.shape)}, and the manifest says [{wanted}]")
        return array
    except (ImportError, MemoryError, OverflowError, TypeError, ValueError, struct.error) as error:
        raise RunError(
            where=where,
            what=f"it is not a .npy file of {dtype} as intarsia writes it ({error})",
            help="compile the model again",
        ) from error


def _fits(found: Sequence[int], wanted: Sequence[int | None]) -> bool:
    return len(found) == len(wanted) and all(size in (None, here) for here, size in zip(found, wanted))


def _parse(data: bytes, dtype: str) -> Array:
    if data[: len(_MAGIC)] != _MAGIC:
        raise ValueError("no .npy magic")
    (header_bytes,) = struct.unpack_from("<H", data, len(_MAGIC))
    start = len(_MAGIC) + 2 + header_bytes
    header = _HEADER.fullmatch(data[len(_MAGIC) + 2 : start])  # not evaluated: a header may nest without end
    if header is None:
        raise ValueError("a header of another kind")
    stored = np.dtype(header["descr"].decode("ascii"))
    shape = tuple(int(size) for size in header["shape"].decode("ascii").split(",") if size.strip())
    wanted = numpy_dtype(dtype)
    if dtype != "string" and (stored.itemsize != wanted.itemsize or (stored.kind == "V") != (dtype in EXTENDED)):
        raise ValueError(f"it holds {stored}")
    if dtype not in EXTENDED and dtype != "string" and stored != wanted.newbyteorder("<"):
        raise ValueError(f"it holds {stored}")
    if dtype == "string" and (stored.kind != "U" or stored != stored.newbyteorder("<")):
        raise ValueError(f"it holds {stored}")
    if math.prod(shape) * stored.itemsize != len(data) - start:
        raise ValueError(f"shape {list(shape)} does not fit {len(data) - start} bytes")
    if stored.itemsize == 0:
        if math.prod(shape) > _EMPTY_LIMIT:
            raise ValueError(f"{math.prod(shape)} empty texts")
        return np.full(shape, "", dtype=object)
    if dtype == "string":
        numbers = np.frombuffer(data, "<u4", offset=start)
        if ((numbers > 0x10FFFF) | (numbers >> 11 == 0xD800 >> 11)).any():
            raise ValueError("it holds numbers that are no characters")
    array = np.frombuffer(data, stored, math.prod(shape), start).reshape(shape)
    return array.view(wanted) if dtype in EXTENDED else array.astype(wanted)
