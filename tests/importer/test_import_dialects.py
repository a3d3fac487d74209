"""Quantized ops of other dialects become ONNX's own: ONNX Runtime's QOperator ops, and fake quantization of QONNX."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import intarsia
from intarsia.errors import CompileError
from intarsia.importer import import_model
from intarsia.ir.evaluate import evaluate

QUANT = "qonnx.custom_op.general"
RNG = np.random.default_rng(4)


def made(
    op: str,
    inputs: str,
    constants: dict[str, Any],
    output: tuple[int, list[int]],
    domain: str = "com.microsoft",
    version: int = 17,
    source: tuple[int, list[int]] = (TensorProto.UINT8, [1, 4, 6, 6]),
    **attributes: Any,
) -> onnx.ModelProto:
    """A model of one node, from `x` to `y`; '-' is an input left out."""
    node = helper.make_node(
        op, ["" if name == "-" else name for name in inputs.split()], ["y"], name="n", domain=domain, **attributes
    )
    graph = helper.make_graph(
        [node],
        "net",
        [helper.make_tensor_value_info("x", *source)],
        [helper.make_tensor_value_info("y", *output)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    opsets = [helper.make_opsetid("", version), helper.make_opsetid(domain, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


SCALES = {
    "s": np.float32(0.02), "z": np.uint8(120), "t": np.float32(0.03), "u": np.uint8(100), "p": np.float32(1 / 256),
    "o": np.uint8(0), "c": RNG.integers(0, 256, (1, 4, 6, 6)).astype(np.uint8), "row": np.array([0.02], np.float32),
    "w": RNG.integers(-127, 128, (36, 5)).astype(np.int8), "ws": np.linspace(0.01, 0.02, 5).astype(np.float32),
    "wz": np.zeros(5, np.int8), "b": RNG.integers(-500, 500, 5).astype(np.int32), "one": np.float32(0.01),
    "zi": np.int8(0),
}  # fmt: skip
IMAGE = [1, 4, 6, 6]

OPERATORS: dict[str, tuple[str, str, list[int], dict[str, Any]]] = {
    "add": ("QLinearAdd", "x s z c t u t z", IMAGE, {}),
    "add, scales of shape 1": ("QLinearAdd", "x row z c t u t z", IMAGE, {}),
    "mul": ("QLinearMul", "x s z c t u t z", IMAGE, {}),
    "sigmoid": ("QLinearSigmoid", "x s z p o", IMAGE, {}),
    "leaky relu": ("QLinearLeakyRelu", "x s z t u", IMAGE, {"alpha": 0.2}),
    "softmax": ("QLinearSoftmax", "x s z p o", IMAGE, {"axis": -1, "opset": 17}),
    "global average": ("QLinearGlobalAveragePool", "x s z t u", [1, 4, 1, 1], {}),
    "average": ("QLinearAveragePool", "x s z t u", [1, 4, 3, 3], {"kernel_shape": [2, 2], "strides": [2, 2]}),
    "concat": ("QLinearConcat", "t u x s z c t u", [1, 8, 6, 6], {"axis": 1}),
}


def oracle(model: onnx.ModelProto, feeds: dict[str, Any]) -> Any:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)[0]


@pytest.mark.parametrize("case", OPERATORS)
def test_quantized_operators_of_onnxruntime(case: str) -> None:
    op, inputs, shape, attributes = OPERATORS[case]
    constants: dict[str, Any] = {name: SCALES[name] for name in set(inputs.split()) - {"x"}}
    model = made(op, inputs, constants, (TensorProto.UINT8, shape), **attributes)
    x = RNG.integers(0, 256, IMAGE).astype(np.uint8)
    constants = {name: np.squeeze(array) if name == "row" else array for name, array in constants.items()}
    scalar = made(op, inputs, constants, (TensorProto.UINT8, shape), **attributes)  # all that ONNX Runtime takes
    wanted = oracle(scalar, {"x": x}).astype(int)
    assert np.abs(evaluate(import_model(model), {"x": x})[0].astype(int) - wanted).max() <= 1
    told = intarsia.explain(model, target="pynq-z2")
    assert all(row.place == "pynq-z2" for row in told.rows if row.compute and row.op != "qsoftmax")
    artifact = intarsia.compile_model(model, target="tiny")
    got = intarsia.load(artifact, device="simulator").run(x)[0].astype(int)
    assert np.abs(got - wanted).max() <= 2 and (got == wanted).mean() > 0.7


@pytest.mark.parametrize("result", ["uint8", "float32"])
@pytest.mark.parametrize("weights", ["w ws wz", "w one zi"])
def test_qgemm(weights: str, result: str) -> None:
    inputs = f"x s z {weights} b" + (" t u" if result == "uint8" else "")
    constants: dict[str, Any] = {name: SCALES[name] for name in set(inputs.split()) - {"x"}}
    kind = TensorProto.UINT8 if result == "uint8" else TensorProto.FLOAT
    model = made("QGemm", inputs, constants, (kind, [1, 5]), source=(TensorProto.UINT8, [1, 36]))
    x = RNG.integers(100, 140, (1, 36)).astype(np.uint8)
    wanted = oracle(model, {"x": x})
    got = evaluate(import_model(model), {"x": x})[0]
    assert (
        got.dtype == wanted.dtype and np.abs(got.astype(float) - wanted.astype(float)).max() <= 1.0 * (kind == 2) + 1e-4
    )
    told = intarsia.explain(model, target="pynq-z2")
    assert told.summary["macs_on_target"] == (180 if result == "uint8" else 0) and told.summary["macs"] == 180
    assert any("calibration data would give it one" in text for _, text in told.notes) == (result == "float32")


def test_a_fused_convolution() -> None:
    weight = RNG.standard_normal((3, 4, 3, 3)).astype(np.float32)
    model = made(
        "FusedConv", "x w", {"w": weight}, (TensorProto.FLOAT, [1, 3, 4, 4]), source=(TensorProto.FLOAT, IMAGE),
        activation="Relu",
    )  # fmt: skip
    x = RNG.standard_normal(IMAGE).astype(np.float32)
    assert np.allclose(evaluate(import_model(model), {"x": x})[0], oracle(model, {"x": x}), atol=1e-5)


def fake(x: Any, scale: float, zero: float, least: int, most: int) -> Any:
    """What QONNX says that Quant computes."""
    return (np.clip(np.rint(x / np.float32(scale) + zero), least, most) - zero) * np.float32(scale)


QUANTS = {
    "8 bits": (8, 0, {"signed": 1, "narrow": 0}, -128, 127),
    "8 bits, narrow": (8, 0, {"signed": 1, "narrow": 1}, -127, 127),
    "4 bits": (4, 0, {"signed": 1, "narrow": 0}, -8, 7),
    "4 bits, unsigned": (4, 3, {"signed": 0, "narrow": 0}, 0, 15),
    "unsigned with a zero point": (8, 17, {"signed": 0, "narrow": 0}, 0, 255),
}


@pytest.mark.parametrize("case", QUANTS)
def test_fake_quantization_of_activations(case: str) -> None:
    bits, zero, attributes, least, most = QUANTS[case]
    constants = {"s": np.float32(0.1), "z": np.float32(zero), "b": np.float32(bits)}
    model = made("Quant", "x s z b", constants, (TensorProto.FLOAT, IMAGE), QUANT,
                 source=(TensorProto.FLOAT, IMAGE), rounding_mode="ROUND", **attributes)  # fmt: skip
    x = (RNG.standard_normal(IMAGE) * 20).astype(np.float32)
    assert np.allclose(evaluate(import_model(model), {"x": x})[0], fake(x, 0.1, zero, least, most), atol=1e-5)


def test_fake_quantization_of_weights_by_channel() -> None:
    weight = RNG.standard_normal((3, 4, 3, 3)).astype(np.float32)
    scale = np.array([0.1, 0.2, 0.3], np.float32).reshape(3, 1, 1, 1)
    text = {"w": weight, "s": scale, "z": np.float32(0), "b": np.float32(4)}
    model = made("Quant", "w s z b", text, (TensorProto.FLOAT, [3, 4, 3, 3]), QUANT, signed=1, narrow=1)
    model.graph.node[0].output[0] = "wq"
    model.graph.node.append(helper.make_node("Conv", ["x", "wq"], ["y"]))
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", TensorProto.FLOAT, IMAGE))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, 4, 4]))
    node = next(node for node in import_model(model).nodes if node.op == "DequantizeLinear")
    integers = node.input(0).data
    assert integers is not None and integers.dtype == np.int8
    assert np.array_equal(integers, np.clip(np.rint(weight / scale), -7, 7))


@pytest.mark.parametrize(("op", "bits"), [("Quant", 16.0), ("Quant", 3.5), ("Trunc", 8.0)])
def test_what_has_no_form_is_refused_with_the_way_out(op: str, bits: float) -> None:
    constants = {"s": np.float32(0.1), "z": np.float32(0), "b": np.float32(bits)}
    model = made(op, "x s z b", constants, (TensorProto.FLOAT, IMAGE), QUANT, source=(TensorProto.FLOAT, IMAGE))
    with pytest.raises(CompileError) as caught:
        import_model(model)
    assert f"{QUANT}.{op}" in caught.value.what and "QCDQ" in caught.value.help


def test_nhwc_forms_are_refused_with_the_way_out() -> None:
    constants = {name: SCALES[name] for name in "sztu"}
    model = made("QLinearGlobalAveragePool", "x s z t u", constants, (TensorProto.UINT8, [1, 1, 1, 6]), channels_last=1)
    with pytest.raises(CompileError) as caught:
        import_model(model)
    assert "quant_format=QDQ" in caught.value.help
