"""A Pad that fills up with a number far outside of the data takes no steps from who else reads them."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from floats import Floats
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from intarsia.driver import lower
from intarsia.dtypes import Array
from intarsia.importer import import_model
from intarsia.ir.evaluate import evaluate
from intarsia.ir.graph import Graph, Value
from intarsia.ir.verify import verify
from intarsia.passes.quantize import calibrate, quantize


def padded(net: Floats, x: Value, fill: float, name: str) -> Value:
    widths = net.constant(f"{name}_pads", [0, 0, 1, 1, 0, 0, 1, 1], "int64")
    return net.node("Pad", [x, widths, net.constant(f"{name}_fill", fill)], name, mode="constant")


def quantized(net: Floats) -> tuple[Graph, dict[str, Array]]:
    """The integer form, and one of the samples that it was calibrated on."""
    twin, samples = net.graph.copy(), net.samples()
    quantize(twin, calibrate(net.graph, samples))
    verify(twin, "quantized")
    return twin, samples[0]


def scale_of(graph: Graph, name: str) -> float:
    of = graph.node(name).output.quantization
    assert of is not None
    return of.scale


@settings(max_examples=25)
@given(fill=st.floats(-100.0, 100.0, width=32), readers=st.integers(0, 2))
def test_other_readers_keep_their_steps(fill: float, readers: int) -> None:
    net = Floats(1, 4, 6, 6)
    inner = net.conv(net.x, 4, 1, "inner")
    outputs = [net.conv(padded(net, inner, fill, "far"), 4, 3, "a")]
    outputs += [net.conv(padded(net, inner, 0.0, f"near{index}"), 4, 3, f"b{index}") for index in range(readers)]
    net.done(*outputs)
    twin, x = quantized(net)
    if readers:
        assert scale_of(twin, "inner") < 0.1, "that of numbers between -10 and 10 at most, whatever the fill is"
    far = next(node for node in twin.nodes if node.op == "Pad" and node.name == "far")
    of, filled = far.output.quantization, far.input(2).data
    assert of is not None and filled is not None
    assert abs((int(filled.reshape(())) - of.zero_point) * of.scale - fill) <= of.scale, "the number itself is kept"
    for real, close in zip(evaluate(net.graph, x), evaluate(twin, x)):
        assert np.abs(real - close).max() < 0.06 * np.ptp(real)


def test_a_pad_that_alone_reads_shares_the_scale() -> None:
    net = Floats(1, 4, 6, 6)
    net.done(net.conv(padded(net, net.conv(net.x, 4, 1, "inner"), -30.0, "far"), 4, 3, "a"))
    twin, _ = quantized(net)
    assert [node.op for node in twin.nodes] == ["quantize", "qconv", "Pad", "qconv", "dequantize"]


@pytest.mark.parametrize("low", [-np.inf, float(np.finfo(np.float32).min), -1e9])
def test_what_a_pool_of_the_largest_forgets_takes_no_steps(low: float) -> None:
    """As a Pad in front of two pools, which cannot go into either."""
    net = Floats(1, 4, 6, 6)
    inner = net.conv(net.x, 4, 1, "inner")
    attributes = {"kernel_shape": (3, 3), "strides": (2, 2), "pads": (0,) * 4, "dilations": (1, 1)}
    pools = [net.node("MaxPool", [padded(net, inner, low, f"p{part}")], f"m{part}", **attributes) for part in "ab"]
    net.done(*(net.conv(pool, 4, 1, f"y{pool.name}") for pool in pools))
    twin, x = quantized(net)
    for real, close in zip(evaluate(net.graph, x), evaluate(twin, x)):
        assert np.abs(real - close).max() < 0.03 * np.ptp(real)


def test_a_number_beyond_the_scale_in_front_of_a_pad() -> None:
    """A model with scales of its own: the one behind the Pad holds the number, the one in front does not."""
    text = """<ir_version: 9, opset_import: ["" : 18]> net (float[1,2,4,4] x) => (float[1,2,6,6] y) {
        q = QuantizeLinear (x, fine, zero) d = DequantizeLinear (q, fine, zero) p = Pad (d, pads, fill)
        r = QuantizeLinear (p, coarse, zero) y = DequantizeLinear (r, coarse, zero) }"""
    proto = onnx.parser.parse_model(text)
    data = {
        "fine": np.float32(0.01), "coarse": np.float32(0.1), "zero": np.int8(0), "fill": np.float32(-10.0),
        "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
    }  # fmt: skip
    proto.graph.initializer.extend(numpy_helper.from_array(np.asarray(array), name) for name, array in data.items())
    lowered = lower(proto, target="cpu", precision="int8").graph
    x = {"x": np.random.default_rng(0).uniform(-1, 1, (1, 2, 4, 4)).astype(np.float32)}
    (wanted,), (got,) = evaluate(import_model(proto), x), evaluate(lowered, x)
    assert got[0, 0, 0, 0] == wanted[0, 0, 0, 0] == np.float32(-10.0)
    assert np.abs(wanted - got).max() <= 0.11
