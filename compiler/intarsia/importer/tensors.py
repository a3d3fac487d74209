"""From onnx.TensorProto to NumPy arrays, trusting nothing: dims, element type and length must agree."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from intarsia.dtypes import NATIVE, Array, itemsize_bytes, numpy_dtype
from intarsia.errors import CompileError
from intarsia.importer.limits import Limits
from intarsia.importer.types import element_type, element_types
from intarsia.ir.budget import raising

_AGAIN = "the file is damaged or its exporter wrong; export the model again"
_BITS = {"int4": 4, "uint4": 4, "float4_e2m1fn": 4, "int2": 2, "uint2": 2}
_FIELDS = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data", "string_data")
_FIELD = {
    "float32": "float_data",
    "complex64": "float_data",
    "float64": "double_data",
    "complex128": "double_data",
    "int64": "int64_data",
    "uint32": "uint64_data",
    "uint64": "uint64_data",
    "string": "string_data",
}


MAX_RANK = 32
"""Axes of a tensor, in every NumPy that boards may have."""


class TensorReader:
    """Turns TensorProtos into arrays.

    folder  where external data may lie; None where the model did not come from a file
    """

    def __init__(self, folder: Path | None, limits: Limits) -> None:
        self.folder = folder
        self.limits = limits

    def read(self, tensor: onnx.TensorProto, where: str) -> Array:
        """The elements, in the tensor's dims; `where` names the tensor in errors."""
        dtype = self._dtype(tensor, where)
        dims = tuple(tensor.dims)
        self.check_size(dtype, dims, where)
        if tensor.HasField("segment"):
            raise CompileError(where=where, what="it is stored in segments", help="export the model again, whole")
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            return self._from_raw(self._external(tensor, where), dtype, dims, where)
        if tensor.HasField("raw_data"):
            return self._from_raw(tensor.raw_data, dtype, dims, where)
        return _from_field(tensor, dtype, dims, where)

    def read_sparse(self, sparse: onnx.SparseTensorProto, where: str) -> Array:
        """The dense form of a sparse tensor (indices linear, or one row per element)."""
        values, indices = self.read(sparse.values, where), self.read(sparse.indices, where)
        dims = tuple(sparse.dims)
        self.check_size(self._dtype(sparse.values, where), dims, where)
        count, elements = values.size, math.prod(dims)
        if indices.dtype != np.int64 or indices.shape not in ((count,), (count, len(dims))) or values.ndim != 1:
            raise CompileError(
                where=where,
                what=f"{count} sparse values do not go with indices {indices.dtype}{list(indices.shape)}",
                help=_AGAIN,
            )
        if indices.ndim == 2:
            inside = bool(np.all((indices >= 0) & (indices < np.array(dims, np.int64))))
            linear = indices @ np.array([math.prod(dims[axis + 1 :]) for axis in range(len(dims))], np.int64)
        else:
            inside = bool(np.all((indices >= 0) & (indices < elements)))
            linear = indices
        if not inside:
            raise CompileError(where=where, what=f"a sparse index lies outside of {list(dims)}", help=_AGAIN)
        dense = np.zeros(elements, values.dtype)
        dense[linear] = values
        return dense.reshape(dims)

    def check_size(self, dtype: str, dims: Sequence[int], where: str) -> None:
        """Refuse negative sizes, and more bytes than the limit."""
        if any(size < 0 for size in dims):
            raise CompileError(where=where, what=f"its dims {list(dims)} hold a negative size", help=_AGAIN)
        if len(dims) > MAX_RANK:
            raise CompileError(
                where=where, what=f"it has {len(dims)} axes; NumPy takes {MAX_RANK}", help="merge some of them"
            )
        size_bytes = math.prod(max(size, 1) for size in dims) * itemsize_bytes(dtype)  # NumPy wants room for empty ones
        if size_bytes > self.limits.tensor_bytes:
            raise CompileError(
                where=where,
                what=f"{dtype}{list(dims)} would take {size_bytes} bytes; the limit is {self.limits.tensor_bytes}",
                help=f"if the model is meant to be so large, raise it: {raising('tensor_bytes')}",
            )

    def _dtype(self, tensor: onnx.TensorProto, where: str) -> str:
        name = element_types().get(tensor.data_type)
        if name is None:
            raise CompileError(where=where, what=f"no element type has the number {tensor.data_type}", help=_AGAIN)
        try:
            numpy_dtype(name)
        except (ValueError, AttributeError):
            raise CompileError(
                where=where, what=f"the element type {name} is not supported", help="use a common element type"
            ) from None
        return name

    def _from_raw(self, raw: bytes, dtype: str, dims: tuple[int, ...], where: str) -> Array:
        if dtype == "string":
            raise CompileError(where=where, what="strings cannot stand in raw_data", help=_AGAIN)
        elements = math.prod(dims)
        want = (elements * _BITS[dtype] + 7) // 8 if dtype in _BITS else elements * itemsize_bytes(dtype)
        if len(raw) != want:
            raise CompileError(
                where=where, what=f"{dtype}{list(dims)} takes {want} bytes, but {len(raw)} are stored", help=_AGAIN
            )
        if dtype in NATIVE:
            flat = np.frombuffer(raw, numpy_dtype(dtype).newbyteorder("<"))
            native = flat.astype(flat.dtype.newbyteorder("="), copy=False)
            if dtype == "bool":  # NumPy has no meaning for other bytes
                native = np.frombuffer(raw, np.uint8) != 0
            return np.asarray(native.reshape(dims))
        whole = onnx.TensorProto(data_type=element_type(dtype), dims=dims, raw_data=raw)
        return np.asarray(numpy_helper.to_array(whole))

    def _external(self, tensor: onnx.TensorProto, where: str) -> bytes:
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = entries.get("location", "")
        path = self._inside(location, where)
        size_bytes = path.stat().st_size
        start = _whole_number(entries.get("offset") or "0", "offset", where)
        length = _whole_number(entries.get("length") or str(max(size_bytes - start, 0)), "length", where)
        if start + length > size_bytes:
            raise CompileError(
                where=where,
                what=f"its {length} bytes from byte {start} reach past the {size_bytes} bytes of '{location}'",
                help="the data file is truncated or belongs to another model; copy it again",
            )
        if length > self.limits.tensor_bytes:
            raise CompileError(
                where=where,
                what=f"it takes {length} bytes; the limit is {self.limits.tensor_bytes}",
                help=f"if you trust the file, raise it: {raising('tensor_bytes')}",
            )
        try:
            with path.open("rb") as file:
                file.seek(start)
                return file.read(length)
        except OSError as error:
            raise CompileError(where=where, what=f"'{location}' cannot be read: {error}", help="check it") from None

    def _inside(self, location: str, where: str) -> Path:
        """The regular file of that name below the model's folder, reached without `..` or links."""
        if not isinstance(location, str):
            raise CompileError(where=where, what="the place of its data is no UTF-8 text", help=_AGAIN)
        if self.folder is None:
            raise CompileError(
                where=where,
                what=f"its data lies outside of the model, in '{location}'",
                help="pass the path of the .onnx file, so that its folder is known",
            )
        parts = location.replace("\\", "/").split("/")
        if not location or "\0" in location or location.startswith("/") or ":" in parts[0] or ".." in parts:
            raise CompileError(
                where=where,
                what=f"its data is said to lie in '{location}', outside of the model's folder",
                help="external data must lie beside the model; do not trust this file unless you made it",
            )
        path = self.folder
        for part in parts:
            path = path / part
            if path.is_symlink():
                raise CompileError(
                    where=where,
                    what=f"its data file '{location}' goes through a symbolic link",
                    help="put the data file itself beside the model",
                )
        if not path.is_file():
            raise CompileError(
                where=where,
                what=f"its data file '{location}' is not there",
                help=f"copy it to {self.folder} beside the model",
            )
        if os.stat(path).st_nlink > 1:
            raise CompileError(
                where=where,
                what=f"its data file '{location}' has several names (hard links)",
                help="put a copy of the data file beside the model",
            )
        return path


def _from_field(tensor: onnx.TensorProto, dtype: str, dims: tuple[int, ...], where: str) -> Array:
    field = _FIELD.get(dtype, "int32_data")
    elements = math.prod(dims)
    want = {"complex64": 2 * elements, "complex128": 2 * elements}.get(dtype, elements)
    if dtype in _BITS:
        per_int = 8 // _BITS[dtype]
        want = (elements + per_int - 1) // per_int
    found = len(getattr(tensor, field))
    other = next((name for name in _FIELDS if name != field and len(getattr(tensor, name))), None)
    if other is not None:
        raise CompileError(where=where, what=f"{dtype} elements stand in {other}, not in {field}", help=_AGAIN)
    if found != want:
        raise CompileError(
            where=where,
            what=f"{dtype}{list(dims)} takes {want} entries of {field}, but {found} are stored",
            help=_AGAIN,
        )
    try:
        if dtype == "string":
            strings = [item.decode("utf-8") for item in tensor.string_data]
            return np.array(strings, dtype=object).reshape(dims)
        return np.asarray(numpy_helper.to_array(tensor))
    except (ValueError, OverflowError, TypeError) as error:
        raise CompileError(where=where, what=f"its elements do not fit {dtype}: {error}", help=_AGAIN) from None


def _whole_number(text: str, key: str, where: str) -> int:
    if not (isinstance(text, str) and text.isascii() and text.isdecimal() and len(text) < 20):
        raise CompileError(where=where, what=f"the {key} of its external data is {text!r}, no number", help=_AGAIN)
    return int(text)
