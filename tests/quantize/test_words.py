"""Activations of 16 bits: exact products of bytes, the same on every engine, within a step of ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

import intarsia
from intarsia.importer import import_model
from intarsia.ir.evaluate import evaluate
from intarsia.ir.graph import Graph
from intarsia.ir.verify import verify
from intarsia.passes import fuse_passes, simplify_passes
from intarsia.passes.base import run_passes
from intarsia.passes.quantize import lower_qdq
from intarsia.runtime.vectors import verify_vectors

_RNG = np.random.default_rng(3)


def bytes_of(*shape: int, low: int = -128, high: int = 128, dtype: str = "int8") -> Any:
    return _RNG.integers(low, high, shape).astype(dtype)


CONV = "Conv <pads = [1, 1, 1, 1]> (d, wd, b)"
LAYERS: dict[str, tuple[str, Any, int, str]] = {
    "conv": (f"c = {CONV}", bytes_of(6, 3, 3, 3), 0, "1,3,8,8"),
    "relu": (f"r = {CONV} c = Relu (r)", bytes_of(6, 3, 3, 3), 0, "1,3,8,8"),
    "relu6": (f"r = {CONV} c = Clip (r, low, high)", bytes_of(6, 3, 3, 3), 0, "2,3,8,8"),
    "depthwise": ("c = Conv <group = 6, strides = [2, 1], pads = [1, 0, 2, 0]> (d, wd, b)", bytes_of(6, 1, 3, 3), 0,
                  "1,6,8,8"),
    "unsigned": ("c = Conv <dilations = [2, 1]> (d, wd, b)", bytes_of(6, 3, 3, 3, low=60, high=180, dtype="uint8"), 0,
                 "1,3,8,8"),
    "line": ("c = Conv (d, wd, b)", bytes_of(6, 3, 5), 0, "1,3,20"),
    "matrix": ("m = MatMul (d, wd) c = Add (m, b)", bytes_of(20, 6), 1, "4,20"),
    "batch": ("c = MatMul (d, wd)", bytes_of(20, 6), 1, "2,4,20"),
}  # fmt: skip
KINDS = [("uint16", "uint16"), ("int16", "int16"), ("uint16", "uint8"), ("int8", "int16"), ("int16", "int8")]


def model(case: str, source: str, target: str, zeros: tuple[int, int] | None = None) -> onnx.ModelProto:
    """A layer from integers to integers. zeros: zero points of its input and output, by default in the middle."""
    lines, weight, axis, shape = LAYERS[case]
    middle = {"uint16": 32768, "int16": 0, "uint8": 128, "int8": 0}
    zero, other = zeros or (middle[source], middle[target])
    ranges = [2.0 / 256 if kind.endswith("int8") else 2.0 / 65536 for kind in (source, target)]
    constants = {
        "xs": np.float32(ranges[0]), "xz": np.array(zero, source), "ys": np.float32(ranges[1] * 4),
        "yz": np.array(other, target), "w": weight, "ws": np.linspace(0.001, 0.003, 6).astype(np.float32),
        "wz": np.full(6, 120 if weight.dtype == np.uint8 else 0).astype(weight.dtype),
        "b": np.linspace(-0.5, 0.5, 6).astype(np.float32), "low": np.float32(0), "high": np.float32(0.6),
    }  # fmt: skip
    outputs = ",".join("efgh"[: shape.count(",") + 1])
    proto = onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["" : 21]> net ({source}[{shape}] x) => ({target}[{outputs}] y) {{'
        f"d = DequantizeLinear (x, xs, xz) wd = DequantizeLinear <axis = {axis}> (w, ws, wz) {lines} "
        "y = QuantizeLinear (c, ys, yz) }"
    )
    proto.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()
    )
    return proto


def lowered(proto: onnx.ModelProto) -> Graph:
    graph = import_model(proto)
    run_passes(graph, (*simplify_passes(True), *fuse_passes(True, integer=True)))
    lower_qdq(graph)
    verify(graph, "quantized")
    return graph


def oracle(proto: onnx.ModelProto, x: Any) -> Any:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


@pytest.mark.parametrize(("source", "target"), KINDS)
@pytest.mark.parametrize("case", LAYERS)
def test_products_of_16_bits(case: str, source: str, target: str) -> None:
    """Code and evaluator give equal bytes; ONNX Runtime, which sums in float32, is a step away at most."""
    proto = model(case, source, target)
    graph = lowered(proto)
    assert not any(value.dtype == "float32" for node in graph.nodes for value in node.outputs if value is not None)
    limits = np.iinfo(source)
    shape = import_model(proto).inputs[0].shape
    inputs = [np.random.default_rng(k).integers(limits.min, limits.max + 1, shape).astype(source) for k in range(3)]
    session = intarsia.load(intarsia.compile_model(proto, target="cpu", precision="int8"))
    assert all(result.ok and not result.different for result in verify_vectors(session))
    for x in inputs:
        found = session.run(x)[0]
        assert found.tobytes() == evaluate(graph, {"x": x})[0].tobytes()
        difference = np.abs(found.astype(np.int64) - oracle(proto, x))
        assert difference.max() <= 1 and (difference > 0).mean() < 0.01


@given(
    st.integers(0, 65535), st.integers(-32768, 32767), st.sampled_from(["uint16", "int16"]), st.integers(0, 2**32 - 1)
)
@settings(max_examples=40)
def test_sums_are_exact_for_every_zero_point(zero: int, other: int, source: str, seed: int) -> None:
    """The formula in whole numbers, scaled in float64; padding stands for the zero point."""
    zero -= 32768 if source == "int16" else 0
    limits = np.iinfo(source)
    x = np.random.default_rng(seed).integers(limits.min, limits.max + 1, (1, 3, 8, 8)).astype(source)
    graph = lowered(model("conv", source, "int16", (zero, other)))
    _, weight, _, _ = LAYERS["conv"]
    centred = np.pad(x.astype(np.int64) - zero, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(centred, (3, 3), (2, 3))
    sums = np.einsum("nchwij,mcij->nmhw", windows, weight.astype(np.int64))
    target = float(np.float32(8.0 / 65536))
    factors = (
        np.linspace(0.001, 0.003, 6).astype(np.float32).astype(np.float64) * float(np.float32(2.0 / 65536)) / target
    )
    shifts = np.linspace(-0.5, 0.5, 6).astype(np.float32).astype(np.float64) / target
    real = sums * factors.reshape(6, 1, 1) + shifts.reshape(6, 1, 1)
    wanted = np.clip(np.rint(real) + other, -32768, 32767).astype(np.int16)
    assert np.array_equal(evaluate(graph, {"x": x})[0], wanted)


def test_weights_of_more_bits_and_values_read_elsewhere_stay_float() -> None:
    proto = model("conv", "uint16", "uint16")
    for tensor in proto.graph.initializer:
        if tensor.name in ("w", "wz"):
            data = numpy_helper.to_array(tensor).astype(np.int16) * np.int16(50 if tensor.name == "w" else 1)
            tensor.CopyFrom(numpy_helper.from_array(data, tensor.name))
    shared = model("conv", "uint16", "uint16")
    shared.graph.output.append(onnx.helper.make_tensor_value_info("c", 1, [1, 6, 8, 8]))
    for kept in (proto, shared):
        graph = lowered(kept)
        assert "Conv" in [node.op for node in graph.nodes]
        x = np.random.default_rng(1).integers(0, 65536, (1, 3, 8, 8)).astype(np.uint16)
        assert np.abs(evaluate(graph, {"x": x})[0].astype(np.int64) - oracle(kept, x)).max() <= 1
