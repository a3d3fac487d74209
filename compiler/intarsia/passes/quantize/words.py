"""Products of activations of 16 bits: by ONNX's products of bytes, exactly, and scaled in float64.

    x = 256 * high + low      sums of w * (x - zero) = 256 * ConvInteger(high, w) + ConvInteger(low, w)

Float32 would sum in the order of each machine, and 16 bits show it; these sums are the same everywhere. Engines of our
own ops know int8 alone, so that code for CPUs is made of these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from intarsia.dtypes import ELEMENT_NUMBERS, Array
from intarsia.ir.graph import Graph, Node, Value
from intarsia.ir.types import TensorType
from intarsia.passes.matching import quantized_constant
from intarsia.passes.quantize.constants import constant_of, parameter_of
from intarsia.passes.quantize.lower import remove_unread
from intarsia.passes.quantize.split import CLAMPS

_BYTES, _WORDS = ("int8", "uint8"), ("int16", "uint16")
_OPSET = 21
_DEPTH_MAX = (1 << 31) // (255 * 255)
"""Products of two bytes in one sum of 32 bits."""

_WINDOW = ("kernel_shape", "strides", "pads", "dilations", "group")


@dataclass(frozen=True)
class _Scaled:
    """What a QuantizeLinear or DequantizeLinear says of 8 or 16 bits."""

    integers: Value
    scale: float
    zero: int


def lower_words(graph: Graph) -> int:
    """`QuantizeLinear(Conv(DequantizeLinear(x), w, b))` of 16 bits on a side -> products of bytes; returns how many.

    Weights are the model's own integers of up to 8 bits, scales those of the model. Results leave the float formula of
    ONNX by one step at most.
    """
    done: list[Node] = []
    words = _Words(graph)
    for node in list(graph.nodes):
        if node.op in ("Conv", "dense") and not node.domain and words.lower(node):
            done.append(node)
    if done:
        remove_unread(graph, set())
        graph.sort()
    return len(done)


def is_word(node: Node) -> bool:
    """Whether a QuantizeLinear or DequantizeLinear is of 16 bits."""
    return (node.output if node.op == "QuantizeLinear" else node.input(0)).dtype in _WORDS


def _scaled(node: Node | None, op: str) -> _Scaled | None:
    """The one scale and zero point of a node of that op, or None."""
    if node is None or node.op != op or node.domain or node.attributes.get("block_size", 0):
        return None
    integers = node.output if op == "QuantizeLinear" else node.input(0)
    scale, zero = node.input(1).data, node.optional_input(2)
    if integers.dtype not in (*_BYTES, *_WORDS) or scale is None or scale.size != 1 or scale.dtype != np.float32:
        return None
    offset = np.zeros(1, np.int64) if zero is None else zero.data
    factor = float(scale.reshape(()))
    if offset is None or offset.size != 1 or not (np.isfinite(factor) and factor > 0.0):
        return None
    return _Scaled(integers, factor, int(offset.reshape(())))


class _Words:
    """halves: high and low byte of a value of 16 bits, where they were made already."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.halves: dict[Value, tuple[Value, Value]] = {}

    def lower(self, node: Node) -> bool:
        """Put integer products in the place of a node and the QuantizeLinear behind it; False where that cannot be."""
        value, weight = node.output, quantized_constant(node.input(1))
        if len(value.users) != 1 or self.graph.is_output(value) or weight is None or not value.type.is_static:
            return False
        quantize = value.users[0]
        source, target = _scaled(node.input(0).producer, "DequantizeLinear"), _scaled(quantize, "QuantizeLinear")
        if source is None or target is None or not {source.integers.dtype, target.integers.dtype} & set(_WORDS):
            return False
        axis, bias = (0 if node.op == "Conv" else 1), node.optional_input(2)
        channels = node.input(1).shape[axis]
        scales, zeros = (parameter_of(weight, index, axis, channels) for index in (1, 2))
        integers, shift = weight.input(0).data, None if bias is None else constant_of(bias)
        clamp = _clamp(node, target)
        if scales is None or zeros is None or integers is None or clamp is None or (bias is not None and shift is None):
            return False
        matrix = _centred(integers, zeros, axis)
        if matrix is None or not np.isfinite(scales).all() or matrix.size // max(channels, 1) > _DEPTH_MAX:
            return False
        sums = self._sums(node, source, matrix)
        along = (-1,) + (1,) * (value.type.rank - 2) if node.op == "Conv" else (-1,)
        factors = scales.astype(np.float64) * source.scale / target.scale
        real = self._binary(node, "Mul", sums, factors.reshape(along))
        if shift is not None:
            shifts = np.broadcast_to(shift.astype(np.float64).reshape(-1) / target.scale, (channels,))
            real = self._binary(node, "Add", real, shifts.reshape(along))
        steps = self._binary(node, "Add", self._add(node, "Round", [real], "float64"), target.zero)
        ends = [self._constant(node, np.asarray(end, np.float64)) for end in clamp]
        result = self._cast(node, self._add(node, "Clip", [steps, *ends], "float64"), target.integers.dtype)
        self.graph.replace_uses(quantize.output, result)
        return True

    def _sums(self, node: Node, source: _Scaled, matrix: Array) -> Value:
        """The sums of products, float64 that are whole numbers."""
        if source.integers.dtype in _BYTES:
            return self._cast(node, self._product(node, source.integers, source.zero, matrix), "float64")
        offset = source.zero + (1 << 15 if source.integers.dtype == "int16" else 0)
        parts = [
            self._cast(node, self._product(node, byte, zero, matrix), "float64")
            for byte, zero in zip(self._bytes_of(node, source.integers), (offset >> 8, offset & 255))
        ]
        return self._add(node, "Add", [self._binary(node, "Mul", parts[0], 256), parts[1]], "float64")

    def _bytes_of(self, node: Node, value: Value) -> tuple[Value, Value]:
        """High and low byte of 16 bits, uint8 both; of signed ones after 32768 is added."""
        if value not in self.halves:
            wide = self._cast(node, value, "int32")
            if value.dtype == "int16":
                wide = self._add(node, "Add", [wide, self._constant(node, np.int32(1 << 15))], "int32")
            high, low = (
                self._cast(node, self._add(node, op, [wide, self._constant(node, np.int32(256))], "int32"), "uint8")
                for op in ("Div", "Mod")
            )
            self.halves[value] = high, low
        return self.halves[value]

    def _product(self, node: Node, data: Value, zero: int, matrix: Array) -> Value:
        inputs = [data, self._constant(node, matrix), self._constant(node, np.asarray(zero, data.dtype))]
        if node.op == "dense":
            return self._add(node, "MatMulInteger", inputs, "int32", shape=node.output.shape)
        window = {name: node.attributes[name] for name in _WINDOW if name in node.attributes}
        return self._add(node, "ConvInteger", inputs, "int32", window, node.output.shape)

    def _binary(self, node: Node, op: str, value: Value, number: Array | int) -> Value:
        return self._add(node, op, [value, self._constant(node, np.asarray(number, np.float64))], "float64")

    def _cast(self, node: Node, value: Value, dtype: str) -> Value:
        return self._add(node, "Cast", [value], dtype, {"to": ELEMENT_NUMBERS[dtype]})

    def _constant(self, node: Node, data: Array | np.generic) -> Value:
        return self.graph.add_constant(self.graph.fresh_name(f"{node.name}_constant"), np.asarray(data))

    def _add(
        self,
        node: Node,
        op: str,
        inputs: Sequence[Value],
        dtype: str,
        attributes: dict[str, Any] | None = None,
        shape: Sequence[int] | None = None,
    ) -> Value:
        wish = f"{node.name}_{op.lower()}"
        type = TensorType(dtype, tuple(inputs[0].shape if shape is None else shape))
        made = self.graph.add_node(op, inputs, [type], attributes, name=wish, output_names=[wish], opset=_OPSET)
        return made.output


def _centred(integers: Array, zeros: Array, axis: int) -> Array | None:
    """Weights less their zero points, int8; None where they do not fit."""
    shape = [-1 if index == axis else 1 for index in range(integers.ndim)]
    centred = integers.astype(np.int32) - zeros.astype(np.int32).reshape(shape)
    return centred.astype(np.int8) if centred.size and centred.min() >= -128 and centred.max() <= 127 else None


def _clamp(node: Node, target: _Scaled) -> tuple[int, int] | None:
    """The integers between which the result lies; None for an activation that is no clamp."""
    limits = np.iinfo(target.integers.dtype)
    activation, arguments = node.attributes.get("activation", ""), node.attributes.get("activation_arguments", ())
    if activation not in CLAMPS:
        return None
    low, high = {"": (-np.inf, np.inf), "Relu": (0.0, np.inf)}.get(activation) or tuple(arguments)
    ends = [
        int(np.clip(np.rint(np.clip(end / target.scale, -1e6, 1e6)) + target.zero, limits.min, limits.max))
        for end in (low, high)
    ]
    return ends[0], ends[1]
