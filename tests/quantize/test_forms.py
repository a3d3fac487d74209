"""Moves keep every number; ops that leave the bounds of their integer form say which bound."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from floats import Floats

from intarsia.ir.evaluate import evaluate
from intarsia.ir.graph import Value
from intarsia.ir.integer import dequantize_linear, quantize_linear
from intarsia.ir.types import TensorType
from intarsia.ir.verify import verify
from intarsia.passes.quantize import Ranges, calibrate, quantize

Build = Callable[[Floats, Value], Value]


def integers(net: Floats, *numbers: int) -> Value:
    return net.constant("i", list(numbers), "int64")


MOVES: dict[str, Build] = {
    "Flatten": lambda net, a: net.node("Flatten", [a], "m", axis=2),
    "Squeeze": lambda net, a: net.node("Squeeze", [a, integers(net, 0)], "m"),
    "Unsqueeze": lambda net, a: net.node("Unsqueeze", [a, integers(net, 2)], "m"),
    "Slice": lambda net, a: net.node(
        "Slice", [a, integers(net, 1), integers(net, 6), integers(net, 2), integers(net, 2)], "m"
    ),
    "Gather": lambda net, a: net.node("Gather", [a, integers(net, 3, 0, 1)], "m", axis=1),
    "Expand": lambda net, a: net.node("Expand", [a, integers(net, 2, 4, 6, 6)], "m"),
    "Tile": lambda net, a: net.node("Tile", [a, integers(net, 1, 2, 1, 1)], "m"),
    "DepthToSpace": lambda net, a: net.node("DepthToSpace", [a], "m", blocksize=2),
    "Pad": lambda net, a: net.node(
        "Pad", [a, integers(net, 0, 0, 1, 0, 0, 0, 0, 2), net.constant("fill", 0.25)], "m", mode="constant"
    ),
    "Resize": lambda net, a: net.node(
        "Resize", [a, None, net.constant("scales", [1, 1, 2, 2])], "m", mode="nearest", nearest_mode="floor",
        coordinate_transformation_mode="asymmetric",
    ),
    "GlobalMaxPool": lambda net, a: net.node("GlobalMaxPool", [a], "m"),
}  # fmt: skip


@pytest.mark.parametrize("op", MOVES)
def test_a_move_changes_no_number(op: str) -> None:
    net = Floats(1, 4, 6, 6)
    net.done(net.node("Sigmoid", [MOVES[op](net, net.conv(net.x, 4, 3, "a"))], "y"))
    samples = net.samples()
    twin = net.graph.copy()
    outcome = quantize(twin, calibrate(net.graph, samples))
    verify(twin, "quantized")
    assert not outcome.refusals
    assert [node.op for node in twin.nodes][2] == ("MaxPool" if op == "GlobalMaxPool" else op)
    for sample in samples:
        assert np.abs(evaluate(net.graph, sample)[0] - evaluate(twin, sample)[0]).max() < 0.03


@pytest.mark.parametrize("keepdims", [0, 1])
def test_mean_over_all_places_is_a_pool(keepdims: int) -> None:
    net = Floats(1, 4, 6, 6)
    net.done(net.node("ReduceMean", [net.x, integers(net, -1, 2)], "y", keepdims=keepdims))
    sample = net.samples(1)[0]
    twin = net.graph.copy()
    quantize(twin, calibrate(net.graph, [sample]))
    verify(twin, "quantized")
    assert [node.op for node in twin.nodes][1] == "qaveragepool"
    assert np.abs(evaluate(net.graph, sample)[0] - evaluate(twin, sample)[0]).max() < 0.03


def test_split_gives_each_part_the_scale() -> None:
    net = Floats(1, 4, 6, 6)
    a = net.conv(net.x, 4, 3, "a")
    half = TensorType("float32", (1, 2, 6, 6))
    split = net.graph.add_node("Split", [a], [half, half], {"axis": 1, "num_outputs": 2}, name="s", opset=18)
    first, second = split.outputs
    assert first is not None and second is not None
    net.done(net.conv(first, 2, 1, "y"), net.conv(second, 2, 1, "z"))
    samples = net.samples()
    twin = net.graph.copy()
    quantize(twin, calibrate(net.graph, samples))
    verify(twin, "quantized")
    assert [node.op for node in twin.nodes].count("qconv") == 3
    for real, close in zip(evaluate(net.graph, samples[0]), evaluate(twin, samples[0])):
        assert np.abs(real - close).max() < 0.05 * np.ptp(real)


POOL = {"kernel_shape": (3, 3), "strides": (2, 2)}


def _nan_weight(net: Floats, a: Value) -> Value:
    y = net.conv(a, 4, 1, "y")
    y.producer.input(1).data[0, 0] = np.nan  # type: ignore[union-attr,index]
    return y


def _prelu(slope: object) -> Build:
    return lambda net, a: net.node("PRelu", [a, net.constant("slope", slope)], "y")


REFUSED: dict[str, tuple[Build, str]] = {
    "average-border": (
        lambda net, a: net.node("AveragePool", [a], "y", pads=(1, 1, 1, 1), **POOL),
        "its divisor changes at the border (count_include_pad is 0)",
    ),
    "average-ceil": (
        lambda net, a: net.node("AveragePool", [a], "y", pads=(0, 0, 0, 0), ceil_mode=1, **POOL),
        "its last window reaches over the border (ceil_mode)",
    ),
    "mean-over-channels": (
        lambda net, a: net.node("ReduceMean", [a, integers(net, 1)], "y", keepdims=1),
        "it does not run over all spatial axes and no other",
    ),
    "resize-linear": (
        lambda net, a: net.node("Resize", [a, None, net.constant("scales", [1, 1, 2, 2])], "y", mode="linear"),
        "it interpolates (linear); only nearest has an integer form",
    ),
    "conv-of-weights": (
        lambda net, a: net.node(
            "Conv", [a, a], "y", kernel_shape=(6, 6), strides=(1, 1), pads=(0,) * 4, dilations=(1, 1), group=1
        ),
        "its weights are computed at run time",
    ),
    "nan-weights": (_nan_weight, "its weights hold NaN or infinity"),
    "prelu-places": (_prelu(np.linspace(0, 1, 6)), "its slope differs from place to place"),
    "prelu-infinite": (_prelu([np.inf]), "its slope holds NaN or infinity"),
    "two-tensors": (
        lambda net, a: net.node("Div", [a, net.x], "y"),
        "it combines tensors in a way that no integer op does",
    ),
    "matmul": (
        lambda net, a: net.node("MatMul", [a, a], "y"),
        "both of its operands are computed at run time, or it is no product with one matrix",
    ),
    "infinite-constant": (
        lambda net, a: net.node("Add", [a, net.constant("k", [np.inf, 0, 0, 0, 0, 0])], "y"),
        "its constant holds NaN or infinity",
    ),
}


@pytest.mark.parametrize("slopes", [(0.1, 0.25, 0.0, 0.7), (0.1, -0.25, 1.5, 0.3), (-0.1, -0.2, -0.3, -4.0)])
def test_prelu_with_a_slope_for_each_channel(slopes: tuple[float, ...]) -> None:
    """Every output is the nearest integer, or next to it where the exact one lies close to the middle of two."""
    net = Floats(1, 4, 16, 16)
    net.done(_prelu(np.array(slopes).reshape(4, 1, 1))(net, net.x))
    samples = net.samples()
    twin = net.graph.copy()
    outcome = quantize(twin, calibrate(net.graph, samples))
    ops = [node.op for node in twin.nodes]
    assert not outcome.refusals and ops.count("qconv") == ops.count("qadd") == 1
    assert ops.count("lookup") == (1 if min(slopes) >= 0 else 2)
    first, last = twin.nodes[0].output.quantization, twin.nodes[-1].input(0).quantization
    assert first is not None and last is not None
    for sample in samples:
        (made,) = evaluate(twin, sample)
        x = dequantize_linear(
            quantize_linear(sample["x"], first.scale, first.zero_point), first.scale, first.zero_point
        )
        exact = np.where(x < 0, x * np.array(slopes, np.float32).reshape(4, 1, 1), x)
        inside = np.clip(exact, *((np.array([-128, 127]) - last.zero_point) * last.scale))
        assert np.abs(made - inside).max() <= 0.51 * last.scale


def test_prelu_of_rows_stays_float() -> None:
    net = Floats(3, 4)
    net.done(_prelu([0.1, 0.2, 0.3, 0.4])(net, net.x))
    outcome = quantize(net.graph, Ranges({"x": (-1.0, 1.0), "y": (-1.0, 1.0)}, 1))
    assert outcome.refusals[0].reason == "its slope differs from channel to channel, and it has no spatial axis"


@pytest.mark.parametrize("case", REFUSED)
def test_refusal(case: str) -> None:
    build, reason = REFUSED[case]
    net = Floats(1, 4, 6, 6)
    net.done(build(net, net.conv(net.x, 4, 1, "a")))
    bounds = {value.name: (-1.0, 1.0) for value in net.graph.values()}
    outcome = quantize(net.graph, Ranges(bounds, 1))
    verify(net.graph, "quantized")
    assert [refusal.reason for refusal in outcome.refusals] == [reason]


def test_softmax_over_several_axes_stays_float() -> None:
    net = Floats(1, 4, 6, 6)
    y = net.graph.add_node("Softmax", [net.x], [net.x.type], {"axis": 1}, name="y", opset=11)
    net.done(y.output)
    outcome = quantize(net.graph, Ranges({"x": (0.0, 1.0), "y": (0.0, 1.0)}, 1))
    assert outcome.refusals[0].reason == "it runs along several axes at once, the meaning before opset 13"


def test_one_axis_products_stay_float() -> None:
    net = Floats(16)
    y = net.graph.add_node(
        "dense", [net.x, net.constant("w", net.normal(16, 4))], [TensorType("float32", (4,))], name="y"
    )
    net.done(y.output)
    outcome = quantize(net.graph, Ranges({"x": (0.0, 1.0), "y": (0.0, 1.0)}, 1))
    assert outcome.refusals[0].reason == "its input has one axis; qmatmul needs two"


def test_long_sums_stay_float() -> None:
    net = Floats(1, 70000)
    weight = net.constant("w", np.ones((70000, 1), np.float32))
    net.done(net.node("dense", [net.x, weight], "y"))
    outcome = quantize(net.graph, Ranges({"x": (0.0, 1.0), "y": (0.0, 1.0)}, 1))
    assert outcome.refusals[0].reason == "70000 products in one sum can overflow 32 bits"
