"""Networks whose images lie with channels last on a GPU: what one op leaves in memory, the next one reads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from cuda_regions import compiled, run
from gpu_regions import compare
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from generated_graphs import examples, networks, random_inputs
from image_networks import ImageNetwork
from intarsia.ir.graph import Graph, Value
from intarsia.ir.types import Quantization, TensorType
from intarsia_backends.cuda.machine import CUDA
from intarsia_backends.gpu.lower import lower_region
from intarsia_backends.gpu.lower.convolution import without_zero
from intarsia_backends.lowering.expressions import Input
from intarsia_backends.lowering.kernels import Nest, Surround
from intarsia_backends.lowering.program import Call

_NO_NUMBERS = 0xFF
"""Memory of such bytes holds NaN: sums that read what fills up the channels would be that."""


class Images(ImageNetwork):
    """A float32 network, as CUDA C++ run by the processor."""

    def concat(self, *values: Value) -> Value:
        return self.add("Concat", *values, axis=1)

    def cut(self, x: Value, first: int, last: int) -> Value:
        bounds = [self.places(number) for number in (first, last, 1)]
        return self.add("Slice", x, *bounds)

    def places(self, *numbers: int) -> Value:
        return self.graph.add_constant(self.graph.fresh_name("c"), np.array(numbers, np.int64))

    def larger(self, x: Value, mode: str) -> Value:
        scales = self.constant(np.array([1, 1, 2, 2]))
        return self.graph.add_node(
            "Resize",
            [x, None, scales],
            [TensorType("float32", (*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3]))],
            {"mode": mode, "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
            opset=18,
        ).output

    def transposed(
        self, x: Value, outputs: int, kernel: int, *, stride: int, pad: int, dilation: int = 1, group: int = 1
    ) -> Value:
        weights = self.random.standard_normal((x.shape[1], outputs // group, kernel, kernel)) / (
            kernel * x.shape[1] ** 0.5
        )
        return self.add(
            "ConvTranspose",
            x,
            self.constant(weights),
            self.constant(self.random.standard_normal(outputs)),
            kernel_shape=(kernel, kernel),
            strides=(stride, stride),
            pads=(pad,) * 4,
            dilations=(dilation, dilation),
            group=group,
        )

    def check(self, *outputs: Value, order: int = 7) -> None:
        self.graph.outputs = list(outputs)
        inputs = {"x": self.random.standard_normal(self.input.shape).astype(np.float32)}
        compare(self.graph, inputs, run(self.graph, compiled(self.graph), inputs, order, _NO_NUMBERS))

    def calls(self, *outputs: Value) -> list[Call]:
        self.graph.outputs = list(outputs)
        return lower_region(self.graph, CUDA).calls


_OPS = (
    *("conv", "pointwise", "strided", "depthwise", "twofold", "grouped", "max", "average", "residual", "relu"),
    *(
        "channel",
        "fork",
        "join",
        "join a part",
        "part",
        "even",
        "shuffle",
        "nearest",
        "linear",
        "deeper",
        "wider",
        "upward",
    ),
)


@settings(max_examples=examples(6), deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.integers(0, 1 << 30),
    st.integers(1, 2),
    st.sampled_from([1, 3, 8, 20]),
    st.tuples(st.integers(5, 9), st.integers(5, 9)),
    st.lists(st.sampled_from(_OPS), min_size=3, max_size=8),
)
def test_networks(seed: int, batch: int, channels: int, size: tuple[int, int], ops: list[str]) -> None:
    images = Images(seed, batch, channels, *size)
    x, kept = images.input, []
    for op in ops:
        grown = _grown(images, x, op)
        if grown is None:
            kept.append(x)
        else:
            x = grown
    kept = [value for value in dict.fromkeys(kept) if value is not images.input and value is not x]
    if x is images.input:
        x = images.conv(x, 4, 1)
    images.check(*kept, x)


def _grown(images: Images, x: Value, op: str) -> Value | None:
    """One op more, where it fits; None for a value that is also to leave the network."""
    width, small, large = x.shape[1], min(x.shape[2:]) < 3, max(x.shape[1:]) > 40
    match op:
        case "conv" if not small:
            return images.conv(x, 12, 3, pad=1, relu=True)
        case "strided" if not small:
            return images.conv(x, 16, 3, stride=2, pad=1)
        case "depthwise" if width > 1 and not small:
            return images.conv(x, width, 3, pad=1, group=width)
        case "twofold" if width > 1 and not small and not large:
            return images.conv(x, 2 * width, 3, pad=1, group=width)
        case "grouped" if width % 4 == 0 and not small:
            return images.conv(x, 8, 3, pad=1, group=4)
        case "max" if not small:
            return images.pool("MaxPool", x, 3, 2, 1)  # of negative numbers too: the border must never win
        case "average" if not small:
            return images.pool("AveragePool", x, 3, 1, 1)
        case "residual" if not small:
            return images.add("Add", images.conv(x, width, 3, pad=1), x)
        case "relu":
            return images.add("Relu", x)
        case "channel":
            return images.add("Mul", x, images.constant(images.random.standard_normal((width, 1, 1))))
        case "join" if not small and not large:
            return images.concat(images.conv(x, 5, 1), images.conv(x, 8, 3, pad=1), x)
        case "join a part" if not small and not large:
            first = images.conv(x, 4, 1)
            return images.concat(first, images.concat(images.conv(first, 7, 3, pad=1), images.conv(x, 3, 1)))
        case "part" if width > 4:
            return images.cut(x, 2, width - 1)
        case "even" if width > 4:
            return images.add("Gather", x, images.places(*range(0, width, 2)), axis=1)
        case "shuffle" if width > 4:
            return images.add("Gather", x, images.places(3, 0, 1, 2), axis=1)
        case "nearest" | "linear" if not large:
            return images.larger(x, op)
        case "deeper" if x.shape[2] % 2 == 0 and x.shape[3] % 2 == 0:
            return images.add("SpaceToDepth", x, blocksize=2)
        case "wider" if width % 4 == 0 and not large:
            return images.add("DepthToSpace", x, blocksize=2, mode="CRD")
        case "upward" if not large:
            return images.add("Relu", images.transposed(x, 12, 3, stride=2, pad=1))
        case "fork":
            return None
    return images.conv(x, 10, 1)


def test_transposed_convolutions() -> None:
    """Kernels that the strides divide, and that they do not; one that leaves outputs without a tap."""
    images = Images(1, 2, 8, 5, 6)
    x = images.conv(images.input, 8, 1)
    made = []
    for kernel, stride, pad, dilation, group in (
        (3, 2, 1, 1, 1),
        (4, 2, 1, 1, 2),
        (2, 2, 0, 1, 1),
        (5, 3, 2, 1, 8),
        (3, 1, 1, 2, 1),
        (3, 2, 2, 3, 1),
        (2, 3, 0, 1, 1),
    ):
        y = images.transposed(x, 16, kernel, stride=stride, pad=pad, dilation=dilation, group=group)
        made.append(images.conv(images.add("Relu", y), 4, 1))
    images.check(*made)


@settings(max_examples=examples(5), deadline=None, suppress_health_check=list(HealthCheck))
@given(networks(largest=16, limit_elements=6000))
def test_integer_networks(graph: Graph) -> None:
    inputs = random_inputs(graph, 0)
    compare(graph, inputs, run(graph, compiled(graph), inputs, 7, _NO_NUMBERS))


# ---- what is called


def test_nothing_is_done_between_convolutions() -> None:
    """Padding, activations, additions, joins and layouts cost no kernel of their own."""
    images = Images(0, 1, 8, 12, 12)
    x = images.conv(images.input, 32, 3, pad=1, relu=True)
    y = images.conv(x, 32, 3, stride=2, pad=1, relu=True)
    z = images.conv(y, 32, 5, pad=2, group=32)
    z = images.add("Relu", images.add("Add", z, y))
    z = images.concat(images.conv(z, 16, 1), images.pool("MaxPool", z, 3, 1, 1), images.cut(y, 8, 24))
    calls = images.calls(images.add("GlobalAveragePool", images.conv(z, 64, 1)))
    # The input is copied to channels last, and the part of another value to where it is joined.
    assert [_told(call) for call in calls].count("copy") == 2
    assert len([call for call in calls if isinstance(call.kernel, Nest)]) == 2 + 7


def test_calls_of_a_quantized_network(golden: object) -> None:
    """Bytes go from one convolution to the next, in a halo where that pads."""
    graph = _quantized_network()
    lines = [_described(call) for call in lower_region(graph, CUDA).calls]
    golden("\n".join(lines) + "\n")  # type: ignore[operator]
    inputs = random_inputs(graph, 3)
    compare(graph, inputs, run(graph, compiled(graph), inputs, 0, _NO_NUMBERS))


def _told(call: Call) -> str:
    kernel = call.kernel
    if not isinstance(kernel, Nest):
        return type(kernel).__name__
    return kernel.combine or ("copy" if kernel.body == Input(0) else "map")


def _described(call: Call) -> str:
    kernel = call.kernel
    match kernel:
        case Surround():
            size = f"{kernel.height}x{kernel.width}x{kernel.pitch}"
            sides = f"{kernel.top} {kernel.left} {kernel.bottom} {kernel.right}"
            return f"halo of {kernel.fill} around {kernel.dtype} {size}: {sides}"
        case Nest():
            reads = ", ".join(f"{walk.dtype} {_joined(walk.strides)}" for walk in kernel.operands)
            over = f" over {_joined(kernel.reduced)}" if kernel.combine else ""
            steps = f"{kernel.output.dtype} {_joined(kernel.output.strides)}"
            return f"{_told(call)} {_joined(kernel.kept)}{over}: {reads} -> {steps}"
    return type(kernel).__name__


def _joined(numbers: Sequence[int]) -> str:
    return "x".join(map(str, numbers))


def _quantized_network() -> Graph:
    """An image of three channels through a dense, a depthwise and two pointwise convolutions, added, pooled."""
    graph, random = Graph("network"), np.random.default_rng(5)
    x = graph.add_input("x", TensorType("int8", (1, 3, 9, 9)))
    x.quantization = Quantization(0.1, -7)

    def convolved(x: Value, outputs: int, kernel: int, group: int = 1, stride: int = 1) -> Value:
        assert x.quantization is not None
        shape = (outputs, x.shape[1] // group, kernel, kernel)
        numbers = (
            random.integers(-127, 128, shape).astype(np.int8),
            random.integers(-900, 900, outputs).astype(np.int32),
            np.full(outputs, 1 << 20, np.int32),
            np.full(outputs, 31, np.int32),
        )
        zero, pad = int(random.integers(-20, 20)), kernel // 2
        attributes = {
            "strides": (stride, stride),
            "pads": (pad,) * 4,
            "dilations": (1, 1),
            "group": group,
            "input_zero_point": int(x.quantization.zero_point),
            "output_zero_point": zero,
            "clamp_min": -128,
            "clamp_max": 127,
        }
        size = -(-x.shape[2] // stride)
        constants = [graph.add_constant(graph.fresh_name("c"), array) for array in numbers]
        type = TensorType("int8", (1, outputs, size, size))
        made = graph.add_node("qconv", [x, *constants], [type], attributes, opset=0).output
        made.quantization = Quantization(0.1, zero)
        return made

    y = convolved(x, 24, 3, stride=2)
    z = convolved(convolved(y, 24, 3, group=24), 24, 1)
    assert y.quantization is not None and z.quantization is not None
    attributes = {
        "a_multiplier": 1000,
        "b_multiplier": 1000,
        "a_zero_point": int(y.quantization.zero_point),
        "b_zero_point": int(z.quantization.zero_point),
        "shift": 11,
        "output_zero_point": 3,
        "clamp_min": -128,
        "clamp_max": 127,
    }
    total = graph.add_node("qadd", [y, z], [y.type], attributes, opset=0).output
    total.quantization = Quantization(0.1, 3)
    graph.outputs = [convolved(total, 10, 1)]
    return graph


# ---- numbers


@pytest.mark.parametrize("zero", [-128, 0, 127])
def test_the_zero_point_goes_into_the_bias(zero: int) -> None:
    random = np.random.default_rng(0)
    weights = random.integers(-128, 128, (4, 50)).astype(np.int8)
    bias = np.array([0, 5, 2**31 - 1, -(2**31)], np.int32)
    x = random.integers(-128, 128, 50).astype(np.int32)
    wanted = (weights.astype(np.int32) * (x - zero)).sum(1, dtype=np.int32) + bias  # sums wrap
    found = (weights.astype(np.int32) * x).sum(1, dtype=np.int32) + without_zero(bias, weights, zero)
    assert np.array_equal(found, wanted)
