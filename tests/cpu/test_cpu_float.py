"""Every float op that code is made for, against its NumPy meaning."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cpu_regions import Layers
from onnx import parser

import intarsia
from intarsia_backends.lowering.ops.activations import PLAIN

CONVOLUTIONS: list[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    ((1, 3, 9, 11), (16, 3, 3, 3), {"pads": (1, 1, 1, 1)}),
    ((2, 5, 8, 8), (10, 5, 3, 3), {}),
    ((1, 8, 14, 14), (33, 8, 1, 1), {}),
    ((1, 16, 7, 7), (24, 16, 1, 1), {"strides": (2, 2)}),
    ((1, 4, 12, 12), (8, 4, 5, 3), {"strides": (2, 1), "pads": (2, 0, 1, 1)}),
    ((1, 4, 12, 12), (6, 4, 3, 3), {"dilations": (2, 3)}),
    ((1, 12, 10, 10), (12, 1, 3, 3), {"group": 12, "pads": (1, 1, 1, 1)}),
    ((1, 12, 11, 17), (12, 1, 5, 5), {"group": 12, "strides": (2, 2), "pads": (2, 2, 2, 2)}),
    ((2, 6, 9, 9), (12, 1, 3, 3), {"group": 6}),
    ((1, 8, 9, 9), (12, 2, 3, 3), {"group": 4, "pads": (1, 1, 1, 1)}),
    ((1, 6, 20, 20), (1, 6, 3, 3), {"pads": (1, 1, 1, 1)}),
    ((1, 5, 40), (7, 5, 9), {"pads": (4, 4), "strides": (2,)}),
    ((1, 3, 5, 6, 7), (4, 3, 2, 3, 3), {"pads": (0, 1, 1, 1, 1, 1)}),
    ((1, 10, 1, 1), (20, 10, 1, 1), {}),
]


def full(shape: tuple[int, ...], attributes: dict[str, Any]) -> dict[str, Any]:
    """Every attribute written out, as the importer does."""
    spatial = len(shape) - 2
    return {
        "kernel_shape": shape[2:],
        "strides": (1,) * spatial,
        "pads": (0,) * (2 * spatial),
        "dilations": (1,) * spatial,
        "group": 1,
        **attributes,
    }


def test_convolutions() -> None:
    layers = Layers()
    activations: list[tuple[str, tuple[float, ...]]] = [("Relu", ()), ("Clip", (0.0, 6.0)), ("HardSwish", ()), ("", ())]
    for index, (x, w, attributes) in enumerate(CONVOLUTIONS):
        name, arguments = activations[index % 4]
        fused = {"activation": name, "activation_arguments": arguments} if name else {}
        inputs = [layers.floats(*x), layers.floats(*w), layers.floats(w[0]) if index % 3 else None]
        layers.add("Conv", inputs, {**full(w, attributes), **fused}, constants=(1, 2))
    layers.check()


def test_transposed_convolutions() -> None:
    layers = Layers()
    cases: list[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
        ((1, 4, 5, 5), (4, 6, 2, 2), {"strides": (2, 2)}),
        ((1, 4, 5, 6), (4, 3, 3, 3), {"strides": (2, 1), "pads": (1, 1, 1, 1), "output_padding": (1, 0)}),
        ((1, 6, 4, 4), (6, 2, 3, 3), {"group": 3, "dilations": (2, 1)}),
        ((2, 3, 9), (3, 5, 4), {"strides": (3,), "pads": (1, 2)}),
    ]
    for x, w, attributes in cases:
        attributes = full(w, {"output_padding": (0,) * (len(x) - 2), **attributes})
        layers.add("ConvTranspose", [layers.floats(*x), layers.floats(*w)], attributes, constants=(1,))
    layers.check()


def test_matrix_products() -> None:
    layers = Layers()
    for rows, depth, outputs in [(1, 640, 128), (1, 128, 8), (7, 33, 50), (128, 24, 65)]:
        x, w, b = layers.floats(rows, depth), layers.floats(depth, outputs), layers.floats(outputs)
        layers.add("dense", [x, w, b], {"activation": "Relu", "activation_arguments": ()}, constants=(1, 2))
        layers.add("MatMul", [x, w], constants=(1,))
        layers.add("Gemm", [x, w.T.copy(), b], {"transB": 1, "alpha": 0.5, "beta": 2.0}, constants=(1, 2))
    layers.add("dense", [layers.floats(2, 3, 20), layers.floats(20, 12)], constants=(1,))
    layers.add("MatMul", [layers.floats(2, 3, 20, 7), layers.floats(3, 7, 18)])
    layers.add("MatMul", [layers.floats(7), layers.floats(7, 4)])
    layers.add("MatMul", [layers.floats(2, 5, 7), layers.floats(7)])
    layers.add("MatMul", [layers.floats(9), layers.floats(9)])
    layers.add("Gemm", [layers.floats(6, 5), layers.floats(6, 9), layers.floats(5, 1)], {"transA": 1})
    layers.check()


def test_unary_functions() -> None:
    layers = Layers()
    wide = np.concatenate([np.linspace(-30, 30, 173), [0.0, -0.0, np.inf, -np.inf, np.nan]]).astype(np.float32)
    domains = {
        "Sqrt": np.abs(wide),
        "Log": np.abs(wide),
        "Exp": np.concatenate([wide, np.linspace(-110, 88.7, 99)]).astype(np.float32),
        "Asin": np.linspace(-1, 1, 41).astype(np.float32),
        "Acos": np.linspace(-1, 1, 41).astype(np.float32),
        "Sinh": np.linspace(-5, 5, 41).astype(np.float32),
        "Cosh": np.linspace(-5, 5, 41).astype(np.float32),
        "Tan": np.linspace(-1.5, 1.5, 41).astype(np.float32),
    }
    finite = np.linspace(-20, 20, 97).astype(np.float32)
    for name in PLAIN:
        special = name in ("Sin", "Cos", "HardSwish", "Mish", "Softsign", "Softplus", "Erf")
        layers.add(name, [domains.get(name, finite if special else wide)])
    with_attributes: list[tuple[str, dict[str, Any]]] = [
        ("Relu", {}),
        ("LeakyRelu", {"alpha": 0.3}),
        ("Elu", {"alpha": 1.5}),
        ("Celu", {"alpha": 0.7}),
        ("Selu", {}),
        ("HardSigmoid", {"alpha": 0.25, "beta": 0.4}),
        ("ThresholdedRelu", {"alpha": 0.6}),
        ("Reciprocal", {}),
        ("Gelu", {}),
        ("Gelu", {"approximate": "tanh"}),
    ]
    for name, attributes in with_attributes:
        finite = np.linspace(-20, 20, 98).astype(np.float32)
        layers.add(name, [finite], attributes, opset=20)
    layers.check(tolerance=1e-5)


def test_exponential_is_close_in_every_binade() -> None:
    layers = Layers()
    x = np.concatenate([np.linspace(-103, 88.7, 5000), np.logspace(-8, 1.9, 500)]).astype(np.float32)
    layers.add("Exp", [x])
    (actual,) = layers.run().outputs
    expected = np.exp(x.astype(np.float64))
    assert np.abs(actual / np.maximum(expected, 1e-37) - np.where(expected > 1e-37, 1, expected / 1e-37)).max() < 3e-7


def test_binary_functions_broadcast() -> None:
    layers = Layers()
    shapes = [((2, 3, 4), (2, 3, 4)), ((2, 3, 4), (4,)), ((2, 3, 4), (1, 3, 1)), ((5, 1), (1, 6)), ((3,), ())]
    for op in ("Add", "Sub", "Mul", "Div"):
        for a, b in shapes:
            layers.add(op, [layers.floats(*a), layers.floats(*b) + np.float32(3)])
    fused = {"activation": "Relu", "activation_arguments": ()}
    layers.add("Add", [layers.floats(2, 40), layers.floats(2, 40)], fused)
    for op in ("Min", "Max", "Sum", "Mean"):
        layers.add(op, [layers.floats(3, 4), layers.floats(4), layers.floats(3, 1)])
    for op in ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"):
        layers.add(op, [layers.random.integers(0, 3, (5, 6)).astype(np.float32), np.ones((5, 6), np.float32)])
        layers.add(op, [layers.random.integers(0, 3, (5, 6)), np.ones((6,), np.int64)])
    positive = np.abs(layers.floats(3, 4)) + np.float32(0.1)
    for power in (2.0, 3.0, 0.5, 1.7):
        layers.add("Pow", [positive, np.array(power, np.float32)], constants=(1,))
    layers.add("Pow", [positive, layers.floats(3, 4)])
    flags = [layers.random.integers(0, 2, (4, 5)).astype(bool) for _ in range(2)]
    for op in ("And", "Or", "Xor", "Equal"):
        layers.add(op, flags)
    layers.add("Not", flags[:1])
    layers.add("Where", [flags[0], layers.floats(5), layers.floats(4, 1)])
    layers.add("PRelu", [layers.floats(1, 3, 4, 4), np.abs(layers.floats(3, 1, 1))])
    for low, high in ((-0.5, 0.5), (None, 0.2), (0.0, None)):
        bounds = [None if bound is None else np.array(bound, np.float32) for bound in (low, high)]
        layers.add("Clip", [layers.floats(30), *bounds], constants=(1, 2))
    for dtype in (np.int32, np.int64):
        for op in ("Add", "Sub", "Mul", "Min", "Max"):
            layers.add(op, [layers.random.integers(-9, 9, (3, 4)).astype(dtype) for _ in range(2)])
    layers.check()


def test_casts() -> None:
    layers = Layers()
    numbers = layers.random.integers(-100, 100, 50)
    for source in (np.float32, np.float64, np.int8, np.int32, np.int64):
        for to, target in ((1, np.float32), (11, np.float64), (6, np.int32), (7, np.int64), (9, np.bool_)):
            if source != target:
                layers.add("Cast", [numbers.astype(source)], {"to": to})
    layers.add("Cast", [numbers > 0], {"to": 1})
    layers.check()


def test_batch_normalization() -> None:
    layers = Layers()
    statistics = [layers.floats(5) for _ in range(3)] + [np.abs(layers.floats(5))]
    layers.add(
        "BatchNormalization", [layers.floats(2, 5, 6, 6), *statistics], {"epsilon": 1e-3}, constants=(1, 2, 3, 4)
    )
    layers.add("BatchNormalization", [layers.floats(2, 5), *statistics], {"epsilon": 1e-5}, constants=(1, 2, 3, 4))
    layers.check()


def test_pools() -> None:
    layers = Layers()
    cases: list[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
        ((1, 3, 8, 8), (2, 2), {"strides": (2, 2)}),
        ((2, 3, 13, 17), (3, 3), {"strides": (1, 1), "pads": (1, 1, 1, 1)}),
        ((1, 4, 15, 15), (3, 2), {"strides": (2, 2), "pads": (1, 0, 1, 1), "ceil_mode": 1}),
        ((1, 2, 30), (5,), {"strides": (2,), "pads": (2, 2)}),
        ((1, 2, 5, 6, 7), (2, 2, 3), {"strides": (1, 2, 1)}),
        ((1, 2, 9, 9), (7, 7), {"strides": (1, 1)}),
    ]
    for op in ("MaxPool", "AveragePool"):
        for x, kernel, attributes in cases:
            spatial = len(kernel)
            attributes = {"pads": (0,) * (2 * spatial), "dilations": (1,) * spatial, **attributes}
            attributes = {"kernel_shape": kernel, "ceil_mode": 0, **attributes}
            layers.add(op, [layers.floats(*x)], attributes, opset=19)
            if op == "AveragePool":
                layers.add(op, [layers.floats(*x)], {**attributes, "count_include_pad": 1}, opset=19)
    layers.add("GlobalAveragePool", [layers.floats(2, 5, 7, 7)])
    layers.add("GlobalAveragePool", [layers.floats(1, 20, 2, 3)])
    layers.add("GlobalMaxPool", [layers.floats(2, 5, 9, 9)])
    layers.check()


@pytest.mark.parametrize("op", ["Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "SumSquare"])
def test_reductions(op: str) -> None:
    layers = Layers()
    for axes in [(1,), (-1,), (0, 2), None, (1, 2, 3), (0,)]:
        for keep in (0, 1):
            inputs = [layers.floats(3, 4, 5, 37), None if axes is None else np.array(axes)]
            layers.add(f"Reduce{op}", inputs, {"keepdims": keep}, constants=(1,), opset=18)
    layers.check()


def test_softmax_and_normalization() -> None:
    layers = Layers()
    for shape, axis in [((3, 10), -1), ((2, 5, 7), 1), ((1, 4, 100), 2), ((6,), 0)]:
        layers.add("Softmax", [layers.floats(*shape) * np.float32(20)], {"axis": axis})
        layers.add("LogSoftmax", [layers.floats(*shape) * np.float32(20)], {"axis": axis})
    layers.add("Softmax", [layers.floats(2, 3, 4)], {"axis": 1}, opset=11)
    x, scale, shift = layers.floats(4, 6, 20), layers.floats(20), layers.floats(20)
    layers.add("LayerNormalization", [x, scale, shift], {"axis": -1, "epsilon": 1e-6})
    layers.add("LayerNormalization", [x, scale], {"axis": -1, "epsilon": 1e-6})
    layers.add("InstanceNormalization", [layers.floats(2, 3, 5, 6), layers.floats(3), layers.floats(3)])
    layers.check()


@pytest.mark.parametrize(
    "body",
    [
        "a = Add (x, c) y = Sub (a, c)",
        "a = Add (c, x) y = Sub (a, x)",
        "y = Sub (x, x)",
        "a = Mul (x, c) b = Mul (x, c) y = Sub (a, b)",
        "a = Sub (c, x) y = Sub (c, a)",
        "e = Equal (x, x) y = Cast <to = 1> (e)",
        "e = LessOrEqual (x, x) y = Cast <to = 1> (e)",
        "e = GreaterOrEqual (x, x) y = Cast <to = 1> (e)",
    ],
)
def test_floats_are_no_algebra(body: str) -> None:
    """12582912 = 3 * 2**22 rounds what is added to it; NaN is not equal to itself, and infinity less itself is NaN."""
    text = '<ir_version: 9, opset_import: ["" : 17]> g (float[6] x) => (float[6] y) <float c = {12582912.0}>'
    x = np.array([0.3, 1.6, -2.7, np.nan, np.inf, -0.0], np.float32)
    artifact = intarsia.compile_model(parser.parse_model(f"{text} {{ {body} }}"), target="cpu")
    with np.errstate(all="ignore"):
        wanted = intarsia.load(artifact, native=False).run(x=x)[0]
    np.testing.assert_array_equal(intarsia.load(artifact).run(x=x)[0], wanted)
