"""Old forms of ops become the newest form, and mean the same: onnxruntime runs the old form beside it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx_models import assert_like_onnxruntime, model_of, noise

from intarsia.importer import import_model
from intarsia.ir.graph import Node

ONES = np.ones(3, np.float32)

OLD_FORMS: dict[str, tuple[str, str, int, dict[str, Any]]] = {
    # name: (new op, node text after `y = `, opset, initializers); the input is x, float[2,3,8,8]
    "clip_both": ("Clip", "Clip <min = -0.5, max = 0.5> (x)", 9, {}),
    "clip_above": ("Clip", "Clip <max = 0.5> (x)", 9, {}),
    "clip_open": ("Clip", "Clip (x)", 9, {}),
    "pad": ("Pad", "Pad <pads = [0,0,1,2,0,0,0,1], value = 3.0> (x)", 9, {}),
    "pad_reflect": ("Pad", 'Pad <pads = [0,0,1,2,0,0,0,1], mode = "reflect"> (x)', 9, {}),
    "slice": ("Slice", "Slice <starts = [1,-7], ends = [3,9999], axes = [1,2]> (x)", 9, {}),
    "slice_without_axes": ("Slice", "Slice <starts = [0,1], ends = [1,3]> (x)", 9, {}),
    "unsqueeze": ("Unsqueeze", "Unsqueeze <axes = [0,5]> (x)", 11, {}),
    "reduce_mean": ("ReduceMean", "ReduceMean <axes = [2,3], keepdims = 0> (x)", 13, {}),
    "reduce_sum": ("ReduceSum", "ReduceSum <axes = [-1]> (x)", 11, {}),
    "reduce_max_of_all": ("ReduceMax", "ReduceMax (x)", 12, {}),
    "dropout": ("Dropout", "Dropout <ratio = 0.3> (x)", 10, {}),
    "dropout_off": ("Dropout", "Dropout (x, ratio, off)", 13, {"ratio": np.float32(0.3), "off": np.array(False)}),
    "upsample_attribute": ("Resize", "Upsample <scales = [1.0,1.0,2.0,1.5]> (x)", 8, {}),
    "upsample_linear": ("Resize", 'Upsample <mode = "linear"> (x, s)', 9, {"s": np.array([1, 1, 2, 3], np.float32)}),
    "resize_10": ("Resize", "Resize (x, s)", 10, {"s": np.array([1, 1, 0.5, 1.5], np.float32)}),
    "resize_11": (
        "Resize",
        'Resize <mode = "linear", coordinate_transformation_mode = "align_corners"> (x, none, none, to)',
        11,
        {"none": np.zeros(0, np.float32), "to": np.array([2, 3, 12, 5])},
    ),
    "resize_of_tensorflow": (
        "Resize",
        'Resize <coordinate_transformation_mode = "tf_half_pixel_for_nn"> (x, none, s)',
        11,
        {"none": np.zeros(0, np.float32), "s": np.array([1, 1, 2, 1.5], np.float32)},
    ),
    "batch_normalization": (
        "BatchNormalization",
        "BatchNormalization <epsilon = 0.01, momentum = 0.5> (x, s, b, m, v)",
        9,
        {"s": ONES * 2, "b": ONES, "m": ONES * 0.5, "v": ONES * 3},
    ),
    "softmax_of_the_last_axis": ("Softmax", "Softmax <axis = 3> (x)", 11, {}),
    "softmax_of_many_axes": ("Reshape", "Softmax <axis = 1> (x)", 11, {}),
    "log_softmax_of_many_axes": ("Reshape", "LogSoftmax <axis = -2> (x)", 11, {}),
    "average_pool": ("AveragePool", "AveragePool <kernel_shape = [3,3], strides = [2,2]> (x)", 7, {}),
    "max_pool": ("MaxPool", "MaxPool <kernel_shape = [3,3], pads = [1,0,1,0]> (x)", 8, {}),
    "scatter": (
        "ScatterElements",
        "Scatter <axis = 1> (x, i, u)",
        9,
        {"i": np.zeros((1, 1, 1, 2), np.int64), "u": noise(1, 1, 1, 2)},
    ),
}


@pytest.mark.parametrize("name", OLD_FORMS)
def test_old_form(name: str) -> None:
    op, text, opset, arrays = OLD_FORMS[name]
    model = model_of(f"g (float[2,3,8,8] x) => (y) {{ y = {text} }}", opset, **arrays)
    node = assert_like_onnxruntime(model).nodes[-1]
    assert node.op == op
    assert not {"axes", "pads", "scales", "min", "max", "value", "starts", "ends", "ratio", "momentum"} & set(
        node.attributes
    ) - ({"pads"} if op.endswith("Pool") else set())


def test_roi_align_before_the_half_pixel() -> None:
    rois = np.array([[0, 0, 5, 6], [1, 2, 7, 3]], np.float32)
    model = model_of(
        """g (float[1,2,8,8] x) => (y) {
             y = RoiAlign <output_height = 2, output_width = 3, sampling_ratio = 2, spatial_scale = 0.7>
               (x, rois, which)
           }""",
        10,
        rois=rois,
        which=np.array([0, 0]),
    )
    assert_like_onnxruntime(model)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic", "nearest"])
def test_grid_sample_modes(mode: str) -> None:
    grid = np.random.default_rng(3).uniform(-1, 1, (1, 3, 4, 2)).astype(np.float32)
    model = model_of(f'g (float[1,2,8,8] x) => (y) {{ y = GridSample <mode = "{mode}"> (x, grid) }}', 16, grid=grid)
    assert assert_like_onnxruntime(model).nodes[0].attributes["mode"] in ("linear", "cubic", "nearest")


def test_split_always_has_its_sizes() -> None:
    for opset, text in ((11, "Split <split = [1,5]> (x)"), (11, "Split (x)"), (18, "Split <num_outputs = 2> (x)")):
        model = model_of(f"g (float[6,2] x) => (a, b) {{ a, b = {text} }}", opset)
        (node,) = assert_like_onnxruntime(model).nodes
        assert node.input(1).data is not None and "num_outputs" not in node.attributes


def test_uneven_split_of_opset_18() -> None:
    graph = assert_like_onnxruntime(
        model_of("g (float[7] x) => (a, b, c) { a, b, c = Split <num_outputs = 3> (x) }", 18)
    )
    assert [value.shape for value in graph.outputs] == [(3,), (3,), (1,)]


def test_top_k_reads_k() -> None:
    (node,) = assert_like_onnxruntime(model_of("g (float[3,9] x) => (v, i) { v, i = TopK <k = 4> (x) }", 9)).nodes
    count = node.input(1).data
    assert count is not None and count.tolist() == [4]


def test_squeeze_reads_axes() -> None:
    assert_like_onnxruntime(model_of("g (float[1,3,1] x) => (y) { y = Squeeze <axes = [0,2]> (x) }", 11))


def test_range_of_one_element_vectors() -> None:
    graph = import_model(
        model_of("g (int64[1] n) => (y) { y = Range (zero, n, one) }", zero=np.int64(0), one=np.int64(1))
    )
    assert [node.op for node in graph.nodes] == ["Squeeze", "Range"]


def test_stft_has_one_side_by_default() -> None:
    window = np.hanning(16).astype(np.float32)
    text = "g (float[1,64,1] x) => (y) { y = STFT (x, step, window) }"
    graph = assert_like_onnxruntime(model_of(text, step=np.int64(8), window=window))
    assert graph.outputs[0].shape == (1, 7, 9, 2)


# ---- windows


def conv(text: str, shape: str = "1,2,9,8", weight: tuple[int, ...] = (4, 2, 3, 2), opset: int = 17) -> Node:
    """The node of a model of one window op, after a comparison with onnxruntime."""
    model = model_of(f"g (float[{shape}] x) => (y) {{ y = {text} }}", opset, w=noise(*weight))
    if "(x, w)" not in text:
        del model.graph.initializer[:]
    return assert_like_onnxruntime(model).nodes[0]


def test_conv_defaults_are_written_out() -> None:
    assert conv("Conv (x, w)").attributes == {
        "kernel_shape": (3, 2),
        "strides": (1, 1),
        "dilations": (1, 1),
        "pads": (0, 0, 0, 0),
        "group": 1,
    }


@pytest.mark.parametrize(
    ("mode", "pads"),
    [("SAME_UPPER", (1, 0, 1, 0)), ("SAME_LOWER", (1, 0, 1, 0)), ("VALID", (0, 0, 0, 0)), ("NOTSET", (0, 0, 0, 0))],
)
def test_conv_auto_pad(mode: str, pads: tuple[int, ...]) -> None:
    node = conv(f'Conv <auto_pad = "{mode}", strides = [2, 2]> (x, w)')
    assert node.attributes["pads"] == pads and "auto_pad" not in node.attributes


@pytest.mark.parametrize(("mode", "pads"), [("SAME_UPPER", (0, 1)), ("SAME_LOWER", (1, 0))])
def test_uneven_padding_leans_to_its_side(mode: str, pads: tuple[int, ...]) -> None:
    node = conv(f'Conv <auto_pad = "{mode}"> (x, w)', "1,1,5", (1, 1, 2))
    assert node.attributes["pads"] == pads


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER", "VALID"])
def test_pool_auto_pad(op: str, mode: str) -> None:
    node = conv(f'{op} <auto_pad = "{mode}", kernel_shape = [3,3], strides = [2,3]> (x)')
    assert node.attributes["dilations"] == (1, 1) and len(node.attributes["pads"]) == 4


@pytest.mark.parametrize(
    "text",
    [
        "ConvTranspose (x, w)",
        "ConvTranspose <strides = [2,3], output_padding = [1,2], pads = [1,0,0,1]> (x, w)",
        'ConvTranspose <strides = [3,2], auto_pad = "SAME_UPPER"> (x, w)',
        'ConvTranspose <strides = [3,2], auto_pad = "SAME_LOWER"> (x, w)',
        'ConvTranspose <strides = [2,3], auto_pad = "VALID"> (x, w)',
        "ConvTranspose <strides = [2,3], output_shape = [18,24]> (x, w)",
        "ConvTranspose <strides = [2,3], output_shape = [20,25]> (x, w)",
    ],
)
def test_conv_transpose(text: str) -> None:
    attributes = conv(text, weight=(2, 4, 3, 2)).attributes
    assert not {"auto_pad", "output_shape"} & set(attributes)
    assert len(attributes["pads"]) == 4 and len(attributes["output_padding"]) == 2
