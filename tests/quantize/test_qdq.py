"""Models with scales of their own keep them, and give what ONNX Runtime gives, save a step here and there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from intarsia.dtypes import Array
from intarsia.importer import import_model
from intarsia.ir.evaluate import evaluate
from intarsia.ir.graph import Graph
from intarsia.ir.verify import verify
from intarsia.passes import fuse_passes, simplify_passes
from intarsia.passes.base import run_passes
from intarsia.passes.quantize import Outcome, is_prequantized, lower_qdq


def lowered(model: Path | bytes | onnx.ModelProto) -> tuple[Graph, Outcome]:
    """A QDQ model after lowering."""
    graph = import_model(model)
    run_passes(graph, (*simplify_passes(True), *fuse_passes(True)))
    outcome = lower_qdq(graph)
    verify(graph, "quantized")
    return graph, outcome


def ops(graph: Graph) -> list[str]:
    return [node.op for node in graph.nodes]


def runtime_session(model: bytes, fused: bool = False) -> onnxruntime.InferenceSession:
    """ONNX Runtime, with the formulas of ONNX op by op, or fused to its own integer kernels."""
    options = onnxruntime.SessionOptions()
    if not fused:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def model_of(text: str, **constants: Array | np.generic) -> onnx.ModelProto:
    """A model in ONNX's text form, with initializers."""
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]>\n{text}')
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants.items())
    onnx.checker.check_model(model, full_check=True)
    return model


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, samples: list[dict[str, Array]]) -> None:
        self._samples = iter(samples)

    def get_next(self) -> dict[str, Array] | None:
        return next(self._samples, None)


@pytest.fixture(scope="module")
def float_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Conv, Relu, residual Add, MaxPool, Sigmoid, Mul, Concat, GlobalAveragePool, Gemm."""
    rng = np.random.default_rng(5)
    text = """
    net (float[1,3,12,12] x) => (float[1,5] y) {
      a = Conv <kernel_shape=[3,3], pads=[1,1,1,1]> (x, w1, b1)
      b = Relu (a)
      c = Conv <kernel_shape=[3,3], pads=[1,1,1,1], group=2> (b, w2, b2)
      d = Add (b, c)
      e = Relu (d)
      f = MaxPool <kernel_shape=[2,2], strides=[2,2]> (e)
      g = Sigmoid (f)
      h = Mul (f, g)
      i = Concat <axis=1> (h, f)
      j = GlobalAveragePool (i)
      k = Flatten (j)
      y = Gemm <transB=1> (k, w3, b3)
    }"""
    shapes = {"w1": (8, 3, 3, 3), "b1": (8,), "w2": (8, 4, 3, 3), "b2": (8,), "w3": (5, 16), "b3": (5,)}
    constants = {name: (rng.standard_normal(shape) * 0.3).astype(np.float32) for name, shape in shapes.items()}
    path = tmp_path_factory.mktemp("qdq") / "float.onnx"
    onnx.save(model_of(text, **constants), path)
    return path


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("activations", ["QInt8", "QUInt8"])
def test_models_of_onnxruntime(float_model: Path, tmp_path: Path, per_channel: bool, activations: str) -> None:
    rng = np.random.default_rng(6)
    samples = [{"x": rng.standard_normal((1, 3, 12, 12)).astype(np.float32)} for _ in range(20)]
    path = tmp_path / "qdq.onnx"
    quantize_static(
        float_model,
        path,
        _Reader(samples),
        quant_format=QuantFormat.QDQ,
        per_channel=per_channel,
        activation_type=getattr(QuantType, activations),
        weight_type=QuantType.QInt8,
    )
    assert is_prequantized(import_model(path)) and not is_prequantized(import_model(float_model))
    graph, outcome = lowered(path)
    assert outcome.refusals == ()
    float_ops = [op for op in ops(graph) if op[0].isupper()]
    assert set(float_ops) <= {"MaxPool", "Concat", "Flatten", "Reshape"}, ops(graph)
    assert all(value.dtype != "float32" or value.producer is None or value.producer.op == "dequantize"
               for value in graph.values() if not value.is_constant)  # fmt: skip
    session = runtime_session(path.read_bytes())
    scale = next(node.attributes["scale"] for node in graph.nodes if node.op == "dequantize")
    steps = []
    for sample in samples:
        steps.append(np.abs(evaluate(graph, sample)[0] - session.run(None, sample)[0]) / scale)
    assert max(step.max() for step in steps) < 2.5
    assert np.mean([(step < 0.5).mean() for step in steps]) > 0.7


@pytest.mark.parametrize("per_channel", [False, True])
def test_models_in_the_older_spelling(per_channel: bool) -> None:
    constants = conv_constants()
    constants["bq"] //= 4
    if not per_channel:
        constants["sw"], constants["zw"] = np.float32(0.004), np.int8(0)
    model = model_of(
        """
        net (uint8[1,4,8,8] x) => (uint8[1,8,8,3] y) {
          c = QLinearConv <kernel_shape=[3,3], pads=[1,1,1,1]> (x, sx, ux, wq, sw, zw, sy, uy, bq)
          t = Transpose <perm=[0,2,3,1]> (c)
          y = QLinearMatMul (t, sy, uy, m, sm, zm, sz, uy)
        }""",
        **{key: constants[key] for key in ("sx", "wq", "sw", "zw", "sy", "bq")},
        ux=np.uint8(120), uy=np.uint8(90), sz=np.float32(0.1), sm=np.float32(0.02), zm=np.int8(0),
        m=np.random.default_rng(4).integers(-127, 128, (6, 3)).astype(np.int8),
    )  # fmt: skip
    assert is_prequantized(import_model(model))
    graph, outcome = lowered(model)
    assert ops(graph) == ["lookup", "qconv", "Transpose", "qmatmul", "lookup"] and not outcome.refusals
    # Not ONNX Runtime: its sums of uint8 * int8 saturate at 16 bits on CPUs without VNNI.
    meaning, rng = import_model(model), np.random.default_rng(8)
    for _ in range(5):
        x = rng.integers(0, 256, (1, 4, 8, 8)).astype(np.uint8)
        steps = np.abs(evaluate(graph, {"x": x})[0].astype(int) - evaluate(meaning, {"x": x})[0].astype(int))
        assert steps.max() <= 2 and (steps == 0).mean() > 0.8  # two weights were -128


def test_int8_inputs_and_outputs_stay() -> None:
    model = model_of(
        """
        net (int8[1,8,8,4] x) => (int8[1,6,8,8] y) {
          t = Transpose <perm=[0,3,1,2]> (x)
          d = DequantizeLinear (t, sx, zx)
          w = DequantizeLinear <axis=0> (wq, sw, zw)
          b = DequantizeLinear <axis=0> (bq, sb, zb)
          c = Conv <kernel_shape=[3,3], pads=[1,1,1,1]> (d, w, b)
          r = Relu (c)
          y = QuantizeLinear (r, sy, zy)
        }""",
        **conv_constants(),
    )
    graph, outcome = lowered(model)
    assert ops(graph) == ["Transpose", "qconv"] and not outcome.refusals
    assert [value.name for value in (*graph.inputs, *graph.outputs)] == ["x", "y"]
    assert graph.inputs[0].dtype == graph.outputs[0].dtype == "int8"
    assert str(graph.outputs[0].quantization) == "q(0.0500000007,-100)"
    assert graph.nodes[1].attributes["clamp_min"] == -100
    assert outcome.notes == (("c", "2 weights of -128 became -127, the least that engines take"),)
    check_steps(model, graph, np.int8)


def conv_constants() -> dict[str, Any]:
    rng = np.random.default_rng(7)
    weights = rng.integers(-127, 128, (6, 4, 3, 3)).astype(np.int8)
    weights[2, 1, 0, 0] = weights[4, 0, 2, 2] = -128
    scales = rng.uniform(0.001, 0.01, 6).astype(np.float32)
    return {
        "sx": np.float32(0.02),
        "zx": np.int8(-5),
        "wq": weights,
        "sw": scales,
        "zw": np.zeros(6, np.int8),
        "bq": rng.integers(-3000, 3000, 6).astype(np.int32),
        "sb": scales * np.float32(0.02),
        "zb": np.zeros(6, np.int32),
        "sy": np.float32(0.05),
        "zy": np.int8(-100),
    }


def check_steps(model: onnx.ModelProto, graph: Graph, dtype: Any, most: int = 1, equal: float = 0.95) -> None:
    """Random bytes give what ONNX Runtime gives, to `most` steps, and exactly the same in a share `equal`."""
    rng = np.random.default_rng(8)
    session = runtime_session(model.SerializeToString())
    source = graph.inputs[0]
    for _ in range(5):
        limits = np.iinfo(dtype)
        x = rng.integers(limits.min, limits.max + 1, source.shape).astype(dtype)
        ours, theirs = evaluate(graph, {source.name: x})[0], session.run(None, {source.name: x})[0]
        assert ours.dtype == theirs.dtype
        steps = np.abs(ours.astype(int) - theirs.astype(int))
        assert steps.max() <= most and (steps == 0).mean() >= equal


def test_uint8_inputs_and_outputs_stay() -> None:
    model = model_of(
        """
        net (uint8[1,4,8,8] x) => (uint8[1,4,4,4] y) {
          p = MaxPool <kernel_shape=[2,2], strides=[2,2]> (x)
          d = DequantizeLinear (p, sx, zx)
          s = Softmax <axis=1> (d)
          y = QuantizeLinear (s, sy, zy)
        }""",
        sx=np.float32(0.05), zx=np.uint8(120), sy=np.float32(1 / 256), zy=np.uint8(0),
    )  # fmt: skip
    graph, outcome = lowered(model)
    assert ops(graph) == ["lookup", "MaxPool", "qsoftmax", "lookup"] and not outcome.refusals
    assert graph.inputs[0].dtype == graph.outputs[0].dtype == "uint8"
    assert graph.outputs[0].name == "y"
    check_steps(model, graph, np.uint8)


UNARY = {
    "sigmoid": ("c = Sigmoid (d)", "lookup", 0.004, -128),
    "tanh": ("c = Tanh (d)", "lookup", 0.008, 0),
    "hard-swish": ("c = HardSwish (d)", "lookup", 0.02, -110),
    "softmax-other-scale": ("c = Softmax <axis=1> (d)", "requantize", 0.005, -100),
    "relu": ("c = Relu (d)", "requantize", 0.013, -128),
    "mean": ("c = GlobalAveragePool (d)", "qaveragepool", 0.01, 3),
    "transpose-rescaled": ("c = Transpose <perm=[0,2,3,1]> (d)", "requantize", 0.015, 3),
}


@pytest.mark.parametrize("case", UNARY)
def test_one_op_between_scales(case: str) -> None:
    line, op, scale, zero = UNARY[case]
    shape = {"mean": "1,4,1,1", "transpose-rescaled": "1,8,8,4"}.get(case, "1,4,8,8")
    model = model_of(
        f"net (int8[1,4,8,8] x) => (int8[{shape}] y) {{ d = DequantizeLinear (x, sx, zx) {line} "
        "y = QuantizeLinear (c, sy, zy) }",
        sx=np.float32(0.02), zx=np.int8(4), sy=np.float32(scale), zy=np.int8(zero),
    )  # fmt: skip
    graph, outcome = lowered(model)
    assert op in ops(graph) and not outcome.refusals
    check_steps(model, graph, np.int8, equal=0.75 if case == "softmax-other-scale" else 0.98)  # two roundings


def test_float_islands_stay_float_and_say_why() -> None:
    model = model_of(
        """
        net (float[1,4] x) => (float[1,4] y) {
          q = QuantizeLinear (x, s, z)
          d = DequantizeLinear (q, s, z)
          e = Mul (d, x)
          f = LogSoftmax <axis=1> (e)
          g = QuantizeLinear (f, s, z)
          y = DequantizeLinear (g, s, z)
        }""",
        s=np.float32(0.05), z=np.int8(0),
    )  # fmt: skip
    graph, outcome = lowered(model)
    assert ops(graph) == ["quantize", "dequantize", "Mul", "LogSoftmax", "quantize", "dequantize"]
    assert [refusal.reason for refusal in outcome.refusals] == [
        "its input 'x' has no scale",
        "LogSoftmax has no integer form",
    ]
    x = np.array([[0.3, -1.2, 2.0, 0.1]], np.float32)
    assert np.allclose(evaluate(graph, {"x": x})[0], runtime_session(model.SerializeToString()).run(None, {"x": x})[0])


def weighted(weight: Array, scale: Array | np.generic, zero: Array | np.generic) -> onnx.ModelProto:
    return model_of(
        """
        net (int8[1,16] x) => (int8[1,4] y) {
          d = DequantizeLinear (x, sx, zx)
          w = DequantizeLinear <axis=1> (wq, sw, zw)
          c = MatMul (d, w)
          y = QuantizeLinear (c, sy, zx)
        }""",
        sx=np.float32(0.02), zx=np.int8(0), sy=np.float32(0.1), wq=weight, sw=scale, zw=zero,
    )  # fmt: skip


def test_unsigned_weights_are_integers_near_their_zero_point_and_far_from_it() -> None:
    rng = np.random.default_rng(9)
    narrow = rng.integers(1, 256, (16, 4)).astype(np.uint8)
    model = weighted(narrow, np.float32(0.01), np.uint8(128))
    graph, outcome = lowered(model)
    assert ops(graph) == ["qmatmul"] and not outcome.notes
    check_steps(model, graph, np.int8)
    wide = weighted(rng.integers(0, 256, (16, 4)).astype(np.uint8), np.float32(0.01), np.uint8(20))
    graph, outcome = lowered(wide)
    assert ops(graph) == ["Concat", "qmatmul"] and not outcome.refusals
    assert [text for _, text in outcome.notes] == [
        "its weights of more than 127 steps from their zero point are computed as 2 weights of int8 each"
    ]
    check_steps(wide, graph, np.int8)


def test_compressed_weights_alone_are_no_quantized_model() -> None:
    model = model_of(
        """
        net (float[1,16] x) => (float[1,4] y) {
          w = DequantizeLinear (wq, sw, zw)
          y = MatMul (x, w)
        }""",
        wq=np.ones((16, 4), np.int8), sw=np.float32(0.01), zw=np.int8(0),
    )  # fmt: skip
    assert not is_prequantized(import_model(model))


def test_an_input_that_is_also_the_output() -> None:
    model = model_of(
        "net (int8[1,4] x) => (int8[1,4] y) { d = DequantizeLinear (x, s, z) y = QuantizeLinear (d, s, z) }",
        s=np.float32(0.05), z=np.int8(3),
    )  # fmt: skip
    graph, _ = lowered(model)
    assert [value.name for value in graph.outputs] == ["y"]
    check_steps(model, graph, np.int8, most=0)


REAL = {"ic_resnet8_int8": 0.95, "kws_dscnn_int8": 0.97, "ad_ae_int8": 1.0}
"""Share of inputs on which the largest output is the same one as ONNX Runtime's, at least."""


@pytest.mark.parametrize("name", REAL)
def test_real_models(name: str, shared_models: Path, shared_data: Path) -> None:
    path = shared_models / f"{name}.onnx"
    graph, outcome = lowered(path)
    assert not outcome.refusals
    source, rng = graph.inputs[0], np.random.default_rng(0)
    if name == "ic_resnet8_int8":
        images = (np.load(shared_data / "cifar10_jpeg_1000.npz")["x"][:60].astype(np.int16) - 128).astype(np.int8)
    elif name == "kws_dscnn_int8":
        noise = rng.normal(0, 40, (100, 49, 10, 1)) + rng.normal(0, 30, (100, 1, 10, 1)) + 60
        images = np.clip(noise, -128, 127).astype(np.int8)
    else:
        rows = np.fromfile(next((shared_data / "ad").glob("*.bin")), np.float32).reshape(-1, 640)
        images = np.clip(np.rint(rows / 0.39101523) + 89, -128, 127).astype(np.int8)
    session = runtime_session(path.read_bytes(), fused=True)
    same, worst = 0, 0
    for image in images:
        ours = evaluate(graph, {source.name: image[None]})[0].astype(int)
        theirs = session.run(None, {source.name: image[None]})[0].astype(int)
        same += int(ours.argmax() == theirs.argmax())
        worst = max(worst, int(np.abs(ours - theirs).max()))
    assert same >= REAL[name] * len(images)
    if name == "ad_ae_int8":
        assert worst <= 1
