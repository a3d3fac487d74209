"""Nodes whose inputs and attributes do not fit each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from bad_registry import bad, one_node, zeros
from onnx import TensorProto

IMAGE = [1, 3, 8, 8]


@bad
def conv_weight_with_wrong_channels(folder: Path) -> Any:
    """A weight for 5 channels, an input of 3."""
    return one_node("Conv", {"x": IMAGE, "w": zeros(4, 5, 3, 3)}, kernel_shape=[3, 3])


@bad
def conv_weight_of_wrong_rank(folder: Path) -> Any:
    """A weight without spatial axes."""
    return one_node("Conv", {"x": IMAGE, "w": zeros(4, 3)})


@bad
def conv_input_of_wrong_rank(folder: Path) -> Any:
    """An image without batch axis."""
    return one_node("Conv", {"x": [3, 8, 8], "w": zeros(4, 3, 3, 3)})


@bad
def conv_kernel_shape_wrong(folder: Path) -> Any:
    """kernel_shape says 5x5, the weight is 3x3."""
    return one_node("Conv", {"x": IMAGE, "w": zeros(4, 3, 3, 3)}, kernel_shape=[5, 5])


@bad
def conv_group_mismatch(folder: Path) -> Any:
    """Three channels in two groups."""
    return one_node("Conv", {"x": IMAGE, "w": zeros(4, 3, 3, 3)}, group=2)


@bad
def conv_group_zero(folder: Path) -> Any:
    """No groups at all."""
    return one_node("Conv", {"x": IMAGE, "w": zeros(4, 3, 3, 3)}, group=0)


@bad
def conv_outputs_do_not_divide(folder: Path) -> Any:
    """Five output channels in three groups."""
    return one_node("Conv", {"x": IMAGE, "w": zeros(5, 1, 3, 3)}, group=3)


@bad
def conv_bias_of_wrong_length(folder: Path) -> Any:
    """Seven biases for four channels."""
    return one_node("Conv", {"x": IMAGE, "w": zeros(4, 3, 3, 3), "b": zeros(7)})


@bad
def conv_stride_zero(folder: Path) -> Any:
    """A window that does not move."""
    return one_node("Conv", {"x": IMAGE, "w": zeros(4, 3, 3, 3)}, strides=[0, 1])


@bad
def conv_dilation_negative(folder: Path) -> Any:
    """A window that is turned inside out."""
    return one_node("Conv", {"x": IMAGE, "w": zeros(4, 3, 3, 3)}, dilations=[-1, 1])


@bad
def conv_pads_too_few(folder: Path) -> Any:
    """Two pads where four belong."""
    return one_node("Conv", {"x": IMAGE, "w": zeros(4, 3, 3, 3)}, pads=[1, 1])


@bad
def conv_pads_negative(folder: Path) -> Any:
    """Padding that cuts."""
    return one_node("Conv", {"x": IMAGE, "w": zeros(4, 3, 3, 3)}, pads=[-1, 0, 0, 0])


@bad
def conv_auto_pad_unknown(folder: Path) -> Any:
    """A padding that ONNX does not know."""
    return one_node("Conv", {"x": IMAGE, "w": zeros(4, 3, 3, 3)}, auto_pad="SAME")


@bad
def conv_kernel_larger_than_input(folder: Path) -> Any:
    """A window that fits nowhere."""
    return one_node("Conv", {"x": [1, 3, 4, 4], "w": zeros(4, 3, 7, 7)})


@bad
def conv_transpose_channels(folder: Path) -> Any:
    """A weight for 5 channels, an input of 3."""
    return one_node("ConvTranspose", {"x": IMAGE, "w": zeros(5, 4, 3, 3)})


@bad
def pool_without_kernel(folder: Path) -> Any:
    """A pool of unknown size."""
    return one_node("MaxPool", {"x": IMAGE})


@bad
def pool_stride_zero(folder: Path) -> Any:
    """A pool that does not move."""
    return one_node("MaxPool", {"x": IMAGE}, kernel_shape=[2, 2], strides=[0, 0])


@bad
def pool_kernel_negative(folder: Path) -> Any:
    """A pool of negative size."""
    return one_node("AveragePool", {"x": IMAGE}, kernel_shape=[-2, 2])


@bad
def pool_of_wrong_rank(folder: Path) -> Any:
    """A pool over three axes of two."""
    return one_node("MaxPool", {"x": IMAGE}, kernel_shape=[2, 2, 2])


@bad
def reshape_that_cannot(folder: Path) -> Any:
    """192 elements do not make 7 rows."""
    return one_node("Reshape", {"x": IMAGE, "shape": np.array([7, -1])})


@bad
def reshape_with_two_unknowns(folder: Path) -> Any:
    """Two sizes to be guessed."""
    return one_node("Reshape", {"x": IMAGE, "shape": np.array([-1, -1])})


@bad
def reshape_to_another_size(folder: Path) -> Any:
    """192 elements do not make 100."""
    return one_node("Reshape", {"x": IMAGE, "shape": np.array([10, 10])})


@bad
def concat_ranks_differ(folder: Path) -> Any:
    """A matrix behind an image."""
    return one_node("Concat", {"a": IMAGE, "b": [3, 8]}, axis=1)


@bad
def concat_sizes_differ(folder: Path) -> Any:
    """Images of different width."""
    return one_node("Concat", {"a": IMAGE, "b": [1, 3, 8, 9]}, axis=1)


@bad
def concat_axis_outside(folder: Path) -> Any:
    """Axis 4 of four."""
    return one_node("Concat", {"a": IMAGE, "b": IMAGE}, axis=4)


@bad
def gemm_inner_sizes_differ(folder: Path) -> Any:
    """[2,5] times [4,3]."""
    return one_node("Gemm", {"a": [2, 5], "b": zeros(4, 3)})


@bad
def gemm_bias_does_not_fit(folder: Path) -> Any:
    """Seven biases for three columns."""
    return one_node("Gemm", {"a": [2, 4], "b": zeros(4, 3), "c": zeros(7)})


@bad
def gemm_of_a_cube(folder: Path) -> Any:
    """Gemm takes matrices."""
    return one_node("Gemm", {"a": [2, 2, 4], "b": zeros(4, 3)})


@bad
def matmul_inner_sizes_differ(folder: Path) -> Any:
    """[2,5] times [4,3]."""
    return one_node("MatMul", {"a": [2, 5], "b": zeros(4, 3)})


@bad
def batch_norm_of_wrong_length(folder: Path) -> Any:
    """Scales for 4 channels, an input of 3."""
    parameters = {name: zeros(4) for name in ("scale", "bias", "mean", "var")}
    return one_node("BatchNormalization", {"x": IMAGE, **parameters})


@bad
def batch_norm_in_training(folder: Path) -> Any:
    """A model exported without eval(), before opset 14."""
    parameters = {name: zeros(3) for name in ("scale", "bias", "mean", "var")}
    return one_node("BatchNormalization", {"x": IMAGE, **parameters}, outputs=5, opset=9)


@bad
def transpose_of_wrong_length(folder: Path) -> Any:
    """A permutation of three axes for four."""
    return one_node("Transpose", {"x": IMAGE}, perm=[0, 2, 1])


@bad
def transpose_axis_twice(folder: Path) -> Any:
    """No permutation."""
    return one_node("Transpose", {"x": IMAGE}, perm=[0, 1, 1, 2])


@bad
def pad_of_wrong_length(folder: Path) -> Any:
    """Six pads for four axes."""
    return one_node("Pad", {"x": IMAGE, "pads": np.array([0, 0, 1, 1, 0, 0])})


@bad
def pad_below_nothing(folder: Path) -> Any:
    """Padding that cuts more than there is."""
    return one_node("Pad", {"x": [2, 2], "pads": np.array([-2, 0, -2, 0])})


@bad
def add_of_two_types(folder: Path) -> Any:
    """float32 plus int32."""
    return one_node("Add", {"a": [4], "b": (TensorProto.INT32, [4])})


@bad
def add_that_does_not_broadcast(folder: Path) -> Any:
    """[4] plus [3]."""
    return one_node("Add", {"a": [4], "b": [3]})


@bad
def relu_of_bool(folder: Path) -> Any:
    """A type that Relu does not take."""
    return one_node("Relu", {"x": (TensorProto.BOOL, [4])})


@bad
def slice_with_float_indexes(folder: Path) -> Any:
    """Starts that are no whole numbers."""
    return one_node("Slice", {"x": [8], "starts": zeros(1), "ends": zeros(1)})


@bad
def slice_with_step_zero(folder: Path) -> Any:
    """A slice that does not move."""
    one = np.array([1])
    return one_node("Slice", {"x": [8], "starts": one, "ends": one, "axes": one - 1, "steps": one - 1})


@bad
def gather_outside(folder: Path) -> Any:
    """Index 9 of four, in constants."""
    return one_node("Gather", {"x": np.arange(4), "i": np.array(9)})


@bad
def gather_axis_outside(folder: Path) -> Any:
    """Axis 5 of one."""
    return one_node("Gather", {"x": [4], "i": np.array(0)}, axis=5)


@bad
def squeeze_of_a_long_axis(folder: Path) -> Any:
    """An axis of 3 cannot vanish."""
    return one_node("Squeeze", {"x": IMAGE, "axes": np.array([1])})


@bad
def unsqueeze_axis_twice(folder: Path) -> Any:
    """One new axis at one place, twice."""
    return one_node("Unsqueeze", {"x": IMAGE, "axes": np.array([0, 0])})


@bad
def split_that_does_not_add_up(folder: Path) -> Any:
    """Parts of 3 and 3 of an axis of 8."""
    return one_node("Split", {"x": [8], "split": np.array([3, 3])}, outputs=2)


@bad
def split_into_unequal_parts(folder: Path) -> Any:
    """8 in three equal parts."""
    return one_node("Split", {"x": [8]}, outputs=3)


@bad
def softmax_axis_outside(folder: Path) -> Any:
    """Axis 7 of four."""
    return one_node("Softmax", {"x": IMAGE}, axis=7)


@bad
def reduce_axis_outside(folder: Path) -> Any:
    """Axis 9 of four."""
    return one_node("ReduceMean", {"x": IMAGE}, axes=[9])


@bad
def flatten_axis_outside(folder: Path) -> Any:
    """Axis 9 of four."""
    return one_node("Flatten", {"x": IMAGE}, axis=9)


@bad
def top_k_of_too_many(folder: Path) -> Any:
    """The best 10 of 4."""
    return one_node("TopK", {"x": [4], "k": np.array([10])}, outputs=2)


@bad
def resize_with_wrong_scales(folder: Path) -> Any:
    """Two scales for four axes."""
    return one_node("Resize", {"x": IMAGE, "": None, "scales": zeros(2) + 2})


@bad
def tile_of_wrong_length(folder: Path) -> Any:
    """Two repeats for four axes."""
    return one_node("Tile", {"x": IMAGE, "repeats": np.array([2, 2])})


@bad
def where_that_does_not_broadcast(folder: Path) -> Any:
    """Branches of 4 and 5."""
    return one_node("Where", {"c": (TensorProto.BOOL, [1]), "a": [4], "b": [5]})


@bad
def quantize_axis_of_wrong_length(folder: Path) -> Any:
    """Five scales for three channels."""
    return one_node("QuantizeLinear", {"x": IMAGE, "s": zeros(5) + 1, "z": np.zeros(5, np.int8)}, axis=1)


@bad
def cast_to_nothing(folder: Path) -> Any:
    """An element type that does not exist."""
    return one_node("Cast", {"x": [4]}, to=99)


@bad
def lstm_with_wrong_weights(folder: Path) -> Any:
    """Recurrent weights for another hidden size."""
    return one_node("LSTM", {"x": [5, 1, 4], "w": zeros(1, 12, 4), "r": zeros(1, 16, 4)}, outputs=1, hidden_size=3)


@bad
def attention_with_values_of_another_batch(folder: Path) -> Any:
    """Four times as many values as queries and keys."""
    inputs: Any = {"q": [1, 2, 12], "k": [1, 2, 12], "v": [4, 2, 12]}
    return one_node("Attention", inputs, opset=23, q_num_heads=3, kv_num_heads=3)


@bad
def softmax_of_a_scalar(folder: Path) -> Any:
    """Nothing to sum over."""
    return one_node("Softmax", {"x": []})


@bad
def attention_with_a_softcap_that_is_no_number(folder: Path) -> Any:
    """Scores would be held below NaN."""
    return one_node("Attention", {"q": [1, 1, 2, 4], "k": [1, 1, 2, 4], "v": [1, 1, 2, 4]}, opset=23, softcap=np.nan)
