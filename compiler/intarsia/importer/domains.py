"""What the domains of ops that are not ONNX's say about who wrote a model, and how to get one without them."""

from __future__ import annotations

import re
from collections.abc import Iterable

_DIALECTS: tuple[tuple[str, str, str], ...] = (
    # pattern of the domain, whose it is, how to export without it
    (
        r"com\.microsoft\.nchwc",
        "a layout that onnxruntime's optimizer writes for one processor",
        "give the model from before that, or save it with graph_optimization_level = ORT_ENABLE_EXTENDED or less",
    ),
    (
        r"com\.ms\.internal\.nhwc|.*nhwc.*",
        "a layout with the channels last that onnxruntime's optimizer writes for one execution provider",
        "give the model from before that, or save it from a session with the CPU's execution provider alone",
    ),
    (
        r"ai\.onnx\.contrib|com\.microsoft\.extensions",
        "onnxruntime-extensions' (pre- and post-processing such as tokenizers and image decoders)",
        "export the model without them and do that part in Python",
    ),
    (
        r"com\.microsoft(\..*)?|com\.ms\..*",
        "onnxruntime's own",
        "save the model without onnxruntime's graph optimization (graph_optimization_level = ORT_DISABLE_ALL), give "
        "the model from before its transformers optimizer, and quantize with quant_format=QDQ",
    ),
    (
        r"ai\.onnx\.ml",
        "ONNX's ops of classical machine learning, as skl2onnx writes trees and encoders",
        "compile the neural network alone and leave these to scikit-learn, or convert with hummingbird-ml first",
    ),
    (
        r"ai\.onnx\.preview.*",
        "ONNX's ops of training",
        "export the model for inference: model.eval() in PyTorch",
    ),
    (
        r".*finn.*",
        "FINN's, between its transformations",
        "give the QONNX model from before FINN's streamlining, or export from Brevitas with export_onnx_qcdq (QCDQ)",
    ),
    (
        r".*(qonnx|brevitas).*",
        "QONNX's, as Brevitas writes it",
        "of QONNX, Quant with constant scales and up to 8 bits, rounded to the nearest, is known, and BipolarQuant and "
        "Trunc with constant scales; export from Brevitas with export_onnx_qcdq instead (QCDQ)",
    ),
    (
        r"trt\..*|tensorrt.*|.*\.trt|trt",
        "TensorRT's (a plugin, or its own quantization)",
        "export the model with ONNX's ops in place of plugins, as NonMaxSuppression of EfficientNMS_TRT, or cut it off "
        "before them; TensorRT's Model Optimizer exports QuantizeLinear and DequantizeLinear for opset 19",
    ),
    (
        r"mmdeploy|mmcv|mmdet.*|open-?mmlab",
        "OpenMMLab's (mmcv's and mmdeploy's custom ops)",
        "deploy with backend_config of type onnxruntime and without custom ops, or cut the model off before its post-"
        "processing",
    ),
    (
        r"torch.*|org\.pytorch.*|aten|pkg\.torch.*|prim",
        "PyTorch's (an op that the exporter found no ONNX op for, or a custom op)",
        "export with a newer opset, or register a symbolic for the op (torch.onnx.register_custom_op_symbolic; "
        "custom_translation_table of torch.onnx.export(dynamo=True)); operator_export_type must be ONNX",
    ),
    (
        r"pkg\.onnxscript.*|this|local",
        "of functions that onnxscript writes",
        "the functions are missing from the model: save it whole (onnx_program.save), not its graph alone",
    ),
    (
        r"tf.*|ai\.onnx\.converters\.tensorflow|tensorflow.*",
        "TensorFlow's (an op that tf2onnx found no ONNX op for)",
        "convert with a newer opset (--opset 18), without --extra_opset and --custom-ops, or rewrite that part",
    ),
    (
        r".*(vitis|xilinx|amd).*|vai",
        "AMD's (Vitis AI's or Quark's own quantization)",
        "quantize with QDQ of 8 bits and float scales (quant_format=QDQ, no FixNeuron or power-of-two nodes)",
    ),
    (
        r".*(openvino|intel).*",
        "OpenVINO's (NNCF's FakeQuantize)",
        "export from NNCF with QuantizeLinear and DequantizeLinear (nncf.quantize on an ONNX model, or strip=True)",
    ),
    (
        r".*(snpe|qti|qualcomm|aimet).*",
        "Qualcomm's (a custom op of AIMET or of its runtimes)",
        "export from AIMET with use_embedded_encodings=True (QuantizeLinear and DequantizeLinear), or the float model",
    ),
)
"""The first that fits a domain says what it is; later ones are wider."""


_OPS: tuple[tuple[str, str], ...] = (
    (r".*_TRT|.*TRT.*", "trt"),
    (r"MMCV.*|MMDet.*|NMSRotated|RoIAlignRotated|grid_sampler|cummax|cummin", "mmcv"),
    (r"ATen|aten.*", "aten"),
    (r"FixNeuron|Vitis.*", "vai"),
    (r"FakeQuantize", "openvino"),
    (r"Quant|BipolarQuant|Trunc", "qonnx"),
    (r"MultiThreshold|StreamingFCLayer.*", "finn"),
)
"""Ops that their writers put into ONNX's own domain, and a domain of the dialect."""


def dialect_help(ops: Iterable[tuple[str, str]]) -> list[str]:
    """What is known of ops by their domains and names: "DOMAIN is WHOSE: WHAT TO DO", once for each dialect."""
    found: dict[str, dict[str, None]] = {}
    for domain, op in ops:
        spelled = domain or next((alias for pattern, alias in _OPS if re.fullmatch(pattern, op)), "")
        for pattern, whose, way in _DIALECTS:
            if spelled and re.fullmatch(pattern, spelled, re.IGNORECASE):
                found.setdefault(f"{whose}: {way}", {})[domain or op] = None
                break
    return [f"{', '.join(names)} is {text}" for text, names in found.items()]
