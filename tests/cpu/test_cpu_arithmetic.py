"""Whole numbers, bits and odd floats: exactly what the NumPy meaning gives, divisions by zero included."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cpu_regions import Layers

INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")


def edge_numbers(dtype: str) -> tuple[Any, Any]:
    """Pairs of all interesting numbers of a type."""
    limits = np.iinfo(dtype)
    few = np.array([limits.min, limits.min + 1, limits.max, 0, 1, 2, 7, 100], dtype)
    if limits.min < 0:
        few = np.concatenate([few, np.array([-1, -2, -7], dtype)])
    a, b = np.meshgrid(few, few)
    return a.reshape(-1).copy(), b.reshape(-1).copy()


@pytest.mark.parametrize("dtype", INTEGERS)
def test_division_and_bits(dtype: str) -> None:
    made = Layers()
    a, b = edge_numbers(dtype)
    made.add("Div", [a, b])
    for fmod in (0, 1):
        made.add("Mod", [a, b], {"fmod": fmod})
    for op in ("BitwiseAnd", "BitwiseOr", "BitwiseXor"):
        made.add(op, [a, b])
    made.add("BitwiseNot", [a])
    bits = np.dtype(dtype).itemsize * 8
    counts = np.resize(np.array([0, 1, 5, bits - 1, bits, 100]), a.shape).astype(dtype)
    for direction in ("LEFT", "RIGHT"):
        made.add("BitShift", [a, counts], {"direction": direction})
    for op in ("ReduceMax", "ReduceMin"):
        made.add(op, [a[None], np.array([1])], constants=(1,))
    if bits >= 32:
        for op in ("ReduceSum", "ReduceProd"):
            made.add(op, [made.random.integers(0, 9, (3, 4, 5)).astype(dtype), np.array([0, 2])], constants=(1,))
    made.check(exact=True)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_questions_and_remainders(dtype: str) -> None:
    made = Layers()
    odd = np.array([0.0, -0.0, 1.5, -2.25, np.inf, -np.inf, np.nan, 1e30], dtype)
    made.add("IsNaN", [odd])
    for positive in (0, 1):
        for negative in (0, 1):
            made.add("IsInf", [odd], {"detect_positive": positive, "detect_negative": negative})
    a, b = np.meshgrid(np.array([4.3, -4.3, 7.2, 0.0], dtype), np.array([2.1, -2.1, 3.4], dtype))
    for fmod in (0, 1):
        made.add("Mod", [a.copy(), b.copy()], {"fmod": fmod})
    made.add("Div", [a.copy(), b.copy()])
    made.add("Shrink", [np.linspace(-3, 3, 25).astype(dtype)], {"lambd": 1.0, "bias": 0.5})
    made.check(tolerance=1e-6)


def test_casts_and_powers() -> None:
    made = Layers()
    floats = np.array([0.0, 1.9, -1.9, 127.0, 255.0, -128.0, 300.0, -300.0, 70000.0], np.float32)
    for number, dtype in ((2, "uint8"), (3, "int8"), (4, "uint16"), (5, "int16"), (6, "int32"), (12, "uint32")):
        source = floats if dtype in ("int32",) else np.abs(floats) if dtype == "uint32" else floats
        made.add("Cast", [source], {"to": number})
        made.add("CastLike", [source, np.zeros(1, dtype)])
    made.add("CastLike", [np.array([0.0, 2.0], np.float32), np.zeros(1, np.bool_)])
    made.add("Pow", [np.array([1.0, 2.0, 3.0], np.float32), np.array([4, 5, 6])])
    made.add("Pow", [np.array([1.0, 2.0, 3.0], np.float64), np.array([4, 5, 6], np.float32)])
    made.add("BitCast", [floats], {"to": 6}, opset=26)
    made.check(exact=True)


def test_inverse_hyperbolic_functions() -> None:
    made = Layers()
    for dtype in (np.float32, np.float64):
        made.add("Asinh", [np.linspace(-20, 20, 41).astype(dtype)])
        made.add("Acosh", [np.linspace(1, 20, 41).astype(dtype)])
        made.add("Atanh", [np.linspace(-0.99, 0.99, 41).astype(dtype)])
    made.check(tolerance=1e-6)
