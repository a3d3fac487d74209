"""Models whose quantizer left edges without a scale: every placement that is common reaches integer ops."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import intarsia
from intarsia.importer import import_model
from intarsia.ir.evaluate import evaluate
from intarsia.ir.graph import Graph, Value
from intarsia.ir.verify import verify
from intarsia.passes import fuse_passes, simplify_passes
from intarsia.passes.base import Outcome, run_passes
from intarsia.passes.calibration import Ranges
from intarsia.passes.quantize import FuseIntegerPad, lower_qdq


class Placement:
    """Builds a quantized model line by line, in ONNX's text form."""

    def __init__(self, seed: int = 3) -> None:
        self.rng = np.random.default_rng(seed)
        self.lines: list[str] = []
        self.constants: dict[str, Any] = {}

    def scaled(self, source: str, name: str, scale: float, zero: int = 0) -> str:
        """QuantizeLinear and DequantizeLinear; returns the name of the real numbers behind them."""
        self.constants |= {f"s_{name}": np.float32(scale), f"z_{name}": np.int8(zero)}
        self.lines += [
            f"q_{name} = QuantizeLinear ({source}, s_{name}, z_{name})",
            f"{name} = DequantizeLinear (q_{name}, s_{name}, z_{name})",
        ]
        return name

    def conv(self, source: str, name: str, outputs: int, inputs: int, kernel: int = 3) -> str:
        """A convolution with a scale for each channel of its int8 weights, and a float bias."""
        shape = (outputs, inputs, kernel, kernel)
        self.constants |= {
            f"w_{name}": self.rng.integers(-127, 128, shape).astype(np.int8),
            f"ws_{name}": np.linspace(0.001, 0.003, outputs).astype(np.float32),
            f"wz_{name}": np.zeros(outputs, np.int8),
            f"b_{name}": (self.rng.standard_normal(outputs) * 0.2).astype(np.float32),
        }
        pad = kernel // 2
        self.lines += [
            f"wd_{name} = DequantizeLinear <axis=0> (w_{name}, ws_{name}, wz_{name})",
            f"{name} = Conv <kernel_shape=[{kernel},{kernel}], pads=[{pad},{pad},{pad},{pad}]> "
            f"({source}, wd_{name}, b_{name})",
        ]
        return name

    def model(self, output: str, shape: str, size: int = 12) -> onnx.ModelProto:
        """The model, from `x` of three channels to `output`, which is called y."""
        body = "\n".join([*self.lines, f"y = Identity ({output})"])
        text = f"net (float[1,3,{size},{size}] x) => (float[{shape}] y) {{\n{body}\n}}"
        model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]>\n{text}')
        model.graph.initializer.extend(numpy_helper.from_array(np.asarray(a), k) for k, a in self.constants.items())
        onnx.checker.check_model(model, full_check=True)
        return model


def lowered(model: onnx.ModelProto, ranges: Ranges | None = None) -> tuple[Graph, Outcome]:
    """A model after lowering."""
    graph = import_model(model)
    run_passes(graph, (*simplify_passes(True), *fuse_passes(True, integer=True)))
    outcome = lower_qdq(graph, ranges)
    verify(graph, "quantized")
    return graph, outcome


def signal_to_noise(model: onnx.ModelProto, graph: Graph, samples: int = 4, size: int = 12) -> float:
    """Decibels between the float formula of ONNX and the lowered graph."""
    meaning, rng, pairs = import_model(model), np.random.default_rng(8), []
    for _ in range(samples):
        x = rng.standard_normal((1, 3, size, size)).astype(np.float32)
        pairs.append((evaluate(meaning, {"x": x})[0].astype(np.float64), evaluate(graph, {"x": x})[0]))
    signal = sum(float((wanted**2).sum()) for wanted, _ in pairs)
    noise = sum(float(((wanted - got) ** 2).sum()) for wanted, got in pairs)
    return 200.0 if noise == 0 else 10 * float(np.log10(signal / noise))


def is_real(value: Value | None) -> bool:
    return value is not None and not value.is_constant and value.dtype == "float32"


def float_ops(graph: Graph) -> list[str]:
    """Ops that compute on floats."""
    nodes = [node for node in graph.nodes if node.op not in ("quantize", "dequantize")]
    return [node.op for node in nodes if any(map(is_real, (*node.inputs, *node.outputs)))]


MOVES = {
    "pad": ("m = Pad (r, pads)", "1,8,14,14", {"pads": np.array([0, 0, 1, 1, 0, 0, 1, 1])}),
    "max-pool": ("m = MaxPool <kernel_shape=[2,2], strides=[2,2]> (r)", "1,8,6,6", {}),
    "flatten": ("m = Flatten (r)", "1,1152", {}),
    "transpose": ("m = Transpose <perm=[0,2,3,1]> (r)", "1,12,12,8", {}),
    "slice": ("m = Slice (r, one, six, two)", "1,8,5,12",
              {"one": np.array([1]), "six": np.array([6]), "two": np.array([2])}),
    "resize": ('m = Resize <mode="nearest"> (r, , twice)', "1,8,24,24",
               {"twice": np.array([1, 1, 2, 2], np.float32)}),
    "two-moves": ("n = MaxPool <kernel_shape=[2,2], strides=[2,2]> (r)\nm = Flatten (n)", "1,288", {}),
    "concat": ("m = Concat <axis=1> (r, r)", "1,16,12,12", {}),
}  # fmt: skip


@pytest.mark.parametrize("case", MOVES)
def test_a_scale_behind_a_move_is_that_of_the_op_before_it(case: str) -> None:
    line, shape, constants = MOVES[case]
    net = Placement()
    net.conv(net.scaled("x", "xd", 0.03), "t", 8, 3)
    net.lines += ["r = Relu (t)", line]
    net.constants |= constants
    model = net.model(net.scaled("m", "e", 0.015, -128), shape)
    graph, outcome = lowered(model)
    assert not float_ops(graph) and not outcome.refusals and not outcome.notes
    conv = next(node for node in graph.nodes if node.op == "qconv")
    assert str(conv.output.quantization) == "q(0.0149999997,-128)"
    assert signal_to_noise(model, graph) > 55


CURVES = {
    "silu": ("g = Sigmoid (t)\nm = Mul (t, g)", 0.03, -118, 29),
    "hard-swish": ("m = HardSwish (t)", 0.03, -115, 30),
    "leaky-relu": ("m = LeakyRelu <alpha=0.1> (t)", 0.04, -100, 27),
    "sigmoid": ("m = Sigmoid (t)", 1 / 256, -128, 35),
    "tanh": ("m = Tanh (t)", 1 / 128, 0, 35),
    "elu": ("m = Elu (t)", 0.03, -90, 30),
}


@pytest.mark.parametrize("case", CURVES)
def test_a_scale_behind_a_curve_tells_the_range_before_it(case: str) -> None:
    lines, scale, zero, floor = CURVES[case]
    net = Placement()
    net.conv(net.scaled("x", "xd", 0.03), "t", 8, 3)
    net.lines.append(lines)
    model = net.model(net.scaled("m", "e", scale, zero), "1,8,12,12")
    graph, outcome = lowered(model)
    assert [node.op for node in graph.nodes] == ["quantize", "qconv", "lookup", "dequantize"]
    assert not outcome.refusals
    assert signal_to_noise(model, graph) > floor


def residual() -> onnx.ModelProto:
    net = Placement()
    net.conv(net.scaled("x", "xd", 0.03), "t0", 8, 3)
    net.lines.append("r0 = Relu (t0)")
    net.conv(net.scaled("r0", "d0", 0.015), "t1", 8, 8)
    skip = net.scaled("r0", "skip", 0.015)
    net.lines += [f"sum = Add (t1, {skip})", "r1 = Relu (sum)"]
    return net.model(net.scaled("r1", "e", 0.03), "1,8,12,12")


def test_a_sum_with_a_scale_at_one_side_tells_the_range_of_the_other() -> None:
    model = residual()
    graph, outcome = lowered(model)
    assert not float_ops(graph) and not outcome.refusals
    assert [node.op for node in graph.nodes].count("qconv") == 2
    assert outcome.notes == (
        (
            "t1",
            "the model gives its output no scale: without calibration data it is derived from what stands around it, "
            "q(0.0224117637,-43)",
        ),
    )
    assert signal_to_noise(model, graph) > 34


def test_measured_ranges_are_finer_than_derived_ones() -> None:
    model = residual()
    graph, outcome = lowered(model, Ranges({"t1": (-1.0, 1.0)}, samples=1))
    assert not outcome.notes
    twin = next(node for node in graph.nodes if node.name == "t1")
    assert str(twin.output.quantization) == "q(0.00784313772,-1)"


def test_calibration_data_serves_the_edges_of_a_model_with_scales() -> None:
    model, rng = residual(), np.random.default_rng(1)
    data = rng.standard_normal((4, 3, 12, 12)).astype(np.float32)
    plain = intarsia.compile_model(model, target="tiny")
    measured = intarsia.compile_model(model, target="tiny", calibration=data)
    x = rng.standard_normal((1, 3, 12, 12)).astype(np.float32)
    wanted = evaluate(import_model(model), {"x": x})[0]
    errors = []
    for artifact in (plain, measured):
        got = intarsia.load(artifact, device="simulator").run(x)[0]
        errors.append(float(np.abs(got - wanted).mean()))
    assert 0 < errors[1] <= errors[0] < 0.02


def last_product() -> onnx.ModelProto:
    net = Placement()
    net.conv(net.scaled("x", "xd", 0.03), "t", 8, 3)
    return net.model("t", "1,8,12,12")


def test_a_last_product_that_the_model_left_without_a_scale_stays_float() -> None:
    model = last_product()
    graph, outcome = lowered(model)
    assert float_ops(graph) == ["Conv"] and not outcome.notes
    assert [refusal.reason for refusal in outcome.refusals] == [
        "its output has no scale: calibration data would give it one"
    ]
    assert signal_to_noise(model, graph) > 100


def test_a_last_product_of_a_measured_range_is_an_integer_product() -> None:
    model, rng = last_product(), np.random.default_rng(1)
    graph, outcome = lowered(model, Ranges({"y": (-1.5, 1.5)}, samples=1))
    assert [node.op for node in graph.nodes] == ["quantize", "qconv", "dequantize"]
    assert not outcome.notes and not outcome.refusals
    data = rng.standard_normal((8, 3, 12, 12)).astype(np.float32)
    made = intarsia.compile_model(model, target="tiny", calibration=data)
    assert {row["op"] for row in made.contents.placements} == {"quantize", "qconv", "dequantize"}
    x = data[:1]
    wanted, got = evaluate(import_model(model), {"x": x})[0], intarsia.load(made, device="simulator").run(x)[0]
    assert float(np.abs(wanted - got).max()) < 0.02 * float(np.abs(wanted).max())


def test_a_mean_whose_scale_stands_behind_a_flatten() -> None:
    net = Placement()
    net.conv(net.scaled("x", "xd", 0.03), "t", 8, 3)
    net.lines += ["r = Relu (t)", "g = GlobalAveragePool (r)", "f = Flatten (g)"]
    model = net.model(net.scaled("f", "e", 0.015, -128), "1,8")
    graph, outcome = lowered(model)
    assert not float_ops(graph) and not outcome.refusals
    assert signal_to_noise(model, graph) > 35


def test_batch_norm_goes_into_the_scales_of_quantized_weights() -> None:
    net = Placement()
    net.conv(net.scaled("x", "xd", 0.03), "t", 8, 3)
    net.constants |= {
        "gamma": np.array([1, -0.5, 2, 0, 0.7, -1.5, 1, 1], np.float32),
        "beta": np.linspace(-0.3, 0.3, 8).astype(np.float32),
        "mean": np.linspace(-0.1, 0.1, 8).astype(np.float32),
        "variance": np.linspace(0.5, 1.5, 8).astype(np.float32),
    }
    net.lines += ["n = BatchNormalization (t, gamma, beta, mean, variance)", "r = Relu (n)"]
    model = net.model(net.scaled("r", "e", 0.03, -128), "1,8,12,12")
    graph, outcome = lowered(model)
    assert [node.op for node in graph.nodes] == ["quantize", "qconv", "dequantize"]
    assert not outcome.refusals and not outcome.notes
    weight = graph.nodes[1].input(1).data
    assert weight is not None
    assert np.array_equal(weight[0], net.constants["w_t"][0]) and np.array_equal(weight[1], -net.constants["w_t"][1])
    assert not outcome.refusals and signal_to_noise(model, graph) > 50


def test_an_op_between_float_ops_stays_float() -> None:
    net = Placement()
    source = net.scaled("x", "xd", 0.03)
    net.lines += [f"a = Sigmoid ({source})", "b = LogSoftmax <axis=1> (a)"]
    graph, outcome = lowered(net.model("b", "1,3,12,12"))
    assert float_ops(graph) == ["Sigmoid", "LogSoftmax"]
    assert outcome.refusals[0].reason == "its output has no scale"


def pytorch_qat() -> onnx.ModelProto:
    """A scale behind every fused op; weights are float with QuantizeLinear behind; BatchNormalization stands apart."""
    net, source = Placement(), "x"
    source = net.scaled("x", "d0", 0.03)
    for index, inputs in enumerate((3, 8)):
        net.constants |= {
            f"wf{index}": (net.rng.standard_normal((8, inputs, 3, 3)) * 0.2).astype(np.float32),
            f"ws{index}": np.full(8, 0.006, np.float32),
            f"wz{index}": np.zeros(8, np.int8),
            **{f"{part}{index}": net.rng.uniform(0.5, 1.5, 8).astype(np.float32) for part in "gbmv"},
        }
        net.lines += [
            f"wq{index} = QuantizeLinear <axis=0> (wf{index}, ws{index}, wz{index})",
            f"wd{index} = DequantizeLinear <axis=0> (wq{index}, ws{index}, wz{index})",
            f"t{index} = Conv <kernel_shape=[3,3], pads=[1,1,1,1]> ({source}, wd{index})",
            f"n{index} = BatchNormalization (t{index}, g{index}, b{index}, m{index}, v{index})",
            f"r{index} = Relu (n{index})",
        ]
        source = net.scaled(f"r{index}", f"e{index}", 0.03, -128)
    net.lines += [f"p = GlobalAveragePool ({source})"]
    net.lines += [f"f = Flatten ({net.scaled('p', 'pd', 0.02, -128)})"]
    return net.model(net.scaled("f", "y8", 0.02, -128), "1,8")


def nncf() -> onnx.ModelProto:
    """Scales in front of what can compute in integers, none behind it: pools and the last product lie between."""
    net = Placement()
    net.conv(net.scaled("x", "d0", 0.03), "t0", 8, 3)
    net.lines += ["r0 = Relu (t0)", "p = MaxPool <kernel_shape=[2,2], strides=[2,2]> (r0)"]
    source = net.scaled("p", "d1", 0.02, -128)
    net.conv(source, "t1", 8, 8)
    net.lines += [f"s = Add ({source}, {net.scaled('t1', 'd2', 0.03)})", "g = GlobalAveragePool (s)"]
    net.conv(net.scaled("g", "d3", 0.01), "head", 5, 8, kernel=1)
    net.lines.append("f = Flatten (head)")
    return net.model("f", "1,5")


def tensorrt() -> onnx.ModelProto:
    """Scales in front of convolutions and at the skip of a residual; the last product has none behind it."""
    net = Placement()
    net.conv(net.scaled("x", "d0", 0.03), "t0", 8, 3)
    net.lines.append("r0 = Relu (t0)")
    net.conv(net.scaled("r0", "d1", 0.02), "t1", 8, 8)
    net.lines += [f"s = Add (t1, {net.scaled('r0', 'skip', 0.02)})", "r1 = Relu (s)"]
    net.conv(net.scaled("r1", "d2", 0.03), "head", 5, 8, kernel=1)
    return net.model("head", "1,5,12,12")


def vitis() -> onnx.ModelProto:
    """Powers of two behind every op, biases of int8 with scales of their own, and a factor behind an average."""
    net = Placement()
    net.conv(net.scaled("x", "d0", 2.0**-5), "t0", 8, 3)
    net.constants |= {"b8": net.rng.integers(-60, 60, 8).astype(np.int8), "bs": np.float32(2.0**-6)}
    net.constants |= {"bz": np.int8(0), "factor": np.float32(21 * 3 / 64)}
    net.lines[-1] = net.lines[-1].replace("b_t0", "bd")
    net.lines.insert(-1, "bd = DequantizeLinear (b8, bs, bz)")
    del net.constants["b_t0"]
    net.lines.append("r0 = Relu (t0)")
    source = net.scaled("r0", "d1", 2.0**-5)
    net.lines.append(f"p = MaxPool <kernel_shape=[2,2], strides=[2,2]> ({source})")
    source = net.scaled("p", "d2", 2.0**-5)
    net.lines += [f"a = AveragePool <kernel_shape=[3,3], strides=[3,3]> ({source})", "m = Mul (a, factor)"]
    return net.model(net.scaled("m", "e", 2.0**-5), "1,8,2,2")


LEFT = {"NNCF": ["Conv", "Reshape"], "TensorRT": ["Conv"]}
PLACEMENTS = {"PyTorch": pytorch_qat, "NNCF": nncf, "TensorRT": tensorrt, "Vitis": vitis}


@pytest.mark.parametrize("quantizer", PLACEMENTS)
def test_the_placement_of_a_quantizer_leaves_no_float_op(quantizer: str) -> None:
    """Save the last product of those that give it no scale: this becomes integer where its range is measured."""
    model = PLACEMENTS[quantizer]()
    graph, outcome = lowered(model)
    left = LEFT.get(quantizer, [])
    assert float_ops(graph) == left and len(outcome.refusals) == len(left)
    assert signal_to_noise(model, graph) > 20
    told = intarsia.explain(model, target="pynq-z2")
    assert told.summary["compute_ops_on_target"] == told.summary["compute_ops"] - bool(left)
    data = np.random.default_rng(1).standard_normal((8, 3, 12, 12)).astype(np.float32)
    made = intarsia.compile_model(model, target="pynq-z2", calibration=data)
    assert not {row["op"] for row in made.contents.placements} & {"Conv", "dense"}
    assert not any("quantize the model" in reason.fix for row in told.rows for reason in row.reasons)


@pytest.mark.parametrize(("fill", "merged"), [(0.0, True), (0.3, False)])
def test_a_pad_between_equal_scales_goes_into_the_convolution(fill: float, merged: bool) -> None:
    net = Placement()
    source = net.scaled("x", "xd", 0.03, 7)
    net.constants |= {"pads": np.array([0, 0, 1, 2, 0, 0, 2, 1]), "fill": np.float32(fill)}
    net.lines.append(f"p = Pad ({source}, pads, fill)")
    net.conv(net.scaled("p", "pd", 0.03, 7), "t", 8, 3)
    graph, _ = lowered(net.model(net.scaled("t", "e", 0.03), "1,8,15,15"))
    x = np.random.default_rng(2).standard_normal((1, 3, 12, 12)).astype(np.float32)
    before = evaluate(graph, {"x": x})[0]
    assert FuseIntegerPad().run(graph) == merged
    assert ("Pad" in [node.op for node in graph.nodes]) != merged
    assert np.array_equal(evaluate(graph, {"x": x})[0], before)
    conv = next(node for node in graph.nodes if node.op == "qconv")
    assert conv.attributes["pads"] == ((2, 3, 3, 2) if merged else (1, 1, 1, 1))
