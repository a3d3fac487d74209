"""Ops of other dialects: the letter says whose they are, and how to export the model without them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from onnx import TensorProto, helper

from intarsia.errors import CompileError
from intarsia.importer import import_model

FOREIGN: tuple[tuple[str, str, str], ...] = (
    # domain, op, what the letter says of it
    ("com.microsoft", "Attention", "onnxruntime's own: save the model without onnxruntime's graph optimization"),
    ("com.microsoft.nchwc", "Conv", "a layout that onnxruntime's optimizer writes for one processor"),
    ("com.ms.internal.nhwc", "Conv", "a layout with the channels last"),
    ("onnx.brevitas", "Quant", "QONNX's, as Brevitas writes it: of QONNX, Quant with constant scales"),
    ("qonnx.custom_op.general", "MultiThreshold", "QONNX's, as Brevitas writes it"),
    ("finn.custom_op.fpgadataflow", "MatrixVectorActivation", "FINN's"),
    ("org.pytorch.aten", "ATen", "PyTorch's (an op that the exporter found no ONNX op for"),
    ("torchvision", "deform_conv2d", "PyTorch's"),
    ("trt.plugins", "EfficientNMS_TRT", "TensorRT's (a plugin"),
    ("", "EfficientNMS_TRT", "EfficientNMS_TRT is TensorRT's"),
    ("mmcv", "MMCVRoiAlign", "OpenMMLab's"),
    ("mmdeploy", "TRTBatchedNMS", "OpenMMLab's"),
    ("", "MMCVModulatedDeformConv2d", "OpenMMLab's"),
    ("", "FixNeuron", "AMD's"),
    ("org.openvinotoolkit", "FakeQuantize", "OpenVINO's"),
    ("ai.onnx.contrib", "BertTokenizer", "onnxruntime-extensions'"),
    ("com.microsoft.extensions", "ImageReader", "onnxruntime-extensions'"),
    ("tf", "ExtractImagePatches", "TensorFlow's"),
    ("ai.onnx.ml", "Forest", "ONNX's ops of classical machine learning"),
    ("acme.ops", "Turbo", "'acme.ops' is a custom one of whoever exported the model"),
)


def refused(*ops: tuple[str, str]) -> str:
    nodes = [helper.make_node(op, ["x"], [f"y{i}"], domain=domain) for i, (domain, op) in enumerate(ops)]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])
    outputs = [helper.make_tensor_value_info(f"y{i}", TensorProto.FLOAT, [1, 4]) for i in range(len(ops))]
    domains = {domain: 1 for domain, _ in ops if domain}
    opsets = [helper.make_opsetid(domain, version) for domain, version in {**domains, "": 17}.items()]
    model = helper.make_model(helper.make_graph(nodes, "g", [x], outputs), opset_imports=opsets, ir_version=8)
    with pytest.raises(CompileError) as caught:
        import_model(model)
    return str(caught.value)


@pytest.mark.parametrize(("domain", "op", "said"), FOREIGN, ids=[f"{domain}.{op}" for domain, op, _ in FOREIGN])
def test_the_dialect_is_named(domain: str, op: str, said: str) -> None:
    letter = refused((domain, op))
    assert said in letter.splitlines()[1] and op in letter.splitlines()[0]


def test_several_dialects_are_told_once_each(golden: Callable[[str], None]) -> None:
    golden(refused(("com.microsoft", "Attention"), ("com.microsoft", "BiasGelu"), ("mmcv", "RoIAlign")) + "\n")


def test_an_unknown_op_of_onnx_is_no_dialect() -> None:
    assert "did you mean 'Relu'" in refused(("", "Relux"))
