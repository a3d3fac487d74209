"""A float graph and its integer form agree to a few steps; what has no integer form says why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from floats import Floats

from intarsia.dtypes import Array
from intarsia.ir.evaluate import evaluate
from intarsia.ir.graph import Graph, Value
from intarsia.ir.types import TensorType
from intarsia.ir.verify import verify
from intarsia.passes.quantize import Outcome, Ranges, assumed_ranges, calibrate, quantize
from intarsia.passes.quantize.scales import clamp_of, quantization_of

RELU: dict[str, Any] = {"activation": "Relu", "activation_arguments": ()}


def quantized(graph: Graph, samples: list[dict[str, Array]]) -> tuple[Graph, Outcome]:
    """The integer form, calibrated on the samples that it will be tried on."""
    twin = graph.copy()
    outcome = quantize(twin, calibrate(graph, samples))
    verify(twin, "quantized")
    return twin, outcome


def worst_error(graph: Graph, twin: Graph, samples: list[dict[str, Array]]) -> float:
    """Largest difference of any output, over the range of that output."""
    worst = 0.0
    for sample in samples:
        for real, close in zip(evaluate(graph, sample), evaluate(twin, sample)):
            worst = max(worst, float(np.abs(real - close).max() / (np.ptp(real) or 1.0)))
    return worst


def ops(graph: Graph) -> list[str]:
    return [node.op for node in graph.nodes]


def resnet_block() -> Floats:
    net = Floats(1, 3, 8, 8)
    a = net.conv(net.x, 8, 3, "a", **RELU)
    b = net.conv(a, 8, 3, "b")
    c = net.node("Add", [a, b], "c", **RELU)
    d = net.node("MaxPool", [c], "d", kernel_shape=(2, 2), strides=(2, 2), pads=(0, 0, 0, 0), dilations=(1, 1))
    e = net.node("GlobalAveragePool", [d], "e")
    f = net.node("Flatten", [e], "f", axis=1)
    net.done(net.dense(f, 4, "logits"))
    return net


def test_residual_network_becomes_integers() -> None:
    net = resnet_block()
    samples = net.samples()
    twin, outcome = quantized(net.graph, samples)
    assert ops(twin) == [
        "quantize", "qconv", "qconv", "qadd", "MaxPool", "qaveragepool", "Flatten", "qmatmul", "dequantize",
    ]  # fmt: skip
    assert outcome.refusals == ()
    assert [node.name for node in twin.nodes[1:8]] == ["a", "b", "c", "d", "e", "f", "logits"]
    assert twin.outputs[0].name == "logits" and twin.inputs[0].name == "x"
    assert worst_error(net.graph, twin, samples) < 0.03
    twin.node("a").output.quantization = None  # the copy is its own
    assert net.graph.node("a").op == "Conv"


ACTIVATIONS: list[tuple[str, tuple[float, ...]]] = [
    ("Sigmoid", ()),
    ("Tanh", ()),
    ("HardSwish", ()),
    ("HardSigmoid", (0.2, 0.5)),
    ("LeakyRelu", (0.1,)),
    ("Elu", (1.0,)),
    ("Swish", ()),
    ("Gelu", (0.0,)),
    ("Gelu", (1.0,)),
]


@pytest.mark.parametrize(("name", "arguments"), ACTIVATIONS)
def test_activation_after_conv_becomes_a_table(name: str, arguments: tuple[float, ...]) -> None:
    net = Floats(1, 3, 6, 6)
    a = net.conv(net.x, 8, 3, "a", activation=name, activation_arguments=arguments)
    net.done(net.conv(a, 4, 1, "b"))
    samples = net.samples()
    twin, _ = quantized(net.graph, samples)
    assert ops(twin) == ["quantize", "qconv", "lookup", "qconv", "dequantize"]
    assert worst_error(net.graph, twin, samples) < 0.03


def test_clip_is_a_clamp() -> None:
    net = Floats(1, 3, 6, 6)
    a = net.conv(net.x, 8, 3, "a", activation="Clip", activation_arguments=(-0.25, 0.5))
    net.done(net.conv(a, 4, 1, "b"))
    samples = net.samples()
    twin, _ = quantized(net.graph, samples)
    node = twin.node("a")
    of = node.output.quantization
    assert of is not None
    assert of.scale == pytest.approx(0.75 / 255)
    assert (node.attributes["clamp_min"] - of.zero_point) * of.scale == pytest.approx(-0.25, abs=of.scale)
    assert (node.attributes["clamp_max"] - of.zero_point) * of.scale == pytest.approx(0.5, abs=of.scale)
    assert worst_error(net.graph, twin, samples) < 0.03


def _one(op: str, *shapes: tuple[int, ...], **attributes: object) -> Callable[[Floats], Value]:
    def build(net: Floats) -> Value:
        constants = [net.constant(f"k{index}", net.normal(*shape)) for index, shape in enumerate(shapes)]
        return net.node(op, [net.x, *constants], "y", **attributes)

    return build


def _batch_norm(net: Floats) -> Value:
    data = [net.normal(4), net.normal(4), net.normal(4), np.abs(net.normal(4)) + 0.1]
    inputs = [net.constant(f"k{index}", array) for index, array in enumerate(data)]
    return net.node("BatchNormalization", [net.x, *inputs], "y", epsilon=1e-5)


SINGLE = {
    "add-channels": (_one("Add", (1, 4, 1, 1)), "qconv"),
    "div-channels": (_one("Div", (1, 4, 1, 1)), "qconv"),
    "batch-norm": (_batch_norm, "qconv"),
    "add-constant": (_one("Add", (1, 4, 6, 1)), "qadd"),
    "sub-constant": (_one("Sub", (1, 1, 6, 6)), "qadd"),
    "mul-channels": (_one("Mul", (4, 1, 1)), "qconv"),
    "mul-constant": (_one("Mul", (4, 6, 6)), "qmul"),
    "add-scalar": (_one("Add", ()), "lookup"),
    "div-scalar": (_one("Div", (1,)), "lookup"),
    "mul-scalar": (_one("Mul", ()), "lookup"),
    "relu": (_one("Relu"), "requantize"),
    "sigmoid": (_one("Sigmoid"), "lookup"),
    "prelu": (_one("PRelu", (1,)), "lookup"),
    "global-average": (_one("GlobalAveragePool"), "qaveragepool"),
    "average": (
        _one("AveragePool", kernel_shape=(3, 2), strides=(1, 2), pads=(1, 0, 1, 0), count_include_pad=1),
        "qaveragepool",
    ),
    "softmax": (_one("Softmax", axis=1), "qsoftmax"),
    "max": (_one("GlobalMaxPool"), "MaxPool"),
}


@pytest.mark.parametrize("case", SINGLE)
def test_one_op(case: str) -> None:
    build, op = SINGLE[case]
    net = Floats(1, 4, 6, 6)
    if case == "max":
        net.done(net.node("Add", [build(net), net.constant("one", 1.0)], "z"))
    else:
        net.done(build(net))
    samples = net.samples()
    twin, outcome = quantized(net.graph, samples)
    assert ops(twin)[1] == op and not outcome.refusals
    assert worst_error(net.graph, twin, samples) < (0.01 if op in ("qadd", "lookup", "requantize") else 0.03)


def test_difference_of_two_tensors() -> None:
    net = Floats(1, 4, 6, 6)
    a, b = net.conv(net.x, 4, 1, "a"), net.conv(net.x, 4, 1, "b", **RELU)
    net.done(net.node("Sub", [a, b], "y"))
    samples = net.samples()
    twin, _ = quantized(net.graph, samples)
    assert ops(twin) == ["quantize", "qconv", "qconv", "lookup", "qadd", "dequantize"]
    assert worst_error(net.graph, twin, samples) < 0.02


def test_conv_of_one_and_three_axes() -> None:
    for shape in ((1, 4, 16), (1, 2, 4, 4, 4)):
        net = Floats(*shape)
        net.done(net.conv(net.x, 4, 3, "y", **RELU))
        samples = net.samples()
        twin, _ = quantized(net.graph, samples)
        assert ops(twin) == ["quantize", "qconv", "dequantize"]
        assert worst_error(net.graph, twin, samples) < 0.02


def test_moves_stay_int8_and_keep_the_scale() -> None:
    net = Floats(1, 4, 6, 6)
    a = net.conv(net.x, 4, 3, "a")
    b = net.node("Transpose", [a], "b", perm=(0, 2, 3, 1))
    c = net.node("Reshape", [b, net.constant("shape", [1, 36, 4], "int64")], "c")
    d = net.node("Pad", [c, net.constant("pads", [0, 1, 0, 0, 0, 0], "int64")], "d", mode="constant")
    net.done(net.dense(d, 3, "y"))
    samples = net.samples()
    twin, _ = quantized(net.graph, samples)
    assert ops(twin) == ["quantize", "qconv", "Transpose", "Reshape", "Pad", "qmatmul", "dequantize"]
    assert len({twin.node(name).output.quantization for name in "abcd"}) == 1
    assert worst_error(net.graph, twin, samples) < 0.02


def concat(shared: bool) -> Floats:
    """A Concat of a wide range and a narrow one, which a Conv reads too if `shared`."""
    net = Floats(1, 4, 6, 6)
    a, b = net.conv(net.x, 4, 3, "a"), net.conv(net.x, 4, 3, "b")
    b.producer.input(1).data[:] *= np.float32(0.1)  # type: ignore[union-attr,index]
    c = net.node("Concat", [a, b], "c", axis=1)
    outputs = [net.conv(c, 4, 1, "y")]
    if shared:
        outputs.append(net.conv(b, 4, 1, "z"))
    net.done(*outputs)
    return net


def test_concat_shares_one_scale_or_rescales() -> None:
    net = concat(shared=False)
    twin, _ = quantized(net.graph, net.samples())
    assert "requantize" not in ops(twin)
    assert len({twin.node(name).output.quantization for name in "abc"}) == 1
    net = concat(shared=True)
    samples = net.samples()
    twin, _ = quantized(net.graph, samples)
    assert ops(twin).count("requantize") == 1
    assert len({twin.node(name).output.quantization for name in "abc"}) == 2
    assert worst_error(net.graph, twin, samples) < 0.03


def test_concat_for_float_readers_keeps_every_scale() -> None:
    net = Floats(1, 4, 6, 6)
    a, b = net.conv(net.x, 4, 3, "a"), net.conv(net.x, 4, 3, "b", activation="Sigmoid", activation_arguments=())
    net.done(net.node("Concat", [net.node("Mul", [a, net.constant("k", 20.0)], "m"), b], "c", axis=1))
    twin, outcome = quantized(net.graph, net.samples())
    assert ops(twin)[-1] == "Concat" and ops(twin).count("dequantize") == 2
    assert outcome.refusals[0].reason.startswith("only float ops read it")


def test_flat_ends_of_a_table_take_no_steps() -> None:
    net = Floats(1, 4, 6, 6)
    a = net.conv(net.x, 4, 3, "a", activation="HardSwish", activation_arguments=())
    a.producer.input(1).data[:] *= 8  # type: ignore[union-attr,index]
    net.done(a)
    samples = net.samples()
    ranges = calibrate(net.graph, samples)
    assert ranges.bounds["a_before_hardswish"][0] < -10
    quantize(net.graph, ranges)
    before = net.graph.node("a").output.quantization
    assert before is not None
    assert -3.3 < (-128 - before.zero_point) * before.scale < -2.0


def test_a_float_op_stands_between_conversions_and_says_why() -> None:
    net = Floats(1, 4, 6, 6)
    a = net.conv(net.x, 4, 3, "a", **RELU)
    b = net.node("LogSoftmax", [a], "b", axis=1)
    net.done(net.conv(b, 4, 1, "y"))
    samples = net.samples()
    twin, outcome = quantized(net.graph, samples)
    assert ops(twin) == ["quantize", "qconv", "dequantize", "LogSoftmax", "quantize", "qconv", "dequantize"]
    assert [str(refusal) for refusal in outcome.refusals] == ["LogSoftmax 'b': LogSoftmax has no integer form"]
    assert worst_error(net.graph, twin, samples) < 0.03


def test_several_readers_share_one_conversion() -> None:
    net = Floats(1, 4, 6, 6)
    a, b = net.conv(net.x, 4, 3, "a"), net.conv(net.x, 4, 1, "b")
    net.done(a, b, net.node("LogSoftmax", [a], "c", axis=1))
    twin, _ = quantized(net.graph, net.samples())
    assert ops(twin).count("quantize") == 1
    assert ops(twin).count("dequantize") == 2
    assert [value.name for value in twin.outputs] == ["a", "b", "c"]


def test_moves_among_float_ops_stay_float() -> None:
    net = Floats(1, 4, 6)
    a = net.node("Transpose", [net.x], "a", perm=(0, 2, 1))
    net.done(net.node("LogSoftmax", [a], "b", axis=1))
    twin, outcome = quantized(net.graph, net.samples())
    assert ops(twin) == ["Transpose", "LogSoftmax"]
    assert str(outcome.refusals[1]) == "Transpose 'a': it only moves elements, between ops that stay float"


def test_extreme_weights_and_biases() -> None:
    net = Floats(1, 4, 6, 6)
    y = net.conv(net.x, 6, 3, "y")
    node = y.producer
    assert node is not None
    weight, bias = node.input(1).data, node.input(2).data
    assert weight is not None and bias is not None
    weight[0] = 0.0  # a channel of nothing but bias
    weight[1] *= np.float32(1e-7)  # a bias far beyond the weights
    weight[2], bias[2] = 0.0, 0.0  # nothing at all
    weight[3] *= np.float32(1e-20)
    net.done(y)
    samples = net.samples()
    twin, outcome = quantized(net.graph, samples)
    assert ops(twin)[1] == "qconv" and not outcome.refusals
    assert worst_error(net.graph, twin, samples) < 0.02


def test_scales_beyond_the_multiplier_stay_float() -> None:
    net = Floats(1, 4, 6, 6)
    y = net.conv(net.x, 4, 3, "y")
    net.done(y)
    ranges = Ranges({"x": (-1e8, 1e8), "y": (-1e-6, 1e-6)}, 1)
    outcome = quantize(net.graph, ranges)
    assert ops(net.graph) == ["Conv"]
    assert "at most 1048575" in outcome.refusals[0].reason


def test_values_that_are_always_zero() -> None:
    net = Floats(1, 4, 6, 6)
    a = net.conv(net.x, 4, 3, "a", activation="Clip", activation_arguments=(0.0, 0.0))
    net.done(net.conv(a, 4, 1, "y"))
    samples = net.samples()
    twin, _ = quantized(net.graph, samples)
    assert worst_error(net.graph, twin, samples) < 0.01


def test_assumed_ranges_tell_placement_and_say_so() -> None:
    net = resnet_block()
    ranges = assumed_ranges(net.graph)
    assert ranges.assumed
    measured, _ = quantized(net.graph, net.samples())
    outcome = quantize(net.graph, ranges)
    assert not outcome.refusals
    assert ops(net.graph) == ops(measured)


def test_clamps() -> None:
    of = quantization_of(-1.0, 3.0)
    assert clamp_of("", (), of) == (-128, 127)
    assert clamp_of("Relu", (), of) == (of.zero_point, 127)
    assert clamp_of("Clip", (-np.inf, 1.0), of) == (-128, of.zero_point + round(1.0 / of.scale))
    assert quantization_of(2.0, 4.0).zero_point == -128  # 0 is always in the range
    assert quantization_of(0.0, 0.0).scale == 1.0


def test_unnamed_shapes_stay_float() -> None:
    net = Floats(1, 4, 6, 6)
    y = net.graph.add_node("Relu", [net.x], [TensorType("float32", None)], name="y", opset=18)
    net.done(y.output)
    outcome = quantize(net.graph, Ranges({"x": (0.0, 1.0), "y": (0.0, 1.0)}, 1))
    assert outcome.refusals[0].reason == "its shape is known only at run time"


# ---- ops that stay float


def test_ops_that_are_to_stay_float_do(golden: Callable[[str], None]) -> None:
    """By the name of the op, of its value, or of its int8 form; all others are integers as before."""
    from intarsia import CompileError, compile_model, explain, load
    from intarsia.demo import load_demo

    demo = load_demo()

    def floats(*keep: str) -> list[str]:
        rows = explain(demo.model_path, target="pynq-z2", keep_float=keep).rows
        return [row.name for row in rows if row.op == "Conv"]

    assert floats() == []
    for name in ("/4/c2/Conv", "/4/c2/Conv_int8", "/4/c2/Conv_output_0"):
        assert floats(name) == ["/4/c2/Conv"]
    assert floats("/4/c2/Conv", "/2/Relu_output_0") == ["/0/Conv", "/4/c2/Conv"]
    every = [row.name for row in explain(demo.model_path, target="cpu", precision="float32").rows if row.macs]
    made = compile_model(
        demo.model_path, target="cpu", precision="int8", calibration=demo.calibration, keep_float=every
    )
    exact = compile_model(demo.model_path, target="cpu", precision="float32")
    with load(made) as kept, load(exact) as wanted:
        np.testing.assert_allclose(kept.run(demo.images[:4])[0], wanted.run(demo.images[:4])[0], rtol=0.2, atol=0.1)
    letters = []
    for options in (
        {"keep_float": ["/4/c2/Conf"], "precision": "int8"},
        {"keep_float": ["/4/c2/Conv"], "precision": "float32"},
        {"keep_float": "/4/c2/Conv", "precision": "int8"},
        {"keep_float": [3], "precision": "int8"},
    ):
        with pytest.raises(CompileError) as caught:
            explain(demo.model_path, target="cpu", **options)
        letters.append(str(caught.value))
    with pytest.raises(CompileError) as caught:
        compile_model(demo.model_path, target="cpu", keep_float=["/4/c2/Conv"], pipeline="fold-constants")
    golden("\n".join([*letters, str(caught.value)]) + "\n")
