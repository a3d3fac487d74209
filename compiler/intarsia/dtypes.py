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
NARROW = ("float16", "bfloat16")
"""Of them those with fewer bits than float32."""
INTEGER = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")

ELEMENT_TYPES = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    8: "string",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
    14: "complex64",
    15: "complex128",
    16: "bfloat16",
    17: "float8_e4m3fn",
    18: "float8_e4m3fnuz",
    19: "float8_e5m2",
    20: "float8_e5m2fnuz",
    21: "uint4",
    22: "int4",
    23: "float4_e2m1fn",
    24: "float8_e8m0fnu",
    25: "uint2",
    26: "int2",
}
"""ONNX's numbers of element types, as models and attributes such as Cast's `to` hold them."""

ELEMENT_NUMBERS = {name: number for number, name in ELEMENT_TYPES.items()}
"""The other way round."""


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


def is_real(dtype: np.dtype[Any]) -> bool:
    """Whether a NumPy dtype holds real numbers: floats, bfloat16 among them, integers and bool."""
    return dtype.kind in "fiub" or dtype.name in FLOATING


def dtype_name(dtype: np.dtype[Any]) -> str:
    """The name of a NumPy dtype, in the spelling of this module."""
    if dtype.kind in "OUS":
        return "string"
    return str(np.dtype(dtype).name)


def itemsize_bytes(name: str) -> int:
    """Bytes that one element takes in memory (sub-byte types are held one to a byte)."""
    return int(numpy_dtype(name).itemsize)


def is_type_name(name: str) -> bool:
    """Whether this names an element type, or a sequence or optional of one (or of maps, as ZipMap makes them)."""
    for _ in range(8):
        if name in NATIVE or name in EXTENDED or name == "string":
            return True
        container, _, inner = name.partition("(")
        if container not in ("sequence", "optional") or not inner.endswith(")"):
            return False
        name = inner[:-1]
        if name.startswith("map(") and name.endswith(")"):
            key, _, name = name[len("map(") : -1].partition(",")
            if key not in (*NATIVE, "string"):
                return False
    return False
