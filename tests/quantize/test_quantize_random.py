"""Random float graphs become sound integer graphs that give nearly the same numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from floats import Floats
from hypothesis import given, settings
from hypothesis import strategies as st

from intarsia.ir.evaluate import evaluate
from intarsia.ir.graph import Value
from intarsia.ir.verify import verify
from intarsia.passes.quantize import calibrate, quantize

Pick = Callable[[list[Value]], Value]


def _activation(draw: st.DrawFn) -> dict[str, Any]:
    name, arguments = draw(
        st.sampled_from(
            [("", ()), ("Relu", ()), ("Clip", (-0.5, 2.0)), ("Sigmoid", ()), ("HardSwish", ()), ("LeakyRelu", (0.1,))]
        )
    )
    return {"activation": name, "activation_arguments": arguments} if name else {}


WINDOW = {"kernel_shape": (3, 3), "strides": (1, 1), "pads": (1, 1, 1, 1)}


def _grow(draw: st.DrawFn, net: Floats, values: list[Value], name: str) -> Value:
    """One more op on values that all have the shape [1, 4, 6, 6]."""
    a, b = draw(st.sampled_from(values)), draw(st.sampled_from(values))
    kind = draw(st.integers(0, 12))
    match_kind: dict[int, Callable[[], Value]] = {
        0: lambda: net.conv(a, 4, draw(st.sampled_from([1, 3])), name, **_activation(draw)),
        1: lambda: net.conv(a, 4, 3, name, group=4, **_activation(draw)),
        2: lambda: net.node("Add", [a, b], name, **_activation(draw)),
        3: lambda: net.node("Sub", [a, b], name),
        4: lambda: net.node("Mul", [a, net.node("Sigmoid", [b], f"{name}_gate")], name),
        5: lambda: net.node("MaxPool", [a], name, dilations=(1, 1), **WINDOW),
        6: lambda: net.node("AveragePool", [a], name, count_include_pad=1, **WINDOW),
        7: lambda: net.node(draw(st.sampled_from(["Relu", "Tanh", "Abs", "Neg"])), [a], name),
        8: lambda: net.conv(net.node("Concat", [a, b], f"{name}_joined", axis=1), 4, 1, name),
        9: lambda: net.node("Softmax", [a], name, axis=1),
        10: lambda: net.node("LogSoftmax", [a], name, axis=1),
        11: lambda: net.node("Transpose", [a], name, perm=(0, 1, 3, 2)),
        12: lambda: net.node("Mul", [a, net.constant("k", net.normal(4, 1, 1))], name),
    }
    return match_kind[kind]()


@st.composite
def networks(draw: st.DrawFn) -> Floats:
    net = Floats(1, 4, 6, 6, seed=draw(st.integers(0, 1000)))
    values = [net.x]
    for index in range(draw(st.integers(1, 8))):
        values.append(_grow(draw, net, values, f"n{index}"))
    picks = draw(st.lists(st.integers(1, len(values) - 1), max_size=2, unique=True))
    net.done(*(values[pick] for pick in picks if values[pick] is not values[-1]), values[-1])
    return net


@given(networks(), st.sampled_from(["minmax", "percentile"]))
@settings(max_examples=60, deadline=None)
def test_random_graphs(net: Floats, method: str) -> None:
    samples = net.samples(3)
    twin = net.graph.copy()
    outcome = quantize(twin, calibrate(net.graph, samples, method=method))
    verify(twin, "quantized")
    verify(net.graph, "fused")
    # What is nearly always 0, such as x - x, has a scale too small for any multiplier.
    # A Softmax that only float ops read and make would be quantized for nobody.
    # What lies far from 0 would have a few steps of int8.
    known = ("times that of", "between ops that stay float", "where int8 would have")
    others = [refusal for refusal in outcome.refusals if not any(words in refusal.reason for words in known)]
    assert {refusal.node.op for refusal in others} <= {"LogSoftmax", "Transpose", "MaxPool"}
    assert [(value.name, value.type) for value in (*twin.inputs, *twin.outputs)] == [
        (value.name, value.type) for value in (*net.graph.inputs, *net.graph.outputs)
    ]
    for sample in samples:
        for real, close in zip(evaluate(net.graph, sample), evaluate(twin, sample)):
            noise = float(np.sqrt(np.mean((real - close) ** 2)))
            assert noise <= 0.15 * max(float(np.ptp(real)), 1e-3)
