"""Weights of all integer types and zero points: exact products of int8, or a reason and a way out."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

import intarsia
from intarsia.dtypes import Array, numpy_dtype
from intarsia.importer import import_model
from intarsia.ir.evaluate import evaluate, evaluate_node
from intarsia.ir.graph import Graph, Node
from intarsia.ir.verify import verify
from intarsia.passes import fuse_passes, simplify_passes
from intarsia.passes.base import Outcome, run_passes
from intarsia.passes.quantize import lower_qdq
from intarsia.passes.quantize.scales import Weight, copies
from intarsia.runtime.vectors import verify_vectors


@given(st.lists(st.integers(-381, 381), min_size=1, max_size=12))
def test_copies_add_up_and_fit_int8(numbers: list[int]) -> None:
    wide = np.array(numbers, np.int16).reshape(1, -1)
    weight, count = copies(Weight(wide, np.ones(1)), 1)
    parts = weight.integers.reshape(count, -1).astype(np.int64)
    assert weight.integers.dtype == np.int8 and np.abs(parts).max() <= 127
    assert np.array_equal(parts.sum(axis=0), wide[0])
    assert count == max(-(-np.abs(wide).max() // 127), 1)


class Layer:
    """A Conv or MatMul between scales, in ONNX's QDQ.

    weight  its integers, `scale` and `zero` (None where it is left out) theirs, `axis` that of more than one
    """

    def __init__(self, shape: tuple[int, ...], weight: Array, scale: Any, zero: Any, axis: int = 0, **window: Any):
        self.shape, self.weight, self.scale, self.zero = shape, weight, np.asarray(scale, np.float32), zero
        self.axis, self.window = axis, window

    def model(self) -> onnx.ModelProto:
        convolution = len(self.shape) > 2
        block = self.window.get("block_size", 0)
        window = ", ".join(f"{name}={value}" for name, value in self.window.items() if name != "block_size")
        line = f"c = Conv <{window}> (d, wd, b)" if convolution else "m = MatMul (d, wd) c = Add (m, b)"
        line = line.replace(" <>", "")
        count = self.weight.shape[0 if convolution else 1]
        constants: dict[str, Any] = {
            "xs": np.float32(1 / 32), "xz": np.uint8(120), "ys": np.float32(1 / 8), "yz": np.uint8(100),
            "w": self.weight, "ws": self.scale, "b": np.linspace(-2, 2, count).astype(np.float32),
        }  # fmt: skip
        zero = "" if self.zero is None else ", wz"
        if self.zero is not None:
            constants["wz"] = np.asarray(self.zero, self.weight.dtype)
        attributes = f"<axis={self.axis}" + (f", block_size={block}>" if block else ">")
        sizes = ",".join(map(str, self.shape))
        outputs = ",".join("abcde"[: len(self.shape)])
        model = onnx.parser.parse_model(
            f'<ir_version: 10, opset_import: ["" : 21]> net (float[{sizes}] x) => (float[{outputs}] y) {{'
            f"q = QuantizeLinear (x, xs, xz) d = DequantizeLinear (q, xs, xz) "
            f"wd = DequantizeLinear {attributes} (w, ws{zero}) {line} "
            "p = QuantizeLinear (c, ys, yz) y = DequantizeLinear (p, ys, yz) }"
        )
        model.graph.initializer.extend(numpy_helper.from_array(np.asarray(a), k) for k, a in constants.items())
        return model

    def lowered(self) -> tuple[Graph, Outcome]:
        graph = import_model(self.model())
        run_passes(graph, (*simplify_passes(True), *fuse_passes(True, integer=True)))
        outcome = lower_qdq(graph)
        verify(graph, "quantized")
        return graph, outcome


def integers(*shape: int, dtype: str = "uint8", low: int = 0, high: int = 256) -> Array:
    return np.random.default_rng(5).integers(low, high, shape).astype(np.int32).astype(numpy_dtype(dtype))


STEPS = np.linspace(0.002, 0.005, 6)
ZEROS = np.array([0, 255, 128, 90, 17, 200])
LAYERS = {
    "any-zero-point": Layer((1, 3, 8, 8), integers(6, 3, 3, 3), 0.003, 90),
    "none": Layer((1, 3, 8, 8), integers(6, 3, 3, 3), 0.003, None),
    "one-a-channel": Layer((1, 3, 8, 8), integers(6, 3, 3, 3), STEPS, ZEROS, pads=[1, 1, 1, 1]),
    "signed": Layer((1, 3, 8, 8), integers(6, 3, 3, 3, dtype="int8", low=-128, high=128), 0.003, 77, strides=[2, 2]),
    "negative-axis": Layer((1, 3, 8, 8), integers(6, 3, 3, 3), STEPS, ZEROS, -4),
    "depthwise": Layer((1, 6, 9, 9), integers(6, 1, 3, 3), STEPS, ZEROS, group=6, pads=[1, 0, 2, 1], strides=[2, 2]),
    "one-dilation": Layer((1, 6, 9, 9), integers(6, 1, 3, 3), STEPS, ZEROS, group=6, dilations=[1, 2]),
    "groups": Layer((1, 4, 8, 8), integers(6, 2, 3, 3), STEPS, ZEROS, group=2),
    "line": Layer((1, 3, 20), integers(6, 3, 5), STEPS, ZEROS, pads=[2, 2]),
    "matrix": Layer((4, 20), integers(20, 6), STEPS, ZEROS, 1),
    "matrix-negative-axis": Layer((4, 20), integers(20, 6), STEPS, ZEROS, -1),
    "int4": Layer((1, 3, 8, 8), integers(6, 3, 3, 3, dtype="int4", low=-8, high=8), STEPS * 10, None),
    "uint4": Layer((1, 3, 8, 8), integers(6, 3, 3, 3, dtype="uint4", high=16), STEPS * 10, ZEROS % 16),
    "matrix-int4": Layer((4, 20), integers(20, 6, dtype="int4", low=-8, high=8), 0.05, None),
    "int16": Layer((1, 3, 8, 8), integers(6, 3, 3, 3, dtype="int16", low=-300, high=300), 0.002, None),
    "uint16-of-few-steps": Layer((4, 20), integers(20, 6, dtype="uint16", high=250) * np.uint16(64), 1e-4, 64),
    "alike-blocks": Layer((4, 20), integers(20, 6, dtype="int8", low=-128, high=128), np.tile(STEPS, (5, 1)), None, 0,
                          block_size=4),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYERS)
def test_weights_are_integers_on_every_engine(name: str) -> None:
    """No float op is left, engines agree to the byte, and ONNX Runtime by one step at most, seldom."""
    model = LAYERS[name].model()
    told = intarsia.explain(model, target="pynq-z2")
    assert told.summary["macs_on_target"] == told.summary["macs"] > 0
    rng, runs = np.random.default_rng(6), []
    inputs = [rng.standard_normal(LAYERS[name].shape).astype(np.float32) for _ in range(3)]
    for target, device in (("cpu", None), ("pynq-z2", "simulator")):
        session = intarsia.load(intarsia.compile_model(model, target=target, precision="int8"), device=device)
        assert all(result.ok for result in verify_vectors(session))
        runs.append([session.run(x)[0] for x in inputs])
    assert all(a.tobytes() == b.tobytes() for a, b in zip(*runs))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    theirs = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    differences = np.abs(np.stack([theirs.run(None, {"x": x})[0] - y for x, y in zip(inputs, runs[0])])) * 8
    assert differences.max() <= 1 and (differences > 0).mean() < 0.03


REFUSED = {
    "blocks": (
        Layer((4, 20), integers(20, 6, dtype="int8", low=-128, high=128), np.linspace(0.001, 0.005, 30).reshape(5, 6),
              None, 0, block_size=4),
        "its weights have a scale for each 4 of them: quantize them with one for each output channel",
    ),
    "wrong-axis": (
        Layer((4, 20), integers(20, 6), np.linspace(0.001, 0.005, 20), np.zeros(20), 0),
        "its weights have scales that do not belong to output channels: quantize them with one for each of these",
    ),
    "gaps-in-groups": (
        Layer((1, 6, 9, 9), integers(6, 1, 3, 3), STEPS, ZEROS, group=6, dilations=[2, 2]),
        "its weights reach 255 steps from their zero point, and it has groups and dilations: "
        "quantize them symmetrically",
    ),
    "too-far": (
        Layer((4, 20), integers(20, 6, dtype="int16", low=-3000, high=3000), 0.001, None),
        "its weights reach 2995 steps from their zero point: quantize them to 8 bits",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_integer_form_stays_float_with_a_way_out(name: str) -> None:
    layer, reason = REFUSED[name]
    graph, outcome = layer.lowered()
    assert [refusal.reason for refusal in outcome.refusals] == [reason]
    x = np.random.default_rng(2).standard_normal(layer.shape).astype(np.float32)
    wanted = evaluate(import_model(layer.model()), {"x": x})[0]
    assert np.allclose(evaluate(graph, {"x": x})[0], wanted, atol=0.126)


@given(
    st.integers(1, 3), st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.integers(1, 2), st.integers(0, 2),
    st.integers(0, 2), st.integers(0, 255), st.integers(0, 2**32 - 1), st.booleans(),
)  # fmt: skip
@settings(max_examples=60)
def test_spread_convolutions_are_exact(
    groups: int, channels: int, taps: int, stride: int, gap: int, before: int, behind: int, zero: int, seed: int,
    one_group: bool,
) -> None:  # fmt: skip
    """The sums are those of the wide weights, bit for bit, whatever the window."""
    rng, group = np.random.default_rng(seed), 1 if one_group else groups
    weight = rng.integers(0, 256, (group * 2, channels, 2, taps)).astype(np.uint8)
    layer = Layer(
        (2, group * channels, 6, 9), weight, rng.uniform(0.001, 0.01, len(weight)), np.full(len(weight), zero),
        group=group, strides=[1, stride], pads=[0, before, 1, behind], dilations=[1, gap],
    )  # fmt: skip
    graph, outcome = layer.lowered()
    assume(not outcome.refusals)
    node = next(node for node in graph.nodes if node.op == "qconv")
    source = rng.integers(-128, 128, layer.shape).astype(np.int8)
    spread, producer = source, node.input(0).producer
    assert producer is not None
    if producer.op in ("Concat", "Resize"):
        constants = [None if value is None else value.data for value in producer.inputs]
        copies_of = [source if value is producer.input(0) else data
                     for value, data in zip(producer.inputs, constants)]  # fmt: skip
        spread = evaluate_node(producer, copies_of)[0]
    found = evaluate_node(node, [spread, *(value.data for value in node.inputs[1:] if value is not None)])[0]
    window = {"strides": (1, stride), "pads": (0, before, 1, behind), "dilations": (1, gap), "group": group}
    wide = weight.astype(np.int32) - zero
    common = 1 if np.abs(wide).max() <= 128 else np.gcd.reduce(wide.reshape(len(wide), -1), axis=1).clip(1)
    wide = wide // np.reshape(common, (-1, *[1] * 3)) if np.abs(wide).max() > 128 else np.clip(wide, -127, 127)
    plain = Node("qconv", "plain", node.inputs, {**node.attributes, **window}, 0, "")
    wanted = evaluate_node(plain, [source, wide, *(value.data for value in node.inputs[2:] if value is not None)])[0]
    assert np.array_equal(found, wanted)
