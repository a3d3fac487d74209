"""Ops of other dialects that say what ONNX's own say: taken apart into those before anything else looks at the model.

ONNX Runtime's QOperator files (`com.microsoft`) and the fake quantization of Brevitas and QONNX become QuantizeLinear
and DequantizeLinear around ONNX's ops. What has no such form stays, and is refused with all that is not known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import onnx

from intarsia.errors import FOREIGN
from intarsia.importer.layouts import CHANNELS_LAST, channels_first, channels_last, is_channels_last
from intarsia.importer.mixed import dynamic_product, integers_to_float
from intarsia.importer.qonnx import DOMAINS as QONNX
from intarsia.importer.qonnx import translate_quant
from intarsia.importer.structure import nodes_below, subgraphs
from intarsia.importer.workbench import Workbench

MICROSOFT = "com.microsoft"


def translate(proto: onnx.ModelProto, opsets: Mapping[str, int]) -> onnx.ModelProto:
    """The model in ONNX's own ops as far as that goes; the same object where there is nothing to do."""
    if not any(node.domain == MICROSOFT or node.domain in QONNX for node in nodes_below(proto.graph.node)):
        return proto
    translated = onnx.ModelProto()
    translated.CopyFrom(proto)
    _translate_graph(Workbench(translated.graph, opsets.get("", 0)))
    return translated


def _translate_graph(bench: Workbench) -> None:
    """A graph, and those that its nodes carry, in place."""
    graph = bench.graph
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        for inner in subgraphs(node):
            _translate_graph(Workbench(inner, bench.opset, bench))
        bench.begin(node)
        if _translate(bench, node):
            nodes += bench.nodes
        else:
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend(bench.initializers)


def _translate(bench: Workbench, node: onnx.NodeProto) -> bool:
    try:
        if node.domain in QONNX:
            return translate_quant(bench, node)
        return node.domain == MICROSOFT and bench.opset >= 10 and _of_microsoft(bench, node)
    except FOREIGN:  # inputs or attributes that it cannot have: the checks of ops tell
        return False


def _of_microsoft(bench: Workbench, node: onnx.NodeProto) -> bool:
    if is_channels_last(bench, node):
        twin = channels_first(bench, node)
        if twin is None or not (_same(bench, twin) if not twin.domain else _of_microsoft(bench, twin)):
            return False
        channels_last(bench, node, twin.output[0])
        return True
    rule = _RULES.get(node.op_type)
    return rule is not None and rule(bench, node)


# ---- com.microsoft


def _same(bench: Workbench, node: onnx.NodeProto) -> bool:
    """The op has moved to ONNX's own domain since."""
    attributes = {name: value for name, value in bench.attributes(node).items() if name != CHANNELS_LAST}
    bench.add(node.op_type, list(node.input), list(node.output), attributes)
    return True


def _binary(op: str) -> Callable[[Workbench, onnx.NodeProto], bool]:
    """Two triples of integers, scale and zero point, then scale and zero point of the result."""

    def rule(bench: Workbench, node: onnx.NodeProto) -> bool:
        names = bench.inputs(node, 8)
        operands = [bench.dequantized(names[0], names[1], names[2]), bench.dequantized(names[3], names[4], names[5])]
        bench.quantized(bench.add(op, operands), names[6], names[7], names[2], node.output[0])
        return True

    return rule


def _unary(op: str, kept: Iterable[str] = ()) -> Callable[[Workbench, onnx.NodeProto], bool]:
    """A triple, then scale and zero point of the result; `kept` attributes go over to ONNX's op."""

    def rule(bench: Workbench, node: onnx.NodeProto) -> bool:
        names = bench.inputs(node, 5)
        attributes = {key: value for key, value in bench.attributes(node).items() if key in kept}
        real = bench.add(op, [bench.dequantized(names[0], names[1], names[2])], None, attributes)
        bench.quantized(real, names[3], names[4], names[2], node.output[0])
        return True

    return rule


def _where(bench: Workbench, node: onnx.NodeProto) -> bool:
    """A condition, then two triples, then scale and zero point of the result."""
    names = bench.inputs(node, 9)
    operands = [bench.dequantized(names[1], names[2], names[3]), bench.dequantized(names[4], names[5], names[6])]
    bench.quantized(bench.add("Where", [names[0], *operands]), names[7], names[8], names[3], node.output[0])
    return True


def _softmax(bench: Workbench, node: onnx.NodeProto) -> bool:
    """Its attribute `opset` says which meaning of the axis it has."""
    axis, meaning = bench.attribute(node, "axis", -1), bench.attribute(node, "opset", bench.opset)
    if (meaning >= 13) != (bench.opset >= 13) and axis != -1:
        return False
    return _unary("Softmax", ("axis",))(bench, node)


def _reduce_mean(bench: Workbench, node: onnx.NodeProto) -> bool:
    names, axes = bench.inputs(node, 5), bench.attribute(node, "axes", None)
    attributes: dict[str, object] = {"keepdims": bench.attribute(node, "keepdims", 1)}
    inputs = [bench.dequantized(names[0], names[1], names[2])]
    if axes and bench.opset >= 18:
        inputs.append(bench.constant("axes", np.asarray(axes, np.int64)))
    elif axes:
        attributes["axes"] = axes
    real = bench.add("ReduceMean", inputs, None, attributes)
    bench.quantized(real, names[3], names[4], names[2], node.output[0])
    return True


def _concat(bench: Workbench, node: onnx.NodeProto) -> bool:
    names = list(node.input)
    parts = [bench.dequantized(names[i], names[i + 1], names[i + 2]) for i in range(2, len(names) - 2, 3)]
    real = bench.add("Concat", parts, None, {"axis": bench.attribute(node, "axis", 0)})
    bench.quantized(real, names[0], names[1], names[4], node.output[0])
    return True


def _gemm(bench: Workbench, node: onnx.NodeProto) -> bool:
    """A whole Gemm: the bias is int32 at the scale of the sums; without an output scale the result is float."""
    names = bench.inputs(node, 9)
    alpha = float(bench.attribute(node, "alpha", 1.0))
    transposed = bench.attribute(node, "transA", 0), bench.attribute(node, "transB", 0)
    axis = 0 if transposed[1] else 1
    scales = bench.known(names[1]), bench.known(names[4])
    if scales[0] is None or scales[1] is None or (scales[1].size > 1 and bench.opset < 13):
        return False
    operands = [bench.dequantized(names[0], names[1], names[2]), bench.dequantized(names[3], names[4], names[5], axis)]
    if names[6]:
        sums = (scales[0].reshape(-1) * scales[1].reshape(-1) * np.float32(alpha)).astype(np.float32)
        bias = bench.known(names[6])
        if bias is None:
            return False
        real = (bias.astype(np.float64) * sums.astype(np.float64)).astype(np.float32)
        operands.append(bench.constant("bias", real))
    attributes = {"alpha": alpha, "transA": transposed[0], "transB": transposed[1]}
    if not names[7]:
        bench.add("Gemm", operands, [node.output[0]], attributes)
        return True
    real_name = bench.add("Gemm", operands, None, attributes)
    bench.quantized(real_name, names[7], names[8], names[2], node.output[0])
    return True


_ACTIVATIONS: dict[str, tuple[str, ...]] = {
    "Relu": (),
    "Tanh": (),
    "Sigmoid": (),
    "LeakyRelu": ("alpha",),
    "HardSigmoid": ("alpha", "beta"),
}


def _fused_conv(bench: Workbench, node: onnx.NodeProto) -> bool:
    """Conv, then a sum with a fourth input where there is one, then an activation."""
    attributes = bench.attributes(node)
    activation = str(attributes.pop("activation", ""))
    arguments = list(attributes.pop("activation_params", ()))
    names = bench.inputs(node, 4)
    if activation and activation != "Clip" and activation not in _ACTIVATIONS:
        return False
    steps: list[tuple[str, list[str], dict[str, object]]] = [("Conv", names[:3] if names[2] else names[:2], attributes)]
    if names[3]:
        steps.append(("Add", ["", names[3]], {}))
    if activation == "Clip":
        if bench.opset < 11 or len(arguments) != 2:
            return False
        ends = [bench.constant(end, np.asarray(value, np.float32)) for end, value in zip(("least", "most"), arguments)]
        steps.append(("Clip", ["", *ends], {}))
    elif activation:
        steps.append((activation, [""], dict(zip(_ACTIVATIONS[activation], arguments))))
    value = ""
    for index, (op, inputs, own) in enumerate(steps):
        outputs = [node.output[0]] if index == len(steps) - 1 else None
        value = bench.add(op, [name or value for name in inputs] if index else inputs, outputs, own)
    return True


_WINDOW = ("auto_pad", "ceil_mode", "count_include_pad", "kernel_shape", "pads", "strides")

_RULES: dict[str, Callable[[Workbench, onnx.NodeProto], bool]] = {
    "QuantizeLinear": _same,
    "DequantizeLinear": _same,
    "QLinearConv": _same,
    "QLinearAdd": _binary("Add"),
    "QLinearMul": _binary("Mul"),
    "QLinearSigmoid": _unary("Sigmoid"),
    "QLinearLeakyRelu": _unary("LeakyRelu", ("alpha",)),
    "QLinearSoftmax": _softmax,
    "QLinearGlobalAveragePool": _unary("GlobalAveragePool"),
    "QLinearAveragePool": _unary("AveragePool", _WINDOW),
    "QLinearReduceMean": _reduce_mean,
    "QLinearConcat": _concat,
    "QGemm": _gemm,
    "FusedConv": _fused_conv,
    "QLinearWhere": _where,
    "MatMulIntegerToFloat": integers_to_float,
    "DynamicQuantizeMatMul": dynamic_product,
}
"""Says a node in ONNX's own ops on the workbench; False where it cannot."""
