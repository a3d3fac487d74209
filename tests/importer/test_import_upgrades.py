"""Old forms of ops become the newest form, and mean the same: onnxruntime runs the old form beside it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx_models import assert_like_onnxruntime, model_of, noise

import intarsia
from intarsia.errors import CompileError
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


def test_nearest_pixels_before_opset_11_depend_on_scales() -> None:
    line = "Resize <mode = {}> (x, s)"
    refused = model_of(
        f"g (float[1,3,8,8] x, float[4] s) => (y) {{ y = {line.format(chr(34) + 'nearest' + chr(34))} }}", 10
    )
    with pytest.raises(CompileError, match="before opset 11 the nearest pixel depends on them"):
        import_model(refused)
    shrunk = model_of("g (float[2,3,7,9] x) => (y) { y = Resize (x, s) }", 10, s=np.array([1, 1, 0.6, 0.4], np.float32))
    assert [node.op for node in assert_like_onnxruntime(shrunk).nodes] == ["Resize"]
    mixed = model_of("g (float[2,3,7,9] x) => (y) { y = Resize (x, s) }", 10, s=np.array([1, 1, 1.7, 0.4], np.float32))
    assert [node.op for node in assert_like_onnxruntime(mixed).nodes] == ["Resize", "Resize"]


@pytest.mark.parametrize("opset", [18, 20])
def test_group_normalization_with_an_entry_for_each_group(opset: int) -> None:
    """Known at compile time, and at run time; on the newest form every pass and target knows it."""
    line = "y = GroupNormalization <num_groups = 2> (x, s, b)"
    known = model_of(f"g (float[2,6,3,3] x) => (y) {{ {line} }}", opset, s=noise(2), b=noise(2, seed=1))
    node = assert_like_onnxruntime(known).nodes[-1]
    assert node.opset == 21 and node.input(1).shape == (6,)
    given = model_of(f"g (float[2,6,3,3] x, float[2] s, float[2] b) => (y) {{ {line} }}", opset)
    assert assert_like_onnxruntime(given).nodes[-1].input(2).shape == (6,)
    wrong = model_of(f"g (float[2,6,3,3] x) => (y) {{ {line} }}", opset, s=noise(6), b=noise(6))
    with pytest.raises(CompileError, match=r"its scale is float32\[6\], not of 2 entries: before opset 21"):
        import_model(wrong)


STALE = """g (float[1,2,6,6] x) => (float[n,k] y)
  <float[1,2,4,4] p, float[1,2,4,4] r, float[1,32] f> {
    p = AveragePool <kernel_shape = [2,2], strides = [3,3], ceil_mode = 1> (x)  r = Relu (p)  f = Flatten (r)
    y = Neg (f) }"""


def test_inner_shapes_that_an_old_onnx_wrote_wrongly_are_dropped() -> None:
    notes: list[tuple[str, str]] = []
    model = model_of(STALE, 19)
    graph = import_model(model, notes=notes)
    assert_like_onnxruntime(model)
    assert [node.output.shape for node in graph.nodes] == [(1, 2, 2, 2), (1, 2, 2, 2), (1, 8), (1, 8)]
    assert len(notes) == 1 and notes[0][0] == "p"
    assert "float32[1,2,4,4], and the op makes float32[1,2,2,2]: the declaration was dropped, and 2 more" in notes[0][1]
    told = intarsia.explain(model, target="cpu")
    assert told.notes[0] == notes[0]


def test_shapes_of_outputs_and_element_types_must_hold() -> None:
    outside = STALE.replace("float[n,k] y", "float[n,k] y, float[1,2,4,4] r").replace(", float[1,2,4,4] r,", ",", 1)
    with pytest.raises(CompileError, match="the model declares"):
        import_model(model_of("g (float[1,2,6,6] x) => (float[1,2,6,7] y) { y = Relu (x) }"))
    with pytest.raises(CompileError, match="the model declares"):
        import_model(model_of(outside, 19))
    with pytest.raises(CompileError, match="the model declares"):
        import_model(model_of(STALE.replace("float[1,2,4,4] p", "double[1,2,4,4] p"), 19))


def test_a_reshape_whose_inner_shape_cannot_be_is_believed_by_its_rule() -> None:
    notes: list[tuple[str, str]] = []
    model = model_of(
        "g (float[2,3] x, int64[1] n) => (y) <float[7] f> { f = Reshape (x, n)  y = Neg (f) }",
    )
    graph = import_model(model, notes=notes)
    assert graph.nodes[0].output.type.shape == (None,) and len(notes) == 1


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
