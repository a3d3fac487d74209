"""How much work a node is: multiply-accumulates and bytes, from shapes alone."""

from __future__ import annotations

import math

from intarsia.ir.graph import Node

_CONVOLUTIONS = ("Conv", "qconv", "QLinearConv", "ConvInteger")
_PRODUCTS = ("MatMul", "Gemm", "dense", "qmatmul", "QLinearMatMul", "MatMulInteger")

_SHAPING = ("Expand", "Flatten", "Identity", "Pad", "Reshape", "Squeeze", "Tile", "Transpose", "Unsqueeze")
_PICKING = ("Concat", "Gather", "Resize", "Slice", "Split")
MOVEMENT = frozenset(_SHAPING + _PICKING)
"""Ops that move elements and compute nothing."""

CONVERSIONS = frozenset(("quantize", "dequantize", "QuantizeLinear", "DequantizeLinear", "Cast"))
"""Ops that only change what an element is written in."""


def macs(node: Node) -> int:
    """Multiply-accumulates of one run; 0 for ops that are not made of them, or whose shapes depend on data."""
    if node.op not in _CONVOLUTIONS + _PRODUCTS + ("ConvTranspose",):
        return 0
    types = [None if value is None else value.type for value in (*node.inputs, *node.outputs)]
    if any(type is not None and not type.is_static for type in types):
        return 0
    x, out = node.input(0).shape, node.output.shape
    if node.op in _CONVOLUTIONS:
        weight = node.input(3 if node.op == "QLinearConv" else 1).shape
        return math.prod(out) * math.prod(weight[1:])
    if node.op == "ConvTranspose":
        return math.prod(x) * math.prod(node.input(1).shape[1:])
    depth = x[0] if node.op == "Gemm" and node.attributes.get("transA") else x[-1]
    return math.prod(out) * depth


def moved_bytes(node: Node) -> int:
    """Bytes that the node reads and writes, constants included; values of unknown size count nothing."""
    values = [value for value in (*node.inputs, *node.outputs) if value is not None]
    return sum(value.type.size_bytes for value in values if value.type.is_static and value.dtype != "string")


def is_compute(node: Node) -> bool:
    """True for ops that calculate: neither data movement nor a change of number format."""
    return node.op not in MOVEMENT and node.op not in CONVERSIONS
