"""Inputs and outputs of a model as the Open Inference Protocol names them, and their bytes as arrays.

Arrays over a request's bytes share memory with them. Everything that a client may get wrong is a `Refusal` here.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from intarsia.dtypes import FLOATING, Array, numpy_dtype
from intarsia.errors import RunError
from intarsia.runtime.arguments import TensorInfo
from intarsia.serving.refusal import invalid, quoted

DATATYPES = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "bfloat16": "BF16",
    "float32": "FP32",
    "float64": "FP64",
    "string": "BYTES",
}
"""The protocol's name of each element type that it has."""

Data = bytes | bytearray | memoryview


@dataclass(frozen=True)
class ServedTensor:
    """An input or output as clients see it.

    name   the model's
    dtype  a name of `intarsia.dtypes` that DATATYPES has
    shape  sizes, None for any; None altogether where the rank is not known
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...] | None

    @cached_property
    def datatype(self) -> str:
        """The protocol's name of the element type."""
        return DATATYPES[self.dtype]

    @cached_property
    def numpy(self) -> np.dtype[Any]:
        """The element type as NumPy's."""
        return numpy_dtype(self.dtype)

    @cached_property
    def sizes(self) -> list[int]:
        """The shape as the protocol writes it: -1 for any size."""
        return [-1] if self.shape is None else [-1 if size is None else size for size in self.shape]

    def __str__(self) -> str:
        return f"{self.datatype}{self.sizes}"

    def check(self, datatype: object, shape: Sequence[object]) -> tuple[int, ...]:
        """The shape of what a client says that it gives."""
        found: list[int] = []
        for size in shape:
            if not isinstance(size, int) or isinstance(size, bool) or size < 0:
                raise invalid(f"input '{self.name}': its shape is no list of sizes from 0 on: {quoted(shape)}")
            found.append(size)
        fits = self.shape is None or (
            len(self.shape) == len(found) and all(size in (None, other) for size, other in zip(self.shape, found))
        )
        if datatype != self.datatype or not fits:
            given = f"{datatype if datatype in DATATYPES.values() else quoted(datatype)}{_short(found)}"
            raise invalid(f"input '{self.name}': it is {given}, the model takes {self}")
        return tuple(found)


def served(info: TensorInfo, batched: bool) -> ServedTensor:
    """A tensor of a session as clients see it; RunError where the protocol has no name for what it is.

    batched  whether its first axis may be any number of rows
    """
    if info.dtype not in DATATYPES:
        raise RunError(
            where=f"'{info}'",
            what="the Open Inference Protocol has no such element type",
            help=f"serve a model whose inputs and outputs are of {', '.join(DATATYPES)}",
        )
    shape = info.shape
    return ServedTensor(info.name, info.dtype, (None, *shape[1:]) if batched and shape else shape)


def _short(sizes: Sequence[int]) -> str:
    return str(list(sizes)) if len(sizes) <= 8 else f"[{len(sizes)} sizes]"


# ---- bytes


def from_bytes(tensor: ServedTensor, shape: tuple[int, ...], data: Data) -> Array:
    """The array that raw bytes are: elements in order, little-endian; texts with their lengths before them."""
    count = math.prod(shape)  # of Python's integers: NumPy's would wrap round
    if tensor.dtype == "string":
        return _texts(tensor, _split(tensor, count, data)).reshape(shape)
    wanted = count * tensor.numpy.itemsize
    if len(data) != wanted:
        raise invalid(f"input '{tensor.name}': {list(shape)} takes {wanted} bytes, {len(data)} are given")
    array = np.frombuffer(data, np.uint8 if tensor.dtype == "bool" else tensor.numpy).reshape(shape)
    if tensor.dtype != "bool":
        return array
    if array.size and array.max() > 1:
        raise invalid(f"input '{tensor.name}': bytes of BOOL are 0 or 1")
    return array.view(np.bool_)


def to_bytes(array: Array) -> Data:
    """The raw bytes of an output, shared with it where they lie in order."""
    if array.dtype == object:
        texts = [item if isinstance(item, bytes) else str(item).encode() for item in array.ravel()]
        return b"".join(part for text in texts for part in (struct.pack("<I", len(text)), text))
    return array.tobytes()


def _split(tensor: ServedTensor, count: int, data: Data) -> list[bytes]:
    texts, at, view = [], 0, memoryview(data)
    while at < len(view):
        if at + 4 > len(view):
            raise invalid(f"input '{tensor.name}': its bytes end within the length of a text")
        (length,) = struct.unpack_from("<I", view, at)
        at += 4 + length
        if at > len(view):
            raise invalid(f"input '{tensor.name}': its bytes end within a text")
        texts.append(bytes(view[at - length : at]))
    if len(texts) != count:
        raise invalid(f"input '{tensor.name}': {count} texts are expected, {len(texts)} are given")
    return texts


def _texts(tensor: ServedTensor, texts: Sequence[bytes]) -> Array:
    array = np.empty(len(texts), object)
    for index, text in enumerate(texts):
        try:
            array[index] = text.decode()
        except UnicodeDecodeError:
            raise invalid(f"input '{tensor.name}': text {index} is not UTF-8") from None
    return array


# ---- lists, as JSON and protobuf have them


def from_list(tensor: ServedTensor, shape: tuple[int, ...], data: object, *, infinite: bool = False) -> Array:
    """The array that a list of elements is, flat or nested as the shape says. No element is changed to fit.

    infinite  whether NaN and infinity are elements: in JSON they come of numbers that are too large
    """
    if not isinstance(data, list):
        raise invalid(f"input '{tensor.name}': its data is no list")
    try:
        # Whole numbers beyond 63 bits have no one type in NumPy that all its releases choose.
        array = np.array(data, object if tensor.dtype in ("uint64", "string") else None)
    except (ValueError, TypeError, OverflowError, RecursionError, MemoryError):
        raise invalid(f"input '{tensor.name}': its data is no list of {tensor.datatype}, or its rows differ") from None
    count = math.prod(shape)
    if array.shape != shape and (array.ndim != 1 or array.size != count):
        found = f"{array.size} elements" if array.ndim == 1 else f"shape {_short(array.shape)}"
        raise invalid(f"input '{tensor.name}': its data has {found}, {_short(shape)} has {count} elements")
    return _converted(tensor, array.ravel(), infinite).reshape(shape)


def _converted(tensor: ServedTensor, array: Array, infinite: bool) -> Array:
    """Elements, in one row, as the input's type; a Refusal where one of them is of another kind or does not fit."""
    refused = invalid(f"input '{tensor.name}': its data is not all {tensor.datatype}")
    if array.size == 0:
        return array.astype(tensor.numpy)
    if tensor.dtype == "string":
        if not all(isinstance(item, (str, bytes)) for item in array):
            raise refused
        encoded = [item if isinstance(item, bytes) else item.encode(errors="surrogatepass") for item in array]
        return _texts(tensor, encoded)
    if array.dtype == object:
        if tensor.dtype != "uint64" or not all(type(item) is int and 0 <= item < 1 << 64 for item in array):
            raise refused
        return array.astype(np.uint64)
    kind = array.dtype.kind
    if tensor.dtype == "bool":
        if kind != "b":
            raise refused
        return array
    if tensor.dtype in FLOATING:
        if kind not in "iuf":
            raise refused
        with np.errstate(over="ignore"):
            numbers = array.astype(tensor.numpy)
        if not infinite and not np.isfinite(numbers).all():
            raise refused
        return numbers
    if kind not in "iu":
        raise refused
    limits = np.iinfo(tensor.numpy)
    if int(array.min()) < limits.min or int(array.max()) > limits.max:
        raise refused
    return array.astype(tensor.numpy)


def to_list(tensor: ServedTensor, array: Array) -> list[Any]:
    """The elements of an output in a row; a Refusal for those that JSON has no spelling for."""
    if array.dtype == object:
        try:
            return [item.decode() if isinstance(item, bytes) else str(item) for item in array.ravel()]
        except UnicodeDecodeError:
            raise invalid(f"output '{tensor.name}': it is not UTF-8; ask for binary_data") from None
    if tensor.dtype in FLOATING and not np.isfinite(array).all():
        raise invalid(f"output '{tensor.name}': it holds NaN or infinity, which JSON cannot say; ask for binary_data")
    flat: list[Any] = array.ravel().tolist()
    return flat
