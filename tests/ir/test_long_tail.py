"""Rows of the long tail that have a meaning of their own, against ONNX's node tests, without the package onnx."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from test_onnx_operators import forbid_onnx

from generated_graphs import examples
from intarsia.dtypes import Array
from intarsia.errors import RunError
from intarsia.importer import import_model
from intarsia.ir.evaluate import evaluate, evaluate_node
from intarsia.ir.facts import needs_onnx
from intarsia.ir.ops import LONG_TAIL, detection
from onnx_cases import array_of, graph_of, inputs_of, mismatch, one_node_cases

OWN = sorted(name for name, row in LONG_TAIL.items() if row.evaluate is not None)

WITHOUT_CASES = {"MaxRoiPool", "SequenceAt", "SequenceConstruct", "SequenceEmpty", "SequenceErase", "SequenceInsert"}
WITHOUT_CASES |= {"SequenceLength", "ConcatFromSequence", "SplitToSequence"}
"""Ops that onnx has no case of, or cases with sequences: they are tested below, or in tests/importer."""


@functools.cache
def cases_by_op() -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for case in one_node_cases():
        found.setdefault(case.model.graph.node[0].op_type, []).append(case)
    return found


@pytest.mark.parametrize("op", [name for name in OWN if name not in WITHOUT_CASES])
def test_row_agrees_with_onnx(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    forbid_onnx(monkeypatch)
    for case in cases_by_op()[op]:
        graph = graph_of(case)
        node = graph.nodes[0]
        for index, (_, outputs) in enumerate(case.data_sets):
            data = inputs_of(case, index)
            results = evaluate_node(node, [None if value is None else data[value.name] for value in node.inputs])
            kept = [result for result, value in zip(results, node.outputs) if value is not None]
            assert len(kept) == len(outputs)
            for result, wanted in zip(kept, outputs):
                assert not (why := mismatch(result, array_of(wanted), case.rtol, case.atol)), f"{case.name}: {why}"


def one_node(op: str, feeds: dict[str, Array], outputs: int = 1, opset: int = 17, **attributes: Any) -> onnx.ModelProto:
    """A model of one node whose inputs are all given at run time."""
    infos = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(data.dtype), data.shape)
        for name, data in feeds.items()
    ]
    names = [f"y{index}" for index in range(outputs)]
    node = helper.make_node(op, list(feeds), names, **attributes)
    graph = helper.make_graph([node], "g", infos, [onnx.ValueInfoProto(name=name) for name in names])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def like_onnxruntime(model: onnx.ModelProto, feeds: dict[str, Array]) -> list[Array]:
    """Outputs of the evaluator, which are those of onnxruntime and need no onnx."""
    graph = import_model(model)
    assert not any(needs_onnx(node) for node in graph.nodes)
    ours = evaluate(graph, feeds)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    for one, other in zip(ours, session.run(None, feeds)):
        assert one.dtype == other.dtype and one.shape == other.shape
        if one.dtype.kind == "f":
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
        else:
            np.testing.assert_array_equal(one, other)
    return ours


@given(
    seed=st.integers(0, 1 << 30),
    batches=st.integers(1, 2),
    kinds=st.integers(1, 3),
    boxes=st.integers(0, 25),
    coarse=st.booleans(),
    centred=st.integers(0, 1),
    most=st.sampled_from([0, 1, 3, 100]),
    overlap=st.sampled_from([0.0, 0.3, 0.5, 1.0]),
    least=st.sampled_from([None, -1.0, 0.0, 0.5]),
    scalars=st.booleans(),
    block=st.sampled_from([4, 512]),
)
@settings(max_examples=examples(150), deadline=None)
def test_non_max_suppression(
    seed: int,
    batches: int,
    kinds: int,
    boxes: int,
    coarse: bool,
    centred: int,
    most: int,
    overlap: float,
    least: float | None,
    scalars: bool,
    block: int,
) -> None:
    """Equal scores, boxes without area, flipped corners, limits of rank 0 and 1, known at run time alone."""
    rng = np.random.default_rng(seed)
    place, score = rng.uniform(0, 4, (batches, boxes, 4)), rng.uniform(0, 1, (batches, kinds, boxes))
    if coarse:
        place, score = np.round(place), np.round(score * 3) / 3
    shape = () if scalars else (1,)
    feeds: dict[str, Array] = {"boxes": place.astype(np.float32), "scores": score.astype(np.float32)}
    feeds["most"] = np.full(shape, most, np.int64)
    feeds["overlap"] = np.full(shape, overlap, np.float32)
    if least is not None:
        feeds["least"] = np.full(shape, least, np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(detection, "_BLOCK", block)
        like_onnxruntime(one_node("NonMaxSuppression", feeds, center_point_box=centred), feeds)


def test_limits_of_several_elements_are_refused() -> None:
    feeds: dict[str, Array] = {"boxes": np.zeros((1, 3, 4), np.float32), "scores": np.zeros((1, 1, 3), np.float32)}
    feeds["most"] = np.ones(2, np.int64)
    with pytest.raises(RunError, match="its number of boxes has 2 elements, not one"):
        evaluate(import_model(one_node("NonMaxSuppression", feeds)), feeds)


@given(
    seed=st.integers(0, 1 << 30),
    mode=st.sampled_from(["avg", "max"]),
    kind=st.sampled_from(["half_pixel", "output_half_pixel"]),
    samples=st.integers(0, 3),
    sizes=st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4), st.integers(1, 4)),
)
@settings(max_examples=examples(100), deadline=None)
def test_roi_align(seed: int, mode: str, kind: str, samples: int, sizes: tuple[int, int, int, int]) -> None:
    rng = np.random.default_rng(seed)
    height, width, rows, columns = sizes
    corner, side = rng.uniform(-3, 8, (5, 2)), rng.uniform(0.1, 9, (5, 2))
    feeds: dict[str, Array] = {"x": rng.standard_normal((2, 3, height, width)).astype(np.float32)}
    feeds["rois"] = np.concatenate([corner, corner + side], axis=1).astype(np.float32)
    feeds["images"] = rng.integers(0, 2, 5)
    attributes: dict[str, Any] = {"mode": mode, "sampling_ratio": samples, "spatial_scale": 0.7}
    attributes |= {"output_height": rows, "output_width": columns, "coordinate_transformation_mode": kind}
    like_onnxruntime(one_node("RoiAlign", feeds, **attributes), feeds)


@pytest.mark.parametrize("scale", [1.0, 0.37])
def test_max_roi_pool(scale: float) -> None:
    rng = np.random.default_rng(3)
    corner = rng.integers(-2, 9, (12, 2))
    ends = np.concatenate([rng.integers(0, 2, (12, 1)), corner, corner + rng.integers(0, 9, (12, 2))], axis=1)
    feeds = {"x": rng.standard_normal((2, 3, 8, 9)).astype(np.float32), "rois": ends.astype(np.float32)}
    like_onnxruntime(one_node("MaxRoiPool", feeds, pooled_shape=[3, 2], spatial_scale=scale), feeds)


@given(
    seed=st.integers(0, 1 << 30),
    mode=st.sampled_from(["linear", "nearest", "cubic"]),
    padding=st.sampled_from(["zeros", "border", "reflection"]),
    aligned=st.integers(0, 1),
    size=st.tuples(st.integers(2, 6), st.integers(2, 6)),
)
@settings(max_examples=examples(100), deadline=None)
def test_grid_sample(seed: int, mode: str, padding: str, aligned: int, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(seed)
    feeds = {"x": rng.standard_normal((2, 3, *size)).astype(np.float32)}
    feeds["grid"] = rng.uniform(-2.2, 2.2, (2, 4, 5, 2)).astype(np.float32)
    attributes: dict[str, Any] = {"mode": mode, "padding_mode": padding, "align_corners": aligned}
    like_onnxruntime(one_node("GridSample", feeds, opset=20, **attributes), feeds)


@given(
    seed=st.integers(0, 1 << 30),
    axis=st.sampled_from([None, 0, 1, -1]),
    ascending=st.integers(0, 1),
    shape=st.tuples(st.integers(0, 5), st.integers(1, 4)),
)
@settings(max_examples=examples(100), deadline=None)
def test_unique(seed: int, axis: int | None, ascending: int, shape: tuple[int, int]) -> None:
    feeds = {"x": np.random.default_rng(seed).integers(0, 3, shape).astype(np.float32)}
    attributes = {"sorted": ascending} if axis is None else {"sorted": ascending, "axis": axis}
    like_onnxruntime(one_node("Unique", feeds, 4, **attributes), feeds)


@given(
    seed=st.integers(0, 1 << 30),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.integers(1, 2),
    groups=st.sampled_from([(1, 1), (2, 1), (1, 2), (2, 4)]),
    masked=st.booleans(),
)
@settings(max_examples=examples(60), deadline=None)
def test_deform_conv(seed: int, kernel: tuple[int, int], stride: int, groups: tuple[int, int], masked: bool) -> None:
    rng = np.random.default_rng(seed)
    group, offset_group = groups
    height, width = ((size + 2 - reach) // stride + 1 for size, reach in zip((6, 7), kernel))
    taps = offset_group * kernel[0] * kernel[1]
    feeds: dict[str, Array] = {"x": rng.standard_normal((2, 4, 6, 7)).astype(np.float32)}
    feeds["w"] = rng.standard_normal((6, 4 // group, *kernel)).astype(np.float32)
    feeds["offset"] = (rng.standard_normal((2, 2 * taps, height, width)) * 2).astype(np.float32)
    feeds["b"] = rng.standard_normal(6).astype(np.float32)
    if masked:
        feeds["mask"] = rng.random((2, taps, height, width)).astype(np.float32)
    attributes: dict[str, Any] = {"group": group, "offset_group": offset_group, "pads": [1, 1, 1, 1]}
    like_onnxruntime(one_node("DeformConv", feeds, opset=19, strides=[stride, stride], **attributes), feeds)
