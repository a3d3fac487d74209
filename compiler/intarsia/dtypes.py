"""Element types by name, and their NumPy forms. The names are ONNX's, in lower case, as NumPy writes them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

NATIVE = (
    "float16",
    "float32",
    "float64",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "bool",
    "complex64",
    "complex128",
)
"""Types that NumPy knows by itself; they are the only ones that reach compiled code."""

EXTENDED = (
    "bfloat16",
    "float8_e4m3fn",
    "float8_e4m3fnuz",
    "float8_e5m2",
    "float8_e5m2fnuz",
    "float8_e8m0fnu",
    "float4_e2m1fn",
    "int4",
    "uint4",
    "int2",
    "uint2",
)
"""Types that need the package ml_dtypes (it comes with onnx); they live in the importer and the evaluator alone."""

FLOATING = ("float16", "float32", "float64", "bfloat16")
INTEGER = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")


def numpy_dtype(name: str) -> np.dtype[Any]:
    """The NumPy dtype called `name`.

    Raises ValueError for a name that is neither NATIVE, EXTENDED nor "string",
    and ImportError where an extended type is asked for without ml_dtypes.
    """
    if name in NATIVE:
        return np.dtype(name)
    if name == "string":
        return np.dtype(object)
    if name in EXTENDED:
        import ml_dtypes

        extended: np.dtype[Any] = np.dtype(getattr(ml_dtypes, name))
        return extended
    raise ValueError(f"no element type is called {name!r}")


def dtype_name(dtype: np.dtype[Any]) -> str:
    """The name of a NumPy dtype, in the spelling of this module."""
    if dtype.kind in "OUS":
        return "string"
    return str(np.dtype(dtype).name)


def itemsize_bytes(name: str) -> int:
    """Bytes that one element takes in memory (sub-byte types are held one to a byte)."""
    return int(numpy_dtype(name).itemsize)
