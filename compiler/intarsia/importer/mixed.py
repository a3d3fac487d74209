"""Products of ONNX Runtime from integers, or by way of integers, to floats."""

from __future__ import annotations

import onnx
from onnx import TensorProto

from intarsia.importer.workbench import Workbench


def integers_to_float(bench: Workbench, node: onnx.NodeProto) -> bool:
    """MatMulIntegerToFloat: a, b, their scales, their zero points, a bias; as a MatMul of real numbers."""
    a, b, a_scale, b_scale, a_zero, b_zero, bias = bench.inputs(node, 7)
    scale, matrix = bench.known(b_scale), bench.known(b)
    if scale is None or matrix is None or (scale.size > 1 and (bench.opset < 13 or scale.ndim != 1)):
        return False
    operands = [bench.dequantized(a, a_scale, a_zero), bench.dequantized(b, b_scale, b_zero, matrix.ndim - 1)]
    _with_bias(bench, node, "MatMul", operands, bias)
    return True


def dynamic_product(bench: Workbench, node: onnx.NodeProto) -> bool:
    """DynamicQuantizeMatMul: a float a, b as integers, its scale, its zero point, a bias.

    ONNX's DynamicQuantizeLinear and MatMulInteger say the same.
    """
    a, b, b_scale, b_zero, bias = bench.inputs(node, 5)
    if bench.opset < 11:
        return False
    integers, scale, zero = bench.several("DynamicQuantizeLinear", [a], 3)
    sums = bench.add("MatMulInteger", [integers, b, zero, b_zero])
    real = bench.add("Cast", [sums], None, {"to": TensorProto.FLOAT})
    _with_bias(bench, node, "Mul", [real, bench.add("Mul", [scale, b_scale])], bias)
    return True


def _with_bias(bench: Workbench, node: onnx.NodeProto, op: str, operands: list[str], bias: str) -> None:
    if not bias:
        bench.add(op, operands, [node.output[0]])
        return
    bench.add("Add", [bench.add(op, operands), bias], [node.output[0]])
