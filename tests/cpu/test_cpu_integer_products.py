"""ONNX's products of bytes, byte for byte as their NumPy meaning."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cpu_regions import Layers

WINDOWS: list[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    ((1, 3, 9, 11), (8, 3, 3, 3), {"pads": (1, 1, 1, 1)}),
    ((2, 4, 8, 8), (6, 2, 3, 3), {"group": 2, "strides": (2, 1)}),
    ((1, 6, 10), (6, 1, 3), {"group": 6, "dilations": (2,), "pads": (2, 0)}),
    ((1, 5, 7, 7), (4, 5, 1, 1), {}),
]


def integers(made: Layers, dtype: str, *shape: int) -> Any:
    limits = np.iinfo(dtype)
    return made.random.integers(limits.min, limits.max + 1, shape).astype(dtype)


def full(w: tuple[int, ...], attributes: dict[str, Any]) -> dict[str, Any]:
    count = len(w) - 2
    plain = {"strides": (1,) * count, "pads": (0,) * (2 * count), "dilations": (1,) * count, "group": 1}
    return {"kernel_shape": w[2:], **plain, **attributes}


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_convolutions(dtype: str) -> None:
    made = Layers()
    for x, w, attributes in WINDOWS:
        facts, kind = full(w, attributes), "int8"
        data, weights = integers(made, dtype, *x), integers(made, kind, *w)
        zero, w_zero = np.array(7, dtype), np.zeros((), kind)
        made.add("ConvInteger", [data, weights], facts, constants=(1,))
        made.add("ConvInteger", [data, weights, zero, np.array(-3, kind)], facts, constants=(1, 2, 3))
        made.add("ConvInteger", [data, weights, zero], facts)
        scales = [np.array(number, np.float32) for number in (0.02, 0.013, 0.4)]
        per_channel = made.random.uniform(0.001, 0.02, w[0]).astype(np.float32)
        bias = made.random.integers(-5000, 5000, w[0]).astype(np.int32)
        inputs = [data, scales[0], zero, weights, scales[1], w_zero, scales[2], np.array(11, dtype)]
        made.add("QLinearConv", inputs, facts, constants=range(1, 8))
        inputs[4], inputs[5] = per_channel, np.zeros(w[0], kind)
        made.add("QLinearConv", [*inputs, bias], facts, constants=range(1, 9))
        made.add("QLinearConv", [*inputs, bias], facts)
    made.check(exact=True)


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_matrix_products(dtype: str) -> None:
    made = Layers()
    for left, right in (((5, 7), (7, 40)), ((2, 3, 4, 7), (3, 7, 5)), ((1, 9), (9, 33)), ((6, 8), (8,))):
        a, b = integers(made, dtype, *left), integers(made, dtype, *right)
        zero = np.array(9, dtype)
        made.add("MatMulInteger", [a, b])
        made.add("MatMulInteger", [a, b, zero], constants=(1, 2))
        made.add("MatMulInteger", [a, b, zero, np.array(3, dtype)])
        if len(right) > 1:
            rows = integers(made, dtype, left[-2])
            made.add("MatMulInteger", [a, b, rows, integers(made, dtype, right[-1])])
        scale = np.array(0.01, np.float32)
        made.add("QLinearMatMul", [a, scale, zero, b, scale, zero, np.array(0.5, np.float32), np.array(1, dtype)])
    a, b = integers(made, dtype, 5, 7), integers(made, dtype, 7, 6)
    several = [np.linspace(0.01, 0.05, count).astype(np.float32) for count in (5, 6)]
    zeros = [integers(made, dtype, count) for count in (5, 6)]
    made.add(
        "QLinearMatMul", [a, several[0], zeros[0], b, several[1], zeros[1], np.array(3, np.float32), np.array(1, dtype)]
    )
    made.check(exact=True)
