"""What shape rules refuse, word for word (golden files), and what they make of sizes that are not known yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from intarsia.dtypes import Array
from intarsia.errors import CompileError
from intarsia.ir.graph import Graph, Node, Value
from intarsia.ir.infer import infer_node
from intarsia.ir.types import TensorType


def node(op: str, inputs: Sequence[Any], attributes: Mapping[str, Any] | None = None, outputs: int = 1) -> Node:
    """A node called "it". Inputs: a type as "float32 1,3,?,8" ("float32 ..." for no known rank), an array, or None."""
    graph, values = Graph("test"), list[Value | None]()
    for index, item in enumerate(inputs):
        if item is None:
            values.append(None)
        elif isinstance(item, np.ndarray):
            values.append(graph.add_constant(f"c{index}", item))
        else:
            values.append(graph.add_input(f"x{index}", parsed(item)))
    open_type = TensorType("float32", None)
    return graph.add_node(op, values, [open_type] * outputs, attributes, name="it", opset=21)


def parsed(spelled: str) -> TensorType:
    dtype, _, sizes = spelled.partition(" ")
    if sizes == "...":
        return TensorType(dtype, None)
    return TensorType(dtype, tuple(None if size == "?" else int(size) for size in sizes.split(",") if size))


def ints(*numbers: int) -> Array:
    return np.array(numbers, np.int64)


X, W = "float32 1,6,8,8", "float32 4,6,3,3"

REFUSALS: dict[str, Node] = {
    "add_broadcast": node("Add", ["float32 2,3,4", "float32 2,1,5"]),
    "add_types": node("Add", ["float32 2", "float64 2"]),
    "argmax_axis": node("ArgMax", ["float32 2,3"], {"axis": 2}),
    "average_pool_rank": node("AveragePool", ["float32 4,4"], {"kernel_shape": (2,)}),
    "average_pool_without_kernel": node("AveragePool", [X]),
    "batch_normalization_channels": node("BatchNormalization", [X, *["float32 5"] * 4]),
    "bit_shift_direction": node("BitShift", ["uint8 3", "uint8 3"], {"direction": "UP"}),
    "cast_to_nothing": node("Cast", ["float32 3"], {"to": 99}),
    "cast_without_to": node("Cast", ["float32 3"]),
    "clip_bound": node("Clip", ["float32 3", "float32 3"]),
    "concat_sizes": node("Concat", ["float32 2,3", "float32 3,3"], {"axis": 1}),
    "concat_ranks": node("Concat", ["float32 2,3", "float32 2"], {"axis": 0}),
    "conv_bias": node("Conv", [X, W, "float32 6"]),
    "conv_channels": node("Conv", ["float32 1,5,8,8", W]),
    "conv_dilation": node("Conv", [X, W], {"dilations": (1, 0)}),
    "conv_group_of_channels": node("Conv", [X, W], {"group": 4}),
    "conv_group_of_outputs": node("Conv", [X, "float32 4,2,3,3"], {"group": 3}),
    "conv_group_zero": node("Conv", [X, W], {"group": 0}),
    "conv_kernel_shape": node("Conv", [X, W], {"kernel_shape": (5, 5)}),
    "conv_pads_length": node("Conv", [X, W], {"pads": (1, 1)}),
    "conv_pads_negative": node("Conv", [X, W], {"pads": (0, 0, -1, 0)}),
    "conv_ranks": node("Conv", [X, "float32 4,6,3"]),
    "conv_stride": node("Conv", [X, W], {"strides": (0, 1)}),
    "conv_too_small": node("Conv", ["float32 1,6,2,8", W], {"pads": (0, 0, 0, 0)}),
    "conv_types": node("Conv", ["int32 1,6,8,8", W]),
    "conv_transpose_channels": node("ConvTranspose", [X, "float32 4,6,3,3"]),
    "conv_transpose_pads": node("ConvTranspose", ["float32 1,6,1,1", "float32 6,4,3,3"], {"pads": (2, 2, 2, 2)}),
    "dense_inner": node("dense", ["float32 2,5", "float32 4,3"]),
    "depth_to_space_channels": node("DepthToSpace", [X], {"blocksize": 4}),
    "dequantize_scale": node("DequantizeLinear", ["int8 3,4", "float32 3", "int8 3"], {"axis": 1}),
    "dequantize_zero_type": node("DequantizeLinear", ["int8 3,4", "float32 ", "uint8 "]),
    "expand_broadcast": node("Expand", ["float32 3,2", ints(3, 5)]),
    "flatten_axis": node("Flatten", [X], {"axis": 5}),
    "gather_indices": node("Gather", [X, ints(0, 6)], {"axis": 1}),
    "gather_nd_depth": node("GatherND", ["float32 2,2", "int64 3,3"]),
    "gemm_bias": node("Gemm", ["float32 2,3", "float32 3,4", "float32 3"]),
    "gemm_inner": node("Gemm", ["float32 2,3", "float32 3,4"], {"transB": 1}),
    "group_normalization": node("GroupNormalization", [X, "float32 6", "float32 6"], {"num_groups": 4}),
    "layer_normalization_scale": node("LayerNormalization", ["float32 2,8", "float32 7"]),
    "matmul_inner": node("MatMul", ["float32 2,3", "float32 4,5"]),
    "max_pool_too_small": node("MaxPool", ["float32 1,3,2,2"], {"kernel_shape": (3, 3)}),
    "missing_input": node("Sub", ["float32 3", None]),
    "one_hot_axis": node("OneHot", ["int64 3", ints(4), "float32 2"], {"axis": 3}),
    "pad_length": node("Pad", ["float32 2,3", ints(1, 1)]),
    "pad_crop": node("Pad", ["float32 2,3", ints(-2, 0, -1, 0)]),
    "pad_mode": node("Pad", ["float32 2,3", ints(0, 0, 0, 0)], {"mode": "mirror"}),
    "prelu_slope": node("PRelu", ["float32 2,3", "float32 1,2,3"]),
    "qlinear_conv_scale": node(
        "QLinearConv",
        ["uint8 1,1,4,4", "float32 ", "uint8 ", "uint8 2,1,1,1", "float32 3", "uint8 3", "float32 ", "uint8 "],
    ),
    "range_step": node("Range", [np.array(0), np.array(4), np.array(0)]),
    "reduce_axes_twice": node("ReduceSum", ["float32 2,3", ints(1, -1)]),
    "reduce_axis": node("ReduceMean", ["float32 2,3", ints(2)]),
    "reshape_copy": node("Reshape", ["float32 2,3", ints(0, 0, 0)]),
    "reshape_elements": node("Reshape", ["float32 2,3", ints(4, 2)]),
    "reshape_remainder": node("Reshape", ["float32 2,3", ints(4, -1)]),
    "reshape_two_open": node("Reshape", ["float32 2,3", ints(-1, -1)]),
    "reshape_unknown_elements": node("Reshape", ["float32 ?,3,5", ints(0, 4, 4)]),
    "resize_mode": node("Resize", [X, None, np.array([1, 1, 2, 2], np.float32)], {"mode": "sinc"}),
    "resize_scales": node("Resize", [X, None, np.array([2, 2], np.float32)]),
    "resize_nothing": node("Resize", [X]),
    "scatter_updates": node("ScatterElements", ["float32 3,3", "int64 2,3", "float32 3,3"]),
    "slice_lengths": node("Slice", ["float32 2,3", ints(0, 0), ints(1)]),
    "slice_step": node("Slice", ["float32 2,3", ints(0), ints(1), ints(0), ints(0)]),
    "softmax_axis": node("Softmax", ["float32 2,3"], {"axis": 2}),
    "split_sizes": node("Split", ["float32 7", ints(3, 3)], outputs=2),
    "squeeze_size": node("Squeeze", ["float32 1,3", ints(1)]),
    "string_sqrt": node("Sqrt", ["string 3"]),
    "top_k": node("TopK", ["float32 2,3", ints(4)], outputs=2),
    "transpose_order": node("Transpose", ["float32 2,3"], {"perm": (0, 2)}),
    "unsqueeze_axes": node("Unsqueeze", ["float32 2,3", ints(0, 0)]),
}


@pytest.mark.parametrize("name", sorted(REFUSALS))
def test_refusal(name: str, golden: Callable[[str], None]) -> None:
    with pytest.raises(CompileError) as caught:
        infer_node(REFUSALS[name])
    assert caught.value.where == f"{REFUSALS[name].op} 'it'"
    golden(f"{caught.value}\n")


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (node("Add", ["float32 ?,3", "float32 5,1"]), "float32[5,3]"),
        (node("Add", ["float32 ?,3", "float32 1,1"]), "float32[?,3]"),
        (node("Add", ["float32 ...", "float32 3"]), "float32[...]"),
        (node("AveragePool", ["float32 1,2,?,7"], {"kernel_shape": (2, 2)}), "float32[1,2,?,6]"),
        (node("Concat", ["float32 ?,3", "float32 2,?"], {"axis": 0}), "float32[?,3]"),
        (node("Concat", ["float32 ...", "float32 2,4"], {"axis": 0}), "float32[?,4]"),
        (node("Conv", ["float32 ?,6,?,8", W], {"pads": (1, 1, 1, 1)}), "float32[?,4,?,8]"),
        (node("Conv", ["float32 ...", W]), "float32[...]"),
        (node("Expand", ["float32 3,1", "int64 3"]), "float32[?,?,?]"),
        (node("Flatten", ["float32 ?,3,4"]), "float32[?,12]"),
        (node("Gather", ["float32 ?,3", "int64 2,?"]), "float32[2,?,3]"),
        (node("MatMul", ["float32 ?,2,3", "float32 3,5"]), "float32[?,2,5]"),
        (node("NonZero", ["float32 2,3"]), "int64[2,?]"),
        (node("Pad", ["float32 2,3", "int64 4"]), "float32[?,?]"),
        (node("ReduceSum", ["float32 ?,3", "int64 1"]), "float32[?,?]"),
        (node("ReduceSum", ["float32 ?,3", ints(1)], {"keepdims": 0}), "float32[?]"),
        (node("Reshape", ["float32 ?,3,4", ints(0, -1)]), "float32[?,12]"),
        (node("Reshape", ["float32 ?,3,4", ints(-1, 12)]), "float32[?,12]"),
        (node("Reshape", ["float32 0,3", ints(5, 0, 0)], {"allowzero": 1}), "float32[5,0,0]"),
        (node("Reshape", ["float32 2,3", "int64 4"]), "float32[?,?,?,?]"),
        (node("Resize", ["float32 1,3,?,8", None, np.array([1, 1, 2, 2], np.float32)]), "float32[1,3,?,16]"),
        (node("Resize", ["float32 1,3,?,8", None, None, ints(1, 3, 5, 6)]), "float32[1,3,5,6]"),
        (node("Slice", ["float32 ?,8", ints(1), ints(-1), ints(1)]), "float32[?,6]"),
        (node("Slice", ["float32 4,8", "int64 1", "int64 1", ints(1)]), "float32[4,?]"),
        (node("Split", ["float32 ?,7"], {"axis": 1}, outputs=2), "float32[?,4]"),
        (node("Squeeze", ["float32 1,?"]), "float32[...]"),
        (node("Squeeze", ["float32 1,?,1", ints(0, -1)]), "float32[?]"),
        (node("Tile", ["float32 2,3", ints(2, 2)]), "float32[4,6]"),
        (node("Unsqueeze", ["float32 2,?", ints(-1)]), "float32[2,?,1]"),
        (node("dense", ["float32 ?,4,8", "float32 8,3", "float32 3"]), "float32[?,4,3]"),
    ],
    ids=lambda item: item.op if isinstance(item, Node) else "",
)
def test_unknown_sizes_stay_unknown_and_no_more(given: Node, wanted: str) -> None:
    inferred = infer_node(given)
    assert inferred is not None
    assert str(inferred[0]) == wanted


def test_ops_without_a_row_have_no_rule() -> None:
    assert infer_node(node("Einsum", ["float32 2,3"], {"equation": "ij->ji"})) is None
    foreign = node("Add", ["float32 2", "float32 2"])
    foreign.domain = "com.example"
    assert infer_node(foreign) is None
