"""Values in a narrow range far from 0 keep their steps where something takes the offset away."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from floats import Floats
from hypothesis import given, settings
from hypothesis import strategies as st

from intarsia.dtypes import Array
from intarsia.ir.evaluate import evaluate
from intarsia.ir.graph import Value
from intarsia.ir.verify import verify
from intarsia.passes.quantize import assumed_ranges, calibrate, quantize

Build = Callable[[Floats], Value]


def subtracted(net: Floats) -> Value:
    return net.conv(net.node("Sub", [net.x, net.constant("m", 1.095)], "s"), 8, 3, "a")


def scaled_and_subtracted(net: Floats) -> Value:
    big = net.node("Mul", [net.x, net.constant("k", 40.0)], "k")
    return net.conv(net.node("Sub", [big, net.constant("m", 43.8)], "s"), 8, 3, "a")


def subtracted_by_channel(net: Floats) -> Value:
    mean = net.constant("m", np.linspace(1.08, 1.1, 4).reshape(4, 1, 1))
    return net.conv(net.node("Sub", [net.x, mean], "s"), 8, 3, "a")


def batch_norm(net: Floats) -> Value:
    parts = [net.constant(name, np.full(4, number)) for name, number in zip("gbmv", (1.0, 0.2, 1.09, 0.0004))]
    return net.conv(net.node("BatchNormalization", [net.x, *parts], "n", epsilon=0.0), 8, 3, "a")


def plain_conv(net: Floats) -> Value:
    weight = net.normal(8, 2, 3, 3, scale=0.3)
    weight -= weight.mean(axis=(1, 2, 3), keepdims=True)
    attributes = {"kernel_shape": (3, 3), "strides": (1, 1), "pads": (0,) * 4, "dilations": (1, 1), "group": 2}
    return net.node("Conv", [net.x, net.constant("w", weight)], "a", **attributes)


def dense(net: Floats) -> Value:
    weight = net.normal(256, 8, scale=0.1)
    flat = net.node("Flatten", [net.x], "f", axis=1)
    return net.node("dense", [flat, net.constant("w", weight - weight.mean(axis=0))], "a")


def normalized(net: Floats) -> Value:
    inner = net.conv(net.node("Sub", [net.x, net.constant("m", 1.095)], "s"), 8, 3, "a")
    far = net.node("Add", [inner, net.constant("k", 100.0)], "far")
    ones = net.constant("g", np.ones(8))
    return net.node("LayerNormalization", [far, ones], "n", axis=-1, epsilon=1e-5)


def gate_less_its_half(net: Floats) -> Value:
    small = net.node("Mul", [net.conv(net.x, 8, 3, "a"), net.constant("k", 0.01)], "small")
    gate = net.node("Sigmoid", [small], "gate")
    weight = net.normal(4, 8, 1, 1, scale=30.0)
    return one_by_one(net, gate, weight - weight.mean(axis=1, keepdims=True))


def less_its_mean(net: Floats) -> Value:
    mean = net.node("ReduceMean", [net.x, net.constant("axes", [2, 3], "int64")], "mean", keepdims=1)
    return net.conv(net.node("Sub", [net.x, mean], "s"), 8, 3, "a")


def pooled(net: Floats) -> Value:
    attributes = {"kernel_shape": (2, 2), "strides": (2, 2), "pads": (0,) * 4}
    pool = net.node("AveragePool", [net.x], "p", **attributes)
    return net.conv(net.node("Sub", [pool, net.constant("m", 1.095)], "s"), 8, 3, "a")


def joined(net: Floats) -> Value:
    attributes = {"kernel_shape": (3, 3), "strides": (1, 1), "pads": (1,) * 4, "dilations": (1, 1)}
    both = net.node("Concat", [net.x, net.node("MaxPool", [net.x], "p", **attributes)], "c", axis=1)
    return net.conv(net.node("Sub", [both, net.constant("m", 1.095)], "s"), 8, 3, "a")


def one_by_one(net: Floats, x: Value, weight: Array) -> Value:
    attributes = {"kernel_shape": (1, 1), "strides": (1, 1), "pads": (0,) * 4, "dilations": (1, 1), "group": 1}
    return net.node(
        "Conv", [x, net.constant("w", weight), net.constant("b", net.normal(len(weight)))], "y", **attributes
    )


def between_products(net: Floats) -> Value:
    """A convolution whose results lie about 100, which Relu leaves alone, and one whose weights take that away."""
    first, weight = net.conv(net.node("Sub", [net.x, net.constant("m", 1.095)], "s"), 8, 3, "a"), net.normal(4, 8, 1, 1)
    conv = first.producer
    assert conv is not None
    conv.set_inputs([*conv.inputs[:2], net.constant("far", np.full(8, 100.0))])
    conv.attributes["activation"], conv.attributes["activation_arguments"] = "Relu", ()
    return one_by_one(net, first, weight - weight.mean(axis=1, keepdims=True))


CASES: dict[str, tuple[Build, list[str]]] = {
    "subtracted": (subtracted, ["Sub", "quantize", "qconv", "dequantize"]),
    "scaled and subtracted": (scaled_and_subtracted, ["Mul", "Sub", "quantize", "qconv", "dequantize"]),
    "subtracted by channel": (subtracted_by_channel, ["Sub", "quantize", "qconv", "dequantize"]),
    "batch norm": (batch_norm, ["BatchNormalization", "quantize", "qconv", "dequantize"]),
    "a convolution without padding": (plain_conv, ["Sub", "quantize", "qconv", "dequantize"]),
    "a matrix": (dense, ["Flatten", "Sub", "quantize", "qmatmul", "dequantize"]),
    "a gate less its half": (
        gate_less_its_half,
        ["quantize", "qconv", "lookup", "dequantize", "Sigmoid", "Sub", "quantize", "qconv", "dequantize"],
    ),
    "less its mean": (less_its_mean, ["ReduceMean", "Sub", "quantize", "qconv", "dequantize"]),
    "pooled": (pooled, ["AveragePool", "Sub", "quantize", "qconv", "dequantize"]),
    "joined": (joined, ["MaxPool", "Concat", "Sub", "quantize", "qconv", "dequantize"]),
    "between products": (between_products, ["Sub", "quantize", "qconv", "qconv", "dequantize"]),
    "normalized": (normalized, ["Sub", "quantize", "qconv", "dequantize", "Add", "LayerNormalization"]),
}


def samples(net: Floats, low: float = 1.06, high: float = 1.13) -> list[dict[str, Array]]:
    return [{"x": net.rng.uniform(low, high, net.x.shape).astype(np.float32)} for _ in range(16)]


def error(net: Floats, feeds: list[dict[str, Array]]) -> tuple[list[str], float]:
    """The ops of the integer form, and its largest error over the range of the output."""
    twin = net.graph.copy()
    quantize(twin, calibrate(net.graph, feeds))
    verify(twin, "quantized")
    reals = [evaluate(net.graph, feed)[0] for feed in feeds]
    close = [evaluate(twin, feed)[0] for feed in feeds]
    return [node.op for node in twin.nodes], float(np.abs(np.subtract(reals, close)).max() / np.ptp(reals))


@pytest.mark.parametrize("case", CASES)
def test_what_takes_the_offset_away_sees_it_in_float(case: str) -> None:
    build, wanted = CASES[case]
    net = Floats(1, 4, 8, 8)
    net.done(build(net))
    ops, worst = error(net, samples(net))
    assert ops == wanted
    assert worst < 0.03


def test_a_result_far_from_0() -> None:
    net = Floats(1, 256)
    weight, bias = net.constant("w", net.normal(256, 3, scale=0.05)), net.constant("b", [300.0, 301.0, 299.5])
    net.done(net.node("dense", [net.x, weight, bias], "y"))
    ops, worst = error(net, [{"x": net.normal(1, 256)} for _ in range(16)])
    assert ops == ["quantize", "qmatmul", "dequantize", "Add"]
    assert worst < 0.02
    assert net.graph.outputs[0].name == "y"


def gate(net: Floats) -> Value:
    """A Sigmoid about 0.5: what multiplies by it needs no more steps than there are."""
    inner = net.conv(net.x, 4, 1, "a")
    half = net.node("Mul", [inner, net.constant("k", 0.02)], "small")
    return net.node("Mul", [inner, net.node("Sigmoid", [half], "gate")], "y")


def padded(net: Floats) -> Value:
    return net.conv(net.x, 4, 3, "a")


@pytest.mark.parametrize("build", [gate, padded])
def test_what_only_multiplies_stays_integer(build: Build) -> None:
    net = Floats(1, 4, 8, 8)
    net.done(build(net))
    ops, _ = error(net, samples(net, 1.0, 1.2) if build is padded else [{"x": net.normal(1, 4, 8, 8)}] * 2)
    assert not {"Sub", "Add", "Mul", "Sigmoid"} & set(ops)


def test_reasons_say_how_many_steps_there_would_be() -> None:
    net = Floats(1, 4, 8, 8)
    net.done(subtracted(net))
    twin = net.graph.copy()
    (refusal,) = quantize(twin, calibrate(net.graph, samples(net))).refusals
    assert str(refusal) == "Sub 's': 'x' lies between 1.06 and 1.13, where int8 would have 16 steps"
    twin = net.graph.copy()
    assert not quantize(twin, assumed_ranges(twin)).refusals, "nothing is known of ranges that are assumed"


@settings(max_examples=40)
@given(
    offset=st.floats(-1e4, 1e4).filter(lambda number: abs(number) > 10.0),
    spread=st.floats(0.01, 2.0),
    outputs=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_a_matrix_of_any_offset(offset: float, spread: float, outputs: int, seed: int) -> None:
    """Offsets go into the bias exactly, whatever they are."""
    net = Floats(2, 16, seed=seed)
    weight = net.normal(16, outputs)
    net.done(net.node("dense", [net.x, net.constant("w", weight - weight.mean(axis=0))], "y"))
    feeds = samples(net, offset - spread, offset + spread)
    _, worst = error(net, feeds)
    # float32 itself keeps 24 bits of numbers about the offset
    assert worst < 0.04 + 64 * abs(offset) * 2.0**-23 / spread
