"""Arrays as .npy files with one header per array: the same bytes from every NumPy, and nothing is ever unpickled."""

from __future__ import annotations

import ast
import math
import struct
from typing import Any

import numpy as np

from intarsia.dtypes import EXTENDED, Array, dtype_name, numpy_dtype
from intarsia.errors import RunError

_MAGIC = b"\x93NUMPY\1\0"
_ALIGNMENT_BYTES = 64


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


def from_npy(data: bytes, dtype: str, where: str) -> Array:
    """The array that `to_npy` wrote; dtype is its name in `intarsia.dtypes`.

    Raises RunError, naming `where`, for anything else, sizes that do not fit included.
    """
    try:
        return _parse(data, dtype)
    except (KeyError, SyntaxError, TypeError, ValueError, struct.error, UnicodeDecodeError) as error:
        raise RunError(
            where=where,
            what=f"it is not a .npy file of {dtype} as intarsia writes it ({error})",
            help="compile the model again",
        ) from error


def _parse(data: bytes, dtype: str) -> Array:
    if data[: len(_MAGIC)] != _MAGIC:
        raise ValueError("no .npy magic")
    (header_bytes,) = struct.unpack_from("<H", data, len(_MAGIC))
    start = len(_MAGIC) + 2 + header_bytes
    header: dict[str, Any] = ast.literal_eval(data[len(_MAGIC) + 2 : start].decode("ascii").strip())
    stored, shape = np.dtype(header["descr"]), tuple(int(size) for size in header["shape"])
    wanted = numpy_dtype(dtype)
    if stored.kind not in "?biufcUV" or header["fortran_order"] or any(size < 0 for size in shape):
        raise ValueError("a header of another kind")
    if dtype != "string" and (stored.itemsize != wanted.itemsize or (stored.kind == "V") != (dtype in EXTENDED)):
        raise ValueError(f"it holds {stored}")
    if dtype not in EXTENDED and dtype != "string" and stored != wanted.newbyteorder("<"):
        raise ValueError(f"it holds {stored}")
    if dtype == "string" and stored.kind != "U":
        raise ValueError(f"it holds {stored}")
    if math.prod(shape) * stored.itemsize != len(data) - start:
        raise ValueError(f"shape {list(shape)} does not fit {len(data) - start} bytes")
    if stored.itemsize == 0:
        return np.full(shape, "", dtype=object)
    array = np.frombuffer(data, stored, math.prod(shape), start).reshape(shape)
    return array.view(wanted) if dtype in EXTENDED else array.astype(wanted)
