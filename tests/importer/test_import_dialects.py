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
    "zi": np.int8(0), "w4": RNG.integers(-127, 128, (5, 4, 3, 3)).astype(np.int8),
    "w6": RNG.integers(-127, 128, (5, 6, 3, 3)).astype(np.int8), "b5": RNG.integers(-500, 500, 5).astype(np.int32),
    "bias": RNG.standard_normal(5).astype(np.float32), "wu": RNG.integers(0, 256, (36, 5)).astype(np.uint8),
    "wzu": RNG.integers(0, 256, 5).astype(np.uint8),
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
    "conv": ("QLinearConv", "x s z w4 one zi t u b5", [1, 5, 4, 4], {}),
    "conv, channels last": ("QLinearConv", "x s z w6 one zi t u b5", [1, 2, 4, 5], {"channels_last": 1}),
    "global average, channels last": ("QLinearGlobalAveragePool", "x s z t u", [1, 1, 1, 6], {"channels_last": 1}),
    "average, channels last": (
        "QLinearAveragePool",
        "x s z t u",
        [1, 3, 3, 6],
        {"kernel_shape": [2, 2], "strides": [1, 2], "channels_last": 1},
    ),
    "max, channels last": ("NhwcMaxPool", "x", [1, 3, 5, 6], {"kernel_shape": [2, 2]}),
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
    off = ("qsoftmax", "MaxPool")  # a pool of unsigned integers without scales
    assert all(row.place == "pynq-z2" for row in told.rows if row.compute and row.op not in off)
    given = None if len(constants) else np.concatenate([x] * 4)  # a pool has no scales of its own
    artifact = intarsia.compile_model(model, target="tiny", calibration=given)
    got = intarsia.load(artifact, device="simulator" if constants else "cpu").run(x)[0].astype(int)
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


@pytest.mark.parametrize(("op", "bits"), [("Quant", 16.0), ("Quant", 3.5), ("Trunc", 8.0), ("FloatQuant", 8.0)])
def test_what_has_no_form_is_refused_with_the_way_out(op: str, bits: float) -> None:
    constants = {"s": np.float32(0.1), "z": np.float32(0), "b": np.float32(bits)}
    model = made(op, "x s z b", constants, (TensorProto.FLOAT, IMAGE), QUANT, source=(TensorProto.FLOAT, IMAGE))
    with pytest.raises(CompileError) as caught:
        import_model(model)
    assert f"{QUANT}.{op}" in caught.value.what and "QCDQ" in caught.value.help


SAVE = "save the model without onnxruntime's graph optimization (graph_optimization_level = ORT_DISABLE_ALL)"
HELPS = {
    "NhwcConv": f"{SAVE}, or give the model from before its transformers optimizer",
    "QLinearReduceSum": f"{SAVE}; quantize with quant_format=QDQ",
    "QAttention": f"{SAVE}; quantize with quantize_static and quant_format=QDQ",
    "DynamicQuantizeLSTM": f"{SAVE}; quantize with quantize_static and quant_format=QDQ",
    "MatMulNBits": "write few-bit weights as DequantizeLinear, quant_format=QDQ of its MatMulNBitsQuantizer",
}


@pytest.mark.parametrize("op", HELPS)
def test_unknown_ops_of_onnxruntime_are_refused_with_the_way_out(op: str) -> None:
    model = made(op, "x", {}, (TensorProto.UINT8, IMAGE))
    with pytest.raises(CompileError) as caught:
        import_model(model)
    assert caught.value.help == f"com.microsoft is onnxruntime's own: {HELPS[op]}"


def test_channels_last_of_unknown_rank_and_wrong_attributes_are_refused() -> None:
    constants = {name: SCALES[name] for name in "sztu"}
    shape = (TensorProto.UINT8, [1, 1, 1, 6])
    model = made("QLinearGlobalAveragePool", "x s z t u", constants, shape, channels_last=1)
    model.graph.input[0].type.tensor_type.ClearField("shape")
    broken = made("QLinearAveragePool", "x s z t u", constants, shape, channels_last=1, kernel_shape=3)
    for bad in (model, broken):
        with pytest.raises(CompileError) as caught:
            import_model(bad, shapes={"x": IMAGE})
        assert "quant_format=QDQ" in caught.value.help


PRODUCTS = {
    "integers": ("MatMulIntegerToFloat", "x w s ws z wz bias", TensorProto.UINT8),
    "integers without zero points": ("MatMulIntegerToFloat", "x w s one", TensorProto.UINT8),
    "integers, unsigned": ("MatMulIntegerToFloat", "x wu s ws z wzu", TensorProto.UINT8),
    "dynamic": ("DynamicQuantizeMatMul", "x w ws wz bias", TensorProto.FLOAT),
    "dynamic, one scale": ("DynamicQuantizeMatMul", "x w one", TensorProto.FLOAT),
    "dynamic, unsigned": ("DynamicQuantizeMatMul", "x wu ws wzu", TensorProto.FLOAT),
}


@pytest.mark.parametrize("case", PRODUCTS)
def test_products_to_floats(case: str) -> None:
    op, inputs, kind = PRODUCTS[case]
    constants: dict[str, Any] = {name: SCALES[name] for name in inputs.split()[1:]}
    model = made(op, inputs, constants, (TensorProto.FLOAT, [3, 5]), source=(kind, [3, 36]))
    x = RNG.integers(0, 256, (3, 36)).astype(np.uint8) if kind == TensorProto.UINT8 else None
    x = RNG.standard_normal((3, 36)).astype(np.float32) if x is None else x
    wanted = oracle(model, {"x": x})
    assert np.allclose(evaluate(import_model(model), {"x": x})[0], wanted, atol=1e-4)
    made_of = intarsia.compile_model(model, target="cpu", precision="float32")
    assert np.allclose(intarsia.load(made_of).run(x)[0], wanted, atol=1e-4)


def test_a_choice_between_quantized_values() -> None:
    constants = {name: SCALES[name] for name in ("s", "z", "c", "t", "u")}
    model = made("QLinearWhere", "g x s z c t u t z", constants, (TensorProto.UINT8, IMAGE))
    model.graph.input.append(helper.make_tensor_value_info("g", TensorProto.BOOL, IMAGE))
    feed = {"x": RNG.integers(0, 256, IMAGE).astype(np.uint8), "g": RNG.integers(0, 2, IMAGE).astype(bool)}
    got = evaluate(import_model(model), feed)[0].astype(int)
    assert np.abs(got - oracle(model, feed)).max() <= 1


@pytest.mark.parametrize("rounding", ["FLOOR", "CEIL", "ROUND"])
@pytest.mark.parametrize(("bits", "signed"), [(4, None), (8, None), (8, 1), (8, 0)])
def test_lowest_bits_go(rounding: str, bits: int, signed: int | None) -> None:
    """Against the formula of QONNX's Trunc; with a known range the result is integers with a scale."""
    constants = {"s": np.float32(0.5), "z": np.float32(0), "b": np.float32(bits + 3), "o": np.float32(bits)}
    sign = {} if signed is None else {"signed": signed}
    model = made("Trunc", "x s z b o", constants, (TensorProto.FLOAT, IMAGE), QUANT, source=(TensorProto.FLOAT, IMAGE),
                 rounding_mode=rounding, **sign)  # fmt: skip
    least = 0 if signed == 0 else -(1 << (bits + 2))
    x = (RNG.integers(least, 1 << (bits + 2), IMAGE) * 0.5).astype(np.float32)
    rounded = {"FLOOR": np.floor, "CEIL": np.ceil, "ROUND": np.rint}[rounding](np.rint(x / 0.5) / 8)
    graph = import_model(model)
    assert np.array_equal(evaluate(graph, {"x": x})[0], (np.clip(rounded, None, 127 if bits == 8 and signed else None)
                                                         * 0.5).astype(np.float32))  # fmt: skip
    assert ("QuantizeLinear" in [node.op for node in graph.nodes]) == (bits == 4 or signed is not None)


def test_signs_of_activations() -> None:
    model = made("BipolarQuant", "x s", {"s": np.float32(0.7)}, (TensorProto.FLOAT, IMAGE), QUANT,
                 source=(TensorProto.FLOAT, IMAGE))  # fmt: skip
    x = RNG.integers(-2, 3, IMAGE).astype(np.float32)
    graph = import_model(model)
    assert np.array_equal(evaluate(graph, {"x": x})[0], np.where(x >= 0, np.float32(0.7), np.float32(-0.7)))
    assert "QuantizeLinear" in [node.op for node in graph.nodes]


@pytest.mark.parametrize("known", [True, False])
def test_other_dialects_inside_of_branches(known: bool) -> None:
    """Constants may stand in the graph around; names that a node becomes are new in all graphs."""
    one = [
        helper.make_node("Quant", ["x", "s", "n", "b"], ["q"], name="q", domain=QUANT, signed=1, narrow=0),
        helper.make_node("BipolarQuant", ["q", "t"], ["one"], name="q", domain=QUANT),
    ]
    two = [helper.make_node("Quant", ["x", "t", "n", "b"], ["two"], name="q", domain=QUANT, signed=0, narrow=1)]
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, IMAGE)
    branches = {}
    for key, name, nodes in (("then_branch", "one", one), ("else_branch", "two", two)):
        branches[key] = helper.make_graph(nodes, name, [], [helper.make_tensor_value_info(name, 1, IMAGE)])
    constants: dict[str, Any] = {"s": np.float32(0.1), "n": np.float32(0), "b": np.float32(4), "t": np.float32(0.7)}
    if known:
        constants["c"] = np.bool_(True)
    inputs = [helper.make_tensor_value_info("x", 1, IMAGE), helper.make_tensor_value_info("c", TensorProto.BOOL, [])]
    graph = helper.make_graph(
        [helper.make_node("If", ["c"], ["y"], **branches)], "net", inputs[: 1 if known else 2], [result],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(QUANT, 1)]
    imported = import_model(helper.make_model(graph, opset_imports=opsets, ir_version=8))
    x = RNG.standard_normal(IMAGE).astype(np.float32)
    wanted = [np.where(fake(x, 0.1, 0, -8, 7) >= 0, np.float32(0.7), np.float32(-0.7)), fake(x, 0.7, 0, 0, 14)]
    for choice, expected in zip((True, False), wanted[: 1 if known else 2]):
        feed = {"x": x} if known else {"x": x, "c": np.asarray(choice)}
        assert np.allclose(evaluate(imported, feed)[0], expected, atol=1e-6)
