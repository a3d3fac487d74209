"""Random quantized graphs, for engines that must give the same bytes as `ir.evaluate`.

    @given(graphs())
    def test_engine(graph): ...

`layers()` gives one op with random shapes and attributes, `graphs()` chains, residual blocks and branches of them,
`networks()` larger pictures through blocks of well-known networks.
Tests run a few hundred examples; INTARSIA_GENERATED=2000 in the environment asks for that many.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

from intarsia.dtypes import Array
from intarsia.ir.graph import Graph, Value
from intarsia.ir.infer import infer_node
from intarsia.ir.integer import MULTIPLIER_BITS, fixed_point, fixed_point_pair
from intarsia.ir.types import Quantization, TensorType

EDGES = (1, 2, 3, 5, 8, 15, 16, 17, 24, 31, 32, 33, 40, 48, 64, 80)
"""Channel counts around the widths of vector units and of the overlay's blocks."""


def examples(default: int) -> int:
    """How many examples a test runs: its own default, or what the environment asks for."""
    return int(os.environ.get("INTARSIA_GENERATED", default))


def random_inputs(graph: Graph, seed: int) -> dict[str, Array]:
    """An array for each graph input: all of int8, with runs of the extreme values."""
    rng = np.random.default_rng(seed)
    inputs = {}
    for value in graph.inputs:
        data = rng.integers(-128, 128, value.shape).astype(np.int8)
        data[rng.random(value.shape) < 0.05] = rng.choice(np.array([-128, 127], np.int8))
        inputs[value.name] = data
    return inputs


class Maker:
    """Adds random ops to a graph. Each method adds one and returns the new value, or None where it does not fit."""

    def __init__(self, draw: Callable[[Any], Any], limit_elements: int) -> None:
        self.draw = draw
        self.graph = Graph("generated")
        self.rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        self.limit_elements = limit_elements
        self._constants = 0

    # ---- choices

    def integer(self, low: int, high: int) -> int:
        return int(self.draw(st.integers(low, high)))

    def pick(self, options: Sequence[Any]) -> Any:
        return self.draw(st.sampled_from(options))

    def chance(self, one_in: int) -> bool:
        return self.integer(1, one_in) == one_in

    def zero_point(self) -> int:
        return int(self.pick((0, -128, 127, 3, -5, -17, 64)))

    def zero_of(self, value: Value) -> int:
        assert value.quantization is not None
        return value.quantization.zero_point

    # ---- building

    def input(self, shape: Sequence[int]) -> Value:
        type = TensorType("int8", tuple(shape))
        return self.graph.add_input(f"x{len(self.graph.inputs)}", type, Quantization(0.05, self.zero_point()))

    def constant(self, data: Array) -> Value:
        self._constants += 1
        return self.graph.add_constant(f"c{self._constants}", data)

    def add(
        self,
        op: str,
        inputs: Sequence[Value | None],
        attributes: dict[str, Any],
        zero: int,
        type: TensorType | None = None,
    ) -> Value:
        """Append a node whose output stands for real numbers with zero point `zero`."""
        node = self.graph.add_node(
            op, inputs, [type or TensorType("int8", (0,))], attributes, opset=0 if type is None else 18
        )
        if type is None:
            types = infer_node(node)
            assert types is not None
            node.output.type = types[0]
        node.output.quantization = Quantization(0.05, zero)
        return node.output

    def epilogue(self) -> dict[str, int]:
        """Zero point and clamp: open, ReLU, ReLU6 or narrow."""
        zero = self.zero_point()
        low, high = self.pick(((-128, 127), (-128, 127), (zero, 127), (zero, min(zero + 90, 127)), (-20, 35)))
        return {"output_zero_point": zero, "clamp_min": low, "clamp_max": high}

    def spread(self, depth: int) -> float:
        """A scale that brings sums of `depth` products near the int8 range, now and then far outside."""
        typical = 150.0 / (74.0 * 74.0 * np.sqrt(depth))
        return float(typical * self.pick((1.0, 0.5, 0.3, 0.05, 4.0)))

    def weighted(self, shape: Sequence[int], depth: int, channels: int) -> list[Value]:
        """Weight, bias, multiplier and shift as constants."""
        weight = self.rng.integers(-127, 128, tuple(shape)).astype(np.int8)
        if self.chance(4):
            weight[self.rng.random(weight.shape) < 0.7] = 0
        typical = self.spread(depth)
        pairs = [fixed_point(typical * float(2.0 ** self.rng.uniform(-2, 1))) for _ in range(channels)]
        if self.chance(6):
            pairs[int(self.rng.integers(channels))] = (0, 1)
        if self.chance(6):
            pairs[int(self.rng.integers(channels))] = ((1 << MULTIPLIER_BITS) - 1, 34)
        bias = self.rng.normal(0, 40.0 / typical, channels)
        if self.chance(8):
            bias[:] = self.rng.choice([2.0**31 - 1, -(2.0**31)], channels)
        return [
            self.constant(weight),
            self.constant(np.clip(bias, -(2.0**31), 2.0**31 - 1).astype(np.int64).astype(np.int32)),
            self.constant(np.array([pair[0] for pair in pairs], np.int32)),
            self.constant(np.array([pair[1] for pair in pairs], np.int32)),
        ]

    def window(self, size: int, kernels: Sequence[int], dilate: bool) -> tuple[int, int, int, int, int] | None:
        """kernel, stride, dilation, pad before, pad after of one axis, such that at least one position remains."""
        kernel, stride = int(self.pick(kernels)), int(self.pick((1, 1, 2, 3)))
        dilation = self.integer(1, 3) if dilate and kernel > 1 and self.chance(4) else 1
        reach = dilation * (kernel - 1) + 1
        before, after = (reach // 2, reach // 2) if self.chance(2) else (self.integer(0, 2), self.integer(0, 2))
        before, after = min(before, reach - 1), min(after, reach - 1)
        if size + before + after < reach:
            return None
        return kernel, stride, dilation, before, after

    # ---- integer ops

    def qconv(self, x: Value, kind: str = "") -> Value | None:
        """Dense, depthwise or grouped convolution over one or two axes."""
        if len(x.shape) not in (3, 4):
            return None
        kind = kind or self.pick(("dense", "dense", "pointwise", "depthwise", "grouped"))
        kernels = (1,) if kind == "pointwise" else (1, 2, 3, 3, 3, 5, 7)
        axes = [self.window(size, kernels, True) for size in x.shape[2:]]
        if None in axes:
            return None
        channels, group = x.shape[1], 1
        outputs = int(self.pick(EDGES))
        if kind == "depthwise":
            group, outputs = channels, channels * (2 if self.chance(8) else 1)
        elif kind == "grouped":
            divisors = [number for number in (2, 3, 4) if channels % number == 0]
            if not divisors:
                return None
            group = int(self.pick(divisors))
            outputs = group * int(self.pick((1, 3, 8, 16, 17)))
        kernel, strides, dilations, before, after = zip(*[axis for axis in axes if axis is not None])
        shape = (outputs, channels // group, *kernel)
        positions = int(
            np.prod(
                [
                    (s + b + a - d * (k - 1) - 1) // t + 1
                    for s, k, t, d, b, a in zip(x.shape[2:], kernel, strides, dilations, before, after)
                ]
            )
        )
        if outputs * positions > self.limit_elements:
            return None
        attributes: dict[str, Any] = {
            "strides": strides,
            "pads": (*before, *after),
            "dilations": dilations,
            "group": group,
            "input_zero_point": self.zero_of(x),
            **self.epilogue(),
        }
        inputs = [x, *self.weighted(shape, int(np.prod(shape[1:])), outputs)]
        return self.add("qconv", inputs, attributes, attributes["output_zero_point"])

    def qmatmul(self, x: Value) -> Value | None:
        """Dense layer on the last axis."""
        if len(x.shape) not in (2, 3):
            return None
        outputs = int(self.pick((*EDGES, 100)))
        attributes = {"input_zero_point": self.zero_of(x), **self.epilogue()}
        inputs = [x, *self.weighted((x.shape[-1], outputs), x.shape[-1], outputs)]
        return self.add("qmatmul", inputs, attributes, attributes["output_zero_point"])

    def qadd(self, a: Value, b: Value) -> Value | None:
        """Sum of two values that broadcast."""
        if not self._broadcasts(a, b):
            return None
        scales = 2.0 ** self.rng.uniform(-4, 1, 2)
        first, second, shift = fixed_point_pair(float(scales[0]), float(scales[1]))
        attributes = {
            "a_multiplier": first,
            "b_multiplier": second,
            "shift": shift,
            "a_zero_point": self.zero_of(a),
            "b_zero_point": self.zero_of(b),
            **self.epilogue(),
        }
        return self.add("qadd", [a, b], attributes, attributes["output_zero_point"])

    def qmul(self, a: Value, b: Value) -> Value | None:
        """Product of two values that broadcast (squeeze and excitation when b is [N,C,1,1])."""
        if not self._broadcasts(a, b):
            return None
        multiplier, shift = fixed_point(float(2.0 ** self.rng.uniform(-9, -5)))
        attributes = {
            "multiplier": multiplier,
            "shift": shift,
            "a_zero_point": self.zero_of(a),
            "b_zero_point": self.zero_of(b),
            **self.epilogue(),
        }
        return self.add("qmul", [a, b], attributes, attributes["output_zero_point"])

    def _broadcasts(self, a: Value, b: Value) -> bool:
        try:
            shape = np.broadcast_shapes(a.shape, b.shape)
        except ValueError:
            return False
        return int(np.prod(shape)) <= self.limit_elements

    def average_pool(self, x: Value, whole: bool = False) -> Value | None:
        """Average over windows, or over the whole picture."""
        if len(x.shape) not in (3, 4):
            return None
        if whole:
            kernel, strides, pads = x.shape[2:], (1,) * len(x.shape[2:]), (0,) * 2 * len(x.shape[2:])
        else:
            axes = [self.window(size, (1, 2, 3), False) for size in x.shape[2:]]
            if None in axes:
                return None
            kernel, strides, _, before, after = zip(*[axis for axis in axes if axis is not None])
            pads = (*before, *after)
        count = int(np.prod(kernel))
        multiplier, shift = fixed_point(float(2.0 ** self.rng.uniform(-0.5, 0.5)) / count)
        attributes: dict[str, Any] = {
            "kernel_shape": tuple(kernel),
            "strides": tuple(strides),
            "pads": tuple(pads),
            "input_zero_point": self.zero_of(x),
            "multiplier": multiplier,
            "shift": shift,
            **self.epilogue(),
        }
        return self.add("qaveragepool", [x], attributes, attributes["output_zero_point"])

    def requantize(self, x: Value) -> Value:
        multiplier, shift = fixed_point(float(2.0 ** self.rng.uniform(-3, 2)))
        attributes = {
            "input_zero_point": self.zero_of(x),
            "multiplier": multiplier,
            "shift": shift,
            **self.epilogue(),
        }
        return self.add("requantize", [x], attributes, attributes["output_zero_point"])

    def lookup(self, x: Value) -> Value:
        table = self.rng.integers(-128, 128, 256).astype(np.int8)
        return self.add("lookup", [x, self.constant(table)], {}, self.zero_point())

    # ---- data movement and pooling with ONNX meaning

    def max_pool(self, x: Value) -> Value | None:
        if len(x.shape) not in (3, 4):
            return None
        axes = [self.window(size, (1, 2, 2, 3), False) for size in x.shape[2:]]
        if None in axes:
            return None
        kernel, strides, dilations, before, after = zip(*[axis for axis in axes if axis is not None])
        out = [(size + b + a - k) // s + 1 for size, k, s, b, a in zip(x.shape[2:], kernel, strides, before, after)]
        # A window that lies in the padding alone has no largest element.
        if any((o - 1) * s - b >= size for o, s, b, size in zip(out, strides, before, x.shape[2:])):
            return None
        attributes: dict[str, Any] = {
            "kernel_shape": kernel,
            "strides": strides,
            "pads": (*before, *after),
            "dilations": dilations,
            "ceil_mode": 0,
        }
        return self.add("MaxPool", [x], attributes, self.zero_of(x), TensorType("int8", (*x.shape[:2], *out)))

    def concat(self, a: Value, b: Value) -> Value | None:
        """Join along the channels."""
        if len(a.shape) < 2 or a.shape[:1] + a.shape[2:] != b.shape[:1] + b.shape[2:]:
            return None
        shape = (a.shape[0], a.shape[1] + b.shape[1], *a.shape[2:])
        if int(np.prod(shape)) > self.limit_elements:
            return None
        return self.add("Concat", [a, b], {"axis": 1}, self.zero_of(a), TensorType("int8", shape))

    def resize(self, x: Value) -> Value | None:
        """Nearest neighbour, by whole factors."""
        if len(x.shape) != 4:
            return None
        factor = int(self.pick((2, 2, 2, 2, 3)))
        shape = (*x.shape[:2], x.shape[2] * factor, x.shape[3] * factor)
        if int(np.prod(shape)) > self.limit_elements:
            return None
        attributes = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        scales = self.constant(np.array([1, 1, factor, factor], np.float32))
        return self.add("Resize", [x, None, scales], attributes, self.zero_of(x), TensorType("int8", shape))

    def flatten(self, x: Value) -> Value | None:
        if len(x.shape) not in (3, 4):
            return None
        shape = (x.shape[0], int(np.prod(x.shape[1:])))
        if shape[1] > 3000:
            return None
        return self.add("Flatten", [x], {"axis": 1}, self.zero_of(x), TensorType("int8", shape))

    def slice_channels(self, x: Value) -> Value | None:
        """Part of the channels."""
        if len(x.shape) != 4 or x.shape[1] < 2:
            return None
        start = int(self.pick([number for number in (0, 1, 8, 16) if number < x.shape[1]]))
        stop = self.integer(start + 1, x.shape[1])
        bounds = [self.constant(np.array([number], np.int64)) for number in (start, stop, 1, 1)]
        type = TensorType("int8", (x.shape[0], stop - start, *x.shape[2:]))
        return self.add("Slice", [x, *bounds], {}, self.zero_of(x), type)

    # ---- several ops

    def residual(self, x: Value) -> Value | None:
        """A 3x3 and a 3x3 convolution of x, added to x."""
        if len(x.shape) != 4:
            return None
        value, channels = x, x.shape[1]
        middle = int(self.pick((channels, 16, 24)))
        for outputs in (middle, channels):
            attributes: dict[str, Any] = {
                "strides": (1, 1),
                "pads": (1, 1, 1, 1),
                "dilations": (1, 1),
                "group": 1,
                "input_zero_point": self.zero_of(value),
                **self.epilogue(),
            }
            shape = (outputs, value.shape[1], 3, 3)
            inputs = [value, *self.weighted(shape, int(np.prod(shape[1:])), outputs)]
            value = self.add("qconv", inputs, attributes, attributes["output_zero_point"])
        return self.qadd(value, x)

    def inverted(self, x: Value) -> Value | None:
        """Pointwise, depthwise, pointwise: a MobileNet block."""
        value: Value | None = x
        for kind in ("pointwise", "depthwise", "pointwise"):
            value = None if value is None else self.qconv(value, kind)
        if value is not None and value.shape == x.shape and self.chance(2):
            return self.qadd(value, x)
        return value

    def finish(self) -> Graph:
        """Values that nobody reads become the outputs, and now and then one that somebody does."""
        made = [node.output for node in self.graph.nodes]
        self.graph.outputs = [value for value in made if not value.users]
        inner = [value for value in made if value.users]
        if inner and self.chance(4):
            self.graph.outputs.append(self.pick(inner))
        return self.graph


@st.composite
def networks(draw: Callable[[Any], Any], largest: int = 40, limit_elements: int = 40_000) -> Graph:
    """Small image networks: a convolution of an image, blocks of MobileNet or ResNet, a pool and a dense layer."""
    maker = Maker(draw, limit_elements)
    value = maker.input((1, int(maker.pick((1, 3, 4))), maker.integer(12, largest), maker.integer(12, largest)))
    value = maker.qconv(value, "dense") or value
    for _ in range(maker.integer(1, 4)):
        value = getattr(maker, maker.pick(("inverted", "inverted", "residual", "max_pool")))(value) or value
    pooled = maker.average_pool(value, whole=True)
    flat = None if pooled is None else maker.flatten(pooled)
    if flat is not None:
        maker.qmatmul(flat)
    return maker.finish()


def _shape(maker: Maker) -> tuple[int, ...]:
    channels = int(maker.pick(EDGES))
    largest = max(1, min(40, int((maker.limit_elements / channels) ** 0.5)))
    if maker.chance(12):
        return (1, channels, maker.integer(1, 4 * largest))
    return (1, channels, maker.integer(1, largest), maker.integer(1, largest))


ONE_INPUT = (
    "qconv",
    "qconv",
    "qconv",
    "qconv",
    "qconv",
    "max_pool",
    "average_pool",
    "requantize",
    "lookup",
    "resize",
    "slice_channels",
    "qmatmul",
    "flatten",
    "residual",
    "inverted",
)
TWO_INPUTS = ("qadd", "qmul", "concat")


@st.composite
def layers(draw: Callable[[Any], Any], limit_elements: int = 20_000, ops: Sequence[str] = ()) -> Graph:
    """One op (or block) alone, its input straight from the caller.

    ops  methods of Maker to choose from; all by default
    """
    maker = Maker(draw, limit_elements)
    name = maker.pick(tuple(ops) or (*ONE_INPUT, *TWO_INPUTS))
    result: Value | None = None
    if name in TWO_INPUTS:
        shape = _shape(maker)
        other = list(shape)
        if name == "concat":
            other[1] = int(maker.pick(EDGES))
        elif maker.chance(3):
            other[2:] = [1 if size == 1 or maker.chance(2) else size for size in other[2:]]
        result = getattr(maker, name)(maker.input(shape), maker.input(other))
    elif name == "qmatmul":
        result = maker.qmatmul(maker.input((maker.integer(1, 4), int(maker.pick((*EDGES, 128, 200, 640))))))
    else:
        result = getattr(maker, name)(maker.input(_shape(maker)))
    if result is None:
        maker.requantize(maker.graph.inputs[0])
    return maker.finish()


@st.composite
def graphs(draw: Callable[[Any], Any], limit_elements: int = 16_000, longest: int = 7) -> Graph:
    """Chains, branches and joins of up to `longest` ops or blocks, ending now and then in pool, flatten and dense."""
    maker = Maker(draw, limit_elements)
    live = [maker.input(_shape(maker))]
    for _ in range(maker.integer(2, longest)):
        source = live[-1] if maker.integer(1, 4) > 1 else maker.pick(live)
        if maker.chance(3):
            name = maker.pick(TWO_INPUTS)
            partners = [value for value in live if value.shape[2:] == source.shape[2:]] or [source]
            result = getattr(maker, name)(source, maker.pick(partners))
        else:
            result = getattr(maker, maker.pick(ONE_INPUT))(source)
        if result is not None:
            live.append(result)
    if len(live[-1].shape) in (3, 4) and maker.chance(3):
        pooled = maker.average_pool(live[-1], whole=True)
        flat = None if pooled is None else maker.flatten(pooled)
        if flat is not None:
            maker.qmatmul(flat)
    if not maker.graph.nodes:
        maker.requantize(live[0])
    return maker.finish()
