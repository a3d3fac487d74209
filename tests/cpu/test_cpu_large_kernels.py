"""Large windows: code that goes over taps in loops takes no longer to compile than that of small ones, and is right."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import intarsia
from intarsia.runtime.vectors import verify_vectors
from intarsia_backends.cpu.image_kernels import loops_over_taps

SECONDS = 5.0  # of processor time for one layer, with room for busy machines


def model(op: str, weights: tuple[int, ...] | None, x: tuple[int, ...], **attributes: Any) -> Any:
    """A model of one layer of float32 that reads x."""
    constants = []
    if weights is not None:
        numbers = np.random.default_rng(3).standard_normal(weights) / np.sqrt(np.prod(weights[2:]))
        constants = [numpy_helper.from_array(numbers.astype(np.float32), "w")]
    node = helper.make_node(op, ["x", "w"] if constants else ["x"], ["y"], **attributes)
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, size) for name, size in (("x", x), ("y", None))]
    graph = helper.make_graph([node], "layer", ends[:1], ends[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


LAYERS: dict[str, tuple[str, tuple[int, ...] | None, tuple[int, ...], dict[str, Any]]] = {
    "depthwise 31x31": ("Conv", (8, 1, 31, 31), (1, 8, 32, 32), {"group": 8, "pads": [15] * 4}),
    "depthwise 24x24, strides": ("Conv", (9, 1, 24, 24), (1, 9, 40, 40), {"group": 9, "strides": [2, 2]}),
    "depthwise 9x9, dilated": (
        *("Conv", (16, 1, 9, 9), (1, 16, 40, 40)),
        {"group": 16, "dilations": [4, 4], "pads": [16] * 4},
    ),
    "depthwise row of 255": ("Conv", (8, 1, 255), (1, 8, 400), {"group": 8, "pads": [127, 127]}),
    "convolution 63x63": ("Conv", (2, 3, 63, 63), (1, 3, 64, 64), {"pads": [31] * 4}),
    "grouped 31x31": ("Conv", (8, 2, 31, 31), (1, 8, 32, 32), {"group": 4, "pads": [15] * 4}),
    "transposed 31x31": ("ConvTranspose", (4, 4, 31, 31), (1, 4, 16, 16), {"strides": [2, 2]}),
    "largest of 31x31": ("MaxPool", None, (1, 4, 40, 40), {"kernel_shape": [31, 31]}),
    "mean of 31x31": ("AveragePool", None, (1, 4, 40, 40), {"kernel_shape": [31, 31]}),
}


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("name", LAYERS)
def test_large_windows_compile_in_seconds(name: str, precision: str) -> None:
    op, weights, size, attributes = LAYERS[name]
    x = np.random.default_rng(4).standard_normal(size).astype(np.float32)
    calibration = [{"x": x}] if precision == "int8" else None
    started = time.process_time()
    # The vectors that come along are what the evaluator makes of the same graph: equal bytes for integers.
    artifact = intarsia.compile_model(
        model(op, weights, size, **attributes), target="cpu", precision=precision, calibration=calibration
    )
    assert time.process_time() - started < SECONDS
    with intarsia.load(artifact) as session:
        results = verify_vectors(session)
    assert results
    assert all(result.ok for result in results)


@pytest.mark.parametrize(
    ("kernel", "stride", "dilation", "loops"),
    [
        ((3, 3), 1, 1, False),
        ((7, 7), 1, 1, False),
        ((15, 15), 1, 1, False),
        ((17, 17), 1, 1, True),
        ((7, 7), 1, 4, False),
        ((7, 7), 1, 8, True),
        ((31, 31), 4, 1, True),
        ((63, 1), 1, 1, False),
    ],
)
def test_what_is_written_out_keeps_its_code(kernel: tuple[int, int], stride: int, dilation: int, loops: bool) -> None:
    assert loops_over_taps(kernel, stride, dilation) == loops
