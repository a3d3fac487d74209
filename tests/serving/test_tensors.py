"""Elements of every type as bytes and as lists: there and back, and what does not fit."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest

from intarsia.dtypes import numpy_dtype
from intarsia.errors import RunError
from intarsia.runtime.arguments import TensorInfo
from intarsia.serving.refusal import Refusal
from intarsia.serving.tensors import DATATYPES, ServedTensor, from_bytes, from_list, served, to_bytes, to_list


def tensor(dtype: str) -> ServedTensor:
    return ServedTensor("x", dtype, (None, 2))


LEAST_AND_GREATEST: dict[str, list[Any]] = {
    "bool": [False, True],
    "string": ["", "a \u00fc \U0001f600"],
    "float16": [-65504.0, 6.103515625e-05],
    "bfloat16": [-(2.0**127), 0.5],
    "float32": [-3.4028234663852886e38, 1.401298464324817e-45],
    "float64": [-1.7976931348623157e308, 5e-324],
    **{
        name: [int(np.iinfo(name).min), int(np.iinfo(name).max)]
        for name in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
    },
}


@pytest.mark.parametrize("dtype", DATATYPES)
def test_elements_go_there_and_back(dtype: str) -> None:
    x, elements = tensor(dtype), LEAST_AND_GREATEST[dtype]
    array = from_list(x, (1, 2), [elements])
    assert array.dtype == numpy_dtype(dtype) and array.shape == (1, 2)
    assert to_list(x, array) == elements
    again = from_bytes(x, (1, 2), bytes(to_bytes(array)))
    assert again.dtype == array.dtype and to_list(x, again) == elements


def test_texts_have_their_lengths_before_them() -> None:
    raw = struct.pack("<I", 2) + b"ab" + struct.pack("<I", 0)
    array = from_bytes(tensor("string"), (1, 2), raw)
    assert array.tolist() == [["ab", ""]] and to_bytes(array) == raw


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        struct.pack("<I", 1) + b"a",
        (struct.pack("<I", 1) + b"a") * 3,
        struct.pack("<I", 1) + b"a" + struct.pack("<I", 2) + b"b",
        struct.pack("<I", 1) + b"a\0\0",
        struct.pack("<I", 0xFFFFFFFF) * 2,
        (struct.pack("<I", 1) + b"\xff") * 2,
    ],
    ids=["nothing", "one", "three", "cut within a text", "cut within a length", "4 GB", "no UTF-8"],
)
def test_texts_that_are_none_are_refused(raw: bytes) -> None:
    with pytest.raises(Refusal):
        from_bytes(tensor("string"), (1, 2), raw)


@pytest.mark.parametrize("size", [0, 7, 9])
def test_bytes_of_another_number_are_refused(size: int) -> None:
    with pytest.raises(Refusal, match="8 bytes"):
        from_bytes(tensor("float32"), (1, 2), bytes(size))


def test_sizes_do_not_wrap_round() -> None:
    with pytest.raises(Refusal):
        from_bytes(ServedTensor("x", "int8", None), (1 << 32, 1 << 32), b"")


def test_truths_are_0_or_1() -> None:
    assert from_bytes(tensor("bool"), (1, 2), b"\0\1").tolist() == [[False, True]]
    with pytest.raises(Refusal):
        from_bytes(tensor("bool"), (1, 2), b"\0\2")


@pytest.mark.parametrize(
    ("dtype", "data"),
    [
        ("int8", [0, 128]),
        ("uint8", [-1, 0]),
        ("int64", [0, 1 << 63]),
        ("uint64", [0, 1 << 64]),
        ("uint64", [-1, 0]),
        ("uint64", [0, 1.0]),
        ("uint64", [0, True]),
        ("int32", [0, 0.5]),
        ("int32", [1.0, 2.0]),
        ("int32", [True, False]),
        ("int32", ["1", "2"]),
        ("int32", [None, None]),
        ("bool", [0, 1]),
        ("float32", [0.0, 1e39]),
        ("float16", [0.0, 65536.0]),
        ("float32", [True, False]),
        ("float32", ["0", "1"]),
        ("string", [0, 1]),
        ("string", ["a", None]),
        ("string", ["\ud800", ""]),
        ("float32", [[1.0], [1.0, 2.0]]),
        ("string", [["a"], ["b", "c"]]),
        ("float32", [[[[1.0], [2.0]]]]),
        ("float32", 1.0),
        ("float32", "12"),
        ("float32", None),
    ],
)
def test_elements_of_another_kind_are_refused(dtype: str, data: object) -> None:
    with pytest.raises(Refusal):
        from_list(tensor(dtype), (1, 2), data)


def test_whole_numbers_are_floats_too() -> None:
    assert from_list(tensor("float32"), (1, 2), [1, 2]).tolist() == [[1.0, 2.0]]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_json_cannot_say_is_refused_in_json_alone(value: float) -> None:
    array = np.array([[value, 1]], np.float32)
    with pytest.raises(Refusal, match="binary_data"):
        to_list(tensor("float32"), array)
    assert from_bytes(tensor("float32"), (1, 2), bytes(to_bytes(array))).tobytes() == array.tobytes()
    assert from_list(tensor("float32"), (1, 2), [value, 1], infinite=True).tobytes() == array.tobytes()


def test_types_that_the_protocol_has_not_are_told_at_load() -> None:
    with pytest.raises(RunError, match="no such element type"):
        served(TensorInfo("x", "complex64", (1, 2)), True)
    assert str(served(TensorInfo("x", "uint8", (1, 2)), True)) == "UINT8[-1, 2]"
    assert str(served(TensorInfo("x", "uint8", (1, 2)), False)) == "UINT8[1, 2]"
