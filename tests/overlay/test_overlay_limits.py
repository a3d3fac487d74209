"""Layers around the limits of instruction fields: what the rules take is encoded; small ones give the right bytes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from overlay_graphs import Net
from test_overlay_regions import check

from intarsia.ir.graph import Graph
from intarsia_backends.overlay.compiler.target import OverlayTarget
from intarsia_backends.overlay.machine.config import KV260, PYNQ_Z2, TINY, OverlayConfig

CHANNELS = (1, 2, 3, 4, 5, 16, 33)
KERNELS = (1, 2, 3, 4, 16, 63, 64, 65, 100, 256)
STRIDES = (1, 2, 8, 14, 15, 16, 17)
DILATIONS = (1, 2, 62, 63, 64)
PADS = (0, 1, 7, 100, 2047, 2048, 3000)
SIZES = (1, 2, 3, 5, 8, 17, 64, 600, 4095, 4096, 4500, 8191, 16383, 16384)
ELEMENTS = 400_000
WORK = 4_000_000


def _sizes(data: st.DataObject, axes: int) -> list[int]:
    return [data.draw(st.sampled_from(SIZES)) for _ in range(axes)]


def _each(data: st.DataObject, axes: int, choices: tuple[int, ...]) -> tuple[int, ...]:
    """A choice for every axis; mostly the first, so that one limit at a time is near."""
    usual = st.just(choices[0])
    return tuple(data.draw(st.one_of(usual, usual, st.sampled_from(choices))) for _ in range(axes))


def _convolution(data: st.DataObject) -> Graph:
    net, axes = Net(), data.draw(st.sampled_from((1, 2)))
    channels, sizes = data.draw(st.sampled_from(CHANNELS)), _sizes(data, axes)
    kernel, strides = _each(data, axes, KERNELS), _each(data, axes, STRIDES)
    dilations, pads = _each(data, axes, DILATIONS), _each(data, 2 * axes, PADS)
    depthwise = data.draw(st.booleans())
    outputs = channels if depthwise else data.draw(st.sampled_from((1, 16, 20)))
    spans = [(size - 1) * step + 1 for size, step in zip(kernel, dilations)]
    made = [
        (size + pads[at] + pads[axes + at] - span) // stride + 1
        for at, (size, span, stride) in enumerate(zip(sizes, spans, strides))
    ]
    assume(min(made) > 0 and channels * math.prod(sizes) <= ELEMENTS and outputs * math.prod(made) <= ELEMENTS)
    taps = math.prod(kernel) * (1 if depthwise else channels)
    assume(outputs * math.prod(made) * taps <= 10 * WORK)
    x = net.input(1, channels, *sizes)
    group = channels if depthwise else 1
    return net.output(net.conv(x, outputs, kernel, strides, pads, dilations, group))


def _pool(data: st.DataObject) -> Graph:
    net, axes = Net(), data.draw(st.sampled_from((1, 2)))
    channels, sizes = data.draw(st.sampled_from(CHANNELS)), _sizes(data, axes)
    kernel = _each(data, axes, (2, 3, 255, 256, 4095, 4096))
    stride, pad = data.draw(st.sampled_from((1, 2, 255, 256))), data.draw(st.sampled_from((0, 0, 1, 2047, 2048)))
    made = [(size + 2 * pad - taps) // stride + 1 for size, taps in zip(sizes, kernel)]
    assume(min(made) > 0 and channels * math.prod(sizes) <= ELEMENTS and channels * math.prod(made) <= ELEMENTS)
    assume(math.prod(made) * math.prod(kernel) * channels <= WORK)
    x = net.input(1, channels, *sizes)
    if data.draw(st.booleans()) or len(set(kernel)) > 1:
        return net.output(net.average_pool(x, kernel, stride, pad))
    return net.output(net.max_pool(x, kernel[0], stride, pad))


def _plain(data: st.DataObject) -> Graph:
    net = Net()
    shape = data.draw(
        st.sampled_from(
            [(1, 16368, 1, 1), (1, 16384, 1, 1), (1, 2, 16383, 3), (1, 2, 16384, 1), (16383, 5), (16384, 5), (1, 40000)]
        )
    )
    x = net.input(*shape)
    kind = data.draw(st.sampled_from(("add", "constant", "mul", "lookup", "requantize", "concat", "matmul", "resize")))
    if kind == "resize":
        assume(len(shape) == 4)
    makers = {
        "add": lambda: net.add(x, net.input(*shape, name="b")),
        "constant": lambda: net.add(x, net.graph.add_constant("k", net.random.integers(-9, 9, shape).astype(np.int8))),
        "mul": lambda: net.mul(x, x),
        "lookup": lambda: net.lookup(x),
        "requantize": lambda: net.requantize(x),
        "concat": lambda: net.concat(x, x),
        "matmul": lambda: net.matmul(x, 3) if len(shape) == 2 else net.matmul(net.flatten(x), 3),
        "resize": lambda: net.resize(x),
    }
    return net.output(makers[kind]())


MAKERS = {"convolution": _convolution, "pool": _pool, "plain": _plain}


@pytest.mark.parametrize("config", [TINY, PYNQ_Z2, KV260], ids=lambda config: config.name)
@pytest.mark.parametrize("kind", MAKERS)
@given(data=st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
def test_what_the_rules_take_is_encoded(kind: str, config: OverlayConfig, data: st.DataObject) -> None:
    graph = MAKERS[kind](data)
    target = OverlayTarget(config, "")
    if not all(target.supports(node).ok for node in graph.nodes):
        return
    work = sum(value.type.elements for value in (*graph.inputs, *graph.outputs))
    if work <= 20_000:
        check(graph, config)
    else:
        assert target.compile(graph).files


def test_more_layers_than_tags_share_them() -> None:
    net = Net()
    x = net.input(1, 4, 2, 2)
    for number in range(1100):
        x = net.requantize(x, name=f"step{number}")
    counters = check(net.output(x), PYNQ_Z2)
    names = [layer["name"] for layer in counters["layers"]]
    assert names[0] == "step0 to step1" and names[-1].endswith("step1099") and len(names) == 550
